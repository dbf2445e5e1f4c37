"""HTML, WARC and PDF."""

import gzip
import io
import zlib

import pytest

from medmt5.corpus.documents import Bad, Document
from medmt5.corpus.readers import READERS

pytest.importorskip("lxml")


def read(path, format, **settings):
    """Documents, and pairs of place and reason."""
    items = list(READERS[format](source="s", **settings)(str(path)))
    documents = [item for item in items if isinstance(item, Document)]
    return documents, [(b.where, b.reason) for b in items if isinstance(b, Bad)]


BODY = "La migraña es una cefalea. El médico receta un fármaco y pide volver en una semana. " * 5
PAGE = """<!DOCTYPE html>
<html lang="es-ES"><head>{meta}<title>Migraña | Sitio</title>
<link rel="canonical" href="https://x.org/migrana"/></head>
<body><nav><a href="/">Inicio</a><a href="/c">Contacto</a></nav>
<article><h1>Migraña</h1><p>{body}</p><p>Otro párrafo del artículo, con su texto propio.</p>
<p>Licencia: <a rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">CC</a></p>
</article>
<footer>Aceptar cookies</footer></body></html>
"""
DECLARED = '<meta http-equiv="Content-Type" content="text/html; charset={}">'


def test_a_page_gives_its_main_text_title_language_address_and_licence(tmp_path):
    pytest.importorskip("trafilatura")
    path = tmp_path / "a.html"
    path.write_text(PAGE.format(meta="", body=BODY))
    (document,), bad = read(path, "html")
    assert not bad
    assert BODY.strip() in document.text
    assert "Otro párrafo" in document.text
    assert not any(word in document.text for word in ("Inicio", "cookies", "<p>"))
    assert (document.id, document.language) == ("a.html", "es")
    assert document.title.startswith("Migraña")
    assert document.url == "https://x.org/migrana"
    assert document.licence == "CC BY-SA 4.0"


@pytest.mark.parametrize(
    ("encoding", "declared", "reason"),
    [
        ("utf-8", "", ""),
        ("utf-8", "iso-8859-1", ""),  # declared wrongly, but valid UTF-8
        ("utf-8-sig", "windows-1251", ""),
        ("utf-16", "", ""),
        ("cp1252", "iso-8859-1", ""),
        ("latin-1", "", "not UTF-8"),
        ("latin-1", "utf-8", "wrong encoding"),
        ("latin-1", "x-unknown", "wrong encoding"),
        ("latin-1", "punycode", "wrong encoding"),
        ("latin-1", "zlib", "wrong encoding"),
    ],
)
def test_a_page_is_decoded_as_it_is_or_reported(tmp_path, encoding, declared, reason):
    pytest.importorskip("trafilatura")
    path = tmp_path / "a.html"
    meta = DECLARED.format(declared) if declared else ""
    path.write_bytes(PAGE.format(meta=meta, body=BODY).encode(encoding))
    documents, bad = read(path, "html")
    assert bad == ([(str(path), reason)] if reason else [])
    assert reason or BODY.strip() in documents[0].text


def test_pages_without_text_and_files_that_are_no_pages_are_reported(tmp_path):
    pytest.importorskip("trafilatura")
    for content, reason in (
        ("<html><body></body></html>", "no text"),
        ("<div>" * 100_000, None),
        ("\0\1\2", None),
        ("x" * 2000, "document too long"),
    ):
        path = tmp_path / "a.html"
        path.write_text(content)
        documents, bad = read(path, "html", max_document_bytes=1000 if "xx" in content else 10**6)
        assert not documents
        assert [b[1] for b in bad] in ([[reason]] if reason else [["no text"], ["broken HTML"]])


def record(kind, id, content, url="https://x.org/a", **headers):
    lines = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{id}>",
        "WARC-Target-URI": url,
        "WARC-Date": "2020-01-01T00:00:00Z",
        **{name.replace("_", "-"): value for name, value in headers.items()},
        "Content-Length": str(len(content)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"WARC/1.0\r\n{head}\r\n".encode() + content + b"\r\n\r\n"


def response(body, status="200 OK", kind="text/html", **headers):
    lines = {"Content-Type": kind} | {k.replace("_", "-"): v for k, v in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


HTML = PAGE.format(meta="", body=BODY)


def crawl():
    page = HTML.encode()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(page), page)
    http = {"Content_Type": "application/http; msgtype=response"}
    return [
        record("warcinfo", "0", b"software: x\r\n"),
        record("request", "1", b"GET / HTTP/1.1\r\n\r\n"),
        record("response", "2", response(page), **http),
        record("response", "3", response(page, "404 Not Found"), **http),
        record("response", "4", response(b"\xff\xd8", kind="image/jpeg"), **http),
        record("response", "5", response(gzip.compress(page), Content_Encoding="gzip"), **http),
        record("response", "6", response(chunks, Transfer_Encoding="chunked"), **http),
        record(
            "response",
            "7",
            response(HTML.encode("cp1251", "ignore"), kind="text/html; charset=windows-1251"),
            **http,
        ),
        record(
            "response", "8", response(b"caf\xe9 " * 99, kind="text/plain; charset=utf-8"), **http
        ),
        record("response", "9", response(b"Plain text.", kind="text/plain"), **http),
        record(
            "conversion", "10", "Só texto.".encode(), WARC_Identified_Content_Language="por,eng"
        ),
    ]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_of_a_crawl_pages_are_read_and_their_faults_reported(tmp_path, compress):
    pytest.importorskip("warcio")
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(map(compress, crawl())))
    documents, bad = read(path, "warc", licence="unknown")
    assert [d.id for d in documents] == ["2", "5", "6", "7", "9", "10"]
    assert bad == [(f"{path}#8", "wrong encoding")]
    assert documents[0].text == documents[1].text == documents[2].text
    assert BODY.strip() in documents[0].text
    assert [(d.language, d.licence, d.url) for d in documents[:1] + documents[4:]] == [
        ("es", "CC BY-SA 4.0", "https://x.org/a"),
        ("", "unknown", "https://x.org/a"),
        ("pt", "unknown", "https://x.org/a"),
    ]
    assert [d.text for d in documents[4:]] == ["Plain text.", "Só texto."]


