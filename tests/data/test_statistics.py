from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmgen.data.statistics import channel_statistics


@pytest.mark.parametrize(
    ("dtype", "channels", "chunk"), list(itertools.product([np.uint8, np.float16], [1, 3], [3, 1024]))
)
def test_statistics_are_those_of_the_whole_array(dtype: type, channels: int, chunk: int) -> None:
    values = np.random.default_rng(0).uniform(0, 200, (7, channels, 5, 6)).astype(dtype)
    mean, std = channel_statistics(values, chunk)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(std, exact.std(axis=(0, 2, 3)))
    assert len(mean) == channels


def test_a_constant_channel_has_no_deviation() -> None:
    values = np.zeros((5, 2, 4, 4), np.float16)
    values[:, 0] = 0.1
    mean, std = channel_statistics(values, 2)
    assert mean == (float(np.float16(0.1)), 0.0) and std[1] == 0.0 and std[0] < 1e-8
