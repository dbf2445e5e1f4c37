"""Documents as TFRecord: a `tf.train.Example` each, whose features are the fields, in UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medmt5.corpus.documents import Document


def _tensorflow() -> Any:
    try:
        import tensorflow
    except ImportError as error:
        raise ValueError(
            'TFRecord needs TensorFlow; pip install "medmt5[data]", or set format = "jsonl"'
        ) from error
    return tensorflow


class RecordWriter:
    """Writes documents to a file, as a context manager."""

    def __init__(self, path: str):
        self._tf = _tensorflow()
        self._writer = self._tf.io.TFRecordWriter(path)

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.close()

    def write(self, document: Document) -> None:
        train = self._tf.train
        features = {
            name: train.Feature(bytes_list=train.BytesList(value=[value.encode()]))
            for name, value in document.to_json().items()
        }
        example = train.Example(features=train.Features(feature=features))
        # Or the order of the features would be one of chance.
        self._writer.write(example.SerializeToString(deterministic=True))


def read_records(path: str) -> Iterator[Document]:
    """The documents of a file."""
    tf = _tensorflow()
    for number, record in enumerate(tf.data.TFRecordDataset(path).as_numpy_iterator(), 1):
        features = tf.train.Example.FromString(record).features.feature
        fields = {name: value.bytes_list.value[0].decode() for name, value in features.items()}
        yield Document.from_json(fields, f"{path}:{number}")
