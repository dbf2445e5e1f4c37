"""Label text with a fine-tuned model. `medmt5 label -m MODEL < notes.txt > out.jsonl`.

Text in, spans with character offsets and scores out; every character of the input stays where it
is. Imports neither TensorFlow nor SeqIO.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence

from medmt5 import restore
from medmt5.convert.source import open_source
from medmt5.formats.documents import FORMATS, Document, Entity, writer
from medmt5.formats.labelling import Labelling, ScoredSpan
from medmt5.formats.text import sentence_ends, split_words, windows
from medmt5.predictor import Predictor
from medmt5.state import Architecture

log = logging.getLogger(__name__)

# Documents decoded together: enough to fill batches of equal length, little enough to stream.
CHUNK = 256


class Labeller:
    """A model that labels text.

    Args:
      predictor: runs the model.
      format_: the labelling format it was fine-tuned with.
      max_source_length: tokens per window, as in fine-tuning.
    """

    def __init__(self, predictor: Predictor, format_: Labelling, *, max_source_length: int):
        self.predictor, self.format, self.max_source_length = predictor, format_, max_source_length

    @classmethod
    def load(cls, path: str, *, batch_size: int = 32) -> Labeller:
        """The labeller in a model or checkpoint directory.

        Raises:
          ValueError: no model there, or one that was not fine-tuned for labelling.
        """
        source = open_source(path)
        found = {name: f for name, f in source.formats.items() if f["kind"] == Labelling.kind}
        if not found:
            kinds = ", ".join(sorted({f["kind"] for f in source.formats.values()})) or "no task"
            raise ValueError(
                f"{path} was trained for {kinds}, not for labelling; fine-tune it on a labelling "
                "task first"
            )
        labels = {tuple(f["labels"]) for f in found.values()}
        if len(labels) > 1:
            raise ValueError(f"the tasks of {path} have different labels: {sorted(labels)}")
        vocabulary = restore.vocabulary_of(source)
        architecture = Architecture.t5(source.config)
        predictor = Predictor(
            architecture,
            restore.load_params(source, architecture),
            eos_id=vocabulary.eos_id,
            batch_size=batch_size,
        )
        length = max(f["lengths"]["inputs"] for f in found.values())
        format_ = Labelling(vocabulary, labels.pop(), max_word_tokens=length - 1)
        return cls(predictor, format_, max_source_length=length)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.format.tags.labels

    def label_words(self, sentences: Sequence[Sequence[str]]) -> list[list[ScoredSpan]]:
        """Spans of sentences that are already split into words; half-open word indices."""
        examples = [self.format.example({"words": words}, None) for words in sentences]
        predictions = self.predictor.predict(examples, format_=self.format)
        return [
            self.format.answer(prediction.tokens, prediction.log_probs, example)
            for prediction, example in zip(predictions, examples, strict=True)
        ]

    def label(self, texts: Sequence[str]) -> list[Document]:
        """Label texts of any length.

        A sentence longer than the model's window is cut between words, and the document's
        `splits` say where; a span cannot reach across such a cut.

        Args:
          texts: any strings, empty ones too.

        Returns:
          One document per text.

        Raises:
          TypeError: a single string was given.
        """
        if isinstance(texts, str):
            raise TypeError('label takes a list of texts; write label(["..."])')
        limit = self.max_source_length - 1  # the end of sequence takes one
        sentences: list[list[str]] = []
        plans = []
        for text in texts:
            words = split_words(text)
            sizes = [len(ids) for ids in self.format.word_ids([text[a:b] for a, b in words])]
            parts, cuts = windows(words, sentence_ends(text, words), sizes.__getitem__, limit)
            plans.append((text, words, parts, cuts))
            sentences += [[text[a:b] for a, b in words[i:j]] for i, j in parts]
        answers = iter(self.label_words(sentences))
        return [
            _document(text, words, parts, cuts, itertools.islice(answers, len(parts)))
            for text, words, parts, cuts in plans
        ]


def _document(
    text: str,
    words: Sequence[tuple[int, int]],
    parts: Sequence[tuple[int, int]],
    cuts: Sequence[int],
    answers: Iterable[Sequence[ScoredSpan]],
) -> Document:
    entities = []
    for (first, _), spans in zip(parts, answers, strict=True):
        for span in spans:
            start, end = words[first + span.start][0], words[first + span.end - 1][1]
            entities.append(Entity(start, end, span.label, text[start:end], span.score))
    return Document(text, tuple(entities), tuple(words), tuple(cuts))


def read_texts(paths: Sequence[str], *, skip_bad: bool) -> Iterator[str]:
    """One document per line; `-` is standard input.

    Raises:
      ValueError: invalid UTF-8, unless skip_bad: then the line is reported and passed over.
    """
    for path in paths:
        try:
            file = sys.stdin.buffer if path == "-" else open(path, "rb")
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
        with file:
            for number, raw in enumerate(file, 1):
                try:
                    yield raw.decode("utf-8").rstrip("\n").removesuffix("\r")
                except UnicodeDecodeError as error:
                    message = (
                        f"{'standard input' if path == '-' else path}:{number}: invalid UTF-8 at "
                        f"byte {error.start + 1} of the line ({error.reason})"
                    )
                    if not skip_bad:
                        raise ValueError(
                            f"{message}; convert it, or pass --skip-bad-lines"
                        ) from error
                    log.warning("%s; skipped", message)


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 label`."""
    flags = argparse.ArgumentParser(
        prog="medmt5 label",
        description="Label text with a fine-tuned model: one document per line in, spans with "
        "character offsets and scores out.",
        epilog="example: medmt5 label -m runs/quickstart/finetune < notes.txt > out.jsonl",
    )
    flags.add_argument("-m", "--model", required=True, help="model or checkpoint directory")
    flags.add_argument("files", nargs="*", default=["-"], help="input files (standard input)")
    flags.add_argument("--format", choices=FORMATS, default="jsonl", help="default: jsonl")
    flags.add_argument("-o", "--output", help="file, or folder for brat (standard output)")
    flags.add_argument("--min-score", type=float, default=0.0, help="drop spans below this")
    flags.add_argument("--batch-size", type=int, default=32, help="sentences per batch")
    flags.add_argument(
        "--skip-bad-lines", action="store_true", help="report invalid UTF-8 and go on"
    )
    given = flags.parse_args(arguments)
    from medmt5.launch import errors_to_exit, setup_logging

    setup_logging()
    with errors_to_exit():
        if given.format == "brat" and not given.output:
            raise ValueError("--format brat writes two files per document; give --output FOLDER")
        labeller = Labeller.load(given.model, batch_size=given.batch_size)
        texts = read_texts(given.files, skip_bad=given.skip_bad_lines)
        count = 0
        with writer(given.format, given.output or sys.stdout) as out:
            while chunk := list(itertools.islice(texts, CHUNK)):
                for document in labeller.label(chunk):
                    kept = tuple(e for e in document.entities if e.score >= given.min_score)
                    out.write(document._replace(entities=kept))
                count += len(chunk)
                log.info("%d documents labelled", count)


if __name__ == "__main__":
    main(sys.argv[1:])
