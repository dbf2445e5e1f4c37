"""Paths that may be local or remote (`gs://...`), through etils.epath."""

from __future__ import annotations

import os

from etils import epath


def is_remote(path: str) -> bool:
    return "://" in path


def absolute(path: str) -> str:
    """An absolute path; `gs://` ones are so already."""
    return path if is_remote(path) else os.path.abspath(path)


def write_text(path: str, text: str) -> None:
    """Write a UTF-8 file whole or not at all, making its folder."""
    target = epath.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
