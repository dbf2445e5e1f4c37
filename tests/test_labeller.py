import itertools
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from medmt5 import checkpoints, label
from medmt5 import labeller as module
from medmt5.decoding import greedy
from medmt5.formats.documents import Document, check
from medmt5.formats.inline import from_inline
from medmt5.formats.labelling import Labelling
from medmt5.labeller import Labeller
from medmt5.models.soft_prompt import PromptConfig
from medmt5.predictor import Prediction, Search
from medmt5.state import Architecture
from medmt5.vocabulary import Vocabulary

SENTENCE = "The patient was given aspirin for gout."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.labelling_model(str(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def labeller(model):
    return Labeller.load(model, batch_size=8)


def assert_sound(document: Document, text: str):
    """The text is unchanged, every offset exact, every entity flat and made of whole words."""
    assert document.text == text
    check(document)  # order, overlap, quoted text, finite scores
    starts, ends = {a for a, _ in document.words}, {b for _, b in document.words}
    for entity in document.entities:
        assert text[entity.start : entity.end] == entity.text
        assert entity.start in starts and entity.end in ends
        assert entity.label in tiny.LABELS and 0.0 < entity.score <= 1.0


ODD = {
    "empty": "",
    "spaces": "   ",
    "line ends": "\r\n \n",
    "markup": "<extra_id_0> </s> <unk> <Disease> <pad> </Disease> &amp;",
    "ligatures": "ﬁbromyalgia and ﬂu at ½ ㎎ ＡＢＣ ™",
    "repeated spaces": "fever   and \t cough\u00a0\u00a0now",
    "CRLF": "fever\r\ncough\r\n",
    "decomposed accents": "fie\u0300vre e\u0301leve\u0301e n\u0303",
    "emoji": "pain 😷🤒 👩🏽‍⚕️ 🇪🇸",
    "zero width": "\u200b\u200dfe\u200bver\ufeff \u2060",
    "no space": "a" * 20_000,
    "Chinese": "患者有发热和咳嗽。给予阿司匹林！",
    "a lone surrogate": "fever \ud83d cough \ude00",
    "controls": "a\x00b\x1f\x85\u2028c\u202e",
    "Arabic and Thai": "المريض يعاني من الحمى. ผู้ป่วยมีไข้",
    "symbols": "▁▁ ▁a ± ≥ µg/mL 10⁻³",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_text_comes_back_as_it_was(labeller, name):
    (document,) = labeller.label([ODD[name]])
    assert_sound(document, ODD[name])


def test_odd_texts_together_are_labelled_as_alone(labeller):
    texts = list(ODD.values())
    for text, document in zip(texts, labeller.label(texts), strict=True):
        assert_sound(document, text)
        (alone,) = labeller.label([text])
        assert [e[:4] for e in document.entities] == [e[:4] for e in alone.entities]


# Characters on which normalisers, tokenizers and word splitting differ from each other.
HARD = st.sampled_from("\u200b\u0301ﬁ½☤<>_/&|▁\u00ad\ufeff\u00a0\u3000。患😷\u200d\r\n\t \x00'-.")


@given(st.text(st.one_of(HARD, st.characters()), max_size=24))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back_as_it_was(labeller, text):
    (document,) = labeller.label([text])
    assert_sound(document, text)


def test_a_random_model_finds_entities_so_these_tests_see_some(labeller):
    documents = labeller.label([SENTENCE] * 2 + list(ODD.values()))
    assert sum(len(document.entities) for document in documents) > 5
    assert documents[0] == documents[1]


def test_no_text_gives_no_documents(labeller):
    assert labeller.label([]) == []


def test_a_single_string_is_refused(labeller):
    with pytest.raises(TypeError, match=r'write label\(\["..."\]\)'):
        labeller.label("fever")


# Length


def test_a_long_text_of_short_sentences_is_cut_nowhere(labeller):
    text = " ".join(f"Patient {n} had gout." for n in range(60))
    (document,) = labeller.label([text])
    assert_sound(document, text)
    assert document.splits == ()


def test_a_sentence_beyond_the_window_says_where_it_was_cut(labeller):
    text = "fever " * 100
    (document,) = labeller.label([text])
    assert_sound(document, text)
    # "fever" is one token. 31 fit beside the end of sequence, windows share 7 of them, words 24 to
    # 30, and so on every 24 words; cuts are in the middle.
    assert document.splits == (6 * 27, 6 * 51, 6 * 75)


def test_a_sentence_is_labelled_alike_alone_and_within_a_text(labeller):
    text = f"{SENTENCE} No fever."
    (alone,), (within,) = labeller.label([SENTENCE]), labeller.label([text])
    count = len(alone.entities)
    assert [e[:4] for e in within.entities[:count]] == [e[:4] for e in alone.entities]
    assert all(e.start >= len(SENTENCE) for e in within.entities[count:])


def test_words_that_are_already_split_give_spans_of_word_indices(labeller):
    sentences = [["gout", "and", "<Disease>"], []]
    for words, spans in zip(sentences, labeller.label_words(sentences), strict=True):
        for span in spans:
            assert 0 <= span.start < span.end <= len(words)


# What a model directory must hold


def test_the_labels_are_those_of_the_model(labeller):
    assert labeller.labels == tiny.LABELS


def test_a_model_that_was_only_pre_trained_is_refused(tmp_path, sample_vocabulary):
    formats = {"text": {"kind": "span_corruption"}}
    tiny.labelling_model(str(tmp_path))
    checkpoints.write_card(str(tmp_path), tiny.config(), sample_vocabulary, formats)
    with pytest.raises(ValueError, match="trained for span_corruption, not for labelling"):
        Labeller.load(str(tmp_path))


def test_tasks_of_different_labels_are_refused(tmp_path, sample_vocabulary):
    formats = {
        name: {"kind": "labelling", "labels": [name], "lengths": tiny.LENGTHS} for name in "ab"
    }
    tiny.labelling_model(str(tmp_path))
    checkpoints.write_card(str(tmp_path), tiny.config(), sample_vocabulary, formats)
    with pytest.raises(ValueError, match="label differently; choose one with --task .a: a; b: b"):
        Labeller.load(str(tmp_path))


# Documents


def test_words_that_a_document_has_are_the_ones_that_are_labelled(labeller):
    document = Document("gout attack, acute", (), ((0, 11), (11, 12), (13, 18)), id="7")
    (found,) = labeller.label_documents([document])
    assert_sound(found, document.text)
    assert found.words == document.words and found.id == "7"


def test_many_windows_are_labelled_as_few(labeller, monkeypatch):
    texts = [SENTENCE, "", "No fever. " * 5, "fever " * 100]
    together = labeller.label(texts)
    monkeypatch.setattr(module, "WINDOWS", 3)
    for one, other in zip(together, labeller.label(texts), strict=True):
        assert one.splits == other.splits
        assert [e[:4] for e in one.entities] == [e[:4] for e in other.entities]


@given(st.lists(st.integers(0, 9), max_size=30))
def test_chunks_hold_all_documents_in_order_and_no_more_than_they_may(sizes):
    documents = [Document("x" * size, (), id=str(i)) for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label, "CHUNK", 4)
        patch.setattr(label, "CHUNK_CHARACTERS", 10)
        found = list(label.chunks(iter(documents)))
    assert list(itertools.chain(*found)) == documents
    for chunk in found:
        assert 0 < len(chunk) <= 4 and sum(len(d.text) for d in chunk[:-1]) < 10


def test_the_batch_size_follows_memory_and_is_a_power_of_two(monkeypatch):
    class Device:
        def __init__(self, memory):
            self.memory = memory

        def memory_stats(self):
            return self.memory and {"bytes_limit": self.memory}

    sizes = []
    for memory in (None, 2**20, 2**31, 2**33, 2**40):
        monkeypatch.setattr(module.jax, "local_devices", lambda m=memory: [Device(m)])
        sizes.append(module.auto_batch_size(tiny.config(vocab_size=250_112), 256))
    # 250,112 logits of 4 bytes at 16 places are 16 MB a row: 2 GiB / 4 hold 32 of them.
    assert sizes == [32, 8, 32, 128, 256]


# The command

LINES = ["The patient has acute gout.", "", "Se suspendió la simvastatina < 10 mg."]


def run(*arguments, given="".join(line + "\n" for line in LINES).encode()):
    command = [sys.executable, "-m", "medmt5.cli", "label", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, env=tiny.subprocess_env())


def expected(labeller):
    return [[e[:4] for e in document.entities] for document in labeller.label(LINES)]


def test_the_command_writes_json_lines(model, labeller):
    done = run("-m", model, "--batch-size", 8)
    assert done.returncode == 0, done.stderr.decode()
    records = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [record["text"] for record in records] == LINES
    found = [
        [(e["start"], e["end"], e["label"], e["text"]) for e in record["entities"]]
        for record in records
    ]
    assert found == expected(labeller) and any(found)
    assert b"3 documents labelled" in done.stderr


def test_the_command_writes_conll_to_a_file(model, labeller, tmp_path):
    source, target = tmp_path / "notes.txt", tmp_path / "out.tsv"
    source.write_text("\n".join(LINES), encoding="utf-8")
    done = run("-m", model, "--batch-size", 8, "--format", "conll", "-o", target, source)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    rows = [line.split("\t") for line in target.read_text(encoding="utf-8").splitlines() if line]
    assert [word for word, _ in rows][:6] == ["The", "patient", "has", "acute", "gout", "."]
    begun = sum(tag.startswith("B-") for _, tag in rows)
    assert begun == sum(map(len, expected(labeller)))


@pytest.mark.slow
def test_the_command_writes_inline_tags_that_read_back(model, labeller):
    done = run("-m", model, "--batch-size", 8, "--format", "inline")
    assert done.returncode == 0, done.stderr.decode()
    documents = [from_inline(line) for line in done.stdout.decode().splitlines()]
    assert [document.text for document in documents] == LINES
    found = [[e[:4] for e in document.entities] for document in documents]
    assert found == expected(labeller)


def test_the_command_writes_a_page_of_html(model, labeller):
    done = run("-m", model, "--batch-size", 8, "--format", "html")
    assert done.returncode == 0, done.stderr.decode()
    page = done.stdout.decode()
    assert page.lower().startswith("<!doctype html") and page.rstrip().endswith("</html>")
    assert page.count(' data-score="') == sum(map(len, expected(labeller)))
    assert "simvastatina" in page and "&lt;" in page


@pytest.mark.slow
def test_the_command_writes_a_folder_for_brat(model, labeller, tmp_path):
    done = run("-m", model, "--batch-size", 8, "--format", "brat", "-o", tmp_path / "brat")
    assert done.returncode == 0, done.stderr.decode()
    texts = sorted((tmp_path / "brat").glob("*.txt"))
    assert [path.read_text(encoding="utf-8").rstrip("\n") for path in texts] == LINES
    counts = [len(path.with_suffix(".ann").read_text().splitlines()) for path in texts]
    assert counts == [len(entities) for entities in expected(labeller)]


def test_a_line_of_invalid_utf8_ends_the_command_with_its_number(model):
    done = run("-m", model, "--batch-size", 8, given=b"fine\ncaf\xe9\nfine\n")
    assert done.returncode == 2
    message = done.stderr.decode()
    assert "standard input:2: invalid UTF-8 at byte 4 of the line" in message
    assert "--skip-bad-lines" in message and "Traceback" not in message


def test_bad_lines_can_be_skipped_and_are_reported(model):
    given = b"one\ncaf\xe9\nthree\n"
    done = run("-m", model, "--batch-size", 8, "--skip-bad-lines", given=given)
    assert done.returncode == 0, done.stderr.decode()
    texts = [json.loads(line)["text"] for line in done.stdout.decode().splitlines()]
    assert texts == ["one", "three"]
    assert "standard input:2: invalid UTF-8" in done.stderr.decode()


def test_a_high_threshold_leaves_the_texts_without_entities(model):
    done = run("-m", model, "--batch-size", 8, "--min-score", 1.1)
    records = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [record["entities"] for record in records] == [[], [], []]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "/nowhere"), "nothing at /nowhere; give a model or checkpoint directory"),
        (("-m", "/nowhere", "--format", "brat"), "give --output FOLDER"),
    ],
)
def test_wrong_arguments_end_the_command_with_a_message(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == b""
    assert message in done.stderr.decode() and "Traceback" not in done.stderr.decode()


def test_the_model_directory_alone_is_enough(model, tmp_path):
    moved = os.path.join(tmp_path, "moved")
    subprocess.run(["cp", "-r", model, moved], check=True)
    (document,) = Labeller.load(moved, batch_size=8).label([SENTENCE])
    assert_sound(document, SENTENCE)


# Labels, tasks, tags


def card_of(**options):
    return Labelling(Vocabulary(tiny.VOCABULARY), **options).describe() | {"lengths": tiny.LENGTHS}


def write_card(folder, **formats):
    """A random model whose card has these formats."""
    model = tiny.labelling_model(str(folder))
    checkpoints.write_card(model, tiny.config(), Vocabulary(tiny.VOCABULARY), formats)
    return model


TEXTS = [SENTENCE, "No fever, but acute gout and nausea. Aspirin was stopped."]


def labels_of(documents):
    return {entity.label for document in documents for entity in document.entities}


def test_only_the_labels_asked_for_are_given_and_the_search_is_the_same(model, labeller):
    every = [e for d in labeller.label(TEXTS) for e in d.entities]
    some = Labeller.load(model, batch_size=8, labels=["Chemical"]).label(TEXTS)
    assert labels_of(labeller.label(TEXTS)) == {"Disease", "Chemical"}
    assert [e for d in some for e in d.entities] == [e for e in every if e.label == "Chemical"]


def test_a_label_that_the_model_has_not_is_answered_with_those_it_has(model, tmp_path):
    target = tmp_path / "out"
    target.write_text("kept")
    done = run("-m", model, "--labels", "Disease,Drug", "-o", target)
    assert (done.returncode, done.stdout) == (2, b"") and target.read_text() == "kept"
    assert "the model has no label 'Drug'; it has Disease, Chemical" in done.stderr.decode()


def test_a_task_is_chosen_by_name(tmp_path):
    labels = ["Disease", "Claim", "Premise"]
    model = write_card(
        tmp_path,
        ner=card_of(labels=["Disease"], inventory=labels),
        arguments=card_of(labels=["Premise", "Claim"], inventory=labels),
    )
    assert labels_of(Labeller.load(model, task="arguments").label(TEXTS)) == {"Claim", "Premise"}
    assert Labeller.load(model, task="ner").labels == ("Disease",)
    with pytest.raises(ValueError, match="has no task 'qa'; it has ner, arguments"):
        Labeller.load(model, task="qa")


def test_a_model_with_label_prompts_is_asked_for_the_labels_wanted(tmp_path):
    model = write_card(tmp_path, t=card_of(labels=["Claim", "Premise"], label_prompt=True))
    both, one = Labeller.load(model), Labeller.load(model, labels=["Premise"])
    assert both.format.prompt == (2036, 2038) and one.format.prompt == (2038,)
    assert labels_of(one.label(TEXTS)) == {"Premise"}
    # The prompt takes its place in the window.
    assert (both.room, one.room) == (29, 30)
    for document in both.label(["fever " * 100]):
        assert len(document.splits) == 4
    write_card(tmp_path, t=card_of(labels=[f"L{i}" for i in range(31)], label_prompt=True))
    with pytest.raises(ValueError, match="has 31 tokens, the window 32; give fewer --labels"):
        Labeller.load(model)


@pytest.mark.slow
def test_a_model_tuned_elsewhere_may_have_its_tags_in_the_text(tmp_path, sample_vocabulary):
    model = write_card(tmp_path)
    with pytest.raises(ValueError, match="was trained for no task.*--tags text --labels A,B"):
        Labeller.load(model)
    with pytest.raises(ValueError, match="give 'text' and the labels"):
        Labeller.load(model, where="text")
    found = Labeller.load(model, where="text", labels=["a-b", "x("], label_prompt=True)
    words = sample_vocabulary.encode_word("<a-b>") + sample_vocabulary.encode_word("<x(>")
    assert found.format.prompt == words
    for text in ["p < 0.05 and <a-b> </a-b>", *TEXTS]:
        (document,) = found.label([text])
        assert document.text == text
        check(document)


# Searches


def test_exact_search_says_whether_its_answer_is_proven(model):
    texts = ["gout", "", "acute gout and nausea"]
    enough = Labeller.load(model, search=Search("exact", passes=2000)).label(texts)
    assert [d.proven for d in enough] == [True, True, True]
    little = Labeller.load(model, search=Search("exact", passes=2)).label(texts)
    assert [d.proven for d in little] == [False, True, False]
    for document, text in zip(enough + little, texts * 2, strict=True):
        assert_sound(document, text)


def test_the_n_best_are_different_labellings_in_the_order_of_their_scores(model):
    labeller = Labeller.load(model, search=Search("beam", 6), n_best=6)
    document, short, empty = labeller.label(["acute gout and nausea", "gout", ""])
    answers = document.alternatives
    assert len(answers) == 6 and answers[0].entities != answers[1].entities
    assert len({tuple(e[:3] for e in a.entities) for a in answers}) == 6
    assert sorted(answers, key=lambda a: -a.score) == list(answers)
    assert all((a.start, a.end) == (0, 21) for a in answers)
    # One word has three labellings: none, and one per label.
    assert len(short.alternatives) == 3 and empty.alternatives == ()
    shares = [e.score for e in document.entities]
    assert all(0 < share <= 1 for share in shares)
    with pytest.raises(ValueError, match="n_best is 5, but beam search gives 4"):
        Labeller.load(model, search=Search("beam", 4), n_best=5)


def test_a_spans_share_of_the_beams_probability_is_its_score(model):
    """With as many beams as a sentence has labellings, that is the whole probability."""
    labeller = Labeller.load(model, search=Search("beam", 11), n_best=11)
    (document,) = labeller.label(["acute gout"])
    assert len(document.alternatives) == 11
    weights = np.exp([a.score for a in document.alternatives])
    for entity in document.entities:
        has = [entity[:3] in [e[:3] for e in a.entities] for a in document.alternatives]
        assert entity.score == pytest.approx(weights[has].sum() / weights.sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("best",), "search 'best' is unknown; use one of greedy, beam, exact"),
        (("exact", 4, "mean"), "score 'mean' is not for exact search; use one of sum, renorm"),
        (("beam", 0), "both must be at least 1"),
    ],
)
def test_searches_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Search(*given)


