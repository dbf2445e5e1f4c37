"""Vocabularies of a corpus: shares and fertility by hand, what is held out, the whole command."""

import gzip
import json
from collections import Counter

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

from medmt5.corpus import built, command, fertility, sampling, vocabulary
from medmt5.corpus.documents import Document

KIND = model_pb2.ModelProto.SentencePiece


def model(*pieces):
    """A unigram model with byte fallback and these pieces, all equally likely."""
    proto = model_pb2.ModelProto()
    proto.trainer_spec.model_type = model_pb2.TrainerSpec.UNIGRAM
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.unk_id, proto.trainer_spec.eos_id = 2, 1
    proto.trainer_spec.pad_id, proto.trainer_spec.bos_id = 0, -1
    proto.normalizer_spec.name = "identity"
    for piece, kind in (("<pad>", KIND.CONTROL), ("</s>", KIND.CONTROL), ("<unk>", KIND.UNKNOWN)):
        proto.pieces.add(piece=piece, type=kind)
    for byte in range(256):
        proto.pieces.add(piece=f"<0x{byte:02X}>", type=KIND.BYTE)
    for piece in pieces:
        proto.pieces.add(piece=piece, score=-1.0, type=KIND.NORMAL)
    return proto.SerializeToString()


@pytest.fixture
def tiny():
    content = model("▁", "▁pain", "▁in", "s", "b", "a", "c", "k", ".", "疼", "痛", "▁疼")
    return sentencepiece.SentencePieceProcessor(model_proto=content)


def test_fertility_is_tokens_per_word_and_counts_whole_words_and_bytes(tiny):
    # ▁pain ▁in ▁ b a c k s . and ▁pain s . : 12 tokens of the words pain, in, backs, pains.
    fit = fertility.measure(tiny, ["pain in backs.", "pains."])
    assert fit == fertility.Fit(words=4, tokens=12, whole=2, spelt=0)
    assert fit.rates() == {"tokens_per_word": 3.0, "whole_words": 0.5, "spelt_tokens": 0.0}
    # ▁pain ▁ 0xC3 0xB1 : ñ has no piece, and a word of bytes is not whole.
    assert fertility.measure(tiny, ["pain ñ"]) == fertility.Fit(2, 4, 1, 2)


def test_in_chinese_a_character_is_a_word_with_or_without_the_mark_of_a_space(tiny):
    # ▁疼 痛 0xE3 0x80 0x82 : 痛 alone is ▁ 痛, whole all the same; the full stop is no word.
    assert fertility.measure(tiny, ["疼痛。"]) == fertility.Fit(words=2, tokens=5, whole=2, spelt=3)


def test_shares_are_as_sizes_to_the_power_of_alpha_and_none_is_repeated_too_often():
    # 2 : 1 of 900; b is then taken 3 times.
    assert sampling.shares({"a": 400, "b": 100}, 0.5, 300) == pytest.approx({"a": 200, "b": 100})
    # Equal shares of 600 would take c 20 times: it gives 4 times 10, a and b share 560.
    taken = sampling.shares({"a": 500, "b": 90, "c": 10}, 0.0, 600)
    assert taken == pytest.approx({"a": 280, "b": 280, "c": 40})
    assert sampling.shares({"a": 30, "b": 10}, 1.0, 1e9) == pytest.approx({"a": 30, "b": 10})
    assert sampling.shares({"a": 30, "b": 0}, 0.3, 10) == pytest.approx({"a": 10, "b": 0})


def test_shuffled_words_are_as_many_as_were_counted_and_in_an_order_of_the_seed():
    counts = {"dolor": 150, "de": 60, "疼痛": 1}
    texts = list(sampling.shuffled(counts, 0))
    assert [len(text.split()) for text in texts] == [100, 100, 11]
    assert Counter(" ".join(texts).split()) == counts
    assert texts == list(sampling.shuffled(counts, 0)) != list(sampling.shuffled(counts, 1))


def test_what_is_held_out_depends_on_source_and_id_alone_and_parts_stay_together():
    documents = [Document("x", str(n), "s") for n in range(4000)]
    few = {d.id for d in documents if built.is_held_out(d, 20)}
    # 4,000 / 20, give or take four standard deviations.
    assert 145 < len(few) < 255
    assert {d.id for d in documents if built.is_held_out(d)} < few
    for number in few:
        parts = (Document("other", f"{number}{part}", "s", "es") for part in ("#1", "#2#7"))
        assert all(built.is_held_out(part, 20) for part in parts)
    # An id that is nothing but such a part is one.
    assert len({built.is_held_out(Document("x", f"#{n}", "s"), 2) for n in range(30)}) == 2


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())


