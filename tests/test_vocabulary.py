"""Which ids are text and which are not, and that they are SeqIO's.

Real models are not part of the project: tests on them are skipped unless MEDMT5_SHARED_DIR, or the
folder `shared` beside the repository, has `data/vocab`.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import shared
from etils import epath
from hypothesis import example, given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from medmt5.vocabulary import NUM_SENTINELS, PAD_ID, Vocabulary

REPOSITORY = Path(__file__).parents[1]
GOLDEN = json.loads((REPOSITORY / "tests/golden/tokens.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def bare_path(sample_vocabulary_path, tmp_path_factory):
    """The sample vocabulary without its sentinels, as T5's models are: 1,936 pieces."""
    model = model_pb2.ModelProto.FromString(Path(sample_vocabulary_path).read_bytes())
    del model.pieces[-100:]
    path = tmp_path_factory.mktemp("vocabulary") / "bare.model"
    path.write_bytes(model.SerializeToString())
    return str(path)


def test_the_sample_vocabulary_is_laid_out_like_mt5(sample_vocabulary):
    vocabulary = sample_vocabulary
    assert (PAD_ID, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert vocabulary.size == 2036
    assert vocabulary.rows == 2048  # the next multiple of 128
    # Sentinels are the last pieces and count downwards.
    assert [vocabulary.sentinel(i) for i in (0, 1, 99)] == [2035, 2034, 1936]
    assert vocabulary.processor.id_to_piece(2035) == "▁<extra_id_0>"


@pytest.mark.parametrize("index", [-1, 100])
def test_a_sentinel_beyond_the_hundredth_does_not_exist(sample_vocabulary, index):
    with pytest.raises(ValueError, match=f"sentinel {index} does not exist; there are 100"):
        sample_vocabulary.sentinel(index)


def test_reserved_are_padding_end_sentinels_and_padding_rows(sample_vocabulary):
    reserved = [i for i in range(2048) if sample_vocabulary.is_reserved(i)]
    assert reserved == [0, 1, *range(1936, 2048)]


@pytest.mark.parametrize(
    "word",
    [
        "<extra_id_0>",
        "▁<extra_id_0>",
        "<extra_id_99>",
        "a<extra_id_5>b",
        "</s>",
        "<pad>",
        "<unk>",
        "",
        " ",
        "\u200b",
        "\u00ad",
        "\x00",
        "\ud800",  # half of a surrogate pair
        "\U0001f9ec",
        "ﷺ",  # NFKC makes 18 characters of it
        "<0x41>",
        "\n",
    ],
)
def test_whatever_a_word_spells_it_has_ids_and_none_is_reserved(sample_vocabulary, word):
    ids = sample_vocabulary.encode_word(word)
    assert ids
    assert not any(map(sample_vocabulary.is_reserved, ids))


def test_a_word_that_the_normaliser_erases_is_unknown(sample_vocabulary):
    assert sample_vocabulary.encode_word("\u200b") == (2,)
    assert sample_vocabulary.encode_word("") == (2,)


def test_ordinary_words_survive_encoding(sample_vocabulary):
    ids = sample_vocabulary.encode_word("leucémie")
    assert sample_vocabulary.decode(ids) == "leucémie"
    assert len(ids) > 1


def test_decoding_spells_out_sentinels_and_rows_and_leaves_out_padding(sample_vocabulary):
    vocabulary = sample_vocabulary
    ids = [*vocabulary.encode("acute"), 2035, *vocabulary.encode("pain"), 1936, 1, 0, 0, 2040]
    assert vocabulary.decode(ids) == "acute <extra_id_0> pain <extra_id_99> <row 2040>"


def test_added_tokens_take_padding_rows_first_and_then_the_last_sentinels(sample_vocabulary):
    assert sample_vocabulary.free_ids(12) == tuple(range(2036, 2048))
    # <extra_id_99>, <extra_id_98>, <extra_id_97>
    assert sample_vocabulary.free_ids(15)[12:] == (1936, 1937, 1938)
    assert all(map(sample_vocabulary.is_reserved, sample_vocabulary.free_ids(62)))


def test_a_longer_embedding_gives_more_padding_rows(sample_vocabulary):
    assert sample_vocabulary.free_ids(101, rows=2136) == (*range(2036, 2136), 1936)


def test_too_many_added_tokens_are_refused_with_what_there_is(sample_vocabulary):
    most = 12 + NUM_SENTINELS // 2
    assert len(set(sample_vocabulary.free_ids(most))) == most
    with pytest.raises(ValueError, match="63 added tokens .* 12 padding rows and 50 sentinels"):
        sample_vocabulary.free_ids(most + 1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no vocabulary at .*missing\.model; give the path"):
        Vocabulary(str(tmp_path / "missing.model"))


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 8])
def test_a_broken_file_is_refused(tmp_path, content):
    path = tmp_path / "broken.model"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.model is not a SentencePiece model"):
        Vocabulary(str(path))


