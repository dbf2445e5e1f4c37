"""Documents as records: in TFRecord a `tf.train.Example` each, in ArrayRecord a JSON object each.

A feature of the example, or a key of the object, is a field of the document, in UTF-8. ArrayRecord
can be read at any place, as grain does, and needs no TensorFlow.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from medmt5.corpus.documents import Document
from medmt5.files import is_remote

# Name of a format -> how its files end, and the module that it needs.
RECORDS = {
    "tfrecord": (".tfrecord", "tensorflow"),
    "arrayrecord": (".array_record", "array_record.python.array_record_module"),
}
SUFFIXES = tuple(suffix for suffix, _ in RECORDS.values())
# One record per chunk, as TFDS writes them: any of them is read alone.
ARRAY_OPTIONS = "group_size:1"


def check(format: str, folder: str) -> None:
    """Whether a format can be written to a folder.

    Raises:
      ValueError: its library is not installed, or does not write there.
    """
    if format in RECORDS:
        _library(format)
    if format == "arrayrecord" and is_remote(folder):
        raise ValueError(
            f"ArrayRecord's library does not write to {folder}; set format = 'tfrecord', or build "
            "in a local folder and copy it"
        )


def _library(format: str) -> Any:
    module = RECORDS[format][1]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f'format {format!r} needs {module.partition(".")[0]}; pip install "medmt5[data]", or '
            "set format = 'jsonl'"
        ) from error


class RecordWriter:
    """Writes documents to a file, as a context manager.

    Args:
      path: where to write.
      name: of the file once it is there; its end tells the format.
    """

    def __init__(self, path: str, name: str):
        if name.endswith(".tfrecord"):
            tf = _library("tfrecord")
            self._writer, self._bytes = tf.io.TFRecordWriter(path), _example_bytes(tf.train)
        else:
            self._writer = _library("arrayrecord").ArrayRecordWriter(path, ARRAY_OPTIONS)
            self._bytes = _json_bytes

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.close()

    def write(self, document: Document) -> None:
        self._writer.write(self._bytes(document))


def _example_bytes(train: Any) -> Callable[[Document], bytes]:
    def convert(document: Document) -> bytes:
        features = {
            name: train.Feature(bytes_list=train.BytesList(value=[value.encode()]))
            for name, value in document.to_json().items()
        }
        example = train.Example(features=train.Features(feature=features))
        # Or the order of the features would be one of chance.
        return example.SerializeToString(deterministic=True)

    return convert


def _json_bytes(document: Document) -> bytes:
    return json.dumps(document.to_json(), ensure_ascii=False).encode()


def read_records(path: str) -> Iterator[Document]:
    """The documents of a file.

    Raises:
      ValueError: the file is broken.
    """
    read = _examples if path.endswith(".tfrecord") else _objects
    for number, fields in enumerate(read(path), 1):
        yield Document.from_json(fields, f"{path}:{number}")


def _examples(path: str) -> Iterator[dict[str, str]]:
    tf = _library("tfrecord")
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            yield {name: value.bytes_list.value[0].decode() for name, value in features.items()}
    except tf.errors.DataLossError as error:
        raise ValueError(f"{path} is broken: {error.message}") from error


def _objects(path: str) -> Iterator[dict[str, str]]:
    try:
        reader = _library("arrayrecord").ArrayRecordReader(path, "")
        count = reader.num_records()
        # The library takes a file that is cut off for one without records; ours have some.
        if not count:
            raise ValueError(f"{path} is no ArrayRecord file, or is cut off")
        for _ in range(count):
            yield json.loads(reader.read())
    except RuntimeError as error:
        raise ValueError(f"{path} is broken: {error}") from error
