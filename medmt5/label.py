"""Label text with a fine-tuned model. `medmt5 label -m MODEL < notes.txt > out.jsonl`.

Text in, spans with character offsets and scores out; every character of the input stays where it
is. The command streams: it holds one chunk of documents at a time, in their order. Files are left
to `formats.exchange`. Imports neither TensorFlow nor SeqIO.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

import jax

from medmt5 import restore
from medmt5.convert.source import open_source
from medmt5.formats.documents import Document, Entity
from medmt5.formats.exchange import FORMATS, NEED_PATH, READERS, reader, writer
from medmt5.formats.gold import BadRecord, Report
from medmt5.formats.labelling import Labelling, ScoredSpan
from medmt5.formats.lines import size_of
from medmt5.formats.text import sentence_ends, split_words, windows
from medmt5.formats.writers import Writer
from medmt5.models.t5 import T5Config
from medmt5.predictor import Predictor
from medmt5.reporting import duration
from medmt5.state import Architecture

log = logging.getLogger(__name__)

# Documents and characters read and decoded together: enough to fill batches of equal length, little
# enough to stream. One document may be longer.
CHUNK, CHUNK_CHARACTERS = 256, 2**20
# Windows decoded together, so that a document of any length takes little more than its words.
WINDOWS = 4096
# Seconds between lines of progress.
PERIOD = 10.0


def auto_batch_size(config: T5Config, length: int) -> int:
    """Sentences per batch that a quarter of the device's memory holds: a power of 2, 8 to 256.

    On a device that does not tell its memory, such as a CPU, 32. The same machine always gives the
    same, so that an interrupted run goes on as it began.

    Args:
      config: of the model.
      length: tokens per sentence.
    """
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if not memory:
        return 32
    joined = config.num_heads * config.head_dim
    # In float32: keys and values of up to three times as many tokens (every word a span), one
    # encoder layer's attention, logits of up to 16 tokens at a time.
    caches = config.num_decoder_layers * 2 * 4 * length * joined
    attention = config.num_heads * length**2
    row = 4 * (caches + attention + 16 * config.vocab_size)
    return 2 ** max(3, min(8, int(math.log2(max(memory / 4 / row, 1)))))


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
    def load(cls, path: str, *, batch_size: int | None = 32) -> Labeller:
        """The labeller in a model or checkpoint directory.

        Args:
          path: the directory.
          batch_size: sentences per batch; None chooses by the device (`auto_batch_size`).

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
        length = max(f["lengths"]["inputs"] for f in found.values())
        predictor = Predictor(
            architecture,
            restore.load_params(source, architecture),
            eos_id=vocabulary.eos_id,
            batch_size=batch_size or auto_batch_size(source.config, length),
        )
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
        return self.label_documents([Document(text, ()) for text in texts])

    def label_documents(self, documents: Sequence[Document]) -> list[Document]:
        """Label documents anew, their own entities aside.

        One that has `words` is a single sentence of those words, as a CoNLL file gives them.
        """
        plans = [self._plan(document) for document in documents]
        parts = [(plan, part) for plan, plan_parts, _ in plans for part in plan_parts]
        answers: list[list[ScoredSpan]] = []
        for first in range(0, len(parts), WINDOWS):
            chosen = parts[first : first + WINDOWS]
            sentences = [
                [document.text[a:b] for a, b in document.words[i:j]] for document, (i, j) in chosen
            ]
            answers += self.label_words(sentences)
        following = iter(answers)
        return [
            _answered(
                document._replace(splits=tuple(cuts)),
                parts,
                itertools.islice(following, len(parts)),
            )
            for document, parts, cuts in plans
        ]

    def _plan(self, document: Document) -> tuple[Document, list[tuple[int, int]], list[int]]:
        """The document with its words, and its windows."""
        text, limit = document.text, self.max_source_length - 1  # the end of sequence takes one
        words = document.words or tuple(split_words(text))
        ends = [len(words) - 1] if document.words else sentence_ends(text, words)
        sizes = [len(ids) for a, b in words for ids in self.format.word_ids([text[a:b]])]
        parts, cuts = windows(words, ends, sizes.__getitem__, limit)
        return document._replace(words=words), parts, cuts


