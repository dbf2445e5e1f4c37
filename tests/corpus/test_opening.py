import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile

import pytest
from cloud import Cloud

from medmt5.corpus import decompression, opening
from medmt5.corpus.decompression import Limits, Unreadable
from medmt5.corpus.documents import Bad, Reason

zstandard = pytest.importorskip("zstandard")

LIMITS = Limits(ratio=200, total_bytes=10**9)
COMPRESS = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    # As the zstd program does, with a checksum: without one, some damage cannot be told.
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
kinds = pytest.mark.parametrize("kind", COMPRESS)


def lines_of(path, limits=LIMITS, members=()):
    """Lines by place, and places with their reasons."""
    lines, bad = {}, {}
    for part in opening.opened(str(path), limits=limits, members=members):
        if isinstance(part, Bad):
            bad[part.where.removeprefix(str(path))] = part.reason
            continue
        place, stream = part
        found = lines.setdefault(str(place).removeprefix(str(path)), [])
        try:
            while line := stream.readline():
                found.append(line)
        except Unreadable as error:
            bad[str(place).removeprefix(str(path))] = error.reason
    return lines, bad


def numbered(count):
    """Different lines that compress about as text does."""
    return b"".join(b"%d %d\n" % (n, n * 2654435761 % 2**32) for n in range(count))


@kinds
def test_a_compressed_file_is_known_by_its_bytes_and_may_have_several_parts(tmp_path, kind):
    path = tmp_path / "misnamed.txt"
    compress = COMPRESS[kind]
    padding = b"" if kind == "zstd" else b"\0" * 1024
    path.write_bytes(compress(numbered(20_000)) + compress(b"") + compress(b"last\n") + padding)
    lines, bad = lines_of(path)
    assert (lines, bad) == ({"": [*numbered(20_000).splitlines(True), b"last\n"]}, {})


