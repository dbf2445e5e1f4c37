"""Tasks: a SeqIO task that also knows its format, and sources that read files.

What is registered here is plain SeqIO, so anything that trains on SeqIO tasks can train on it. Our
own trainer takes the raw examples and the format instead, and makes ids in numpy at load: the same
examples, without a TensorFlow graph in between.
"""

from __future__ import annotations

import dataclasses
import difflib
import glob
import importlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import seqio
import tensorflow as tf

from medmt5 import task_modules
from medmt5.formats.conll import read_conll, read_lines
from medmt5.tables import DatasetConfig, Identity, Table, task_vocabulary
from medmt5.vocabulary import Vocabulary

DATA_DIR_VARIABLE = "MEDMT5_DATA_DIR"
PART = 1000  # raw examples that `prepare` gets at once under plain SeqIO
MT5_VOCABULARY = "gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model"


class Format(Protocol):
    """How a task family becomes ids. Formats that can be decoded and scored have more methods.

    `prepare` runs once per split on all raw examples; `example` runs at load, with a generator
    seeded by (seed, position), or with None where answers are scored.

    A format keeps the arguments of its constructor as attributes of the same names, so that a cache
    can make it again. One over joined text also has `tokens`, `chunks`, and, to make many examples
    at once, `example_sizes` and `examples`: see `span_corruption`.
    """

    kind: str

    def describe(self) -> dict[str, Any]: ...

    def prepare(
        self, raws: Iterable[Mapping[str, Any]], lengths: Mapping[str, int] | None
    ) -> Sequence[Mapping[str, Any]]: ...

    def example(
        self, raw: Mapping[str, Any], rng: np.random.Generator | None
    ) -> dict[str, Any]: ...


class FileSource(seqio.FunctionDataSource):
    """Raw examples from a Python reader.

    Args:
      read: split -> raw examples; raises ValueError that names file and line.
      splits: the splits that `read` accepts.
      signature: TensorFlow specs of a raw example's fields.
    """

    def __init__(
        self,
        read: Callable[[str], Iterable[Mapping[str, Any]]],
        splits: Sequence[str],
        signature: Mapping[str, tf.TensorSpec],
    ):
        self.read = read
        self.signature = dict(signature)
        super().__init__(self._dataset, splits=splits)

    def _dataset(self, split: str, shuffle_files: bool, seed: int | None = None):
        del shuffle_files, seed
        # Read first: a ValueError raised inside a generator reaches the user as a TensorFlow one.
        raws = [{key: raw[key] for key in self.signature} for raw in self.read(split)]
        return tf.data.Dataset.from_generator(lambda: iter(raws), output_signature=self.signature)


class Task(seqio.Task):
    """A SeqIO task with a format.

    Args:
      make_format: vocabulary -> Format.
      **kwargs: as for `seqio.Task`.
    """

    def __init__(self, *, make_format: Callable[[Vocabulary], Format], **kwargs):
        super().__init__(**kwargs)
        self.make_format = make_format