def _answered(
    document: Document,
    parts: Sequence[tuple[int, int]],
    answers: Iterable[Sequence[ScoredSpan]],
) -> Document:
    entities = []
    text, words = document.text, document.words
    for (first, _), spans in zip(parts, answers, strict=True):
        for span in spans:
            start, end = words[first + span.start][0], words[first + span.end - 1][1]
            entities.append(Entity(start, end, span.label, text[start:end], span.score))
    return document._replace(entities=tuple(entities))


def chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents to be decoded together; where they are cut depends on themselves alone."""
    chunk: list[Document] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += len(document.text)
        if len(chunk) >= CHUNK or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _Progress:
    """Lines about how far the work is."""

    def __init__(self, report: Report, size: int | None):
        self.report, self.size = report, size
        self.began = self.told = time.monotonic()
        self.documents = self.passed = self.passed_bytes = 0

    def skipped(self, count: int) -> None:
        self.passed += count
        self.passed_bytes = self.report.read_bytes
        self.began = time.monotonic()

    def labelled(self, count: int) -> None:
        self.documents += count
        now = time.monotonic()
        if now - self.told < PERIOD:
            return
        self.told = now
        done, ahead = self.report.read_bytes - self.passed_bytes, ""
        if self.size and done:
            left = max(self.size - self.report.read_bytes, 0)
            share = min(100 * self.report.read_bytes // self.size, 100)
            ahead = f"  {share}%  ETA {duration((now - self.began) / done * left)}"
        log.info("%d documents  %s%s", self.passed + self.documents, self.rate(), ahead)

    def rate(self) -> str:
        return f"{self.documents / max(time.monotonic() - self.began, 1e-3):.1f}/s"

    def end(self) -> None:
        if self.passed:
            log.info("%d documents were there already", self.passed)
        log.info("%d documents labelled, %s", self.documents, self.rate())
        report = self.report
        if report.unread or +report.other:
            log.info("of the input, not in the output: %s", report.summary())
        if report.skipped:
            log.warning("%d lines or records could not be read and were skipped", report.skipped)


class _Interrupts:
    """Lets Ctrl-C wait until what is being written is complete; a second one does not wait."""

    def __init__(self) -> None:
        self._held = self._waiting = False

    def __enter__(self) -> _Interrupts:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, *_: object) -> None:
        if not self._held or self._waiting:
            raise KeyboardInterrupt
        self._waiting = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt


def label_stream(
    labeller: Labeller,
    documents: Iterable[Document],
    out: Writer,
    progress: _Progress,
    *,
    min_score: float = 0.0,
    labels: Sequence[str] | None = None,
) -> None:
    """Label documents and write them in their order; however it ends, whole documents are written.

    Args:
      labeller: the model.
      documents: whose texts to label.
      out: closed at the end.
      progress: is told of every chunk.
      min_score: spans below it are not written.
      labels: of the spans to write; None for all.
    """

    def wanted(entity: Entity) -> bool:
        return entity.score >= min_score and (labels is None or entity.label in labels)

    with _Interrupts() as interrupts:

        def label_chunk(chunk: Sequence[Document]) -> None:
            labelled = labeller.label_documents(chunk)
            with interrupts.held():
                for document in labelled:
                    kept = tuple(filter(wanted, document.entities))
                    out.write(document._replace(entities=kept))
                out.flush()

        try:
            for chunk in chunks(documents):
                if out.skip(len(chunk)):
                    progress.skipped(len(chunk))
                else:
                    label_chunk(chunk)
                    progress.labelled(len(chunk))
            with interrupts.held():
                out.close()
        except BaseException:
            with interrupts.held(), contextlib.suppress(OSError):
                out.abandon()
            raise


def _batch_size(value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is neither a positive number nor auto")
    return int(value)


def _score(value: str) -> float:
    if not math.isfinite(float(value)):
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 0 to 1")
    return float(value)


def _flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="medmt5 label",
        description="Label text with a fine-tuned model: one document per line in, spans with "
        "character offsets and scores out. Exit status: 0, 2 for wrong input, 130 for Ctrl-C, 141 "
        "when the reader of the output has gone.",
        epilog="example: medmt5 label -m runs/quickstart/finetune < notes.txt > out.jsonl",
    )
    flags.add_argument("-m", "--model", required=True, help="model or checkpoint directory")
    flags.add_argument("files", nargs="*", default=["-"], help="input files (standard input)")
    flags.add_argument(
        "--input-format",
        choices=READERS,
        default="text",
        help="default: text, one document per line; of the others the texts are labelled, and "
        "their own annotations left aside",
    )
    flags.add_argument("--format", choices=FORMATS, default="jsonl", help="default: jsonl")
    flags.add_argument(
        "-o", "--output", help="file, or folder for brat and offsets (standard output)"
    )
    flags.add_argument("--min-score", type=_score, default=0.0, help="drop spans below this")
    flags.add_argument("--labels", help="write these only: A,B (all)")
    flags.add_argument(
        "--batch-size",
        type=_batch_size,
        default=32,
        help="sentences per batch (32); auto: as many as a quarter of the device's memory holds",
    )
    flags.add_argument(
        "--skip-bad-lines",
        action="store_true",
        help="report what cannot be read, such as invalid UTF-8, and go on",
    )
    flags.add_argument(
        "--resume",
        action="store_true",
        help="go on after the last complete document of --output; give the same input and options",
    )
    return flags


def main(arguments: Sequence[str]) -> None:
    """The command line of `medmt5 label`."""
    given = _flags().parse_args(arguments)
    from medmt5.launch import errors_to_exit, setup_logging

    setup_logging()
    with errors_to_exit():
        try:
            _run(given)
        except KeyboardInterrupt:
            hint = "; the same command with --resume goes on" if given.output else ""
            print(f"medmt5: interrupted: complete documents were written{hint}", file=sys.stderr)
            _leave(130)
        except BrokenPipeError:
            _leave(141)  # as a program that SIGPIPE ends
        except BadRecord as error:
            raise ValueError(f"{error}; --skip-bad-lines goes on without it") from error
        except OSError as error:
            place = error.filename or given.output or "standard output"
            raise ValueError(f"{place}: {error.strerror}") from error


def _leave(status: int) -> NoReturn:
    # What could be written is. Python would complain about a pipe that is closed when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _run(given: argparse.Namespace) -> None:
    if given.format in NEED_PATH and not given.output:
        what = "two files per document" if given.format == "brat" else "no plain text"
        kind = NEED_PATH[given.format].upper()
        raise ValueError(f"--format {given.format} writes {what}; give --output {kind}")
    if given.resume and not given.output:
        raise ValueError("--resume goes on with a file; give --output")
    for path in given.files:
        if path == "-" and given.input_format in NEED_PATH:
            raise ValueError(
                f"--input-format {given.input_format} cannot be read from standard input; name "
                f"the {NEED_PATH[given.input_format]}"
            )
        if path != "-" and not os.path.exists(path):
            raise ValueError(f"{path}: cannot be read (no such file)")
        if path != "-" and given.output and os.path.exists(given.output):
            if os.path.samefile(path, given.output):
                raise ValueError(f"{path} is the input; give another --output")
    labeller = Labeller.load(given.model, batch_size=given.batch_size)
    labels = given.labels.split(",") if given.labels is not None else None
    if unknown := [label for label in labels or () if label not in labeller.labels]:
        raise ValueError(
            f"the model has no label {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(labeller.labels)}"
        )
    if given.batch_size is None:
        log.info("batch size %d", labeller.predictor.batch_size)
    report = Report(skip_bad=given.skip_bad_lines, texts_only=True)
    read = reader(given.input_format)
    documents = (document for path in given.files for document in read(path, report))
    if not given.output:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    progress = _Progress(report, size_of(given.files))
    out = writer(given.format, given.output or sys.stdout, resume=given.resume)
    label_stream(labeller, documents, out, progress, min_score=given.min_score, labels=labels)
    progress.end()


if __name__ == "__main__":
    main(sys.argv[1:])
