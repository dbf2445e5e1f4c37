"""Label files with a fine-tuned model. `medmt5 label -m MODEL < notes.txt > out.jsonl`.

The command streams: it holds one chunk of documents at a time, in their order. The model is left to
`labeller`, files to `formats.exchange`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from medmt5.formats.documents import Document
from medmt5.formats.exchange import FORMATS, NEED_PATH, READERS, reader, writer
from medmt5.formats.gold import BadRecord, Report
from medmt5.formats.lines import size_of
from medmt5.formats.writers import Writer
from medmt5.labeller import Labeller
from medmt5.predictor import Search
from medmt5.progress import Clock

log = logging.getLogger(__name__)

# Documents and characters read and decoded together: enough to fill batches of equal length, little
# enough to stream. One document may be longer.
CHUNK, CHUNK_CHARACTERS = 256, 2**20


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
        self.clock = Clock()
        self.documents = self.passed = self.passed_bytes = 0

    def skipped(self, count: int) -> None:
        self.passed += count
        self.passed_bytes = self.report.read_bytes
        self.clock = Clock()

    def labelled(self, count: int) -> None:
        self.documents += count
        if not self.clock.due():
            return
        done, ahead = self.report.read_bytes - self.passed_bytes, ""
        if self.size and done:
            share = min(100 * self.report.read_bytes // self.size, 100)
            ahead = f"  {share}%  {self.clock.eta(done, self.size - self.passed_bytes)}"
        log.info("%d documents  %s%s", self.passed + self.documents, self.rate(), ahead)

    def rate(self) -> str:
        return f"{self.documents / max(self.clock.look(), 1e-3):.1f}/s"

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
) -> None:
    """Label documents and write them in their order; however it ends, whole documents are written.

    Args:
      labeller: the model.
      documents: whose texts to label.
      out: closed at the end.
      progress: is told of every chunk.
      min_score: spans below it are not written.
    """
    with _Interrupts() as interrupts:

        def label_chunk(chunk: Sequence[Document]) -> None:
            labelled = labeller.label_documents(chunk)
            with interrupts.held():
                for document in labelled:
                    kept = tuple(e for e in document.entities if e.score >= min_score)
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


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a positive number")
    return int(value)


def _batch_size(value: str) -> int | None:
    if value != "auto" and (not value.isdecimal() or int(value) < 1):
        raise argparse.ArgumentTypeError(f"{value!r} is neither a positive number nor auto")
    return None if value == "auto" else int(value)


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
    flags.add_argument("--adapter", help="folder of an adapter that was saved alone, for the model")
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
    flags.add_argument(
        "--labels",
        help="write these only: A,B (all); a model with label prompts is asked for these alone",
    )
    flags.add_argument("--task", help="which of the model's tasks, where their labels differ")
    flags.add_argument(
        "--search",
        choices=("greedy", "beam", "exact"),
        default="greedy",
        help="greedy (default): fastest; beam: the best of --beams; exact: the best of all, as far "
        "as --passes reach (JSONL says whether it is proven)",
    )
    flags.add_argument("--beams", type=_count, default=4, help="of beam search (4)")
    flags.add_argument(
        "--score",
        choices=("sum", "mean", "brevity", "renormalised"),
        default="sum",
        help="what beam and exact search maximise: the sum of log-probabilities (default), their "
        "mean per token, that with T5X's brevity penalty, or the sum among what is allowed",
    )
    flags.add_argument("--passes", type=_count, default=1000, help="of exact search (1000)")
    flags.add_argument(
        "--n-best",
        type=_count,
        default=1,
        help="answers per window, in JSONL's `alternatives`; above 1, beam search",
    )
    flags.add_argument(
        "--calibration",
        metavar="FILE",
        help="correct the scores as tools/reliability.py --fit DEV --json FILE found",
    )
    flags.add_argument(
        "--tags",
        choices=("text",),
        help="for a model tuned elsewhere: its tags are text, <LABEL> of the --labels",
    )
    flags.add_argument(
        "--label-prompt",
        action="store_true",
        default=None,
        help="for a model tuned elsewhere: its source begins with the opening tags of the labels",
    )
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
    from medmt5.compilation import keep_compiled_programs
    from medmt5.launch import errors_to_exit, setup_logging

    setup_logging()
    keep_compiled_programs()
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
    labels = given.labels.split(",") if given.labels is not None else None
    method = "beam" if given.n_best > 1 and given.search == "greedy" else given.search
    if given.n_best > 1 and given.format != "jsonl":
        raise ValueError(f"--n-best is written to JSONL alone, not to {given.format}")
    labeller = Labeller.load(
        given.model,
        adapter=given.adapter,
        batch_size=given.batch_size,
        search=Search(method, max(given.beams, given.n_best), given.score, given.passes),
        n_best=given.n_best,
        task=given.task,
        labels=labels,
        where=given.tags,
        label_prompt=given.label_prompt,
        calibration=given.calibration,
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
    label_stream(labeller, documents, out, progress, min_score=given.min_score)
    progress.end()


if __name__ == "__main__":
    main(sys.argv[1:])