def test_a_truncated_file_is_refused(tmp_path, sample_vocabulary_path):
    path = tmp_path / "half.model"
    with open(sample_vocabulary_path, "rb") as file:
        path.write_bytes(file.read()[:10_000])
    with pytest.raises(ValueError, match="half.model"):
        Vocabulary(str(path))


def test_ids_of_medical_text_are_the_golden_ones(sample_vocabulary, sample_vocabulary_path):
    digest = hashlib.sha256(Path(sample_vocabulary_path).read_bytes()).hexdigest()
    assert digest == GOLDEN["sha256"], "another sample vocabulary: put SeqIO's ids into tokens.json"
    for case in GOLDEN["texts"]:
        assert sample_vocabulary.encode(case["text"]) == case["ids"], case["about"]


def test_sentinels_appended_or_inside_give_the_same_vocabulary(sample_vocabulary, bare_path):
    appended = Vocabulary(bare_path)
    inside = sample_vocabulary
    assert (appended.extra_ids, inside.extra_ids) == (100, 0)
    assert (appended.size, appended.rows, appended.num_sentinels) == (2036, 2048, 100)
    assert appended.free_ids(62) == inside.free_ids(62)
    for i in range(-1, 2060):
        assert appended.is_reserved(i) == inside.is_reserved(i)
    for i in range(100):
        assert appended.sentinel(i) == inside.sentinel(i)
    for case in GOLDEN["texts"]:
        assert appended.encode(case["text"]) == case["ids"], case["about"]
        assert appended.decode(case["ids"]) == inside.decode(case["ids"])
        assert appended.encode_word(case["text"]) == inside.encode_word(case["text"])


def test_umt5_has_three_hundred_sentinels(bare_path):
    # As T5X's umt5/vocab.gin: 256,000 pieces, extra_ids = 300, VOCAB_SIZE = 256384. Here 1,936.
    vocabulary = Vocabulary(bare_path, extra_ids=300)
    assert (vocabulary.size, vocabulary.rows) == (1936 + 300, 2304)
    assert [vocabulary.sentinel(i) for i in (0, 299)] == [2235, 1936]
    assert vocabulary.decode([2235, 1936]) == "<extra_id_0> <extra_id_299>"
    # 68 padding rows, then sentinels from the last one up, at most half of them.
    assert vocabulary.free_ids(70) == (*range(2236, 2304), 1936, 1937)
    with pytest.raises(ValueError, match="219 added tokens .* 68 padding rows and 150 sentinels"):
        vocabulary.free_ids(219)
    with pytest.raises(ValueError, match="sentinel 300 does not exist; there are 300"):
        vocabulary.sentinel(300)


def test_a_vocabulary_may_have_no_sentinels(bare_path):
    vocabulary = Vocabulary(bare_path, extra_ids=0)
    assert (vocabulary.size, vocabulary.rows, vocabulary.num_sentinels) == (1936, 2048, 0)
    assert [i for i in range(1940) if vocabulary.is_reserved(i)] == [0, 1, *range(1936, 1940)]
    assert vocabulary.free_ids(112) == tuple(range(1936, 2048))
    assert vocabulary.decode(vocabulary.encode("acute")) == "acute"
    with pytest.raises(ValueError, match="sentinel 0 does not exist; there are 0"):
        vocabulary.sentinel(0)


def test_sentinels_are_not_appended_to_a_model_that_has_its_own(sample_vocabulary_path, bare_path):
    assert Vocabulary(sample_vocabulary_path, extra_ids=0).size == 2036
    with pytest.raises(ValueError, match="extra_ids is 100, but .* has 100 sentinels of its own"):
        Vocabulary(sample_vocabulary_path, extra_ids=100)
    with pytest.raises(ValueError, match="extra_ids is -1, but .* has 0 .* use 0 or more"):
        Vocabulary(bare_path, extra_ids=-1)


def test_byte_pieces_and_unknown_are_text(sample_vocabulary):
    gene = sample_vocabulary.encode("\U0001f9ec")  # no piece: "▁" and four bytes
    pieces = [sample_vocabulary.processor.id_to_piece(i) for i in gene]
    assert pieces == ["▁", "<0xF0>", "<0x9F>", "<0xA7>", "<0xAC>"]
    assert not any(map(sample_vocabulary.is_reserved, [*gene, sample_vocabulary.unk_id]))


def test_what_lies_beyond_the_ids_is_reserved(sample_vocabulary):
    assert all(map(sample_vocabulary.is_reserved, (-1, 2036, 2048, 250_112)))


def test_a_sentinel_begins_a_word_in_text_but_is_unknown_as_a_word(sample_vocabulary):
    assert 2035 in sample_vocabulary.encode("acute <extra_id_0>itis")
    assert 2035 not in sample_vocabulary.encode("acute<extra_id_0>")
    assert sample_vocabulary.encode_word("<extra_id_0>") == (2,)


