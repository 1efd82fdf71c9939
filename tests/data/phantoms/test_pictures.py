"""What holds for the pictures of every kind that is a data set by itself: lesions and brains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmgen.data.phantoms import BRAINS, LESIONS, phantom_brain, phantom_lesion
from mmgen.errors import UserError

Draw = Callable[..., np.ndarray]
KINDS = pytest.mark.parametrize("draw", [phantom_lesion, phantom_brain])
CHANNELS = {phantom_lesion: (3,), phantom_brain: ()}


def rngs(count: int, *key: int) -> list[np.random.Generator]:
    return [np.random.default_rng([*key, index]) for index in range(count)]


def reduced(picture: np.ndarray, size: int) -> np.ndarray:
    """Picture as floats, averaged over square blocks to (size, size, ...)."""
    block = len(picture) // size
    return picture.astype(float).reshape(size, block, size, block, *picture.shape[2:]).mean(axis=(1, 3))


def accuracy(train: np.ndarray, test: np.ndarray) -> float:
    """Test accuracy of a logistic regression; both (labels, pictures, ...)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    (x, y), (test_x, test_y) = (
        (part.reshape(part.shape[0] * part.shape[1], -1), np.repeat(np.arange(len(part)), part.shape[1]))
        for part in (train, test)
    )
    return model.fit(x, y).score(test_x, test_y)


@KINDS
@pytest.mark.parametrize("size", [8, 50, 64, 130])
def test_pictures_have_the_shape_and_range_of_ordinary_ones(draw: Draw, size: int) -> None:
    for label in (0, 4):
        picture = draw(label, np.random.default_rng(label), size)
        assert picture.shape == (size, size, *CHANNELS[draw]) and picture.dtype == np.uint8
        assert picture.std() > 12


@KINDS
@pytest.mark.parametrize("label", range(4))
def test_a_picture_does_not_depend_on_the_resolution(draw: Draw, label: int) -> None:
    small, large = (draw(label, np.random.default_rng(5), size).astype(float) for size in (32, 256))
    other = draw(label, np.random.default_rng(6), 32)
    assert np.abs(reduced(large, 32) - small).mean() < 2.5  # of 255
    assert np.abs(other - small).mean() > 10


@KINDS
def test_as_much_is_drawn_at_every_size(draw: Draw) -> None:
    for label in range(6):
        states = []
        for size in (16, 100):
            pair = np.random.default_rng(label), np.random.default_rng([label, 1])
            draw(label, pair[0], size, pair[1])
            states.append([rng.bit_generator.state for rng in pair])
        assert states[0] == states[1]


@KINDS
def test_labels_can_be_learned_but_not_perfectly_and_not_from_brightness(draw: Draw) -> None:
    pictures = np.array([[reduced(draw(label, rng, 32), 16) for rng in rngs(75, 3, label)] for label in range(4)])
    train, test = pictures[:, :50], pictures[:, 50:]
    assert 0.42 < accuracy(train, test) < 0.95
    means = pictures.mean(axis=(2, 3))
    assert accuracy(means[:, :50], means[:, 50:]) < 0.48  # melanomas are darker; chance is 0.25


@KINDS
def test_a_subject_keeps_skin_or_head_between_files(draw: Draw) -> None:
    pictures = np.array(
        [[draw(1, file, 32, np.random.default_rng(subject)) for file in rngs(4, subject)] for subject in range(8)]
    ).astype(float)
    files = pictures.reshape(8, 4, -1)
    distances = np.abs(files[:, :, None, None] - files[None, None]).mean(axis=-1)  # (subject, file, subject, file)
    own = distances[np.arange(8), :, np.arange(8)][:, ~np.eye(4, dtype=bool)]
    others = distances.transpose(0, 2, 1, 3)[~np.eye(8, dtype=bool)]
    assert own.min() > 1 and own.mean() < 0.85 * others.mean()  # no file is a copy of another


@KINDS
def test_labels_and_further_ones_have_contents_of_their_own(draw: Draw) -> None:
    means = [np.mean([draw(label, rng, 32) for rng in rngs(10, 1)], axis=0) for label in range(7)]
    for first in range(7):
        assert all(np.abs(means[first] - means[second]).max() > 6 for second in range(first))


@KINDS
@pytest.mark.parametrize(("label", "size"), [(-1, 64), (0, 7)])
def test_impossible_arguments_are_refused(draw: Draw, label: int, size: int) -> None:
    with pytest.raises(UserError, match=f"not {label} and {size}"):
        draw(label, np.random.default_rng(0), size)


def test_default_labels_are_folder_names() -> None:
    assert len(set(LESIONS)) == len(set(BRAINS)) == 4
    assert all(name.isidentifier() for name in LESIONS + BRAINS)
