"""The benchmark of sampling: every way has a row, and real images stand beside those of a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch
from small import PROJECT

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.generative import Sampling

SCRIPT = PROJECT / "benchmarks" / "sampling.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the script defines."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return run_path(str(SCRIPT))


def test_every_way_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    flags = ["--quick", "--device", "cpu", "--out", str(tmp_path / "a.json")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *flags])
    run_path(str(SCRIPT), run_name="__main__")
    document = json.loads((tmp_path / "a.json").read_text())
    ways = {(row["way"], row.get("batch_size")) for row in document["rows"]}
    assert ways == {("batch", 1), ("batch", 2), ("mmgen", None)}
    assert all(row["side"] == 32 and row["steps"] == 2 and row["images_per_s"] > 0 for row in document["rows"])
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--model", "nowhere"])
    with pytest.raises(UserError, match="both --model and --images"):
        run_path(str(SCRIPT), run_name="__main__")


def test_quality_is_the_distance_to_real_images(script: dict[str, Any]) -> None:
    """Planted: the real images are noise, as is what an untrained network makes, or all of one grey."""
    cpu, config = torch.device("cpu"), script["SamplingBenchmark"]()
    model = script["untrained"]("tiny", 32, cpu)
    noise = np.random.default_rng(1).integers(0, 256, (16, 1, 32, 32), dtype=np.uint8)
    rows = [
        script["whole"](config, model, Sampling(1, 1.0), cpu, Samples(x, np.arange(16) % 2, ("a", "b"), np.arange(16)))
        for x in (noise, np.full_like(noise, 255))
    ]
    assert [row["images"] for row in rows] == [8, 8]
    assert abs(rows[0]["kernel_distance"]) < rows[1]["kernel_distance"] / 5
    assert rows[1]["kernel_distance_real_halves"] == pytest.approx(0.0, abs=1e-6)
