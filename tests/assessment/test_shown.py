"""Disguised copies on the page: the training record lies upon the synthetic one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmgen.assessment.shown import difference, disguised_figure, laid_on
from mmgen.evaluation.privacy.results import DisguisedCopiesResult, DisguisedPair

SAME = DisguisedPair(0, 0, 1.0, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), False)
MIRRORED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.fixture
def record() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 16, 24), dtype=np.uint8)


def test_the_transform_gives_the_place_in_the_training_record(record: np.ndarray) -> None:
    assert np.array_equal(laid_on(record, replace(SAME, transform=(1, 0, 0, 0, 1, 0))), record)
    assert np.array_equal(laid_on(record, replace(SAME, transform=MIRRORED)), record[..., ::-1])
    # A place in a record that was shifted by 6 of 24 columns to the right came from 6 columns further left.
    moved = laid_on(record, replace(SAME, transform=(1.0, 0.0, -2 * 6 / 24, 0.0, 1.0, 0.0)))
    assert np.array_equal(moved[..., 6:], record[..., :-6]) and moved.dtype == np.uint8


def test_inverted_records_are_inverted_back(record: np.ndarray) -> None:
    assert np.array_equal(laid_on(255 - record, replace(SAME, inverted=True)), record)
    mel = np.random.default_rng(1).normal(size=(1, 8, 20)).astype(np.float16)
    turned = laid_on(mel, replace(SAME, inverted=True))
    assert turned.dtype == np.float16 and np.corrcoef(turned.ravel(), mel.ravel())[0, 1] < -0.99


def test_a_difference_is_dark_where_only_brightness_and_contrast_differ(record: np.ndarray) -> None:
    calm = (record // 2 + 40).astype(np.uint8)
    assert difference(record, calm).max() <= 3 and difference(record, record).max() == 0
    changed = record.copy()
    changed[:, 4:8, 4:8] = 255 - changed[:, 4:8, 4:8]
    far = difference(changed, record)
    assert far[:, 4:8, 4:8].mean() > 5 * far[:, 10:].mean()


def test_pairs_are_drawn_beside_their_difference(record: np.ndarray) -> None:
    records = np.stack([record, record[..., ::-1]])
    pairs = (replace(SAME, training=1, transform=MIRRORED, inverted=True), SAME)
    figure = disguised_figure("image", DisguisedCopiesResult(pairs=pairs), records, records)
    assert figure is not None and figure.shows_real and figure.section == "privacy"
    assert figure.title == "Disguised copies: image"
    assert disguised_figure("image", DisguisedCopiesResult(), records, records) is None
