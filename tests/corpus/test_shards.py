"""Jobs on one file, and the files of rows that carry keys between them."""

import json
import tracemalloc

import numpy as np
import pytest
from cloud import OpError
from hypothesis import given
from hypothesis import strategies as st

from medmt5.corpus import config, matching, records, rows, shards
from medmt5.corpus.documents import Document
from medmt5.corpus.steps.unicode import Unicode
from medmt5.corpus.storage import opened, written

ROW = np.dtype([("n", "<u4"), ("group", "u1")])


@given(groups=st.lists(st.integers(0, 4)), block=st.integers(1, 40))
def test_a_group_of_rows_comes_back_in_order_whatever_the_blocks(tmp_path_factory, groups, block):
    path = str(tmp_path_factory.mktemp("rows") / "file")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK_BYTES", block)
        with rows.RowWriter(path, ROW, 5) as writer:
            for number, group in enumerate(groups):
                writer.add(np.array([(number, group)], ROW), np.array([group]))
    for group in range(5):
        found = rows.read_group(path, ROW, group)
        assert found["n"].tolist() == [n for n, other in enumerate(groups) if other == group]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, name):
    path = str(tmp_path / "new" / name)
    with pytest.raises(RuntimeError):
        with written(path) as file:
            file.write(b"half")
            raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []
    for _ in range(2):
        with written(path) as file:
            file.write(b"one\ntwo\n")
        with opened(path) as file:
            assert list(file) == [b"one\n", b"two\n"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def job(tmp_path, lines, extra=""):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    toml = '[[sources]]\nname = "a"\nformat = "jsonl"\npaths = "in.jsonl"\n'
    loaded = config.parse(toml + extra, str(tmp_path))
    source, path = loaded.files()[0]
    work, out = str(tmp_path / "work"), str(tmp_path / "out")
    return shards.FileJob(loaded, work, out, "a-00000", 0, source, path, 4)


def test_a_text_that_breaks_a_step_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    def step(self, document):
        if document.id == "2":
            raise RecursionError("too deep")
        return document

    monkeypatch.setattr(Unicode, "__call__", step)
    lines = [{"id": str(number), "text": f"text {number}"} for number in (1, 2, 3)]
    made = job(tmp_path, lines, '[[steps]]\nname = "unicode"\n')
    tally = shards.clean(made)["tally"]
    assert tally["counts"]["unicode"]["und"]["documents"] == 2
    assert tally["bad"] == {"step unicode failed": 1}
    with opened(made.of_work("bad")) as file:
        assert json.loads(file.read()) == {
            "where": "in.jsonl#2",
            "reason": "step unicode failed",
            "detail": "RecursionError: too deep",
        }


def test_a_step_is_for_the_sources_that_it_names(tmp_path):
    other = '[[sources]]\nname = "b"\nformat = "jsonl"\npaths = "in.jsonl"\n'
    strict = '[[steps]]\nname = "quality"\nmin_words = 9\nsources = '
    for sources, kept in (('["b"]', 1), ('["b", "a"]', 0), ('"a"', 0)):
        made = job(tmp_path, [{"text": "One two three."}], other + strict + sources)
        counts = shards.clean(made)["tally"]["counts"]
        assert counts["read"]["und"]["documents"] == 1
        assert counts.get("quality", {}).get("und", {"documents": 0})["documents"] == kept


@pytest.mark.parametrize(
    "error", [OSError("disk full"), OpError("503"), ImportError("no module"), MemoryError()]
)
def test_what_is_wrong_with_the_machine_is_no_fault_of_a_document(tmp_path, monkeypatch, error):
    def step(self, document):
        raise error

    monkeypatch.setattr(Unicode, "__call__", step)
    made = job(tmp_path, [{"text": "a"}], '[[steps]]\nname = "unicode"\n')
    with pytest.raises(type(error)):
        shards.clean(made)


def test_parts_of_a_document_go_through_the_later_steps(tmp_path):
    # Seven words at most four to a chunk: `One two. Three four.` and `Five six seven.`, as words
    # of `sentences` 6 and 4 with their full stops; quality wants three between spaces.
    steps = '[[steps]]\nname = "sentences"\nmax_words = 6\n[[steps]]\nname = "quality"\n'
    text = "One two. Three four. Five six seven."
    made = job(tmp_path, [{"id": "x", "text": text}], f"{steps}min_words = 4\n")
    tally = shards.clean(made)["tally"]
    counts = {stage: n["und"]["documents"] for stage, n in tally["counts"].items()}
    assert counts == {"read": 1, "sentences": 2, "quality": 1}
    assert tally["changed"] == {"sentences": {"split": 1}}
    (left,) = shards.read_documents(made.of_work("cleaned"))
    assert (left.id, left.text) == ("x#1", "One two. Three four.")


def test_of_duplicates_the_one_of_the_higher_priority_stays_whatever_the_order(tmp_path):
    """Three files with the same text; the last one's source comes first."""
    toml = ""
    for name, priority in (("a", 0), ("b", 1), ("c", 2)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": "1", "text": "The same words."}))
        toml += (
            f'[[sources]]\nname = "{name}"\nformat = "jsonl"\npaths = "{name}.jsonl"\n'
            f"priority = {priority}\n"
        )
    loaded = config.parse(toml, str(tmp_path))
    work = str(tmp_path / "work")
    names = []
    for index, (source, path) in enumerate(loaded.files()):
        names.append(f"{source.name}-00000")
        out = str(tmp_path / "out")
        shards.clean(shards.FileJob(loaded, work, out, names[-1], index, source, path, 2))
    matching.write_names(work, names)
    found = [matching.find(matching.PartitionJob(loaded, work, number)) for number in (0, 1)]
    assert sum(one["exact"] for one in found) == 2
    going = [matching.going(work, index, 2) for index in range(3)]
    assert going == [
        {0: ("exact duplicate", "of 1 in c-00000")},
        {0: ("exact duplicate", "of 1 in c-00000")},
        {},
    ]


def peak(tmp_path, monkeypatch, count):
    monkeypatch.setattr(rows, "BLOCK_BYTES", 2**18)
    words = np.random.default_rng(0).integers(1000, size=(count, 60))
    lines = [{"id": str(n), "text": " ".join(map(str, row))} for n, row in enumerate(words)]
    made = job(tmp_path, lines)
    del words, lines
    tracemalloc.start()
    try:
        shards.clean(made)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    # The keys of 600 documents would be 1.2 MB more, were they kept. The first run fills the cache
    # of hashes of words.
    peak(tmp_path, monkeypatch, 200)
    assert peak(tmp_path, monkeypatch, 800) - peak(tmp_path, monkeypatch, 200) < 2**18


# TensorFlow takes seconds to import.
@pytest.mark.parametrize(
    "suffix",
    [".jsonl.gz", ".jsonl.zst", ".array_record", pytest.param(".tfrecord", marks=pytest.mark.slow)],
)
def test_a_shard_holds_the_documents_and_a_broken_one_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    documents = [Document("ä 1", "x", "s", "de", title="t"), Document("b", "y", "s")]
    written_bytes = []
    for _ in range(2):
        with shards.documents_written(str(path)) as write:
            for document in documents:
                write(document)
        written_bytes.append(path.read_bytes())
    assert list(shards.read_documents(str(path))) == documents
    assert written_bytes[0] == written_bytes[1]
    path.write_bytes(written_bytes[0][:-10])
    with pytest.raises(ValueError, match=f"{path} is .*(broken|cut off)"):
        list(shards.read_documents(str(path)))


def test_a_broken_line_of_a_shard_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "id": "1", "source": "s"}\n{"text": "x", "i\n')
    with pytest.raises(ValueError, match=f"{path}:2 is not JSON"):
        list(shards.read_documents(str(path)))


def test_formats_that_cannot_be_written_are_refused_at_the_beginning(monkeypatch):
    records.check("jsonl", "gs://bucket/corpus")
    with pytest.raises(ValueError, match="does not write to gs://bucket/corpus"):
        records.check("arrayrecord", "gs://bucket/corpus")
    monkeypatch.setitem(records.RECORDS, "tfrecord", (".tfrecord", "not_installed.module"))
    with pytest.raises(ValueError, match="'tfrecord' needs not_installed; pip install"):
        records.check("tfrecord", "corpus")
