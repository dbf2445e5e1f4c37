"""Configurations: what is taken, and that nothing else is passed over in silence."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from cloud import Cloud

from medmt5.corpus import command, config
from medmt5.corpus.readers import READERS
from medmt5.corpus.readers.base import Reader
from medmt5.corpus.steps import STEPS

SOURCE = '[[sources]]\nname = "a"\nformat = "text"\npaths = "*.txt"\n'


def parse(tmp_path, text):
    return config.parse(text, str(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "no TOML"),
        ('name = "x"', r"there are no \[\[sources\]\]"),
        ("names = 1\n" + SOURCE, "the file: key 'names' is unknown; did you mean name?"),
        ("seed = 1\n" + SOURCE, "key 'seed' is unknown; there is name, sources, steps"),
        ("name = 3\n" + SOURCE, "name is 3; it must be a string"),
        (SOURCE.replace("text", "txet"), "format 'txet' is unknown; did you mean text?"),
        (SOURCE + "unitt = 'line'", "did you mean unit"),
        (SOURCE + "unit = 3", "unit is 3; it must be a string"),
        (SOURCE + "priority = true", "priority is True; it must be a whole number"),
        (SOURCE.replace('"*.txt"', "[]"), "paths is \\[\\]"),
        (SOURCE.replace("paths", "language"), "a has no paths"),
        (SOURCE.replace('"a"', '"a b"'), "a name is letters, digits"),
        (SOURCE * 2, "two sources are named 'a'"),
        ("[sources]\nname = 'a'", r"write \[\[sources\]\], once for each"),
        (SOURCE + "[[duplicates]]", r"write \[duplicates\], once"),
        (SOURCE + "[[steps]]\nname = 'qualitty'", "did you mean quality?"),
        (SOURCE + "[[steps]]\nname = 'quality'\nmin_word = 3", "did you mean min_words?"),
        (SOURCE + "[[steps]]\nname = 'quality'\nmin_words = '3'", "it must be a whole number"),
        (SOURCE + "[[steps]]\nname = 'language'\nwanted = [1]", "it must be a list of strings"),
        (SOURCE + "[[steps]]\nname = 'language'\nwanted = ['xx']", "language: wanted has 'xx'"),
        (
            SOURCE + "[[steps]]\nname = 'contamination'\nfiles = ['none-*.jsonl']",
            "contamination: .*none-.*matches no file",
        ),
        (SOURCE + "[[steps]]\nname = 'medical'\nkeywords = { eu = 'no' }", "no file .*/no"),
        (
            SOURCE + "[[steps]]\nname = 'medical'\nkeywords = { eu = 5 }",
            "keywords.eu is 5; it must",
        ),
        (
            SOURCE + "[[steps]]\nname = 'medical'\nmin_keywords = { en = '5' }",
            "medical: min_keywords.en is '5'; use a number",
        ),
        (
            SOURCE + "[[steps]]\nname = 'quality'\nsources = []",
            r"quality: sources is \[\]; it must",
        ),
        (
            SOURCE + "[[steps]]\nname = 'quality'\nsources = ['b']",
            "quality: sources 'b' is unknown; there is a",
        ),
        (SOURCE + "[duplicates]\nthreshold = 0", "threshold is 0; use a number in"),
        (SOURCE + "[duplicates]\nnear = 'yes'", "near is 'yes'; it must be true or false"),
        (SOURCE + "[output]\ncompression = 'xz'", "use one of 'gz', 'zst', ''"),
        (SOURCE + "[output]\nvocabulary = 'none.model'", "vocabulary: no file"),
        (SOURCE.replace("*.txt", "$CORPUS_NONE/*.txt") + "", "matches no file|is not set"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_where(tmp_path, monkeypatch, text, said):
    monkeypatch.delenv("CORPUS_NONE", raising=False)
    with pytest.raises(ValueError, match=said):
        parse(tmp_path, text).files()


def test_errors_name_the_file(tmp_path):
    with pytest.raises(ValueError, match="none.toml cannot be read"):
        config.load(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ValueError, match="bad.toml is not UTF-8"):
        config.load(str(tmp_path / "bad.toml"))


def test_paths_are_relative_to_the_file_or_to_a_variable(tmp_path, monkeypatch):
    for name in ("data/in.txt", "here/b.txt", "sets/x-test.tsv", "words.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("word")
    monkeypatch.setenv("CORPUS_DATA", str(tmp_path / "data"))
    text = (
        '[[sources]]\nname = "a"\nformat = "text"\npaths = ["b.txt", "${CORPUS_DATA}/*.txt"]\n'
        '[[steps]]\nname = "contamination"\nfiles = ["../sets/*-test.tsv"]\n'
        '[[steps]]\nname = "medical"\nkeywords = { eu = "../words.txt" }\n'
    )
    (tmp_path / "here/c.toml").write_text(text)
    loaded = config.load(str(tmp_path / "here/c.toml"))
    assert [path for _, path in loaded.files()] == [
        str(tmp_path / "data/in.txt"),
        str(tmp_path / "here/b.txt"),
    ]
    assert loaded.other_files() == [
        ("contamination", str(tmp_path / "sets/x-test.tsv")),
        ("medical", str(tmp_path / "words.txt")),
    ]
    assert [loaded.shown(path) for _, path in loaded.files()] == ["$CORPUS_DATA/in.txt", "b.txt"]


def test_paths_are_relative_to_a_remote_file_too(tmp_path, monkeypatch):
    Cloud(tmp_path, monkeypatch)
    for name in ("b/data/a.txt", "b/here/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("word")
    text = '[[sources]]\nname = "a"\nformat = "text"\npaths = ["../data/*.txt", "b.txt"]\n'
    loaded = config.parse(text, "gs://b/here")
    paths = [path for _, path in loaded.files()]
    assert paths == ["gs://b/data/a.txt", "gs://b/here/b.txt"]
    assert [loaded.shown(path) for path in paths] == ["gs://b/data/a.txt", "b.txt"]


def test_comments_and_order_of_keys_make_no_other_configuration(tmp_path):
    a = parse(tmp_path, 'name = "x" # of mine\n' + SOURCE)
    b = parse(tmp_path, 'name="x"\n[[sources]]\npaths = "*.txt"\nformat = "text"\nname = "a"\n')
    c = parse(tmp_path, 'name = "y"\n' + SOURCE)
    assert a.text == b.text != c.text


DOCS = (Path(__file__).parents[2] / "docs/corpus.md").read_text(encoding="utf-8")


def toml(value):
    """A default as TOML has it."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize("name", [*READERS, *STEPS])
