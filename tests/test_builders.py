"""TFDS builds the data sets from a manual directory, without network, and reads them back."""

from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from medmt5.tasks.builders import MedicalLabelling, MedicalQuestions

from medmt5.data import get
from medmt5.data.sources import SETS


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(self, urls):
        raise AssertionError(f"asks the network for {urls}")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", refuse)


def build(builder, config, tmp_path):
    made = builder(config=config, data_dir=str(tmp_path / "tfds"))
    made.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=str(tmp_path / "manual"), try_download_gcs=False
        )
    )
    return made


def read(made, split):
    """Rows of a split, their bytes as text."""
    return [
        {
            name: value.decode() if isinstance(value, bytes) else [v.decode() for v in value]
            for name, value in row.items()
        }
        for row in tfds.as_numpy(made.as_dataset(split, shuffle_files=False))
    ]


def test_sentences_are_built_from_a_clone_of_the_repository(tmp_path):
    folder = tmp_path / "manual/MTL-Bioinformatics-2016/data/NCBI-disease-IOB"
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text("Breast\tB-Disease\ncancer\tI-Disease\n\nÉ\tO\n\n")
    (folder / "devel.tsv").write_text("No\tO\n\n")
    (folder / "test.tsv").write_text("Flu\tB-Disease\n\n")
    made = build(MedicalLabelling, "ncbi_disease_en", tmp_path)
    assert {name: split.num_examples for name, split in made.info.splits.items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    rows = sorted(read(made, "train"), key=lambda row: row["words"])
    assert rows == [
        {"words": ["Breast", "cancer"], "tags": ["B-Disease", "I-Disease"]},
        {"words": ["É"], "tags": ["O"]},
    ]
    assert "CC BY 4.0" in Path(made.data_dir, "LICENSE").read_text()
    assert "dogan2014ncbi" in made.info.citation


def test_questions_are_built_from_the_files_that_data_get_writes(tmp_path):
    folder = tmp_path / "manual/qa/fr"
    folder.mkdir(parents=True)
    record = {
        "id": "7",
        "question": "Où ?",
        "context": "",
        "letters": ["A", "B", "C"],
        "options": ["ici", "là", "ailleurs"],
        "answers": ["A", "C"],
        "rationale": "Voilà.",
    }
    for split in ("train", "dev", "test"):
        (folder / f"fr-frenchmedmcqa-{split}.jsonl").write_text(get.to_text(record))
    made = build(MedicalQuestions, "frenchmedmcqa_fr", tmp_path)
    assert read(made, "validation") == [{**record, "lang": "fr"}]


def test_a_repository_that_lacks_a_file_is_named(tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual/other.txt").write_text("")
    with pytest.raises(ValueError, match="clone https://github.com/sb-ai-lab/MedBench into"):
        build(MedicalQuestions, "rumeddanet_ru", tmp_path)


def test_there_is_a_config_for_every_set_and_language():
    names = [*MedicalLabelling.builder_configs, *MedicalQuestions.builder_configs]
    assert names == [f"{name}_{lang}" for name, source in SETS.items() for lang in source.files]
