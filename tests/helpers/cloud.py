"""A `gs://` that is a folder, through etils' own code for TensorFlow, without TensorFlow."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


class OpError(Exception):
    """As TensorFlow's: no OSError."""


OpError.__module__ = "tensorflow.python.framework.errors_impl"


class NotFoundError(OpError):
    pass


class FailedPreconditionError(OpError):
    pass


class Cloud:
    """Files by their `gs://` names, with the methods of `tf.io.gfile` that etils calls.

    Attributes:
      folder: where they are.
      failures: reads that fail before one succeeds.
    """

    def __init__(self, folder: Path, monkeypatch):
        if not importlib.util.find_spec("tensorflow"):
            pytest.skip("etils looks for TensorFlow before it takes gs:// for its")
        self.folder, self.failures = folder, 0
        names = (OpError, NotFoundError, FailedPreconditionError)
        fake = SimpleNamespace(
            io=SimpleNamespace(gfile=self), errors=SimpleNamespace(**{e.__name__: e for e in names})
        )
        monkeypatch.setitem(sys.modules, "tensorflow", fake)

    def local(self, path) -> Path:
        assert str(path).startswith("gs://"), path
        return self.folder / str(path).removeprefix("gs://")

    def GFile(self, path, mode):
        return GFile(self, self.local(path), mode)

    def exists(self, path):
        return self.local(path).exists()

    def isdir(self, path):
        return self.local(path).is_dir()

    def listdir(self, path):
        return os.listdir(self.local(path))

    def glob(self, pattern):
        found = self.folder.glob(pattern.removeprefix("gs://"))
        return [f"gs://{path.relative_to(self.folder)}" for path in found]

    def makedirs(self, path):
        self.local(path).mkdir(parents=True, exist_ok=True)

    def remove(self, path):
        self.local(path).unlink()

    def rmtree(self, path):
        shutil.rmtree(self.local(path))

    def rename(self, path, target, overwrite=False):
        assert overwrite
        self.local(path).replace(self.local(target))

    def stat(self, path):
        try:
            stat = self.local(path).stat()
        except FileNotFoundError as error:
            raise NotFoundError(str(error)) from None
        return SimpleNamespace(is_directory=False, length=stat.st_size, mtime_nsec=stat.st_mtime_ns)


class GFile:
    """What `tf.io.gfile.GFile` has, and no more: no `writelines`, `closed` or `readinto`."""

    def __init__(self, cloud: Cloud, path: Path, mode: str):
        self._cloud, self._path, self.mode = cloud, path, mode
        self._opened = None  # at the first use

    @property
    def _file(self):
        if self._opened is None:
            try:
                self._opened = open(self._path, self.mode)
            except FileNotFoundError as error:
                raise NotFoundError(str(error)) from None
        return self._opened

    def read(self, n=-1):
        file = self._file
        if self._cloud.failures:
            self._cloud.failures -= 1
            raise OpError("connection reset")
        return file.read(n)

    def write(self, content):
        self._file.write(content)

    def seek(self, offset, whence=0):
        self._file.seek(offset, whence)

    def tell(self):
        return self._file.tell()

    def seekable(self):
        return True

    def readline(self):
        return self._file.readline()

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._file)

    def flush(self):
        self._file.flush()

    def close(self):
        if self._opened is not None:
            self._opened.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
