"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[1]

# Matrices in tests are so small that threads only wait for each other. Set before torch is imported, and inherited by
# the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Scripts that tests start in processes of their own find the package and the helpers, too.
_PATHS = [PROJECT, PROJECT / "tests" / "helpers"]
os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, _PATHS), *filter(None, [os.environ.get("PYTHONPATH")])])

# Seconds for a test that is marked slow and does not say otherwise; setup.cfg has the limit of all others.
SLOW_TIMEOUT = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests may take longer than others."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the small real data sets (cxr/, cough/, ...): $MMGEN_DATA, or ../shared/data beside the project."""
    folder = Path(os.environ.get("MMGEN_DATA") or PROJECT.parent / "shared" / "data")
    if not (folder / "cxr" / "manifest.csv").is_file():
        pytest.skip(f"no real data in {folder}; set MMGEN_DATA to their folder to run this test")
    return folder


@pytest.fixture(scope="session")
def phantom_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{"image": folder, "audio": folder} of a few phantom files, with splits."""
    from mmgen.data.phantoms import write_phantoms

    root = tmp_path_factory.mktemp("phantom files")  # with a space, as paths have
    images, audio = write_phantoms(root, subjects_per_class=8, image_size=32)
    return {"image": images, "audio": audio}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model in a folder laid out as a run's: FOLDER/model/config.json."""
    from small import small_model

    from mmgen.artifacts.card_facts import CardFacts
    from mmgen.artifacts.models import save_model

    folder = tmp_path_factory.mktemp("runs") / "small"
    counts = {"image": {"covid": 7, "healthy": 5}, "audio": {"covid": 4, "healthy": 9}}
    save_model(small_model(), folder / "model", CardFacts(counts, hidden_patch_errors={"image": 0.5}))
    return folder


@pytest.fixture(autouse=True, scope="module")
def _own_accelerate_state() -> Iterator[None]:
    """Accelerate's state is global: no file of tests finds the precision that an earlier one chose."""
    yield
    if "accelerate.state" in sys.modules:
        sys.modules["accelerate.state"].AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def accelerator() -> Iterator[Any]:
    """One process on the CPU in full precision. Accelerate's state is global, so it is cleared before and after."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True, mixed_precision="no")
    AcceleratorState._reset_state(reset_partial_state=True)
