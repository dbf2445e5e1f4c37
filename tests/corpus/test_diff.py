"""What is said to have changed between two builds."""

import json

import pytest

from medmt5.corpus import build, config, diff

TOML = '[[sources]]\nname = "a"\nformat = "jsonl"\npaths = "*.jsonl"\n'
QUALITY = '[[steps]]\nname = "quality"\nmin_words = 3\n'


def made(folder, files, toml=TOML):
    """A corpus of files of {id: text}."""
    folder.mkdir()
    for name, texts in files.items():
        lines = [json.dumps({"id": i, "text": text, "lang": "en"}) for i, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    build.build(config.parse(toml, str(folder)), str(folder / "out"))
    return str(folder / "out")


@pytest.fixture
def builds(tmp_path):
    same = {"s": "the same in both"}
    old = {"kept": same, "x": {"1": "one one", "2": "two is a text", "3": "three words here"}}
    new = {"kept": same, "x": {"1": "one one", "2": "two is another", "4": "four is new here"}}
    new["y"] = {"5": "five is in a file"}
    return made(tmp_path / "old", old), made(tmp_path / "new", new, TOML + QUALITY)


def test_a_corpus_does_not_differ_from_itself(builds):
    found = diff.difference(builds[0], builds[0])
    assert diff.text(found) == "no difference\n"
    assert found["documents"]["changed"] == {"count": 0, "by": [], "examples": []}


def test_what_differs_is_named_and_counted(builds):
    found = diff.difference(*builds)
    assert found["config"] == [
        'steps (order): nothing -> ["quality"]',
        "steps.quality.min_words: nothing -> 3",
    ]
    assert found["files"] == {"added": ["a: y.jsonl"], "removed": [], "changed": ["a: x.jsonl"]}
    # 1 has two words, and quality now wants three.
    assert found["removed"] == [["a", "quality", "en", "too short", 0, 1]]
    assert found["counts"] == [
        # stage: documents and words, before and after
        ["a", "en", "read", [4, 4 + 2 + 4 + 3], [5, 4 + 2 + 3 + 4 + 5]],
        ["a", "en", "duplicates", [4, 13], [4, 16]],
        ["a", "en", "quality", [0, 0], [4, 16]],
    ]
    assert found["documents"] == {
        "added": {"count": 2, "by": [["a", "en", 2]], "examples": ["a 4", "a 5"]},
        "removed": {"count": 2, "by": [["a", "en", 2]], "examples": ["a 1", "a 3"]},
        "changed": {"count": 1, "by": [["a", "en", 1]], "examples": ["a 2"]},
    }


def test_the_text_has_it_all(builds):
    text = diff.text(diff.difference(*builds))
    assert "steps.quality.min_words: nothing -> 3" in text
    assert "added: a: y.jsonl" in text
    assert "a en duplicates: 4 (13) -> 4 (16)" in text
    assert "a en quality, too short: 0 -> 1" in text
    assert "documents changed: 1:\n  a en: 1\n  such as a 2\n" in text


def test_what_is_no_corpus_is_told(builds, tmp_path):
    with pytest.raises(ValueError, match="has no manifest.json: it is no corpus"):
        diff.difference(builds[0], str(tmp_path))
