"""How fast a corpus is built on one core, and in how much memory: readers, steps, duplicates.

    python tools/bench_corpus.py --json corpus.jsonl
    python tools/bench_corpus.py --inputs notes/*.jsonl.gz --only 'step *' --repeats 9

Text is generated (`bench_corpus_files`), or that of JSONL files. Each case has a process of its
own, so that memory is its own: the greatest, and how much that grew in the second half of the
first repeat, which streaming keeps small. MB are of text in UTF-8, not of compressed files; seconds
are of CPU, which other work on the machine disturbs less than the clock. A repeat ends after
--seconds, between documents. Peers, where they are installed, take turns with ours at every
document; `times` is their seconds over ours. Prints Markdown; --json adds a line per case, which
`corpus_scale` makes a plan of.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fnmatch
import importlib.metadata
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import bench_corpus_files as files
from measuring import peak_mib, quartiles

from medmt5.corpus.documents import Document
from medmt5.corpus.readers import reader_of

STEPS = (
    *("unicode", "boilerplate", "language", "sentences", "quality", "medical", "personal"),
    "contamination",
)
STAGES = ("clean", "find duplicates", "finish")
CASES = (
    *(f"read {name}" for name in files.FORMATS),
    *(f"step {name}" for name in STEPS),
    "keys exact",
    "keys near",
    "near duplicates",
    "build",
)
EVALUATION = 50  # documents that stand for an evaluation set
LIBRARIES = ("numpy", "py3langid", "trafilatura", "pypdf", "datasketch", "langid", "ftfy")


class Clock:
    """CPU seconds of functions that take turns, repeat by repeat."""

    def __init__(self, limit: float):
        self.limit = limit
        self.repeats: list[dict[str, float]] = []
        self._half: float | None = None
        self.grown: float | None = None

    def run(self, documents: Iterator[Document], functions: dict[str, Callable]) -> None:
        """One repeat: every function on every document, until the first has had its seconds."""
        spent = dict.fromkeys(functions, 0.0)
        first = next(iter(functions))
        count = size = 0
        for document in documents:
            for name, function in functions.items():
                began = time.process_time()
                function(document)
                spent[name] += time.process_time() - began
            count += 1
            size += len(document.text.encode())
            self.watch(spent[first])
            if spent[first] > self.limit:
                break
        self.add(spent, count, size)

    def watch(self, seconds: float) -> None:
        """Note the memory at half of the first repeat."""
        if self._half is None and seconds > self.limit / 2:
            self._half = peak_mib()

    def add(self, spent: dict[str, float], documents: int, size: int) -> None:
        # A repeat that was over before half of its time has no second half.
        if not self.repeats and self._half is not None:
            self.grown = peak_mib() - self._half
        self.repeats.append({"documents": documents, "bytes": size, **spent})

    def record(self, ours: str) -> dict[str, Any]:
        """What was measured; the others are peers."""
        spent = {
            name: [repeat[name] for repeat in self.repeats]
            for name in self.repeats[0]
            if name not in ("documents", "bytes")
        }
        sizes = [repeat["bytes"] for repeat in self.repeats]
        record = _speed(spent[ours], sizes)
        record |= {
            "documents": self.repeats[0]["documents"],
            "megabytes": sizes[0] / 1e6,
            "peak_mib": peak_mib(),
            "grown_mib": self.grown,
        }
        for peer in spent:
            if peer != ours:
                ratios = [b / a for a, b in zip(spent[ours], spent[peer], strict=True)]
                record.setdefault("peers", {})[peer] = _speed(spent[peer], sizes) | {
                    "times": quartiles(ratios)
                }
        return record


def _speed(seconds: Sequence[float], sizes: Sequence[float]) -> dict[str, Any]:
    # The clock has steps of up to a hundredth of a second.
    speeds = [size / 1e6 / max(spent, 1e-3) for size, spent in zip(sizes, seconds, strict=True)]
    return {"seconds": list(seconds), "mb_per_second": quartiles(speeds)}


def measure(case: str, folder: str, repeats: int, seconds: float) -> dict[str, Any]:
    """One case, in a process of its own.

    Args:
      case: of `CASES`.
      folder: of the files that `prepare` wrote.
      seconds: of a repeat.
    """
    kind, _, name = case.partition(" ")
    clock = Clock(seconds)
    if kind == "read":
        record = _read(name, Path(folder), clock, repeats)
    elif case == "build":
        record = _build(Path(folder), repeats)
    elif case == "near duplicates":
        record = _near_duplicates(Path(folder), clock, repeats)
    else:
        ours = _step(name, folder) if kind == "step" else _keys(name)
        functions = {case: ours, **_peers(case)}
        for function in functions.values():
            for document in _some(folder):
                function(document)  # loads what is loaded once
        for _ in range(repeats):
            clock.run(_documents(folder), functions)
        record = clock.record(case)
    return {"case": case, **record}


def _documents(folder: str | Path) -> Iterator[Document]:
    reader = reader_of("generated", "jsonl", {})
    for item in reader(os.path.join(folder, files.FORMATS["jsonl"].name)):
        assert isinstance(item, Document), item
        yield item


def _some(folder: str) -> list[Document]:
    return [document for document, _ in zip(_documents(folder), range(8), strict=False)]


def _read(name: str, folder: Path, clock: Clock, repeats: int) -> dict[str, Any]:
    format_ = files.FORMATS[name]
    path = folder / format_.name
    reader = reader_of("generated", name, format_.settings)
    for _ in range(repeats):
        count = size = 0
        began = time.process_time()
        items = reader(str(path))
        for item in items:
            assert isinstance(item, Document), item
            count += 1
            size += len(item.text.encode())
            spent = time.process_time() - began
            clock.watch(spent)
            if spent > clock.limit:
                break
        clock.add({name: time.process_time() - began}, count, size)
    record = clock.record(name)  # before more is read
    size = sum(len(document.text.encode()) for document in _documents(folder))
    return record | {"file_bytes_per_byte": path.stat().st_size / size}


def _step(name: str, folder: str) -> Callable[[Document], Any]:
    from medmt5.corpus.steps import STEPS as MADE

    if name == "contamination":
        return MADE[name](files=(os.path.join(folder, "evaluation.txt"),))
    return MADE[name]()


def _keys(name: str) -> Callable[[Document], Any]:
    from medmt5.corpus import duplicates

    if name == "exact":
        return lambda document: duplicates.exact_key(document.text)
    return lambda document: duplicates.bands(duplicates.signature(document.text, document.language))


def _peers(case: str) -> dict[str, Callable[[Document], Any]]:
    """Others that do the same, if they are installed."""
    made: dict[str, Callable[[Document], Any]] = {}
    if case == "keys near" and _installed("datasketch"):
        made["datasketch MinHash"] = _minhash
    if case == "step language" and _installed("langid"):
        import langid

        made["langid, whole text"] = lambda document: langid.classify(document.text)
    if case == "step unicode" and _installed("ftfy"):
        import ftfy

        made["ftfy.fix_text"] = lambda document: ftfy.fix_text(document.text)
    return made


def _installed(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _minhash(document: Document) -> Any:
    """A signature of as many numbers of the same shingles."""
    import datasketch

    from medmt5.corpus import duplicates
    from medmt5.corpus.steps.words import WORD

    words = WORD.findall(document.text.lower())
    n = duplicates.WORDS
    shingles = {" ".join(words[i : i + n]).encode() for i in range(max(len(words) - n + 1, 1))}
    signature = datasketch.MinHash(num_perm=duplicates.PERMUTATIONS)
    signature.update_batch(list(shingles))
    return signature


def _config(folder: Path) -> Any:
    from medmt5.corpus import config

    # Sentences are split where the text needs it, which most does not.
    steps = "".join(f'[[steps]]\nname = "{name}"\n' for name in STEPS if name != "sentences")
    path = folder / "corpus.toml"
    path.write_text(
        '[[sources]]\nname = "generated"\nformat = "jsonl"\nlanguage_key = "language"\n'
        f'paths = ["{files.FORMATS["jsonl"].name}"]\n{steps}files = ["evaluation.txt"]\n'
    )
    return config.load(str(path))


def _near_duplicates(folder: Path, clock: Clock, repeats: int) -> dict[str, Any]:
    """The whole of it: signatures, their keys on disk, and what they have in common."""
    from medmt5.corpus import duplicates, matching

    case, config = "near duplicates", _config(folder)
    peer = "datasketch MinHash and LSH" if _installed("datasketch") else None
    texts = list(_documents(folder))
    size = sum(len(document.text.encode()) for document in texts)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as work:
            began = time.process_time()
            with matching.Keys(config, work, "a", 1, 0) as keys:
                for document in texts:
                    keys.add(document)
            matching.write_names(work, ["a"])
            found = matching.find(matching.PartitionJob(config, work, 0))
            spent = {case: time.process_time() - began}
        if peer:
            import datasketch

            began = time.process_time()
            rows = duplicates.PERMUTATIONS // duplicates.BANDS
            index = datasketch.MinHashLSH(
                num_perm=duplicates.PERMUTATIONS, params=(duplicates.BANDS, rows)
            )
            for number, document in enumerate(texts):
                signature = _minhash(document)
                index.query(signature)
                index.insert(number, signature)
            spent[peer] = time.process_time() - began
        clock.add(spent, len(texts), size)
    return clock.record(case) | {"found": found}


def _build(folder: Path, repeats: int) -> dict[str, Any]:
    """The three jobs of a build, and what they leave on disk."""
    from medmt5.corpus import matching, shards

    config = _config(folder)
    ((source, path),) = config.files()
    name, texts = "generated-00000", list(_documents(folder))
    size = sum(len(document.text.encode()) for document in texts)
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    peaks: dict[str, float] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as place:
            work, output = os.path.join(place, "work"), os.path.join(place, "corpus")
            job = shards.FileJob(config, work, output, name, 0, source, path, 1)

            def clean(job=job, work=work) -> None:
                shards.clean(job)
                matching.write_names(work, [name])

            jobs = (
                clean,
                lambda work=work: matching.find(matching.PartitionJob(config, work, 0)),
                lambda job=job: shards.finish(job),
            )
            for stage, run in zip(STAGES, jobs, strict=True):
                began = time.process_time()
                run()
                seconds[stage].append(time.process_time() - began)
                peaks.setdefault(stage, peak_mib())
            sizes = {kind: _bytes_below(Path(work) / kind) for kind in ("keys", "cleaned", "found")}
            sizes["output"] = _bytes_below(Path(output))
    total = [sum(each) for each in zip(*seconds.values(), strict=True)]
    return _speed(total, [size] * repeats) | {
        "documents": len(texts),
        "megabytes": size / 1e6,
        "stages": {stage: _speed(spent, [size] * repeats) for stage, spent in seconds.items()},
        "bytes": sizes,
        "peak_mib": peak_mib(),
        "peaks_mib": peaks,
        "grown_mib": None,
    }


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def prepare(folder: Path, given: argparse.Namespace) -> int:
    """Write the files of all cases; returns how many documents they hold."""
    texts = list(_given(given) if given.inputs else files.documents(given.megabytes, given.seed))
    for case in _chosen(given.only):
        kind, _, name = case.partition(" ")
        if kind == "read" and name != "jsonl":
            files.write(folder, name, texts)
    files.write(folder, "jsonl", texts)
    some = files.documents(1.0, given.seed + 1, rare=0.5)
    lines = [document.text for document, _ in zip(some, range(EVALUATION), strict=False)]
    (folder / "evaluation.txt").write_text("\n".join(lines), encoding="utf-8")
    return len(texts)


def _given(given: argparse.Namespace) -> Iterator[Document]:
    """Documents of JSONL files, up to so many MB."""
    left = given.megabytes * 1e6
    for path in given.inputs:
        for item in reader_of("given", "jsonl", {"language": given.language})(path):
            if isinstance(item, Document) and left > 0:
                left -= len(item.text.encode())
                yield item


def _chosen(pattern: str) -> list[str]:
    return fnmatch.filter(CASES, pattern)


def machine() -> dict[str, Any]:
    """What the figures are of."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES if _installed(name)}
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": versions,
    }


