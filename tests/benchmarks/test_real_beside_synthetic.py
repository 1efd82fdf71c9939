"""The pictures of README show what they say: each side's own samples, of each label, at equal distances."""

from __future__ import annotations

from runpy import run_path

import numpy as np
from small import PROJECT

from mmgen.data.samples import Samples

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
    script = run_path(str(PROJECT / "benchmarks" / "real_beside_synthetic.py"))
    margin, cell, gap = (script[name] for name in ("MARGIN", "CELL", "GAP"))
    sheet = np.asarray(script["drawn"]({name: side(shade) for name, shade in SHADES.items()}, 3, 2))
    for place, shade in enumerate(SHADES.values()):
        left = margin + place * (3 * cell + gap) + cell // 2
        for label in (0, 1):  # rows alternate between modalities
            top = gap + 2 * label * cell + cell // 2
            shown = [sheet[top, left + column * cell] for column in range(3)]
            assert [tuple(pixel) for pixel in shown] == [(shade + 20 * label + n,) * 3 for n in (0, 4, 8)]
