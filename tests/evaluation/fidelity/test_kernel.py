from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from mmgen.errors import UserError
from mmgen.evaluation.fidelity.kernel import kernel_distance


def features(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, 12)) + shift).astype(np.float32)


def test_it_is_the_double_sum_of_the_definition() -> None:
    a, b = features(7, 0), features(5, 1, 0.5)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x.astype(float) @ y / 12 + 1) ** 3)

    within = [np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (a, b)]
    across = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(sum(within) - 2 * across)


def test_it_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    class AsItIs(nn.Module):
        num_features = 12

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).float() / 64 - 2

    pictures = [np.clip(features(90, s, s / 2) * 40 + 128, 0, 255).astype(np.uint8) for s in (0, 1)]
    peer = KernelInceptionDistance(AsItIs(), subsets=2, subset_size=90)
    for picture, real in zip(pictures, (True, False), strict=True):
        peer.update(torch.from_numpy(picture).view(-1, 3, 2, 2), real)
    ours = kernel_distance(*(picture.astype(np.float32) / 64 - 2 for picture in pictures))
    assert ours == pytest.approx(float(peer.compute()[0]), rel=1e-3)


def test_it_is_unbiased() -> None:
    found = np.array([kernel_distance(features(20, 2 * s), features(20, 2 * s + 1)) for s in range(300)])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert 0.2 < (found < 0).mean() < 0.8


def test_it_grows_with_a_shift() -> None:
    distances = [kernel_distance(features(200, 0), features(200, 1, shift)) for shift in (0, 0.3, 1, 3)]
    assert abs(distances[0]) < 0.05 and all(near < far for near, far in pairwise(distances)), distances


def test_subsets_give_about_what_the_whole_gives() -> None:
    a, b = features(600, 0), features(500, 1, 0.5)
    whole = kernel_distance(a, b)
    parts = kernel_distance(a, b, subsets=40, size=100, seed=1)
    assert parts == pytest.approx(whole, rel=0.15) and parts != whole
    assert parts == kernel_distance(a, b, subsets=40, size=100, seed=1)
    assert parts != kernel_distance(a, b, subsets=40, size=100, seed=2)
    assert kernel_distance(a, b[:50], size=100) == pytest.approx(whole, rel=0.5)  # one side is taken whole


def test_one_sample_is_too_few() -> None:
    with pytest.raises(UserError, match="at least 2 samples on either side, got 1 and 7"):
        kernel_distance(features(1, 0), features(7, 1))
