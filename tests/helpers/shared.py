"""Where the reference numbers and real data are that are no part of the project, if anywhere."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("MEDMT5_SHARED_DIR", Path(__file__).parents[2].parent / "shared"))


def needs(name: str) -> Path:
    """The path of a file or folder there; skips the test, saying so, where there is none."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"no {name} in MEDMT5_SHARED_DIR or ../shared")
    return path
