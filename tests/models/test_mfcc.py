from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dct
from sklearn.linear_model import LogisticRegression

from mmgen.models.mfcc import INVERSE_PENALTY, LIMIT, MFCCClassifier

SHAPE = (1, 20, 30)


def segments(count: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Noise (N, 1, 20, 30); the spectrum of a class has a tilt of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    x = rng.normal(size=(count, *SHAPE)) + 0.05 * (labels[:, None, None, None] * np.linspace(-1, 1, 20)[:, None])
    return torch.from_numpy(x).float(), labels


def fitted(x: torch.Tensor, labels: np.ndarray, balanced: bool = False) -> MFCCClassifier:
    model = MFCCClassifier(SHAPE, labels.max() + 1)
    model.fit(model.embed(x), labels, balanced)
    return model


def test_features_are_those_of_scipys_transform() -> None:
    x, _ = segments(4, 2)
    expected = dct(x[:, 0].double().numpy(), axis=1)[:, :12] / 2
    features = MFCCClassifier(SHAPE, 2).embed(x)
    np.testing.assert_allclose(features, np.concatenate([expected.mean(2), expected.std(2)], 1), atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_probabilities_are_those_of_sklearn(classes: int, balanced: bool) -> None:
    x, labels = segments(90, classes)
    x, labels = x[:70], np.sort(labels)[:70]  # the last class is smaller
    model = fitted(x, labels, balanced)
    features = model.embed(x).numpy()
    features = ((features - features.mean(0)) / features.std(0)).clip(-LIMIT, LIMIT)
    regression = LogisticRegression(
        C=INVERSE_PENALTY, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=1000
    )
    expected = regression.fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(model(x).softmax(-1).detach(), expected, atol=1e-3)


def test_an_equaliser_on_all_sounds_changes_nothing() -> None:
    (x, labels), (other, _) = segments(60, 2), segments(20, 2, seed=1)
    gain = torch.linspace(-6, 9, 20)[:, None]  # of the power of each band, as a logarithm
    plain, equalised = fitted(x, labels)(other), fitted(x + gain, labels)(other + gain)
    torch.testing.assert_close(plain, equalised, atol=1e-4, rtol=0)
    assert (plain - fitted(x, labels)(other + gain)).abs().max() > 0.1  # on some of them it does


def test_what_training_never_varied_and_what_lies_far_outside_decide_nothing() -> None:
    x, labels = segments(40, 2)
    still = torch.zeros_like(x) + 0.1 * torch.from_numpy(labels)[:, None, None, None]  # no deviation over time at all
    model = fitted(still, labels)
    assert model(x).isfinite().all()
    model = fitted(x, labels)
    largest = (model.head.weight[1] - model.head.weight[0]).abs().sum() * LIMIT
    assert (model(1e4 * x) - model.head.bias).diff().abs().max() <= largest


def test_autocast_changes_nothing() -> None:
    x, labels = segments(40, 2)
    model = fitted(x, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(x), fitted(x, labels)(x))
    assert torch.equal(model(x), fitted(x, labels)(x)) and model(x).dtype == torch.float64


@pytest.mark.parametrize("balanced", [False, True])
def test_soft_labels_take_the_place_of_labels(balanced: bool) -> None:
    x, labels = segments(40, 3)
    hard = fitted(x, labels, balanced)
    soft, even, features = MFCCClassifier(SHAPE, 3), MFCCClassifier(SHAPE, 3), hard.embed(x)
    soft.fit(features, labels, balanced, np.eye(3, dtype=np.float32)[labels])
    torch.testing.assert_close(soft(x), hard(x), rtol=1e-2, atol=1e-2)
    even.fit(features, labels, False, np.full((40, 3), 1 / 3, dtype=np.float32))
    torch.testing.assert_close(even(x).softmax(-1), torch.full((40, 3), 1 / 3).double(), rtol=0, atol=1e-2)