def table(records: Sequence[dict[str, Any]]) -> str:
    """Records as Markdown."""
    lines = [
        "| case | MB/s per core (quartiles) | file bytes per byte | peak MiB | grown MiB | peers |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for record in records:
        lines.append(_row(record["case"], record))
        for stage, speed in record.get("stages", {}).items():
            lines.append(_row(f"build: {stage}", speed | {"peak_mib": record["peaks_mib"][stage]}))
    return "\n".join(lines)


def _row(name: str, record: dict[str, Any]) -> str:
    low, middle, high = record["mb_per_second"]
    peers = "; ".join(
        f"{peer} {speed['mb_per_second'][1]:.3g}, times {_spread(speed['times'])}"
        for peer, speed in record.get("peers", {}).items()
    )
    numbers = (
        f"{record[key]:{style}}" if record.get(key) is not None else ""
        for key, style in (
            ("file_bytes_per_byte", ".2f"),
            ("peak_mib", ".0f"),
            ("grown_mib", ".1f"),
        )
    )
    return f"| {name} | {middle:.3g} ({low:.3g}-{high:.3g}) | {' | '.join(numbers)} | {peers} |"


def _spread(values: Sequence[float]) -> str:
    low, middle, high = values
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--inputs", nargs="+", metavar="FILE", help="JSONL, instead of generated")
    flags.add_argument("--language", default="", help="of --inputs that do not say theirs")
    flags.add_argument("--megabytes", type=float, default=8.0, help="of text, at most")
    flags.add_argument("--seconds", type=float, default=3.0, help="of a repeat, at most")
    flags.add_argument("--repeats", type=int, default=5)
    flags.add_argument("--seed", type=int, default=0, help="of generated text")
    flags.add_argument("--only", default="*", help="pattern of cases, such as 'step *'")
    flags.add_argument("--list", action="store_true", help="show the cases")
    flags.add_argument("--json", metavar="FILE", help="add a line per case")
    given = flags.parse_args(arguments)
    if not _chosen(given.only):
        flags.error(f"--only {given.only!r} is none of {', '.join(CASES)}")
    return given


def main(arguments: Sequence[str]) -> None:
    given = parse(arguments)
    if given.list:
        print("\n".join(_chosen(given.only)))
        return
    from experiment_runs import commit  # brings jax, which the cases must not have

    shown = {name: value for name, value in vars(given).items() if name != "json"}
    facts = {"commit": commit(), "machine": machine(), "flags": shown}
    records = []
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        documents = prepare(Path(folder), given)
        print(f"{documents:,} documents; commit {facts['commit']}; {facts['machine']}\n")
        for case in _chosen(given.only):
            print(f"{case} ...", file=sys.stderr, flush=True)
            with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
                options = (case, folder, given.repeats, given.seconds)
                record = pool.submit(measure, *options).result()
            records.append(record)
            if given.json:
                with open(given.json, "a", encoding="utf-8") as file:
                    file.write(json.dumps(facts | record) + "\n")
    print(table(records))


if __name__ == "__main__":
    main(sys.argv[1:])
