"""The nineteen defects of the published constrained decoder for sequence labelling, one test each.

That decoder is https://github.com/ikergarcia1996/Sequence-Labeling-LLMs at 176d32d; each test says
what it does there, and fails for code that behaves so.
"""

import functools
import io
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from medmt5 import batches, evaluate, label, predictor
from medmt5.decoding import beam_search, greedy
from medmt5.formats import exchange
from medmt5.formats.conll import read_conll, to_conll
from medmt5.formats.documents import Document, Entity
from medmt5.formats.gold import Report
from medmt5.formats.inline import from_inline, to_inline
from medmt5.formats.labelling import Labelling
from medmt5.formats.spans import Span, spans_of, tags_of
from medmt5.formats.tags import parse, render
from medmt5.labeller import Labeller
from medmt5.metrics import span_f1
from medmt5.predictor import Prediction, Predictor, Search
from medmt5.state import Architecture
from medmt5.vocabulary import PAD_ID, Vocabulary

VOCABULARY = Vocabulary(tiny.VOCABULARY)
EOS = VOCABULARY.eos_id
LABELS = ("D", "C")
# Closing tags of two ids, the first of which both share.
PAIRS = {"open": [[2036], [2037]], "close": [[2038, 2039], [2038, 2040]]}
KINDS = {
    kind: Labelling(VOCABULARY, LABELS, where=where)
    for kind, where in {"rows": "rows", "pairs": PAIRS, "text": "text"}.items()
}
ROWS, PAIRED, TEXTUAL = KINDS.values()
ARCHITECTURE = Architecture.t5(tiny.config(dropout_rate=0.0))
SOURCE, TARGET = 64, 192


