"""A contact sheet shows what it says: each side's own samples, of each label, at equal distances."""

from __future__ import annotations

import numpy as np

from mmgen.data.samples import Samples
from mmgen.evaluation.report.contact_sheet import CELL, GAP, contact_sheet

SHADES = {"real": 40, "synthetic": 200}


def side(shade: int) -> dict[str, Samples]:
    """Two labels of nine samples, whose pictures are a shade of the side, the label and their number."""
    labels = np.repeat([0, 1], 9)
    shades = shade + 20 * labels + np.tile(np.arange(9), 2)
    pictures = np.broadcast_to(shades[:, None, None, None], (18, 1, 8, 8)).astype(np.uint8)
    sounds = np.random.default_rng(shade).uniform(-9, 1, (18, 1, 8, 8)).astype(np.float16)
    names, rows = ("covid", "healthy"), np.arange(18)
    return {"image": Samples(pictures, labels, names, rows), "audio": Samples(sounds, labels, names, rows)}


def test_each_side_shows_its_own_samples_by_label() -> None:
    sheet = np.asarray(contact_sheet({name: side(shade) for name, shade in SHADES.items()}, 3))
    margin = sheet.shape[1] - 2 * (3 * CELL + GAP)
    for place, shade in enumerate(SHADES.values()):
        left = margin + place * (3 * CELL + GAP) + CELL // 2
        for label in (0, 1):  # rows alternate between modalities
            top = GAP + 2 * label * CELL + CELL // 2
            shown = [sheet[top, left + column * CELL] for column in range(3)]
            assert [tuple(pixel) for pixel in shown] == [(shade + 20 * label + n,) * 3 for n in (0, 4, 8)]


def test_few_samples_and_many_labels_leave_room() -> None:
    some = Samples(np.zeros((3, 3, 8, 8), np.uint8), np.array([0, 1, 1]), ("a", "b", "c" * 300), np.arange(3))
    sheet = contact_sheet({"": {"image": some}}, 8, 2)
    assert sheet.height == GAP + 2 * CELL
    whole = contact_sheet({"": {"image": some}}, 8)
    assert whole.height == GAP + 3 * CELL and sheet.width < whole.width < 1000
