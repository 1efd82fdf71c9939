from __future__ import annotations

import pytest

from mmgen.cli.tables import fidelity_table, table, utility_table, verdict_lines
from mmgen.evaluation.fidelity.result import FidelityResult
from mmgen.evaluation.privacy.gate import Light, Verdict
from mmgen.evaluation.scores import Statistic, UtilityScores


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("a", "long head"), [("longer", "1"), ("b", "22")]) == (
        "a       long head\nlonger          1\nb              22"
    )


@pytest.mark.parametrize(("std", "cell"), [(0.0, "0.810"), (0.02, "0.810 ± 0.020")])
def test_a_single_training_has_no_deviation(std: float, cell: str) -> None:
    entry = UtilityScores(auc=Statistic(0.81, std), balanced_accuracy=Statistic(0.7, 0.0))
    line = utility_table({"image": {"resnet18": {"random_subset": entry}}}).splitlines()[1]
    assert line.split() == f"image, ResNet-18, random real subset {cell} 0.700".split()


def test_measures_keep_their_names_and_notes() -> None:
    def measure(value: float | None, note: str | None = None) -> FidelityResult:
        return FidelityResult(value, value, "lower", note=note)

    biased = {"frechet": measure(2.5, "Biased."), "kl_intensity": measure(None, "Biased.")}
    lines = fidelity_table({"image": biased | {"ms_ssim": measure(1.0)}}).splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == [
        "image: Fréchet distance",
        "image: KL divergence of intensities",
        "image: Similarity within classes (MS-SSIM)",
    ]
    assert lines[4:] == ["image: Fréchet distance, KL divergence of intensities: Biased."]


def test_what_was_not_measured_is_said() -> None:
    assert utility_table({"image": {}}) == "Utility was not measured."
    assert fidelity_table({}) == "Fidelity was not measured."


@pytest.mark.parametrize(
    ("lights", "end"),
    [
        (("green", "green"), "The audit found no leak: it may be released."),
        (("green", "amber"), "The audit found nothing that forbids a release; read what it notes."),
        (("green", "amber", "red"), "It must not be released."),
        ((), "It must not be released."),
    ],
)
def test_verdicts_end_with_what_they_mean(lights: tuple[Light, ...], end: str) -> None:
    verdicts = [Verdict("domias", light, f"line {light}", light != "red") for light in lights]
    unknown = Verdict("effort", "red", "short", False, unknown=True)
    assert verdict_lines([*verdicts, unknown]).splitlines()[-2:] == ["STOP  short", "It must not be released."]
    lines = verdict_lines(verdicts).splitlines()
    marks = {"green": "ok   ", "amber": "note ", "red": "LEAK "}
    assert lines == [*(f"{marks[light]} line {light}" for light in lights), end]
