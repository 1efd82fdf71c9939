from __future__ import annotations

import pytest
import torch

from mmgen.training.energy import class_energy, energy


def test_known_answer_with_classes_of_other_sizes_on_each_side() -> None:
    a = torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0], [7.0, 7.0]])
    b = torch.tensor([[0.0, 1.0], [5.0, 5.0], [0.0, 0.0], [6.0, 8.0]])
    labels_a, labels_b = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 0])

    def mean_distance(x: torch.Tensor, y: torch.Tensor, pairs: int) -> float:
        return sum(float((p - q).norm()) for p in x for q in y) / pairs

    first_a, first_b = a[:2], b[[0, 2, 3]]
    expected = 2 * mean_distance(first_a, first_b, 6)
    expected -= mean_distance(first_a, first_a, 2) + mean_distance(first_b, first_b, 6)
    # Class 1 has one row on each side and class 2 none on the other: neither counts.
    assert float(class_energy(a, labels_a, b, labels_b)) == pytest.approx(expected, rel=1e-5)
    assert float(class_energy(b, labels_b, a, labels_a)) == pytest.approx(expected, rel=1e-5)
    assert float(class_energy(a[2:], labels_a[2:], b, labels_b)) == 0.0


def test_it_is_least_for_the_same_distribution_of_each_class() -> None:
    chance = torch.Generator().manual_seed(0)
    labels, real_labels = torch.arange(2).repeat_interleave(6), torch.arange(2).repeat_interleave(10)
    centres = torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]])

    def mean(spread: float, order: tuple[int, int] = (0, 1)) -> float:
        total = 0.0
        for _ in range(200):
            made = centres[list(order)][labels] + spread * torch.randn(12, 3, generator=chance)
            real = centres[real_labels] + torch.randn(20, 3, generator=chance)
            total += float(class_energy(made, labels, real, real_labels))
        return total / 200

    same, narrow, wide, swapped = mean(1.0), mean(0.2), mean(2.0), mean(1.0, (1, 0))
    assert abs(same) < 0.1 and min(narrow, wide) > 0.2 and swapped > 3.0


def test_points_that_meet_have_a_gradient() -> None:
    made = torch.zeros(3, 2, requires_grad=True)
    class_energy(made, torch.zeros(3, dtype=torch.long), torch.zeros(2, 2), torch.zeros(2, dtype=torch.long)).backward()
    assert made.grad.isfinite().all()


def test_class_by_class_it_is_the_same() -> None:
    chance = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, count, 5, generator=chance) for count in (2, 4))
    labels = (torch.arange(3).repeat_interleave(count) for count in (2, 4))
    expected = class_energy(a.flatten(0, 1), next(labels), b.flatten(0, 1), next(labels))
    assert float(energy(a, b)) == pytest.approx(float(expected), rel=1e-5)