@pytest.fixture
def corpus(tmp_path):
    """300 documents in Spanish, 30 in Chinese."""
    for language, count, text in (
        ("es", 300, "El paciente {} toma ácido acetilsalicílico, {} mg al día."),
        ("zh", 30, "患者{}每天服用阿司匹林{}毫克。"),
    ):
        records = [
            Document(text.format(n, n % 7), f"{n}", "s", language).to_json() for n in range(count)
        ]
        path = tmp_path / "corpus" / "documents" / language
        write(path / "s-00000.jsonl.gz", records[::2])
        write(path / "s-00001.jsonl", records[1::2])
    return tmp_path / "corpus"


def run(*arguments):
    vocabulary.run(command.parser().parse_args(["vocabulary", *map(str, arguments)]))


def test_a_vocabulary_of_a_corpus_is_trained_and_compared(corpus, tmp_path, capfd):
    run_folder = tmp_path / "run" / "checkpoint_10"
    run_folder.mkdir(parents=True)
    (tmp_path / "run" / "sentencepiece.model").write_bytes(model("▁", "e", "l"))
    made = []
    for name in ("a", "b"):
        output = tmp_path / name / "new.model"
        options = ["--size", 430, "--output", output, "--compare", run_folder, "--held_out", 10]
        run(corpus, *options)
        made.append(output.read_bytes())
    assert made[0] == made[1]
    new = sentencepiece.SentencePieceProcessor(model_proto=made[0])
    assert (new.get_piece_size(), new.pad_id(), new.eos_id(), new.unk_id()) == (430, 0, 1, 2)
    report = json.loads((tmp_path / "b" / "new.json").read_text())
    rows = {(row["language"], row["vocabulary"]): row for row in report["rows"]}
    old, fresh = str(run_folder), str(tmp_path / "b" / "new.model")
    assert set(rows) == {(lang, name) for lang in ("es", "zh", "mean") for name in (old, fresh)}
    for lang in ("es", "zh"):
        assert rows[lang, fresh]["tokens_per_word"] < rows[lang, old]["tokens_per_word"]
        assert rows[lang, fresh]["spelt_tokens"] < 0.1 < rows[lang, old]["spelt_tokens"]
    assert (
        report["taken"]["zh"] / report["characters"]["zh"]
        > 1
        > report["taken"]["es"] / (report["characters"]["es"])
    )
    held = [n for n in range(300) if built.is_held_out(Document("x", str(n), "s"), 10)]
    # El paciente N toma ácido acetilsalicílico N mg al día
    assert rows["es", fresh]["words"] == 10 * len(held)
    printed = capfd.readouterr().out
    assert f"| es | {10 * len(held)} | {fresh} | 430 |" in printed


def test_to_compare_alone_the_corpus_is_read_once(corpus, tmp_path, monkeypatch):
    (tmp_path / "old.model").write_bytes(model("▁", "e", "l"))
    real, languages = built.documents, []
    monkeypatch.setattr(
        built, "documents", lambda folder, lang: languages.append(lang) or real(folder, lang)
    )
    options = ["--compare", tmp_path / "old.model", "--held_out", 10, "--json", tmp_path / "r.json"]
    run(corpus, *options)
    assert languages == ["es", "zh"]
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    held = [n for n in range(300) if built.is_held_out(Document("x", str(n), "s"), 10)]
    assert rows[0]["language"] == "es" and rows[0]["words"] == 10 * len(held)


def test_a_dry_run_counts_files_of_several_kinds_and_writes_nothing(tmp_path, capsys, caplog):
    write(tmp_path / "in" / "a.jsonl", [{"text": "dolor", "lang": "es"}, {"texto": "x"}])
    (tmp_path / "in" / "b.txt").write_text("douleur aiguë\n\nfièvre\n", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    inputs = [tmp_path / "in" / "*.jsonl", f"fr={tmp_path}/in/*.txt"]
    output = tmp_path / "v.model"
    # None of these three documents is held out of so few.
    run(*inputs, "--size", 400, "--output", output, "--dry_run", "--held_out", 10**6)
    printed = capsys.readouterr().out
    assert "| es | 5 |" in printed and "| fr | 19 |" in printed
    assert "a.jsonl:2: wrong fields" in caplog.text
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--size to train"),
        (["--size", "100"], "at least 360"),
        (["--size", "400", "--alpha", "3"], "--alpha is 3.0; it is from 0.0 to 1.0"),
        (["--compare", "nowhere.model"], "nowhere.model: no SentencePiece model there"),
        (["--compare", __file__], "is no SentencePiece model"),
    ],
)
def test_what_cannot_be_done_is_said(corpus, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(corpus, *options, "--output", tmp_path / "v.model")
    assert not (tmp_path / "v.model").exists()


def test_a_path_that_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="matches no file"):
        run(tmp_path / "nowhere", "--size", 400)
    with pytest.raises(ValueError, match="holds no corpus"):
        built.languages(str(tmp_path))


def test_a_corpus_is_not_read_before_its_build_has_ended(corpus):
    (corpus / "config.toml").write_text("")
    with pytest.raises(ValueError, match="its build has not ended"):
        built.languages(str(corpus))
    (corpus / "manifest.json").write_text("{}")
    assert built.languages(str(corpus)) == ["es", "zh"]
