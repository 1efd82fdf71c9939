"""Streams of random numbers: the same for the same name in every version, others for every other name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from mmgen.models.seeds import counted_stream, global_seed, mask_stream, mixed_seed, numpy_stream, torch_stream

STREAMS = {
    "torch": lambda *name: torch.rand(4, generator=torch_stream(*name)),
    "masks": lambda *name: torch.rand(4, generator=mask_stream(*name)),
    "numpy": lambda *name: torch.from_numpy(numpy_stream(*name).random(4)),
    "counted": lambda *name: torch.rand(4, generator=counted_stream(*name[:2])),
}


def test_seeds_of_names_stay() -> None:
    """Bytes of data sets and models depend on them."""
    assert (mixed_seed(0), mixed_seed(3, 1, 2)) == (7726497881224850386, 4880427519687339529)
    assert mask_stream(3, 1, 0).initial_seed() == 5119891967588411325
    assert counted_stream(3, 5).initial_seed() == 3_000_014
    assert np.array_equal(numpy_stream(3, 1).integers(0, 100, 5), np.random.default_rng([3, 1]).integers(0, 100, 5))


@pytest.mark.parametrize("kind", STREAMS)
def test_a_name_gives_its_stream_and_no_other(kind: str) -> None:
    stream, names = STREAMS[kind], [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 1, 0)]
    drawn = [tuple(stream(*name).tolist()) for name in names]
    assert len(set(drawn)) == len(names)
    assert drawn == [tuple(stream(*name).tolist()) for name in names]


def test_the_global_seed_is_that_of_any_other_process() -> None:
    code = "from mmgen.models.seeds import global_seed; print(global_seed(3, 20, 1))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(answer) == global_seed(3, 20, 1) != global_seed(3, 20, 0)