def test_scores_are_corrected_by_a_fitted_calibration(model, labeller, tmp_path):
    path = tmp_path / "figures.json"
    path.write_text('{"fit": {"slope": 0.5, "intercept": -1.0}}')
    plain = [e.score for d in labeller.label(TEXTS) for e in d.entities]
    corrected = Labeller.load(model, batch_size=8, calibration=str(path)).label(TEXTS)
    odds = np.exp(0.5 * np.log(np.array(plain) / (1 - np.array(plain))) - 1.0)
    found = [e.score for d in corrected for e in d.entities]
    np.testing.assert_allclose(found, odds / (1 + odds), rtol=1e-6)
    path.write_text("{}")
    with pytest.raises(ValueError, match="holds no correction of scores"):
        Labeller.load(model, calibration=str(path))


@pytest.mark.slow
def test_the_command_searches_and_writes_the_n_best(model):
    done = run("-m", model, "--n-best", 3, "--score", "mean", given=b"acute gout\n")
    (record,) = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [a["start"] for a in record["alternatives"]] == [0, 0, 0] and "proven" not in record
    done = run("-m", model, "--search", "exact", given=b"acute gout\n")
    assert json.loads(done.stdout)["proven"] is True
    done = run("-m", model, "--n-best", 3, "--format", "conll")
    assert done.returncode == 2 and "--n-best is written to JSONL alone" in done.stderr.decode()


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    """A model of two tasks with a prompt each, made of words, and of one without."""
    folder = tmp_path_factory.mktemp("prompted")
    prompt = PromptConfig(3, tasks=("a", "b"))
    run = tiny.Run(dropout_rate=0.0, prompt=prompt)
    embedding, encoder = (
        run.state.params["token_embedder"]["embedding"],
        run.state.params["encoder"],
    )
    words = {"prompt": {"embedding": embedding[np.array([300, 301, 302, 400, 401, 402])]}}
    run.state = run.state._replace(params=run.state.params | {"encoder": encoder | words})
    run.save(folder)
    vocabulary = Vocabulary(tiny.VOCABULARY)
    format_ = Labelling(vocabulary, tiny.LABELS).describe() | {"lengths": tiny.LENGTHS}
    cards = dict.fromkeys("abc", format_)
    checkpoints.write_card(
        str(folder), tiny.config(dropout_rate=0.0, prompt=prompt), vocabulary, cards
    )
    return str(folder), run