@kinds
def test_of_a_truncated_file_what_came_before_is_kept_to_the_last_whole_piece(tmp_path, kind):
    path = tmp_path / "a"
    data = numbered(100_000)
    compressed = COMPRESS[kind](data)
    path.write_bytes(compressed[: len(compressed) * 9 // 10])
    lines, bad = lines_of(path)
    assert bad == {"": f"truncated {kind}"}
    kept = b"".join(lines[""])
    assert data.startswith(kept)
    # Blocks that the end cuts are lost: bz2's have 900 kB, the others' less than 200.
    lost = 10**6 if kind == "bz2" else 200_000
    assert len(kept) > len(data) * 9 // 10 - lost


@kinds
def test_damage_and_bytes_after_the_end_are_reported(tmp_path, kind):
    data = numbered(100_000)
    compressed = bytearray(COMPRESS[kind](data))
    middle = len(compressed) // 2
    compressed[middle : middle + 64] = b"\xa5\x3c" * 32
    (tmp_path / "damaged").write_bytes(compressed)
    lines, bad = lines_of(tmp_path / "damaged")
    assert bad == {"": f"broken {kind}"}
    (tmp_path / "followed").write_bytes(COMPRESS[kind](b"a\n") + b"<html>404</html> and more")
    assert lines_of(tmp_path / "followed") == ({"": [b"a\n"]}, {"": f"broken {kind}"})


@kinds
def test_a_bomb_stops_before_it_fills_the_memory(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(decompression, "_RATIO_FROM", 4 << 20)
    path = tmp_path / "a"
    path.write_bytes(COMPRESS[kind](bytes((128 if kind == "zstd" else 24) << 20)))
    tracemalloc.start()
    with pytest.raises(Unreadable) as raised:
        for part in opening.opened(str(path), limits=LIMITS):
            if isinstance(part, Bad):
                raise Unreadable(part.reason, part.detail)
            while part[1].read1(1 << 16):
                pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert raised.value.reason == Reason.BOMB
    assert "max_ratio is 200" in raised.value.detail
    # zstd's decoder gives up to 32 MiB at a time, and they are copied once.
    assert peak < (70 << 20 if kind == "zstd" else 2 << 20)


def test_the_limit_on_decompressed_bytes_holds_whatever_the_ratio(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(numbered(10_000)))
    _, bad = lines_of(tmp_path / "a.gz", Limits(ratio=200, total_bytes=100_000))
    assert bad == {"": "decompresses to too much"}


def test_empty_missing_and_doubly_compressed_files_are_reported(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "nothing.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "twice").write_bytes(gzip.compress(bz2.compress(b"a")))
    assert lines_of(tmp_path / "empty")[1] == {"": "empty file"}
    assert lines_of(tmp_path / "nothing.gz")[1] == {"": "empty file"}
    assert lines_of(tmp_path / "twice")[1] == {"": "archive in an archive"}
    assert lines_of(tmp_path / "missing")[1] == {"": "cannot be opened"}


def test_a_remote_failure_is_raised_since_another_try_may_succeed(monkeypatch):
    def fail(path):
        raise TimeoutError("503")

    monkeypatch.setattr(opening, "open_file", fail)
    with pytest.raises(TimeoutError):
        list(opening.opened("gs://bucket/a", limits=LIMITS))
    assert lines_of("/local/a")[1] == {"": "cannot be opened"}


def test_a_remote_failure_between_members_is_no_damage_of_the_next(tmp_path, monkeypatch):
    cloud = Cloud(tmp_path, monkeypatch)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one", b"a\n")
        archive.writestr("two", b"b\n")
    parts = opening.opened("gs://a.zip", limits=LIMITS)
    next(parts)
    cloud.failures = 1
    with pytest.raises(OSError, match="connection reset"):
        next(parts)


def test_remote_files_and_archives_are_read_as_local_ones_are(tmp_path, monkeypatch):
    Cloud(tmp_path, monkeypatch)
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket/a.gz").write_bytes(gzip.compress(b"a\n"))
    (tmp_path / "bucket/a.tar").write_bytes(tar([("one", b"a\n"), ("two", b"b\n")]))
    with zipfile.ZipFile(tmp_path / "bucket/a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", numbered(10_000))
    with zipfile.ZipFile(tmp_path / "bucket/empty.zip", "w"):
        pass
    assert lines_of("gs://bucket/a.gz") == ({"": [b"a\n"]}, {})
    assert lines_of("gs://bucket/a.tar") == ({"!one": [b"a\n"], "!two": [b"b\n"]}, {})
    assert lines_of("gs://bucket/a.zip") == ({"!one": numbered(10_000).splitlines(True)}, {})
    assert lines_of("gs://bucket/empty.zip")[1] == {"": "no such member in the archive"}
    assert lines_of("gs://bucket/missing")[1] == {"": "cannot be opened"}


def tar(members, **options):
    """A tar of (name or TarInfo, bytes)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_a_tar_are_read_and_dangerous_ones_refused(tmp_path, format):
    path = tmp_path / "a.tar.gz"
    members = [
        ("a.xml", b"1\n"),
        ("a.jpg", b"\xff\xd8"),
        ("in/b.xml", gzip.compress(b"2\n")),
        ("../c.xml", b"3\n"),
        ("/etc/d.xml", b"4\n"),
        (link("e.xml", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (link("f.xml", tarfile.LNKTYPE, "a.xml"), b""),
        (link("g.xml", tarfile.CHRTYPE, ""), b""),
        ("h.xml", tar([("i.xml", b"5\n")])),
        ("j.xml", b""),
        ("k.xml", b"6\n"),
    ]
    path.write_bytes(gzip.compress(tar(members, format=format)))
    lines, bad = lines_of(path, members=("*.xml",))
    assert lines == {"!a.xml": [b"1\n"], "!in/b.xml": [b"2\n"], "!k.xml": [b"6\n"]}
    assert bad == {
        "!../c.xml": "name that leaves the archive",
        "!/etc/d.xml": "name that leaves the archive",
        "!e.xml": "link or device in an archive",
        "!f.xml": "link or device in an archive",
        "!g.xml": "link or device in an archive",
        "!h.xml": "archive in an archive",
        "!j.xml": "empty file",
    }
    assert lines_of(path, members=("*.json",))[1] == {"": "no such member in the archive"}


def test_of_a_truncated_or_damaged_tar_the_members_before_are_kept(tmp_path):
    whole = tar([(f"{n}.txt", b"%d\n" % n * 1000) for n in range(9)])
    size = len(tar([("0.txt", b"0\n" * 1000)])) and 512 + 2048  # a header and four blocks
    for name, data, reason in (
        ("in a member", whole[: 5 * size + 1000], "truncated tar"),
        ("in a header", whole[: 5 * size + 100], "truncated tar"),
        ("damaged", whole[: 5 * size] + b"\xff" * 512 + whole[5 * size + 512 :], "broken tar"),
    ):
        (tmp_path / name).write_bytes(data)
        lines, bad = lines_of(tmp_path / name)
        assert list(lines)[:5] == [f"!{n}.txt" for n in range(5)], name
        assert all(len(lines[f"!{n}.txt"]) == 1000 for n in range(5))
        assert bad[""] == reason, name


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar([("n" * (2 << 20), b"1")], format=tarfile.GNU_FORMAT))
    assert lines_of(tmp_path / "a.tar") == ({}, {"": "broken tar"})


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)


def test_members_of_a_zip_are_read_and_dangerous_ones_refused(tmp_path):
    path = tmp_path / "a.bin"
    symlink = zipfile.ZipInfo("d.txt")
    symlink.external_attr = 0o120777 << 16
    locked = zipfile.ZipInfo("f.txt")
    members = [
        ("a.txt", b"1\n"),
        ("in/", b""),
        ("in/b.txt", b"2\n"),
        ("../../c.txt", b"3\n"),
        ("C:\\d.txt", b"3\n"),
        (symlink, b"/etc/passwd"),
        (locked, b"4\n"),
        ("g.txt", b"PK\x03\x04" + bytes(600)),
    ]
    zipped(path, members)
    data = path.read_bytes()
    # The flag of encryption, in the list of members at the end.
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"f.txt")) + 8
    path.write_bytes(data[:at] + b"\x01" + data[at + 1 :])
    lines, bad = lines_of(path)
    assert lines == {"!a.txt": [b"1\n"], "!in/b.txt": [b"2\n"]}
    assert bad == {
        "!../../c.txt": "name that leaves the archive",
        "!C:\\d.txt": "name that leaves the archive",
        "!d.txt": "link or device in an archive",
        "!f.txt": "encrypted zip",
        "!g.txt": "archive in an archive",
    }


def test_a_zip_that_is_damaged_or_a_bomb_is_reported(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    zipped(path, [("a.txt", b"1\n"), ("b.txt", numbered(1000)), ("c.txt", b"3\n")])
    data = path.read_bytes()
    path.write_bytes(data[:-200])
    assert lines_of(path) == ({}, {"": "broken zip"})
    at = data.index(b"b.txt") + 500
    path.write_bytes(data[:at] + bytes(8) + data[at + 8 :])
    lines, bad = lines_of(path)
    assert (lines["!a.txt"], lines["!c.txt"]) == ([b"1\n"], [b"3\n"])
    assert bad == {"!b.txt": "broken zip"}
    monkeypatch.setattr(decompression, "_RATIO_FROM", 4 << 20)
    zipped(path, [("zeros", bytes(8 << 20)), ("a.txt", b"1\n")])
    assert lines_of(path)[1]["!zeros"] == "decompresses to too much"


def test_a_name_that_is_not_utf8_can_be_written(tmp_path):
    info = tarfile.TarInfo("\udce9.txt")
    (tmp_path / "a.tar").write_bytes(tar([(info, b"1\n")], format=tarfile.GNU_FORMAT))
    ((place, _),) = opening.opened(str(tmp_path / "a.tar"), limits=LIMITS)
    assert place.name == "a.tar!\\udce9.txt"
