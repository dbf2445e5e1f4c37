"""Generated text in the formats of public corpora, for `bench_corpus`: the same for a seed.

Documents have the lengths of abstracts (log-normal, median 1,500 characters), sentences of the
sample data in four languages, and rare words made up at random, as names and codes are in real
text. Some end in a notice, hold an address, or are nearly the one before. Files are compressed as
their publishers do it.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import html
import io
import json
import math
import random
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from medmt5.corpus.documents import Document

LANGUAGES = ("en", "es", "fr", "it")
MEDIAN, SIGMA = 1500, 0.8  # characters; of the logarithm
RARE, NOTICES, ADDRESSES, COPIES = 0.03, 0.05, 0.02, 0.05  # of words, of documents
_SYLLABLES = [c + v for c in "bcdfglmnprstvz" for v in "aeiou"]


def documents(megabytes: float, seed: int, *, rare: float = RARE) -> Iterator[Document]:
    """Documents with so many MB of text in all.

    Args:
      rare: share of made-up words; of half, hardly any 13 words in a row are another text's.
    """
    rng = random.Random(seed)
    sentences = {language: _sentences(language) for language in LANGUAGES}
    left, number, text = megabytes * 1e6, 0, ""
    while left > 0:
        language = LANGUAGES[number % len(LANGUAGES)]
        if number >= len(LANGUAGES) and rng.random() < COPIES:
            before = text.split(" ")
            before[rng.randrange(len(before))] = _rare(rng)
            text, language = " ".join(before), LANGUAGES[(number - 1) % len(LANGUAGES)]
        else:
            text = _text(sentences[language], rng, rare)
        left -= len(text.encode())
        yield Document(text, f"d{number}", "generated", language)
        number += 1


def _sentences(language: str) -> list[str]:
    path = resources.files("medmt5.sample_data") / "corpus" / f"{language}.jsonl"
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    return [sentence for text in texts for sentence in re.split(r"(?<=\.) ", text)]


def _text(sentences: Sequence[str], rng: random.Random, rare: float) -> str:
    wanted = rng.lognormvariate(math.log(MEDIAN), SIGMA)
    paragraphs: list[list[str]] = [[]]
    length = 0
    while length < wanted:
        words = rng.choice(sentences).split(" ")
        sentence = " ".join(_rare(rng) if rng.random() < rare else word for word in words)
        paragraphs[-1].append(sentence)
        length += len(sentence) + 1
        if rng.random() < 0.2:
            paragraphs.append([])
    text = "\n".join(" ".join(paragraph) for paragraph in paragraphs if paragraph)
    if rng.random() < ADDRESSES:
        text += f"\nDr. {_rare(rng)}, {_rare(rng)}@example.org, +34 600 {rng.randrange(10**6):06}"
    if rng.random() < NOTICES:
        text += f"\n<b>Copyright</b> © {rng.randrange(1990, 2025)} Elsevier. All rights reserved."
    return text


def _rare(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randrange(2, 5)))


class Format(NamedTuple):
    """How a file of a format is written.

    Attributes:
      name: of the file.
      write: makes its bytes.
      settings: of the reader.
    """

    name: str
    write: Callable[[list[Document]], bytes]
    settings: dict[str, Any] = {}


def write(folder: Path, format_: str, content: list[Document]) -> Path:
    """Write documents in a format of `FORMATS`; returns the file."""
    path = folder / FORMATS[format_].name
    path.write_bytes(FORMATS[format_].write(content))
    return path


def jsonl(content: list[Document]) -> bytes:
    lines = (json.dumps(d.to_json(), ensure_ascii=False) + "\n" for d in content)
    return gzip.compress("".join(lines).encode(), 6)


def _text_file(content: list[Document]) -> bytes:
    return "\n\n".join(document.text for document in content).encode()


def _lines(content: list[Document]) -> list[str]:
    return [line for document in content for line in re.split(r"\n|(?<=\.) ", document.text)]


def _moses(content: list[Document]) -> bytes:
    return gzip.compress("\n".join(_lines(content)).encode())


def _tmx(content: list[Document]) -> bytes:
    units = (
        f'<tu><tuv xml:lang="en"><seg>{html.escape(line)}</seg></tuv>'
        f'<tuv xml:lang="es"><seg>{html.escape(line)}</seg></tuv></tu>\n'
        for line in _lines(content)
    )
    head = '<?xml version="1.0" encoding="UTF-8" ?>\n<tmx version="1.4"><header/><body>\n'
    return gzip.compress(f"{head}{''.join(units)}</body></tmx>\n".encode())


def _pubmed(content: list[Document]) -> bytes:
    articles = (
        f'<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="1">{number}</PMID>'
        "<DateCompleted><Year>2019</Year><Month>05</Month><Day>01</Day></DateCompleted>"
        '<Article PubModel="Print"><Journal><ISSN IssnType="Print">0000-0000</ISSN><Title>Journal'
        f"</Title></Journal><ArticleTitle>Title {number}.</ArticleTitle><Abstract><AbstractText>"
        f"{html.escape(document.text)}</AbstractText></Abstract><AuthorList>"
        + "<Author><LastName>Roe</LastName><ForeName>Jane</ForeName></Author>" * 5
        + "</AuthorList><Language>eng</Language></Article><MeshHeadingList>"
        + '<MeshHeading><DescriptorName UI="D000001">Humans</DescriptorName></MeshHeading>' * 10
        + "</MeshHeadingList></MedlineCitation></PubmedArticle>\n"
        for number, document in enumerate(content, 1)
    )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>\n'
    return gzip.compress(f"{head}{''.join(articles)}</PubmedArticleSet>\n".encode())


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{html.escape(line)}</p>\n" for line in text.split("\n"))


def _jats(number: int, document: Document) -> str:
    references = "".join(
        f'<ref id="B{n}"><mixed-citation>Roe J. Title {n}. J Med. 2001.</mixed-citation></ref>\n'
        for n in range(30)
    )
    return (
        '<article xmlns:xlink="http://www.w3.org/1999/xlink" xml:lang="en"><front><article-meta>'
        f'<article-id pub-id-type="pmc">{number}</article-id><title-group><article-title>Title'
        "</article-title></title-group></article-meta></front><body><sec><title>Introduction"
        f"</title>{_paragraphs(document.text)}</sec></body><back><ref-list>{references}</ref-list>"
        "</back></article>"
    )


def _tar(files: Iterator[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _pmc(content: list[Document]) -> bytes:
    # An article is ten abstracts long.
    joined = [
        dataclasses.replace(content[first], text="\n".join(d.text for d in content[first:][:10]))
        for first in range(0, len(content), 10)
    ]
    articles = enumerate(joined, 1)
    return _tar((f"oa/PMC{n}.xml", _jats(n, document).encode()) for n, document in articles)


def _study(number: int, document: Document) -> dict[str, Any]:
    return {
        "protocolSection": {
            "identificationModule": {"nctId": f"NCT{number:08}", "briefTitle": f"Trial {number}"},
            "descriptionModule": {"detailedDescription": document.text},
            "conditionsModule": {"conditions": ["Stroke"]},
            "contactsLocationsModule": {"locations": [{"city": "Rome", "country": "Italy"}] * 10},
        }
    }


def _clinical_trials(content: list[Document]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, document in enumerate(content, 1):
            archive.writestr(f"NCT{number:08}.json", json.dumps(_study(number, document)))
    return buffer.getvalue()


def _page(number: int, document: Document) -> str:
    menu = "".join(f'<li><a href="/page/{n}">Section {n}</a></li>\n' for n in range(40))
    script = "<script>var state = {};" + "state.push(0);" * 200 + "</script>\n"
    return (
        f'<!DOCTYPE html><html lang="{document.language}"><head><meta charset="utf-8"><title>Page '
        f"{number}</title>{script}</head><body><nav><ul>{menu}</ul></nav><main><article><h1>Page "
        f"{number}</h1>\n{_paragraphs(document.text)}</article></main><footer><ul>{menu}</ul>"
        "</footer></body></html>"
    )


def _html(content: list[Document]) -> bytes:
    return _tar((f"{n}.html", _page(n, d).encode()) for n, d in enumerate(content, 1))


def _warc(content: list[Document]) -> bytes:
    records = []
    for number, document in enumerate(content, 1):
        page = _page(number, document).encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page
        head = (
            "WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: 2020-01-01T00:00:00Z\r\n"
            f"WARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Target-URI: https://example.org/{number}"
            "\r\nContent-Type: application/http; msgtype=response\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n"
        )
        records.append(gzip.compress(head.encode() + answer + b"\r\n\r\n"))
    return b"".join(records)


def _wikipedia(content: list[Document]) -> bytes:
    pages = []
    for number, document in enumerate(content, 1):
        words = document.text.split(" ")
        words[::20] = (f"[[{word}]]" for word in words[::20])
        text = html.escape(
            f"{{{{Infobox|name=Page {number}}}}}\n'''Page {number}''' "
            + " ".join(words)
            + "<ref>Roe, 2001.</ref>\n== See also ==\n* [[Page 1]]\n[[Category:Diseases]]\n"
        )
        pages.append(
            f"<page><title>Page {number}</title><ns>0</ns><id>{number}</id><revision><id>1</id>"
            f'<model>wikitext</model><text xml:space="preserve">{text}</text></revision></page>\n'
        )
    head = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="en"><siteinfo>'
        "<base>https://en.wikipedia.org/wiki/Main_Page</base><namespaces>"
        '<namespace key="0"/></namespaces></siteinfo>\n'
    )
    return bz2.compress(f"{head}{''.join(pages)}</mediawiki>\n".encode())


def _parquet(content: list[Document]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    columns = {"text": [d.text for d in content], "id": [d.id for d in content]}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table(columns), buffer, compression="zstd", row_group_size=1000
    )
    return buffer.getvalue()


def _pdf(content: list[Document]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, document in enumerate(content, 1):
            archive.writestr(f"{number}.pdf", _pdf_file(document.text))
    return buffer.getvalue()


def _pdf_file(text: str) -> bytes:
    """Pages of 50 lines of 90 characters."""
    lines = [
        line[start : start + 90] for line in text.split("\n") for start in range(0, len(line), 90)
    ]
    pages = [lines[first : first + 50] for first in range(0, len(lines), 50)]
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        shown = "".join(rf"({_escaped(line)}) Tj 0 -14 Td " for line in page)
        stream = f"BT /F1 12 Tf 72 780 Td {shown}ET".encode("cp1252", "replace")
        bodies.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 "
            b"R >> >> /Contents %d 0 R >>" % (5 + 2 * number)
        )
        bodies.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(bodies) + 1
    return (
        data
        + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d" % (size, table, size)
        + b" /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    )


def _escaped(line: str) -> str:
    return re.sub(r"([()\\])", r"\\\1", line)


FORMATS = {
    "jsonl": Format("a.jsonl.gz", jsonl, {"language_key": "language"}),
    "text": Format("a.txt", _text_file, {"unit": "paragraph"}),
    "parquet": Format("a.parquet", _parquet),
    "moses": Format("a.en-es.es.gz", _moses, {"language": "es"}),
    "tmx": Format("a.tmx.gz", _tmx, {"language": "es"}),
    "pubmed": Format("pubmed25n0001.xml.gz", _pubmed),
    "pmc": Format("oa_comm.tar.gz", _pmc),
    "clinical_trials": Format("ctg-studies.json.zip", _clinical_trials),
    "wikipedia": Format("enwiki-latest-pages-articles.xml.bz2", _wikipedia),
    "html": Format("pages.tar.gz", _html),
    "warc": Format("a.warc.gz", _warc),
    "pdf": Format("guides.zip", _pdf),
}
