"""Which ids are text and which are not."""

import pytest

from medmt5.vocabulary import NUM_SENTINELS, PAD_ID, Vocabulary


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
