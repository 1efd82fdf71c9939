from __future__ import annotations

import numpy as np
import pytest

from mmgen.evaluation.privacy.disguises.planting import PICTURES, SOUNDS, disguises_of

RNG = np.random.default_rng(0)
GREY, COLOUR = (RNG.integers(0, 256, (channels, 32, 32), dtype=np.uint8) for channels in (1, 3))
SOUND = RNG.normal(-3, 2, (1, 24, 40)).astype(np.float16)
CASES = [(name, record, PICTURES) for record in (GREY, COLOUR) for name in disguises_of(True, len(record))]
CASES += [(name, SOUND, SOUNDS) for name in SOUNDS]


@pytest.mark.parametrize(("name", "record", "disguises"), CASES)
def test_a_disguise_keeps_the_form_and_leaves_the_original(name: str, record: np.ndarray, disguises: dict) -> None:
    before, other = record.copy(), record[:, ::-1].copy()
    for strength in disguises[name].strengths:
        made = disguises[name].change(record, strength, np.random.default_rng(1), other)
        assert made.shape == record.shape and made.dtype == record.dtype and np.isfinite(made).all()
        assert (made != record).any()
        again = disguises[name].change(record, strength, np.random.default_rng(1), other)
        np.testing.assert_array_equal(made, again)
    np.testing.assert_array_equal(record, before)


def test_known_disguises() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(PICTURES["inversion"].change(GREY, 1, rng, GREY), 255 - GREY)
    np.testing.assert_array_equal(SOUNDS["reversal"].change(SOUND, 1, rng, SOUND), SOUND[..., ::-1])
    mixed = PICTURES["average of two"].change(np.full_like(GREY, 100), 0.5, rng, np.full_like(GREY, 200))
    assert (mixed == 150).all()
    assert (
        PICTURES["shift"].name("shift", 0.06) == "shift, 6%"
        and PICTURES["inversion"].name("inversion", 1) == "inversion"
    )


def test_only_what_changes_a_record_is_planted() -> None:
    assert "hue" in disguises_of(True, 3) and "hue" not in disguises_of(True, 1) and disguises_of(False, 1) == SOUNDS
    short = SOUND[..., :6]
    assert (SOUNDS["delay"].change(short, 0.05, np.random.default_rng(0), short) != short).any()
