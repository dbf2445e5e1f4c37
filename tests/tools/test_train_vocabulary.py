"""The trained vocabulary keeps mT5's conventions, and reading errors name file and line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from etils import epath

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import sentencepiece  # noqa: E402
import train_vocabulary as tool  # noqa: E402 (the tools folder is no package)

from medmt5.corpus import sentencepiece_model  # noqa: E402

SHIPPED = ROOT / "medmt5" / "sample_data" / "vocabulary" / "sentencepiece.model"
TEXTS = [
    f"El paciente {i} con hepatopatía crónica tomó cefalexina; l'hôpital, l'età, {i * 7} mg."
    for i in range(60)
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "small.model"
    tool.train_vocabulary(TEXTS, path, size=420, sentinels=100)
    return path


@pytest.fixture(params=["small", "shipped"])
def model(request, small):
    path = small if request.param == "small" else SHIPPED
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def test_special_pieces_and_bytes_have_the_ids_of_mt5(model):
    assert (model.pad_id(), model.eos_id(), model.unk_id(), model.bos_id()) == (0, 1, 2, -1)
    assert [model.id_to_piece(i) for i in range(3)] == ["<pad>", "</s>", "<unk>"]
    assert [model.id_to_piece(3 + b) for b in range(256)] == [f"<0x{b:02X}>" for b in range(256)]
    assert all(model.is_byte(i) for i in range(3, 259))
    assert not model.is_byte(259)


def test_a_vocabulary_is_written_to_a_bucket(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    kind, written = type(epath.Path("gs://bucket/v/a.model")), {}
    monkeypatch.setattr(kind, "mkdir", lambda self, **options: None)
    monkeypatch.setattr(kind, "write_bytes", lambda self, data: written.update({str(self): data}))
    tool.train_vocabulary(TEXTS, "gs://bucket/v/a.model", size=420, sentinels=100)
    assert list(written) == ["gs://bucket/v/a.model"] and not list(tmp_path.iterdir())


def test_sentinels_are_at_the_top_with_zero_last(model):
    size = model.get_piece_size()
    assert [model.id_to_piece(size - 1 - i) for i in range(100)] == [
        f"▁<extra_id_{i}>" for i in range(100)
    ]
    assert not model.id_to_piece(size - 101).startswith("▁<extra_id")


def test_shipped_vocabulary_has_2036_pieces():
    model = sentencepiece.SentencePieceProcessor(model_file=str(SHIPPED))
    assert model.get_piece_size() == 2036


# Scores are compared to the last bit, which another release of the trainer may round otherwise.
@pytest.mark.skipif(sentencepiece.__version__ != "0.2.2", reason="trained with 0.2.2")
def test_sample_data_gives_the_shipped_vocabulary(tmp_path):
    sample = SHIPPED.parents[1]
    paths = [*sorted(sample.glob("corpus/*.jsonl")), *sorted(sample.glob("labelled/*-train.tsv"))]
    texts = (text for path in paths for text in tool.read_texts(path))
    tool.train_vocabulary(texts, tmp_path / "again.model", size=2036)
    assert (tmp_path / "again.model").read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "Séquelles d'œdème aigu, fièvre à 38,5 °C",
        "¿Qué es la neumonía? Niño con déficit",
        "Perché è così? L'età, più",
        "患者 with 肝炎",
    ],
)
def test_accented_and_unknown_text_round_trips(model, text):
    ids = model.encode(text)
    assert model.unk_id() not in ids
    assert model.decode(ids) == text


def test_sentinel_in_text_is_one_piece(model):
    ids = model.encode("dolor <extra_id_0> agudo <extra_id_99>")
    size = model.get_piece_size()
    assert size - 1 in ids and size - 100 in ids


def test_same_texts_give_the_same_bytes(small, tmp_path):
    tool.train_vocabulary(iter(TEXTS), tmp_path / "again.model", size=420)
    assert (tmp_path / "again.model").read_bytes() == small.read_bytes()


def test_digits_split_only_on_request(tmp_path):
    texts = [f"{t} 2024 2024" for t in TEXTS]
    counts = []
    for split in (False, True):
        path = tmp_path / f"{split}.model"
        tool.train_vocabulary(texts, path, size=400, split_digits=split)
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        counts.append(len(model.encode("2024", out_type=str)))
    assert counts[0] < counts[1]


def test_long_text_is_cut_not_dropped():
    parts = list(sentencepiece_model.parts("uno dos\ntres " * 100, 40))
    assert all(len(part.encode()) <= 40 for part in parts)
    assert " ".join(parts).split() == "uno dos tres".split() * 100
    # Chinese paragraphs have no spaces.
    parts = list(sentencepiece_model.parts("头痛发热" * 100, 40))
    assert all(len(part.encode()) <= 40 for part in parts)
    assert "".join(parts).replace(" ", "") == "头痛发热" * 100


@pytest.mark.parametrize(("size", "message"), [(359, "at least 360"), (5000, "smaller size")])
def test_impossible_size_is_refused(tmp_path, size, message):
    with pytest.raises(ValueError, match=message):
        tool.train_vocabulary(TEXTS, tmp_path / "x.model", size=size)
    assert not (tmp_path / "x.model").exists()


def test_no_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no text"):
        tool.train_vocabulary(["", "  "], tmp_path / "x.model", size=420)


def test_reads_conll_jsonl_and_plain_text(tmp_path):
    (tmp_path / "a.tsv").write_text("La\tO\ngripe\tB-Disease\n\nFin\tO\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "è così", "id": 1}) + "\n\n")
    (tmp_path / "a.txt").write_text("uno\n\ndos", encoding="utf-8")
    assert list(tool.read_texts(tmp_path / "a.tsv")) == ["La gripe", "Fin"]
    assert list(tool.read_texts(tmp_path / "a.jsonl")) == ["è così"]
    assert list(tool.read_texts(tmp_path / "a.txt")) == ["uno", "dos"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "ok"}\n{"text": \n', "a.jsonl:2: not JSON"),
        ("a.jsonl", b'{"texto": "no"}\n', 'a.jsonl:1: want an object with a string in "text"'),
        ("a.jsonl", b'["text"]\n', "a.jsonl:1: want an object"),
        ("a.txt", b"bien\n\n\xff\xfe\n", "a.txt:3: not UTF-8"),
    ],
)
def test_bad_input_names_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        list(tool.read_texts(tmp_path / name))
    assert message in str(error.value)


def run(*arguments):
    command = [sys.executable, str(ROOT / "tools" / "train_vocabulary.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_command_trains_and_prints_fertility(tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    output = tmp_path / "out" / "small.model"
    done = run(tmp_path / "in.txt", "--size", 420, "--output", output)
    assert done.returncode == 0, done.stderr
    assert "tokens per word" in done.stdout.splitlines()[-1]
    assert output.exists()


def test_dry_run_counts_and_writes_nothing(tmp_path):
    (tmp_path / "in.txt").write_text("uno dos\ntres\n", encoding="utf-8")
    output = tmp_path / "small.model"
    done = run(tmp_path / "in.txt", "--size", 420, "--output", output, "--dry-run")
    assert "2 texts, 3 words" in done.stdout
    assert not output.exists()


def test_command_fails_in_one_line(tmp_path):
    (tmp_path / "in.jsonl").write_text("{}\n")
    done = run(tmp_path / "in.jsonl", "--size", 420)
    assert done.returncode == 1
    assert "in.jsonl:1" in done.stderr and "Traceback" not in done.stderr