def register(
    name: str,
    *,
    read: Callable[[str], Iterable[Mapping[str, Any]]],
    splits: Sequence[str],
    signature: Mapping[str, tf.TensorSpec],
    make_format: Callable[[Vocabulary], Format],
    vocabulary_path: str = MT5_VOCABULARY,
    extra_ids: int | None = None,
    metric_objs: Sequence[Any] = (),
) -> Task:
    """Register a task under `name`, for our trainer and for plain SeqIO alike.

    `extra_ids` are the sentinels to append to the vocabulary: 300 for umT5, 100 for T5; none, the
    default here, for mT5. `metric_objs` score free generation where SeqIO's own evaluator runs, as
    in T5X; our evaluation asks the format.
    """
    spm = seqio.SentencePieceVocabulary(vocabulary_path, extra_ids=extra_ids or 0)
    features = {key: seqio.Feature(vocabulary=spm, add_eos=False) for key in ("inputs", "targets")}

    def to_ids(dataset: tf.data.Dataset, sequence_length: Mapping[str, int] | None):
        """The format as one SeqIO preprocessor, with a fixed seed per example."""
        format_ = make_format(Vocabulary(vocabulary_path, extra_ids))

        def generate() -> Iterator[dict[str, np.ndarray]]:
            raws = (decode_strings(raw) for raw in dataset.as_numpy_iterator())
            position = itertools.count()
            # In training SeqIO repeats the raw examples without end before they get here.
            while part := list(itertools.islice(raws, PART)):
                for raw in format_.prepare(part, sequence_length):
                    example = format_.example(raw, np.random.default_rng([0, next(position)]))
                    yield {key: example[key] for key in features}

        ids = tf.TensorSpec([None], tf.int32)
        return tf.data.Dataset.from_generator(
            generate, output_signature=dict.fromkeys(features, ids)
        )

    return seqio.TaskRegistry.add(
        name,
        task_cls=Task,
        source=FileSource(read, splits, signature),
        output_features=features,
        preprocessors=[to_ids],
        make_format=make_format,
        metric_objs=list(metric_objs),
    )


@dataclasses.dataclass
class FreeScores:
    """Scores of free generation for SeqIO's evaluator, as T5X runs it.

    A metric object, not a metric function: those get text, in which tags, ids without a piece, are
    unknown.
    """

    make_format: Callable[[Vocabulary], Any]
    vocabulary_path: str
    model_output_type = seqio.metrics.ModelOutputType.PREDICTION
    scores: Mapping[str, float] | None = None

    def from_model_output(
        self, inputs, model_output, features, target_field_name="targets"
    ) -> FreeScores:
        """Scores of `model_output`, generated ids, for SeqIO's examples `inputs`."""
        del features
        format_ = self.make_format(Vocabulary(self.vocabulary_path))
        golds = [example[target_field_name] for example in inputs]
        sources = [example["inputs"] for example in inputs]
        scores = format_.scores_free(sources, golds, model_output)
        return dataclasses.replace(self, scores=scores)

    def compute(self) -> Mapping[str, float]:
        """The scores by name."""
        assert self.scores is not None
        return self.scores


def register_text(
    name: str, *, read: Callable[[str], Iterable[Mapping[str, Any]]], **kwargs
) -> Task:
    """A task with a `train` split over examples with a `text` field."""
    signature = {"text": tf.TensorSpec([], tf.string)}
    return register(name, read=read, splits=["train"], signature=signature, **kwargs)


def register_conll(
    name: str,
    paths: Mapping[str, Callable[[], str]],
    *,
    make_format: Callable[[Vocabulary], Format],
    vocabulary_path: str = MT5_VOCABULARY,
    rename: Mapping[str, str] = {},
    **kwargs,
) -> Task:
    """A labelling task over CoNLL files; `rename` maps the file's labels to the task's own."""

    def read(split: str) -> Iterator[dict[str, Any]]:
        for sentence in read_conll(paths[split](), labels=tuple(rename) or None):
            tags = [
                "-".join([tag[:1], rename[tag[2:]]]) if tag[2:] in rename else tag
                for tag in sentence.tags
            ]
            yield {"words": list(sentence.words), "tags": tags}

    strings = tf.TensorSpec([None], tf.string)
    return register(
        name,
        read=read,
        splits=list(paths),
        signature={"words": strings, "tags": strings},
        metric_objs=[FreeScores(make_format, vocabulary_path)],
        make_format=make_format,
        vocabulary_path=vocabulary_path,
        **kwargs,
    )


