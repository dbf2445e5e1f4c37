"""The sample data is reproducible, well formed, and harder than a dictionary."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import generate_sample_data as generator  # noqa: E402 (the tools folder is no package)
from sample_words import grammar, lexicon  # noqa: E402

SAMPLE = ROOT / "medmt5" / "sample_data"
LANGS = ("en", "es", "fr", "it")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    return folder, generator.generate(folder, seed=0)


def read(path):
    blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    return [[tuple(line.split("\t")) for line in block.split("\n")] for block in blocks]


def test_default_seed_gives_the_committed_files_byte_for_byte(generated):
    folder, _ = generated
    made = sorted(p.relative_to(folder) for p in folder.rglob("*.*"))
    kept = [
        p.relative_to(SAMPLE) for part in ("corpus", "labelled") for p in SAMPLE.glob(f"{part}/*")
    ]
    assert made == sorted(kept)
    for path in made:
        assert (folder / path).read_bytes() == (SAMPLE / path).read_bytes(), path


def test_another_seed_gives_other_text(generated, tmp_path):
    folder, _ = generated
    generator.generate(tmp_path, seed=1)
    name = "labelled/en-clinical-test.tsv"
    assert (folder / name).read_bytes() != (tmp_path / name).read_bytes()


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_tags_are_iob2_and_words_are_single(generated, lang, split):
    sentences = read(generated[0] / "labelled" / f"{lang}-clinical-{split}.tsv")
    assert len(sentences) == {"train": 600, "dev": 100, "test": 150}[split]
    for rows in sentences:
        before = "O"
        for word, tag in rows:
            assert word and word.split() == [word]
            # A slot that was not filled would leave its brackets.
            assert not set(word) & set("{}<>[]|")
            assert tag in {"O", "B-Disease", "I-Disease", "B-Chemical", "I-Chemical"}
            assert tag[0] != "I" or before[1:] == tag[1:]
            before = tag
    assert sum(all(tag == "O" for _, tag in rows) for rows in sentences) > 5


@pytest.mark.parametrize("lang", LANGS)
def test_test_split_is_new_and_beyond_a_dictionary(generated, lang):
    numbers = generator.describe(generated[1][lang])
    assert numbers["unseen_mentions"] > 0.6
    assert numbers["unseen_skeletons"] > 0.99
    assert 0.3 < numbers["dictionary_f1"] < 0.6


@pytest.mark.parametrize("lang", LANGS)
def test_splits_share_no_frame_and_no_name(lang):
    module = __import__(f"sample_words.{lang}", fromlist=["FRAMES"])
    frames = [frame for block in module.FRAMES.values() for frame in grammar.templates(block)]
    assert len(frames) == len(set(frames))
    rng = generator.random.Random(0)
    for concepts in (lexicon.diseases(rng), lexicon.drugs(rng)):
        column = LANGS.index(lang)
        names = {split: {c[column].text for c in concepts[split]} for split in concepts}
        assert not names["train"] & names["test"]
        assert not names["train"] & names["dev"]
        assert not names["dev"] & names["test"]


def test_adjacent_entities_of_one_label_stay_apart(generated):
    rows = [row for rows in generated[1]["en"]["test"] for row in rows]
    pairs = zip(rows, rows[1:], strict=False)
    assert any(a[1] == b[1] == "B-Chemical" for a, b in pairs)


@pytest.mark.parametrize(
    ("lang", "gender", "kind", "word", "expected"),
    [
        ("es", "m", "of", "páncreas", "del páncreas"),
        ("es", "f", "the", "asma", "el asma"),
        ("fr", "f", "of", "hépatite", "de l'hépatite"),
        ("fr", "m", "to", "foie", "au foie"),
        ("fr", "f", "the", "hernie", "la hernie"),
        ("it", "m", "in", "stomaco", "nello stomaco"),
        ("it", "f", "a", "epatite", "un'epatite"),
        ("it", "m", "of", "iodio", "dello iodio"),
        ("en", "", "a", "ulcer", "an ulcer"),
        ("en", "", "a", "uremia", "a uremia"),
    ],
)
def test_articles_follow_gender_and_sound(lang, gender, kind, word, expected):
    writer = grammar.Writer(
        lang,
        decimal=",",
        words={"x": [grammar.Noun(word, gender)]},
        entity=lambda slot: grammar.Noun(word, gender),
        rng=generator.random.Random(0),
    )
    assert writer.write(f"- {{x.{kind}}}") == [(f"- {expected}", None)]


def test_words_before_an_entity_are_elided_and_agree():
    writer = grammar.Writer(
        "fr",
        decimal=",",
        words={},
        entity=lambda slot: grammar.Noun("anémie", "f", "Disease"),
        rng=generator.random.Random(0),
    )
    pieces = writer.write("cas de {D} [traité|traitée]")
    assert pieces == [("Cas d'", None), ("anémie", "Disease"), (" traitée", None)]
    assert grammar.tagged(pieces) == [
        ("Cas", "O"),
        ("d'", "O"),
        ("anémie", "B-Disease"),
        ("traitée", "O"),
    ]


def test_dictionary_f1_of_a_case_worked_by_hand():
    train = [[("iron", "B-Chemical")], [("iron", "B-Disease"), ("deficiency", "I-Disease")]]
    test = [
        [("iron", "B-Disease"), ("deficiency", "I-Disease"), ("and", "O"), ("iron", "O")],
        [("gout", "B-Disease")],
    ]
    # Two predictions, one of them right; two gold spans: precision 1/2, recall 1/2.
    assert generator.dictionary_f1(train, test) == pytest.approx(0.5)