def test_the_docs_have_every_format_and_step_with_its_settings(name):
    kind = READERS.get(name) or STEPS[name]
    common = {field.name for field in dataclasses.fields(Reader)} if name in READERS else set()
    found = []
    for field in dataclasses.fields(kind):
        if field.name not in common:
            missing = field.default is dataclasses.MISSING
            default = field.default_factory() if missing else field.default
            found.append(f"`{field.name} = {toml(default)}`")
    (row,) = [line for line in DOCS.splitlines() if line.startswith(f"| `{name}` |")]
    assert row.split(" | ")[-1].removesuffix(" |").strip() == "<br>".join(found)


def test_the_file_in_the_docs_is_a_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDMT5_DATA_DIR", str(tmp_path))
    for name in ("qa/en/a-test.jsonl", "seqlab/en/b-test.tsv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text('{"question": "?"}\n')
    (text,) = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
    parsed = parse(tmp_path, text)
    assert [source.name for source in parsed.sources] == ["pubmed", "wikipedia-es"]
    example = Path(config.__file__).parent / "examples/raw_text.toml"
    assert config.load(str(example)).steps[0].name == "unicode"


def test_the_commands_of_the_docs_are_accepted():
    text = DOCS.replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.startswith("medmt5 corpus")]
    assert len(lines) > 5
    for line in lines:
        command.parser().parse_known_args(line.split()[2:])
