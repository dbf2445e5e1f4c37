"""What a new soft prompt starts from."""

import dataclasses
import functools

import numpy as np
import pytest
import tiny

from medmt5 import partitioning
from medmt5.adapters.prompt_init import initialised
from medmt5.models.soft_prompt import DECODER_PATH, PATH, PATHS, PromptConfig
from medmt5.state import Architecture, flat_params

TEXTS = ("Is it true or false?", "the fever of")


PROMPT = PromptConfig(6, decoder_length=2, tasks=("a", "b"))


@functools.cache
def state_of_prompts():
    """A fresh state over eight devices."""
    mesh = partitioning.make_mesh(fsdp=8)
    return tiny.Run(prompt=PROMPT, trainable=".*/prompt/.*", mesh=mesh).state


def prompts(vocabulary, seed=0, names=PATHS, **choices):
    """Prompts made for that state, as ids of the words that they start from."""
    config = tiny.config(prompt=dataclasses.replace(PROMPT, **choices))
    state = state_of_prompts()
    given = dict(vocabulary=vocabulary, seed=seed, names=names)
    made, frozen = initialised(state.params, state.frozen, config, **given)
    assert tiny.digest(frozen) == tiny.digest(state.frozen)
    before, table = flat_params(state.params), np.asarray(frozen["token_embedder"]["embedding"])
    found = {}
    for name, leaf in flat_params(made).items():
        assert leaf.sharding == before[name].sharding
        same = (np.asarray(leaf)[:, None] == table).all(axis=-1)
        found[name] = same.argmax(axis=1).tolist() if same.any(axis=1).all() else "not words"
    return found


def test_a_text_is_repeated_or_cut_to_the_length(sample_vocabulary):
    ids = [sample_vocabulary.encode(text) for text in TEXTS]
    assert len(ids[0]) > 6 > len(ids[1]) > 2  # the first is cut, the second repeated
    made = prompts(sample_vocabulary, init="text", text=TEXTS)
    assert made == {
        PATH: ids[0][:6] + (3 * ids[1])[:6],
        DECODER_PATH: ids[0][:2] + ids[1][:2],
    }
    same = prompts(sample_vocabulary, init="text", text=TEXTS[0])
    assert same[PATH] == 2 * ids[0][:6]


def test_words_are_drawn_from_the_frequent_ones_without_special_ones(sample_vocabulary):
    first = prompts(sample_vocabulary, init="vocabulary")
    words = [sample_vocabulary.processor.id_to_piece(i) for i in first[PATH]]
    # Neither padding, end, unknown, bytes nor sentinels; those are ids below 259 and the last.
    assert all(259 <= i < sample_vocabulary.sentinel(99) for i in first[PATH]), words
    assert len(set(first[PATH][:6])) == len(set(first[PATH][6:])) == 6
    assert first[PATH][:6] != first[PATH][6:] and first[PATH][:2] != first[DECODER_PATH][:2]
    assert first == prompts(sample_vocabulary, init="vocabulary")
    other = prompts(sample_vocabulary, init="vocabulary", seed=1)
    assert other[PATH] != first[PATH]


def test_prompts_that_were_restored_and_random_ones_stay_as_they_are(sample_vocabulary):
    made = prompts(sample_vocabulary, init="text", text=TEXTS[0], names=(DECODER_PATH,))
    assert made == {
        PATH: "not words",
        DECODER_PATH: 2 * sample_vocabulary.encode(TEXTS[0])[:2],
    }
    assert set(prompts(sample_vocabulary).values()) == {"not words"}


def test_more_positions_than_pieces_are_refused(sample_vocabulary):
    config = tiny.config(prompt=PromptConfig(3000, init="vocabulary"))
    params = Architecture.t5(config).shapes
    with pytest.raises(ValueError, match="pieces, fewer than the 3000 positions"):
        initialised(params, {}, config, vocabulary=sample_vocabulary, seed=0)