def read_jsonl(path: str, *, field: str | None = "text") -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file; ValueError with file and line if one is broken or lacks `field`."""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}:{number}: not JSON ({error}); a line is one object"
            ) from error
        if not isinstance(value, dict) or not (field is None or isinstance(value.get(field), str)):
            raise ValueError(f"{path}:{number}: no text field {field!r}")
        yield value


def data_path(*relative: str, origin: str) -> str:
    """A file under MEDMT5_DATA_DIR.

    Args:
      *relative: its path there, or a pattern of paths; the first that is there counts.
      origin: where to get it.

    Raises:
      ValueError: the variable is unset or the file is missing; says where to get the data.
    """
    root = os.environ.get(DATA_DIR_VARIABLE)
    if not root:
        raise ValueError(
            f"{DATA_DIR_VARIABLE} is not set; set it to the folder that holds {relative[0]} "
            f"({origin})"
        )
    for pattern in relative:
        if found := sorted(glob.glob(os.path.join(glob.escape(root), pattern))):
            return found[0]
    path = os.path.join(root, relative[0])
    raise ValueError(
        f"{path} does not exist; get the data from {origin}, or see medmt5 data get --help"
    )


def tasks_of(name: str, module: str | None = None) -> list[tuple[Any, float]]:
    """The task, or the tasks of a mixture, with their rates.

    Args:
      name: as registered.
      module: Python module to import first; those that gin files named are imported too.
    """
    task_modules.import_put_off()
    if module:
        importlib.import_module(module)
    provider = get_task_or_mixture(name)
    if isinstance(provider, seqio.Mixture):
        return [(task, float(provider.get_rate(task))) for task in provider.tasks]
    return [(provider, 1.0)]


def open_split(
    task: Any, split: str, lengths: Mapping[str, int], vocabulary: Vocabulary | None, seed: int = 0
) -> tuple[Any, Iterable[Mapping[str, Any]]]:
    """A task's format and the raw examples of a split, one after another.

    Args:
      task: a SeqIO task, ours or plain.
      split: its name.
      lengths: for the preprocessors of a plain SeqIO task.
      vocabulary: replaces the one that the task was registered with.
      seed: for the preprocessors of a plain SeqIO task.

    Raises:
      ValueError: a missing split.
    """
    if split not in task.splits:
        raise ValueError(
            f"task {task.name} has no split {split!r}; it has {', '.join(task.splits)}"
        )
    if isinstance(task, Task):
        return task.make_format(vocabulary or task_vocabulary(task)), task.source.read(split)
    dataset = task.get_dataset(lengths, split, shuffle=False, seed=seed)
    return Identity(), map(decode_strings, dataset.as_numpy_iterator())


def read_tables(config: DatasetConfig, vocabulary: Vocabulary | None) -> list[Table]:
    """`batches.read_tables` from the sources."""
    lengths = config.task_feature_lengths
    tables = []
    for task, rate in tasks_of(config.mixture_or_task_name, config.module):
        format_, raws = open_split(task, config.split, lengths, vocabulary, config.seed)
        tables.append(Table(task.name, rate, format_, format_.prepare(raws, lengths)))
    return tables


def all_names(module: str | None = None) -> list[str]:
    """Names of all tasks and mixtures: those that ship with medmt5, and those of a module."""
    ours = importlib.import_module("medmt5.tasks")
    for each in [f"{ours.__name__}.{name}" for name in ours.MODULES] + ([module] if module else []):
        importlib.import_module(each)
    return sorted([*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()])


def get_task_or_mixture(name: str) -> Any:
    """The registered task or mixture, or that of files (`formats.folder`).

    Raises:
      ValueError: there is none; says near names.
    """
    if "/" in name:  # which no registered name has
        from medmt5.formats import folder

        name = folder.registered(name)
    registered = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if name not in registered and name not in (names := all_names()):
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}? " if near else "medmt5 inspect --list shows all. "
        raise ValueError(
            f"no task or mixture {name!r} is registered. {hint}One of your own is registered by "
            "its module: set MIXTURE_OR_TASK_MODULE; files of yours are named by their path, as in "
            "'folder/en-name'"
        )
    return seqio.get_mixture_or_task(name)


def decode_strings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Numpy byte strings of a TensorFlow example as Python strings."""

    def one(value):
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if isinstance(value, np.ndarray) and value.dtype == object:
            return [one(v) for v in value]
        return value

    return {key: one(value) for key, value in raw.items()}
