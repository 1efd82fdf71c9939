"""The benchmark of the training step: that its variants do the same work, and that shares and times belong together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from runpy import run_path

import pytest
from small import PROJECT

SCRIPT = PROJECT / "benchmarks" / "training_step.py"


def test_variants_do_the_same_work_and_shares_are_of_the_rate_in_their_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--quick", "--device", "cpu", "--out", str(tmp_path / "a.json")])
    monkeypatch.setattr("mmgen.training.engine.has_fast_bf16", lambda: False)  # one precision is enough
    run_path(str(SCRIPT), run_name="__main__")
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    measured = {(row["network"], row["variant"]): row for row in rows}
    plain, pairs = "masked autoencoder", "two modalities"
    own = {"mmgen", "mmgen, fused attention", "mmgen, plain attention"}
    assert {variant for network, variant in measured if network == plain} - {"lightly"} == own | {
        "matrix product",
        "transformers",
    }
    flop = {key: row["flop"] for key, row in measured.items() if "flop" in row}
    assert len({flop[plain, variant] for variant in own}) == 1
    # It embeds hidden patches too, and predicts nothing else more.
    assert flop[plain, "mmgen"] <= flop[plain, "transformers"] < 1.5 * flop[plain, "mmgen"]
    assert flop[pairs, "mmgen, joint losses"] < flop[pairs, "mmgen"] < 1.7 * flop[pairs, "mmgen, joint losses"]
    for (network, _), row in measured.items():
        if "times" in row:
            rate = measured[network, "matrix product"]["flop_per_s"]
            assert row["of_matrix_rate"] == pytest.approx(row["flop"] / row["seconds"] / rate)
            assert row["times"] == pytest.approx(row["seconds"] / measured[network, "mmgen"]["seconds"])
