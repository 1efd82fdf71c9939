"""Fixtures of the training tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from mmgen.training.engine import make_accelerator


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    """One process in full precision. Accelerate's state is global, so it is cleared before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield make_accelerator("no")
    AcceleratorState._reset_state(reset_partial_state=True)