@pytest.fixture(scope="module")
def params():
    return jax.jit(ARCHITECTURE.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.labelling_model(str(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def labellers(model):
    searches = (Search(), Search("beam", 2))
    return {s.method: Labeller.load(model, batch_size=5, search=s) for s in searches}


class Memory(NamedTuple):
    keys: jax.Array
    values: jax.Array


class Wanting:
    """Stands in for a model: gives one token the highest logit at each place."""

    def __init__(self, tokens):
        self.table = 9.0 * jax.nn.one_hot(jnp.asarray(tokens), tiny.ROWS)

    def encode(self, source):
        return source

    def init_cache(self, encoded, source, *, length):
        rows = jnp.zeros(len(source))
        return Memory(rows, rows)

    def decode_step(self, fed, position, cache):
        return (position[:, None] + jnp.arange(fed.shape[1]))[..., None], cache

    def logits(self, place):
        return self.table[place[..., 0]]

    def logits_of(self, place, ids):
        return jnp.take_along_axis(self.logits(place), ids, axis=-1)


@jax.jit
def searches_for(target, source, constraint):
    """What greedy and beam search find with a model that wants a target."""
    choices = dict(max_length=TARGET, eos_id=EOS, constraint=constraint)
    model = Wanting(target)
    return (
        greedy(model, source, width=4, **choices).tokens[0],
        beam_search(model, source, num_beams=2, alpha=0.0, **choices).tokens[0, 0],
    )


def batch_of(format_, sentences):
    examples = [format_.example({"words": words}, None) for words in sentences]
    source = np.zeros((len(examples), SOURCE), np.int32)
    for row, example in enumerate(examples):
        source[row, : len(example["inputs"])] = example["inputs"]
    return examples, jnp.asarray(source), format_.constraint(examples, SOURCE)


def decoded(format_, words, spans):
    """The spans that both searches find with a model that wants these."""
    (example,), source, constraint = batch_of(format_, [words])
    target = np.zeros(TARGET, np.int32)
    ids = [*render(example["words"], spans, format_.tags).ids, EOS]
    target[: len(ids)] = ids
    for found in searches_for(target, source, constraint):
        assert found.tolist() == target.tolist()
    return [span[:3] for span in parse(target, example["words"], format_.tags)]


@functools.partial(jax.jit, static_argnames=("num_beams", "alpha"))
def beams_of(params, source, constraint, *, num_beams, alpha=0.0):
    return beam_search(
        ARCHITECTURE.merge(params),
        source,
        num_beams=num_beams,
        max_length=TARGET,
        eos_id=EOS,
        constraint=constraint,
        alpha=alpha,
    )


@jax.jit
def greedy_of(params, source, constraint):
    model = ARCHITECTURE.merge(params)
    return greedy(model, source, max_length=TARGET, eos_id=EOS, constraint=constraint)


@jax.jit
def choices_after(constraint, state):
    ids, mask = constraint.allowed(state)
    each = jax.tree.map(lambda leaf: jnp.repeat(leaf, ids.shape[1], axis=0), state)
    return ids, mask, constraint.advance(each, ids.reshape(-1))


def every_sequence(format_, words):
    """All that may be decoded for a sentence; no place offers an id twice."""
    example = format_.example({"words": words}, None)
    constraint = format_.constraint([example], 32)
    room = 128  # sequences followed side by side
    state = jax.tree.map(lambda leaf: jnp.repeat(leaf, room, axis=0), constraint.init(1))
    begun, found = [()], []
    while begun:
        ids, mask, following = choices_after(constraint, state)
        ids, mask = np.asarray(ids), np.asarray(mask)
        longer, chosen = [], []
        for row, tokens in enumerate(begun):
            offered = ids[row][mask[row]].tolist()
            assert offered and len(set(offered)) == len(offered)
            for choice in np.flatnonzero(mask[row]):
                sequence = (*tokens, int(ids[row, choice]))
                if sequence[-1] == EOS:
                    found.append(sequence)
                else:
                    longer.append(sequence)
                    chosen.append(row * ids.shape[1] + choice)
        begun = longer
        kept = np.array([*chosen, *[0] * (room - len(chosen))])
        state = jax.tree.map(lambda leaf, kept=kept: leaf[kept], following)
    return found


def labellings(count, labels=LABELS, start=0):
    """Every set of flat spans over the words from `start` on."""
    if start == count:
        return [[]]
    return labellings(count, labels, start + 1) + [
        [Span(start, end, name), *rest]
        for end in range(start + 1, count + 1)
        for name in labels
        for rest in labellings(count, labels, end)
    ]


def assert_each_labelling_has_one_sequence(format_, words, count):
    ids = format_.word_ids(words)
    sequences = every_sequence(format_, words)
    wanted = labellings(len(words), format_.labels)
    assert len(sequences) == len(wanted) == count
    assert set(sequences) == {(*render(ids, spans, format_.tags).ids, EOS) for spans in wanted}
    for spans in wanted:
        target = render(ids, spans, format_.tags).ids
        assert [span[:3] for span in parse(target, ids, format_.tags)] == spans


@pytest.mark.parametrize("kind", KINDS)
def test_b01_adjacent_spans_survive_a_closing_tag_of_several_ids(kind):
    # Published: after a closing tag of several ids the next word is forced, so no tag can open.
    spans = [(0, 1, "D"), (1, 2, "D"), (2, 3, "C")]
    assert decoded(KINDS[kind], ["gout", "fever", "cough"], spans) == spans


def test_b02_after_its_end_a_sentence_holds_padding_and_no_second_end(params):
    # Published: `pad if pad else eos`; T5's padding is 0, so it pads with end of sequence.
    _, source, constraint = batch_of(PAIRED, [["gout"], ["acute", "gout", "and", "fever"], []])
    given = (params, source, constraint)
    # Of two beams, one is not needed for the empty sentence.
    for found, count in ((greedy_of(*given), 3), (beams_of(*given, num_beams=2), 5)):
        tokens, log_probs = (np.asarray(x).reshape(-1, TARGET) for x in found[:2])
        exists = tokens.any(-1)
        assert exists.sum() == count and ((tokens == EOS).sum(-1) == exists).all()
        after = np.cumsum(tokens == EOS, axis=-1) - (tokens == EOS) > 0
        assert after.any() and not tokens[after].any() and not log_probs[after].any()


@jax.jit
def logits_along(params, source, inputs):
    model = ARCHITECTURE.merge(params)
    return model.logits(model.decode(model.encode(source), source, inputs, jnp.ones_like(inputs)))


def token_log_probs(params, source, sequences):
    """Of each token, by a pass over whole sequences and a softmax in float64."""
    padded = np.zeros((len(sequences), TARGET), np.int32)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
    inputs = np.pad(padded, ((0, 0), (1, 0)))[:, :-1]
    source = jnp.repeat(source, len(sequences), axis=0)
    logits = np.asarray(logits_along(params, source, inputs), np.float64)
    top = logits.max(-1, keepdims=True)
    log_probs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_probs, padded[..., None], axis=2)[..., 0]
    return [row[: len(sequence)] for row, sequence in zip(chosen, sequences, strict=True)]


def written(tokens):
    """Each sequence without its padding."""
    return [[i for i in row if i != PAD_ID] for row in np.asarray(tokens).tolist()]


@pytest.mark.parametrize("kind, alpha", [("pairs", None), ("text", 0.0)])
def test_b03_a_tag_that_closes_at_the_end_is_followed_by_one_end_counted_once(params, kind, alpha):
    # Published: the end is written twice, its log-probability added twice, its length once.
    _, source, constraint = batch_of(KINDS[kind], [["gout"]])
    beams = beams_of(params, source, constraint, num_beams=12, alpha=alpha)
    sequences = written(beams.tokens[0, :3])
    assert set(map(tuple, sequences)) == set(every_sequence(KINDS[kind], ["gout"]))
    assert all(s.count(EOS) == 1 and s[-1] == EOS for s in sequences)
    rows = token_log_probs(params, source, sequences)
    scores = [row.sum() if alpha == 0.0 else row.mean() for row in rows]
    # Sums of about 15 float32 log-probabilities of order 10.
    np.testing.assert_allclose(beams.scores[0, :3], scores, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_b04_special_tokens_that_the_text_spells_are_words(kind):
    # Published: a literal </s> or <pad> is a ValueError.
    words = ["</s>", "<pad>", "gout", "<unk>", "<extra_id_0>"]
    inputs = KINDS[kind].example({"words": words}, None)["inputs"].tolist()
    assert inputs[-1] == EOS and not any(map(VOCABULARY.is_reserved, inputs[:-1]))
    spans = [(0, 1, "D"), (1, 2, "C"), (3, 5, "D")]
    assert decoded(KINDS[kind], words, spans) == spans


@pytest.mark.parametrize(
    "words", [["0.05", "gout", "<"], ["</", "p", "´"], ["<", "<D", "<D<D"], ["患", "者", "</D"]]
)
def test_b05_each_labelling_has_one_target_and_no_id_is_offered_twice(words):
    # Published: every span has two spellings, one of which begins as many words do.
    begins = TEXTUAL.tags.opens[0][0]
    assert sum(ids[0] == begins for ids in TEXTUAL.word_ids(words)) >= 2
    assert_each_labelling_has_one_sequence(TEXTUAL, words, 41)


def test_b06_a_less_than_sign_is_told_from_a_tag(params):
    # Published: `<` is offered as word and as tag, and the same ids take several beams.
    words = ["p", "<", "0.05"]
    assert_each_labelling_has_one_sequence(TEXTUAL, words, 41)
    spans = [(1, 2, "C"), (2, 3, "D")]
    assert decoded(TEXTUAL, words, spans) == spans
    _, source, constraint = batch_of(TEXTUAL, [words])
    beams = beams_of(params, source, constraint, num_beams=12)
    assert len(set(map(tuple, beams.tokens[0].tolist()))) == 12 and beams.finished.all()


@jax.jit
def follows(constraint, tokens):
    """Whether every token of a row was allowed where it stands, to the end of its sentence."""

    def step(state, token):
        ids, mask = constraint.allowed(state)
        return constraint.advance(state, token), (mask & (ids == token[:, None])).any(-1)

    state, allowed = jax.lax.scan(step, constraint.init(tokens.shape[0]), tokens.T)
    return allowed.all(0) & state.done


@pytest.mark.parametrize("kind", KINDS)
def test_b07_whatever_is_trained_on_may_be_decoded(kind):
    # Published: tagged text is tokenised anew, `> d uring`, but decoding copies `▁during`.
    where = KINDS[kind].where
    format_ = Labelling(VOCABULARY, LABELS, where=where, subword_rate=0.5)
    rng = np.random.default_rng(0)
    words = ["during", "<", "p", "(", "</", "0.05", "leukaemia", "患", "者", "´", "\u200b", "D>"]
    examples = []
    for count in rng.integers(0, 9, 200):
        edges = np.unique(rng.integers(0, count + 1, 4)).tolist()
        spans = [Span(a, b, LABELS[rng.integers(2)]) for a, b in itertools.pairwise(edges)]
        raw = {"words": rng.choice(words, count).tolist(), "tags": tags_of(count, spans)}
        examples.append(format_.example(raw, rng))
        assert examples[-1]["spans"] == spans
    targets = np.zeros((len(examples), 128), np.int32)
    for row, example in enumerate(examples):
        targets[row, : len(example["targets"])] = example["targets"]
    constraint = format_.constraint(examples, 96)
    assert follows(constraint, jnp.asarray(targets)).all()
    for example in examples:
        found = parse(example["targets"], example["words"], format_.tags)
        assert [span[:3] for span in found] == example["spans"]


@pytest.mark.parametrize("where", ["rows", PAIRS, "text"], ids=KINDS)
def test_b08_a_label_may_be_the_beginning_of_another(where):
    # Published: a TypeError, or the longer label is lost, by the order of the labels.
    for labels in itertools.permutations(["Dis", "Disease"]):
        format_ = Labelling(VOCABULARY, labels, where=where)
        assert_each_labelling_has_one_sequence(format_, ["gout", "fever"], 11)
        spans = [(0, 1, "Dis"), (1, 2, "Disease")]
        assert decoded(format_, ["gout", "fever"], spans) == spans
    same = {"open": [[2040], [2040, 2041]], "close": [[2042], [2043]]}
    with pytest.raises(ValueError, match="tag of label 'Disease' begins with .* of 'Dis'"):
        Labelling(VOCABULARY, ["Dis", "Disease"], where=same)


@pytest.mark.parametrize("kind", KINDS)
def test_b09_a_literal_tag_is_no_entity(kind):
    # Published: what is copied is parsed as a tag, so `<Disease>` in the text makes an entity.
    words = ["<D>", "gout", "</D>", "and", "fever"]
    assert decoded(KINDS[kind], words, []) == []
    assert decoded(KINDS[kind], words, [(4, 5, "D")]) == [(4, 5, "D")]


@pytest.fixture(scope="module")
def without_bytes(tmp_path_factory):
    """The sample vocabulary without byte pieces, as T5's is: what has no piece is unknown."""
    model = model_pb2.ModelProto.FromString(Path(tiny.VOCABULARY).read_bytes())
    model.trainer_spec.byte_fallback = False
    for piece in model.pieces:
        if piece.type == piece.BYTE:
            piece.type = piece.UNUSED
    path = tmp_path_factory.mktemp("vocabulary") / "no_bytes.model"
    path.write_bytes(model.SerializeToString())
    return Vocabulary(str(path))


def test_b10_an_entity_of_unknown_words_stays_in_gold_and_prediction(without_bytes):
    # Published: <unk> is dropped from both, and with it the entity from the scores.
    format_ = Labelling(without_bytes, LABELS)
    raw = {"words": ["had", "患者", "\u200b", "twice"], "tags": ["O", "B-D", "I-D", "O"]}
    example = format_.example(raw, None)
    assert without_bytes.unk_id in example["words"][1]
    assert example["words"][2] == (without_bytes.unk_id,)
    found = decoded(format_, raw["words"], [(1, 3, "D")])
    scores = span_f1([example["spans"]], [[Span(*span) for span in found]])
    assert (scores["f1"], scores["support"]) == (100.0, 1)


def test_b11_a_character_without_a_piece_is_its_bytes():
    # Published: the fast tokenizer gives <unk>, the slow one bytes.
    words = ["\U0001f9ec", "gene", "ŵ"]
    ids = ROWS.word_ids(words)
    assert not any(VOCABULARY.unk_id in word for word in ids)
    pieces = [VOCABULARY.processor.id_to_piece(i) for i in ids[0]]
    assert pieces == ["▁", "<0xF0>", "<0x9F>", "<0xA7>", "<0xAC>"]
    assert [VOCABULARY.decode(word) for word in ids] == words
    assert decoded(ROWS, words, [(0, 1, "D"), (2, 3, "C")]) == [(0, 1, "D"), (2, 3, "C")]


@pytest.mark.parametrize("kind", KINDS)
def test_b12_every_character_is_a_word_wherever_normalising_makes_or_takes_spaces(kind):
    # Published: words are grouped wrongly around ´ ¨ ¸, U+200B and some 50 more.
    format_ = KINDS[kind]
    ids = [format_.word_ids([chr(code)])[0] for code in range(0x10000)]
    assert min(map(len, ids)) == 1
    assert len(ids[ord("´")]) > 1 and ids[0x200B] == (VOCABULARY.unk_id,)
    assert not any(VOCABULARY.is_reserved(i) for word in ids for i in word)
    # All of them as words of one sentence, each a span of its own.
    words = [chr(code) for code in range(0x10000)]
    tags = ["B-D", "B-C"] * 0x8000
    example = format_.example({"words": words, "tags": tags}, None)
    starts = np.cumsum([0, *map(len, example["words"])])
    assert np.flatnonzero(example["word_start"]).tolist() == starts.tolist()
    assert len(example["inputs"]) == starts[-1] + 1
    found = parse(example["targets"], example["words"], format_.tags)
    assert [span[:3] for span in found] == [(i, i + 1, LABELS[i % 2]) for i in range(0x10000)]


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_b13_empty_and_zero_width_texts_are_labelled(labellers, search):
    # Published: an IndexError.
    labeller = labellers[search]
    texts = ["", " \u00a0", "\u200b", "\ufeff\u2060", "gout"]
    documents = labeller.label(texts)
    assert [document.text for document in documents] == texts
    assert not any(document.entities for document in documents[:2])
    assert labeller.label_words([[], ["gout"], []])[::2] == [[], []]
    (empty,) = labeller.predictor.predict(
        [labeller.format.example({"words": []}, None)], format_=labeller.format
    )
    assert empty.tokens.tolist() == [EOS] and empty.score == pytest.approx(empty.log_probs.sum())


class MarksEveryWord:
    """Stands in for a predictor: every word is an entity; remembers the lengths of sources."""

    search = Search()

    def __init__(self):
        self.lengths = []

    def predict(self, examples, *, format_, soft_prompt):
        self.lengths += [len(example["inputs"]) for example in examples]
        predictions = []
        for example in examples:
            spans = [Span(i, i + 1, "D") for i in range(len(example["words"]))]
            tokens = [*render(example["words"], spans, format_.tags).ids, EOS]
            predictions.append(Prediction(np.array(tokens), np.zeros(len(tokens)), True))
        return predictions


def test_b14_a_limit_is_kept_and_a_long_text_is_labelled_to_its_end(params):
    # Published: max_length is ignored, and the encoder sees only the beginning of what is copied.
    example = ROWS.example({"words": ["gout"] * 9}, None)
    for search in (Search(), Search("beam", 2)):
        runs = Predictor(ARCHITECTURE, params, eos_id=EOS, batch_size=1, search=search, width=1)
        (cut,) = runs.predict([example], format_=ROWS, max_length=5)
        assert len(cut.tokens) == 5 and not cut.finished and np.isfinite(cut.score)
    text = " ".join(f"fever{i}" for i in range(300))
    stand_in = MarksEveryWord()
    format_ = Labelling(VOCABULARY, LABELS)
    (document,) = Labeller(stand_in, format_, max_source_length=16).label([text])
    assert max(stand_in.lengths) <= 16
    assert [text[a:b] for a, b in document.words] == text.split()
    assert [entity[:2] for entity in document.entities] == list(document.words)
    assert document.splits and set(document.splits) <= {start for start, _ in document.words}


def test_b15_a_file_without_entities_is_labelled_with_the_labels_of_the_model(labellers, tmp_path):
    # Published: the labels are those of the file, so one without entities can get none.
    path = tmp_path / "unlabelled.tsv"
    sentences = ["acute gout", "the patient had fever", "no fever", "a b c d", "gout and fever"]
    lines = ("".join(f"{word}\tO\n" for word in text.split()) for text in sentences)
    path.write_text("\n".join(lines))
    documents = list(exchange.reader("conll")(str(path), Report(texts_only=True)))
    labeller = labellers["greedy"]
    found = labeller.label_documents(documents)
    assert [document.text for document in found] == sentences
    entities = [entity for document in found for entity in document.entities]
    assert entities and {entity.label for entity in entities} <= set(labeller.labels)


def test_b16_label_names_may_hold_any_characters(tmp_path):
    # Published: not escaped in regular expressions; one with a hyphen is not read as IOB2.
    labels = ["C++", "A|B", "x(", "a-b", "B-", ".*", "[D]", "\\d", "</", "Sign or Symptom"]
    format_ = Labelling(VOCABULARY, labels, where="text")
    words = [f"w{i}" for i in range(len(labels))]
    spans = [Span(i, i + 1, name) for i, name in enumerate(labels)]
    assert decoded(format_, words, spans) == spans
    assert spans_of(tags_of(len(words), spans)) == spans
    example = format_.example({"words": words, "tags": tags_of(len(words), spans)}, None)
    assert example["spans"] == spans
    edges = [(4 * i, 4 * i + 2) for i in range(len(words))]
    entities = [
        Entity(a, b, name, word, 1.0)
        for (a, b), name, word in zip(edges, labels, words, strict=True)
    ]
    document = Document("  ".join(words), tuple(entities))
    assert from_inline(to_inline(document)) == document
    path = tmp_path / "labels.tsv"
    path.write_text(to_conll(document))
    (sentence,) = read_conll(str(path), labels=tuple(labels))
    assert sentence.words == tuple(words) and spans_of(sentence.tags) == spans


def test_b17_probabilities_too_small_for_float32_still_have_scores_in_order(params):
    # Published: the log of a softmax that is 0 in float32, -inf, so candidates tie.
    steep = jax.tree.map(lambda leaf: leaf, params)
    kernel = steep["decoder"]["logits_dense"]["kernel"]
    steep["decoder"]["logits_dense"]["kernel"] = kernel * 300.0
    _, source, constraint = batch_of(ROWS, [["acute", "gout"]])
    beams = beams_of(steep, source, constraint, num_beams=11)
    sequences = written(beams.tokens[0])
    log_probs = token_log_probs(steep, source, sequences)
    assert min(map(min, log_probs)) < -200
    assert np.isfinite(beams.scores).all() and (np.diff(beams.scores[0]) < 0).all()
    # Logits of some hundreds in float32.
    np.testing.assert_allclose(beams.scores[0], [sum(row) for row in log_probs], rtol=1e-5)


def test_b18_more_answers_than_there_are_gives_those_that_there_are(params):
    # Published: the rest are repetitions with -inf.
    search = Search("beam", num_beams=8)
    runs = Predictor(ARCHITECTURE, params, eos_id=EOS, batch_size=2, search=search)
    examples = [TEXTUAL.example({"words": words}, None) for words in (["<"], [])]
    few, one = runs.predict(examples, format_=TEXTUAL)
    for found, example, count in ((few, examples[0], 3), (one, examples[1], 1)):
        answers = (found, *found.others)
        assert len({tuple(answer.tokens.tolist()) for answer in answers}) == len(answers) == count
        assert all(np.isfinite(answer.score) and answer.finished for answer in answers)
        assert len(TEXTUAL.answers(found, example)) == count


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_b19_sentences_that_do_not_fill_their_batches_come_once_and_in_order(labellers, search):
    # Published: counts the keys of a batch instead of its sentences.
    labeller = labellers[search]
    texts = [f"{i} had" + " gout" * (i % 3) for i in range(23)]
    alone = [labeller.label([text])[0] for text in texts]
    assert sum(len(document.entities) for document in alone) > 5

    def places(documents):
        return [[entity[:4] for entity in document.entities] for document in documents]

    together = labeller.label(texts)
    assert [document.text for document in together] == texts
    assert places(together) == places(alone)
    stream = io.StringIO()  # as `medmt5 label` writes them
    label.label_stream(
        labeller,
        (Document(text, ()) for text in texts),
        exchange.writer("jsonl", stream),
        label._Progress(Report(), None),
    )
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [record["text"] for record in records] == texts
    assert [len(record["entities"]) for record in records] == [len(d.entities) for d in alone]


def test_b19_examples_that_do_not_fill_their_batches_are_scored_once_and_in_order(
    model, tmp_path, monkeypatch
):
    # Published: as above.
    one_shape = functools.partial(predictor.bucket, multiple=96)  # to compile once
    monkeypatch.setattr(predictor, "bucket", one_shape)
    dataset = tiny.dataset(split="validation")
    (table,) = batches.read_tables(dataset, VOCABULARY)
    choices = dict(batch_size=5, limit=23, modes=("constrained",))
    evaluate.evaluate(
        checkpoint_path=model, dataset_cfg=dataset, output_dir=str(tmp_path), **choices
    )
    lines = (tmp_path / f"{table.name}-constrained.jsonl").read_text().splitlines()
    scored = [json.loads(line)["words"] for line in lines]
    assert scored == [list(raw["words"]) for raw in table.raws[:23]]
