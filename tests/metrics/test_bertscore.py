"""BERTScore with a tiny random BERT, against the definition written out."""

import shutil

import numpy as np
import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from medmt5.metrics import bert_score, score  # noqa: E402 - after the checks
from medmt5.metrics.bertscore import Encoder, bert_scores, match  # noqa: E402

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES += "the heart lung fails hurts with a fever pain . ##s acute no of".split()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The directory of a BERT of two layers and eight numbers per token."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(PIECES),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=16)
    tokenizer.save_pretrained(folder)
    return str(folder)


def record(predicted, *references):
    return {"references": list(references), "predicted": predicted}


def test_matching_worked_by_hand():
    # Two tokens against one: the first is the same, the second at a right angle.
    found = (np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([False, False]))
    reference = (np.array([[1.0, 0.0]]), np.array([False]))
    assert match(found, reference) == pytest.approx((0.5, 1, 2 / 3))


def test_special_tokens_have_no_score_of_their_own():
    found = (np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([True, False]))
    reference = (np.array([[1.0, 0.0]]), np.array([False]))
    assert match(found, reference) == (1, 1, 1)


def test_scores_equal_the_definition(model):
    records = [
        record("the heart fails", "the lung hurts with fever"),
        record("acute pain", "no pain of the hearts."),
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModel.from_pretrained(model).eval()

    def vectors(text):
        with torch.no_grad():
            states = network(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        rows = states.hidden_states[1][0].numpy()
        return [row / np.linalg.norm(row) for row in rows]

    for one, scores in zip(records, bert_scores(records, Encoder(model, 1)), strict=True):
        a, b = vectors(one["predicted"]), vectors(one["references"][0])
        assert len(a) > 4 or len(b) > 4
        # First and last are [CLS] and [SEP].
        precision = np.mean([max(x @ y for y in b) for x in a[1:-1]])
        recall = np.mean([max(x @ y for x in a) for y in b[1:-1]])
        f1 = 2 * precision * recall / (precision + recall)
        # Float32 vectors, in batches of other sizes.
        assert scores == pytest.approx([precision, recall, f1], abs=1e-5)


def test_scores_equal_the_package_bert_score(model):
    package = pytest.importorskip("bert_score.utils")
    pairs = [
        ("the heart fails", "the lung hurts with fever ."),
        ("acute pain", "no pain of the hearts ."),
        ("the heart fails", "the heart fails"),
    ]
    try:
        tokenizer = package.get_tokenizer(model, use_fast=True)
        network = package.get_model(model, 1)
        idf = dict.fromkeys(range(len(PIECES)), 1.0) | {2: 0.0, 3: 0.0}
        found, references = (list(column) for column in zip(*pairs, strict=True))
        theirs = package.bert_cos_score_idf(
            network, references, found, tokenizer, idf, device="cpu"
        )
    except (AttributeError, TypeError) as error:
        pytest.skip(f"this bert-score does not work with this transformers: {error}")
    ours = bert_scores([record(a, b) for a, b in pairs], Encoder(model, 1))
    # Float32 vectors, in batches of other sizes.
    assert np.allclose(ours, theirs.numpy(), atol=1e-5)


def test_the_metric_takes_the_best_reference_and_a_text_equals_itself(model):
    metric = bert_score(model)
    same = record("the heart fails", "no fever", "the heart fails")
    assert score([same], [metric])["bert_score"] == pytest.approx(100, abs=1e-3)  # float32
    assert metric([record("the heart fails", "no fever")]) < 99


def test_an_empty_text_scores_zero(model):
    assert bert_score(model)([record("", "the heart fails")]) == 0


def test_texts_that_are_too_long_are_cut(model):
    long = " ".join(["heart"] * 50)
    assert 0 < bert_score(model)([record(long, "the heart fails")]) <= 100


def test_the_order_of_records_does_not_matter(model):
    records = [record(" ".join(PIECES[5 : 6 + i]), "the heart fails") for i in range(9)]
    ours = bert_scores(records, Encoder(model))
    turned = bert_scores(records[::-1], Encoder(model))[::-1]
    # Float32 vectors, in batches of other sizes.
    assert np.allclose(ours, turned, atol=1e-5)


def test_a_layer_that_is_not_there_is_an_error(model):
    with pytest.raises(ValueError, match="has layers 0 to 2, not 3"):
        Encoder(model, 3)


def test_a_model_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="cannot be loaded"):
        Encoder(str(tmp_path))


def test_broken_weights_are_an_error(model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="model cannot be loaded"):
        Encoder(str(tmp_path / "model"))


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'medmt5\[hf\]'"):
        bert_score("anything")([record("a", "b")])
