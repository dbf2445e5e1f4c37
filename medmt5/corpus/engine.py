"""Runs jobs: one after the other, on the cores of this machine, or by Apache Beam on many.

Jobs read and write files and share nothing, so what runs them changes only the time. A job's
result is kept as JSON when all that it writes is written; a restart takes it from there.
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from etils import epath

from medmt5.files import is_file_error, write_text
from medmt5.progress import Clock, duration

log = logging.getLogger(__name__)

# Seconds before a job is tried again whose file system failed.
WAITS = (1.0, 10.0)


class Task(NamedTuple):
    """A job by name, a key of all that its result depends on, and how much work it is."""

    name: str
    key: str
    job: Any
    size: int = 1


def results(
    tasks: Sequence[Task],
    function: Callable[[Any], Any],
    *,
    what: str,
    folder: str,
    workers: int = 1,
    beam: Sequence[str] | None = None,
) -> list[Any]:
    """Results of a function for jobs; those that are kept are not made again.

    A job whose file system fails is tried again, and then left out while the others go on; any
    other error ends the run.

    Args:
      tasks: their jobs can be pickled.
      function: can be pickled; gives what JSON can hold.
      what: names the jobs in progress lines.
      folder: of the kept results.
      workers: processes of this machine.
      beam: options of Apache Beam, such as `--runner=DataflowRunner`; None runs without it.

    Raises:
      OSError: some jobs failed, and what the first of them said.
      ValueError: Beam is asked for and not installed.
    """
    kept = [_kept(folder, task) for task in tasks]
    # Large ones first, or the last worker would have one when the others are done.
    missing = [task for task, found in zip(tasks, kept, strict=True) if "result" not in found]
    missing.sort(key=lambda task: -task.size)
    if len(missing) < len(tasks):
        log.info("%s: %d of %d are there", what, len(tasks) - len(missing), len(tasks))
    _run(missing, functools.partial(_keep, function, folder), what, workers, beam)
    if missing:
        kept = [_kept(folder, task) for task in tasks]
    failed = [
        found.get("error", f"{task.name}: its result could not be written to {folder}")
        for task, found in zip(tasks, kept, strict=True)
        if "result" not in found
    ]
    if failed:
        raise OSError(
            f"{what}: {len(failed)} of {len(tasks)} failed, the others are kept; when this is put "
            f"right, the same command goes on. {failed[0]}"
        )
    return [found["result"] for found in kept]


def _keep(function: Callable[[Any], Any], folder: str, task: Task) -> None:
    """Run a job and keep its result, when all else that it writes is written."""
    path, told = _path(folder, task.name), ""
    for wait in (*WAITS, None):
        try:
            write_text(path, _text(task, result=function(task.job)))
            return
        except Exception as error:
            if not is_file_error(error):
                error.add_note(f"in {task.name}")
                raise
            told = f"{task.name}: {type(error).__name__}: {error}"
        if wait is not None:
            log.warning("%s; tried again in %g s", told, wait)
            time.sleep(wait)
    try:
        write_text(path, _text(task, error=told))
    except Exception as error:
        if not is_file_error(error):
            raise
        log.warning("%s; nor can this be written: %s", told, error)


def _text(task: Task, **outcome: Any) -> str:
    return json.dumps({"key": task.key, **outcome}, ensure_ascii=False)


def _kept(folder: str, task: Task) -> dict[str, Any]:
    """A kept `result` or `error`; neither if there is none of this key."""
    try:
        stored = json.loads(epath.Path(_path(folder, task.name)).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return stored if stored.get("key") == task.key else {}


def _path(folder: str, name: str) -> str:
    return os.path.join(folder, f"{name}.json")


def _run(
    tasks: Sequence[Task],
    function: Callable[[Task], None],
    what: str,
    workers: int,
    beam: Sequence[str] | None,
) -> None:
    if not tasks:
        return
    if beam is not None:
        _run_on_beam(tasks, function, what, beam)
        return
    progress = _Progress(what, tasks)
    for task in _done(tasks, function, workers):
        progress.one(task)


def _done(tasks: Sequence[Task], function: Callable[[Task], None], workers: int) -> Iterator[Task]:
    if workers == 1:
        for task in tasks:
            function(task)
            yield task
        return
    # A fork would copy locks of the threads that libraries have started.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        min(workers, len(tasks)), context, initializer=_start_worker
    ) as pool:
        futures = {pool.submit(function, task): task for task in tasks}
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise OSError(
                f"{error}; if memory was short, take fewer --workers: the same command goes on"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # Or Ctrl-C would wait for jobs of an hour.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _start_worker() -> None:
    """Ctrl-C is for the process that asked for the work; without that one there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _run_on_beam(
    tasks: Sequence[Task], function: Callable[[Task], None], what: str, options: Sequence[str]
) -> None:
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError(
            'Apache Beam is not installed; pip install "medmt5[beam]", or leave --runner out'
        ) from error
    clock = Clock()
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = (
            pipeline
            | "jobs" >> beam.Create(list(tasks))
            # Or all of them would be one worker's.
            | "spread" >> beam.Reshuffle()
            | what >> beam.Map(function)
        )
    log.info("%s: %d in %s", what, len(tasks), duration(clock.look()))


class _Progress:
    """A line every ten seconds, and one at the end."""

    def __init__(self, what: str, tasks: Sequence[Task]):
        self.what, self.total, self.count = what, len(tasks), 0
        self.size, self.done = sum(task.size for task in tasks), 0
        self.clock = Clock()

    def one(self, task: Task) -> None:
        self.count += 1
        self.done += task.size
        if self.count == self.total:
            log.info("%s: %d in %s", self.what, self.total, duration(self.clock.look()))
        elif self.clock.due():
            eta = self.clock.eta(max(self.done, 1), self.size)
            log.info("%s: %d of %d  %s", self.what, self.count, self.total, eta)
