"""Paths that may be local or remote (`gs://...`), through etils.epath."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath


def is_remote(path: str) -> bool:
    return "://" in path


def absolute(path: str) -> str:
    """An absolute path; `gs://` ones are so already."""
    return path if is_remote(path) else os.path.abspath(path)


def is_file_error(error: BaseException) -> bool:
    """Whether a file system failed; TensorFlow's errors of `gs://` are no OSErrors."""
    tensorflow = "tensorflow.python.framework.errors_impl"
    return isinstance(error, OSError) or type(error).__module__ == tensorflow


class File(io.RawIOBase):
    """An open file of any file system, with what libraries expect of a local one.

    TensorFlow's files of `gs://` lack some of it: `seek` gives None, and errors are no OSErrors.

    Attributes:
      failed: whether the file system had an error: libraries raise OSErrors for damage too.
    """

    def __init__(self, file: Any):
        self._file = file
        self.failed = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._asked(self._file.read, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and offset < 0:  # of damage in an archive: no fault of the system
            raise ValueError(f"negative position {offset}")
        self._asked(self._file.seek, offset, whence)
        return self._asked(self._file.tell)

    def _asked(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            self.failed = True
            if isinstance(error, OSError):
                raise
            missing = type(error).__name__ == "NotFoundError"
            raise (FileNotFoundError if missing else OSError)(str(error)) from error


@contextlib.contextmanager
def target(path: str) -> Iterator[str]:
    """Where to write a file that then gets its name; its folder is made.

    A remote file appears when it is closed, so it is written under its own name.
    """
    epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
    if is_remote(path):
        yield path
        return
    # Not one name for all: a job may run twice at once, as in Dataflow.
    temporary = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def write_text(path: str, text: str) -> None:
    """Write a UTF-8 file whole or not at all, making its folder."""
    with target(path) as temporary:
        epath.Path(temporary).write_text(text, encoding="utf-8")


def digest(path: str) -> dict[str, Any]:
    """`bytes` and `sha256` of a file."""
    size, sha256 = 0, hashlib.sha256()
    with epath.Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            sha256.update(block)
    return {"bytes": size, "sha256": sha256.hexdigest()}


def read_json_object(path: str) -> dict[str, Any]:
    """What a JSON file of a model's folder holds.

    Raises:
      ValueError: it is missing, not JSON, or no object.
    """
    file = epath.Path(path)
    if not file.is_file():
        raise ValueError(f"{path} is missing; copy the folder again, or give another")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is not JSON ({error}); copy or export it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a JSON object")
    return content


MANIFEST = "SHA256SUMS"


def write_manifest(folder: str, *, leave_out: Sequence[str] = ()) -> None:
    """Write the checksums of the files of a local folder, as `sha256sum -c` reads them."""
    names = [name for name in _files(folder) if name not in leave_out]
    lines = [f"{digest(os.path.join(folder, name))['sha256']}  {name}\n" for name in names]
    write_text(os.path.join(folder, MANIFEST), "".join(lines))


def check_manifest(path: str) -> None:
    """Compare files with the checksums in their folder or the one above, where there are any.

    Files that the manifest does not list are not looked at; of a checkpoint within a model
    directory only its own files and those beside it are.

    Raises:
      ValueError: a file is missing or differs.
    """
    path = os.path.abspath(path)
    for folder in (path, os.path.dirname(path)):
        manifest = os.path.join(folder, MANIFEST)
        if not os.path.isfile(manifest):
            continue
        with open(manifest, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        for number, line in enumerate(lines, 1):
            checksum, _, name = line.partition("  ")
            if not name or os.path.isabs(name) or ".." in name.split("/"):
                raise ValueError(f"{manifest}:{number}: not a line of sha256sum: {line[:80]!r}")
            file_path = os.path.join(folder, name)
            if os.path.dirname(name) and not file_path.startswith(path + os.sep):
                continue
            if not os.path.isfile(file_path):
                raise ValueError(f"{file_path} is missing; {manifest} lists it: copy it again")
            if digest(file_path)["sha256"] != checksum:
                raise ValueError(
                    f"{file_path} is damaged: its bytes are not those that {manifest} lists; "
                    "copy it again"
                )
        return


def _files(folder: str) -> list[str]:
    found = []
    for parent, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in names]
    return sorted(name.replace(os.sep, "/") for name in found if name != MANIFEST)
