"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the small real data sets (cxr/, cough/, ...): $MMGEN_DATA, or ../shared/data beside the project."""
    folder = Path(os.environ.get("MMGEN_DATA") or PROJECT.parent / "shared" / "data")
    if not (folder / "cxr" / "manifest.csv").is_file():
        pytest.skip(f"no real data in {folder}; set MMGEN_DATA to their folder to run this test")
    return folder
