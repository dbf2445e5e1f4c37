"""A folder like MEDMT5_DATA_DIR, with a few hand-written rows for every task in tasks/."""

import json
from pathlib import Path

from medmt5.tasks import general, question_answering, raw_text, sequence_labelling

GENERAL = {
    "rte": {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"},
    "nli": {"premise": "It rains.", "hypothesis": "It is wet.", "label": "neutral"},
    "wic": {"sentence1": "He ran.", "sentence2": "She ran.", "word": "ran", "label": True},
    "sentiment": {"text": "A good film.", "label": "positive"},
    "translation": {"src_lang": "en", "tgt_lang": "fr", "src": "Hi.", "tgt": "Salut."},
    "summary": {"document": "A long text.", "summary": "Short."},
    "question": {"question": "Who?", "answers": ["Me", "I"]},
}


def question(several=False, split=""):
    return {
        "question": f"Which drug of {split}?",
        "options": {"A": "insulin", "B": "ramipril", "C": "none"},
        "answer_idx": "A,B" if several else "A",
        "rationale": "Since it is so.",
    }


ABSTRACTIVE = {
    "questions": [{"id": "1", "body": "What is it?", "ideal_answer": ["A.", "B."], "snippets": []}]
}


def write(folder: Path) -> Path:
    """Write the files of every set, six rows each, or ten of several splits, which differ."""

    def put(path, text):
        path = folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def rows(path, row, count=6):
        put(path, (json.dumps(row, ensure_ascii=False) + "\n") * count)

    for data in sequence_labelling.SETS.values():
        back = {new: old for old, new in data.rename.items()}
        tagged = "".join(f"word\tB-{back.get(label, label)}\nword\tO\n" for label in data.labels)
        for lang in data.languages:
            for split in data.splits:
                file = f"{lang}-{data.file}-{sequence_labelling.SPLITS[split]}.tsv"
                put(f"seqlab/{lang}/{file}", f"{tagged}\n".replace("word", split) * 6)
    for data in question_answering.SETS.values():
        for lang in data.languages:
            for split in question_answering.SPLITS.values():
                path = f"qa/{lang}/{lang}-{data.file}-{split}"
                if data.choices:
                    rows(f"{path}.jsonl", question(data.several, split))
                else:
                    put(f"{path}.json", json.dumps(ABSTRACTIVE))
    for language, several in question_answering.MMEDBENCH.values():
        for split in ("Train", "Test"):
            rows(f"mmedbench/{split}/{language}.jsonl", question(several, split))
    for name, data in general.SETS.items():
        for languages in data.languages:
            row = dict(GENERAL[data.prompt])
            if "src" in row:
                row |= zip(("src_lang", "tgt_lang"), languages.split("-"), strict=True)
            for suffix in data.splits.values():
                count = 10 if data.fifths else 6
                rows(f"general/{languages}-{name}{suffix}.jsonl", row, count)
    for lang in raw_text.LANGUAGES:
        rows(f"raw/{lang}/{lang}-text.jsonl", {"text": "A patient came with a cough. " * 9})
    for lang in ("en", "es"):
        documents = [{"text": "A patient coughs. " * 9, "source": "s", "language": lang}] * 20
        lines = (json.dumps(text | {"id": str(n)}) + "\n" for n, text in enumerate(documents))
        put(f"corpus/documents/{lang}/s-00000.jsonl", "".join(lines))
    return folder