def test_of_a_crawl_that_breaks_off_the_pages_before_are_kept(tmp_path):
    pytest.importorskip("warcio")
    path = tmp_path / "a.warc"
    records = [record("conversion", f"{n}", b"Text. " * 50) for n in range(40)]
    packed = [gzip.compress(r) for r in records]
    for data, reason in (
        (b"".join(packed)[: -len(packed[-1]) + 40], "truncated gzip"),
        (b"".join(packed[:39]) + b"garbage in between", "broken gzip"),
        (b"".join(records)[: -len(records[-1]) // 2], "broken WARC"),
        (b"".join(records[:39]) + b"garbage in between\r\n\r\n", "broken WARC"),
    ):
        path.write_bytes(data)
        documents, bad = read(path, "warc")
        assert len(documents) >= 39, reason
        assert reason in [b[1] for b in bad]
    wrong = records[0].replace(b"Content-Length: 300", b"Content-Length: 290")
    path.write_bytes(wrong + records[1] + records[2])
    documents, bad = read(path, "warc")
    assert (str(path), "broken WARC") in bad
    assert documents[-1].id == "2"
    for data, reason in ((b"<html>503</html>\r\n", "broken WARC"), (b"\x00\x01", "broken WARC")):
        path.write_bytes(data)
        assert read(path, "warc") == ([], [(str(path), reason)])


def test_a_page_that_unpacks_to_too_much_is_reported_and_the_next_is_read(tmp_path):
    pytest.importorskip("warcio")
    path = tmp_path / "a.warc"
    bomb = response(zlib.compress(bytes(30 << 20)), Content_Encoding="deflate")
    damaged = response(b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 50, Content_Encoding="gzip")
    path.write_bytes(
        record("response", "1", bomb)
        + record("response", "2", damaged)
        + record("conversion", "3", b"Text.")
    )
    documents, bad = read(path, "warc", max_document_bytes=10**6)
    assert [d.id for d in documents] == ["3"]
    assert bad[0] == (f"{path}#1", "document too long")
    assert [where for where, _ in bad] == [f"{path}#1", f"{path}#2"]


def pdf(*pages):
    """A PDF with lines of text on its pages, written by hand."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        shown = "".join(f"({line}) Tj 0 -14 Td " for line in lines)
        stream = f"BT /F1 12 Tf 72 720 Td {shown}ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append("<< /Title (Guia) >>")
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    return (
        data
        + (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
            f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n"
            f"startxref\n{len(data)}\n%%EOF\n"
        ).encode()
    )


def encrypted(data, password):
    writer = pytest.importorskip("pypdf").PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_text_of_a_pdf_has_whole_words_and_paragraphs(tmp_path):
    pytest.importorskip("pypdf")
    path = tmp_path / "guia.pdf"
    path.write_bytes(
        pdf(["Diagnostico", "El trata-", "miento es", "breve.", "Se repite"], ["en otra hoja."])
    )
    (document,), bad = read(path, "pdf", language="es")
    assert not bad
    assert (document.id, document.title) == ("guia.pdf", "Guia")
    assert document.text.splitlines() == [
        "Diagnostico",
        "El tratamiento es breve.",
        "Se repite en otra hoja.",
    ]
    # Protected against changes, which needs no password to be read.
    path.write_bytes(encrypted(pdf(["Hola."]), ""))
    assert [d.text for d in read(path, "pdf")[0]] == ["Hola."]


def test_a_hyphen_that_belongs_to_the_words_of_a_pdf_stays(tmp_path):
    pytest.importorskip("pypdf")
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(["Herz-", "und Gefa-", "sse bei non-", "Hodgkin"]))
    (document,), _ = read(path, "pdf")
    assert document.text.splitlines() == ["Herz- und Gefasse bei non-", "Hodgkin"]


def test_pdfs_that_cannot_be_read_are_reported(tmp_path):
    pytest.importorskip("pypdf")
    whole = pdf(["Text."])
    for data, reason in (
        (b"<html>404</html>", "broken PDF"),
        (whole[:60], "broken PDF"),
        (pdf([]), "no text"),
        (encrypted(whole, "secret"), "encrypted PDF"),
        (whole + b" " * 2000, "document too long"),
    ):
        path = tmp_path / "a.pdf"
        path.write_bytes(data)
        limit = 2000 if reason == "document too long" else 10**6
        assert read(path, "pdf", max_document_bytes=limit) == ([], [(str(path), reason)])