@pytest.mark.parametrize("task, words", [("b", [400, 401, 402]), ("c", [])])
def test_a_task_is_labelled_behind_its_own_prompt(prompted, task, words):
    folder, run = prompted
    labeller = Labeller.load(folder, batch_size=4, task=task)
    words_of = "the old patient was given aspirin for gout and fever".split()
    sentences = [words_of, words_of[::-1]]
    found = labeller.label_words(sentences)
    # The same by a model without prompts, whose sources begin with those words.
    examples = [labeller.format.example({"words": each}, None) for each in sentences]
    source = np.zeros((2, 32), np.int32)
    for row, example in enumerate(examples):
        ids = [*words, *example["inputs"]]
        source[row, : len(ids)] = ids
    params = run.state.params | {"encoder": dict(run.state.params["encoder"])}
    del params["encoder"]["prompt"]

    @jax.jit
    def decoded(params):
        model = Architecture.t5(tiny.config(dropout_rate=0.0)).merge(params)
        constraint = labeller.format.constraint(examples, 32)
        return greedy(model, source, max_length=64, eos_id=1, constraint=constraint)

    answers = decoded(params)
    for row, spans in enumerate(found):
        prediction = Prediction(answers.tokens[row], answers.log_probs[row], True)
        expected = labeller.format.answer(prediction, examples[row])
        assert spans and [span[:3] for span in spans] == [span[:3] for span in expected]
        # Rounding of programs of other shapes.
        scores = [[span.score for span in each] for each in (spans, expected)]
        np.testing.assert_allclose(*scores, rtol=1e-4)


def test_which_of_several_prompts_is_meant_has_to_be_said(prompted):
    with pytest.raises(ValueError, match="soft prompts of their own; choose one with --task .a, b"):
        Labeller.load(prompted[0])