def test_half_a_surrogate_pair_is_encoded_as_a_question_mark(sample_vocabulary):
    assert sample_vocabulary.encode("a \ud800") == sample_vocabulary.encode("a ?")


@given(word=st.text(max_size=20), seed=st.integers(0, 3))
@example("<extra_id_0>", 0)
@example("＜extra_id_7＞", 0)
@example("</s><pad>", 0)
@example("<0x41>", 0)
def test_no_word_has_a_reserved_id(sample_vocabulary, word, seed):
    ids = sample_vocabulary.encode_word(word)
    assert ids and not any(map(sample_vocabulary.is_reserved, ids))
    drawn = sample_vocabulary.sample_word(word, np.random.default_rng(seed))
    assert drawn and not any(map(sample_vocabulary.is_reserved, drawn))


@given(
    word=st.text(
        "abcdefghijklmnopqrstuvwxyzáàâäéèêëíñóöúüçœßжщъяΔ患者糖尿病がン0123456789.,;-", min_size=1
    )
)
def test_words_come_back_from_their_ids(sample_vocabulary, word):
    assert sample_vocabulary.decode(sample_vocabulary.encode_word(word)) == word


def test_ids_are_those_of_seqio(sample_vocabulary, sample_vocabulary_path, bare_path):
    seqio = pytest.importorskip("seqio")
    for path, extra_ids in [(sample_vocabulary_path, 0), (bare_path, 100), (bare_path, 300)]:
        vocabulary = Vocabulary(path, extra_ids=extra_ids)
        reference = seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)
        assert vocabulary.size == reference.vocab_size
        for case in GOLDEN["texts"]:
            ids = vocabulary.encode(case["text"])
            assert ids == reference.encode(case["text"]), case["about"]
            assert ids == reference.encode_tf(case["text"]).numpy().tolist(), case["about"]


@pytest.mark.parametrize("name", ["mt5-subset-cn.model", "t5-english.spiece.model"])
def test_ids_of_the_real_models_are_those_of_seqio(name):
    path = str(shared.needs(f"data/vocab/{name}"))
    seqio = pytest.importorskip("seqio")
    vocabulary = Vocabulary(path)
    reference = seqio.SentencePieceVocabulary(path, extra_ids=vocabulary.extra_ids)
    assert vocabulary.size == reference.vocab_size
    for case in GOLDEN["texts"]:
        assert vocabulary.encode(case["text"]) == reference.encode(case["text"]), case["about"]


def test_the_real_english_t5_has_a_hundred_sentinels_appended():
    vocabulary = Vocabulary(str(shared.needs("data/vocab/t5-english.spiece.model")))
    assert (vocabulary.extra_ids, vocabulary.size, vocabulary.rows) == (100, 32_100, 32_128)
    assert [vocabulary.sentinel(i) for i in (0, 1, 99)] == [32_099, 32_098, 32_000]
    assert vocabulary.free_ids(29) == (*range(32_100, 32_128), 32_000)
    text = [i for i in range(32_128) if not vocabulary.is_reserved(i)]
    assert text == [*range(2, 32_000)]
    # T5 has no byte pieces: a character without a piece is <unk>. "▁" is 3.
    assert vocabulary.encode("患") == [3, 2]
    # The id that T5's examples have for "translate English to German: ".
    assert vocabulary.encode("translate English to German:") == [13959, 1566, 12, 2968, 10]


def test_the_real_mt5_has_its_sentinels_inside():
    vocabulary = Vocabulary(str(shared.needs("data/vocab/mt5-subset-cn.model")))
    # Row of the subset -> id in mT5, and two of mT5's padding rows.
    keep = json.loads(shared.needs("data/vocab/mt5-subset-cn.keep_tokens.json").read_text())
    assert vocabulary.extra_ids == 0
    assert vocabulary.num_sentinels == NUM_SENTINELS
    assert [keep[vocabulary.sentinel(i)] for i in range(100)] == [*range(250_099, 249_999, -1)]
    assert keep[vocabulary.size :] == [250_100, 250_101]
    assert [keep[i] for i in (PAD_ID, vocabulary.eos_id, vocabulary.unk_id)] == [0, 1, 2]
    full = [[keep[i] for i in vocabulary.encode(text)] for text in (".", "The", "患者", "\x00")]
    # "▁" is 259; byte pieces begin at 3.
    assert full == [[259, 260], [486], [259, 53737], [259, 3]]
    text = [keep[i] for i in range(vocabulary.rows) if not vocabulary.is_reserved(i)]
    assert min(text) == 2 and max(text) < 250_000


def test_a_remote_vocabulary_that_cannot_be_reached_is_refused_with_what_to_do(monkeypatch):
    def exists(self):
        raise OSError("no route to host\nmore lines")

    monkeypatch.setattr(type(epath.Path("gs://bucket/a.model")), "exists", exists)
    with pytest.raises(ValueError, match=r"cannot be reached \(no route to host\); give a local"):
        Vocabulary("gs://bucket/a.model")
