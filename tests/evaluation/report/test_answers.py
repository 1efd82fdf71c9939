"""The three answers follow from the numbers."""

from __future__ import annotations

from typing import Any

import pytest

from mmgen.evaluation.report.answers import faithful, leaks, useful
from mmgen.evaluation.report.reading import Report


def report(**sections: Any) -> Report:
    return Report.from_json(sections)


def sets(auc: float, random: float = 0.7, full: float = 0.85, seeds: int = 3) -> dict[str, Any]:
    aucs = {"synthetic": auc, "random_subset": random, "real": full}
    return {name: {"auc": {"mean": value, "std": 0.01}, "seeds": seeds} for name, value in aucs.items()}


@pytest.mark.parametrize(
    ("results", "light", "word"),
    [
        (sets(0.83), "green", "Yes"),
        (sets(0.75), "green", "Yes"),
        (sets(0.71), "amber", "In part"),
        (sets(0.66), "red", "No"),
        (sets(0.51, 0.5), "red", "No"),
        (sets(0.75, seeds=1), "amber", "In part"),
        (sets(0.75, seeds=1) | {"synthetic": {"auc": {"mean": 0.84}, "seeds": 1, "folds": 5}}, "green", "Yes"),
        (sets(0.6, 0.5, 0.51), "amber", "In part"),
    ],
)
def test_useful_is_judged_against_real_data_and_a_subset(results: dict, light: str, word: str) -> None:
    answer = useful(report(utility={"image": {"convnet": results}}))
    assert (answer.light, answer.word) == (light, word) and answer.reasons


def test_the_largest_condensed_set_is_judged() -> None:
    condensed = {f"{name}@{n}": entry for n in (1, 10) for name, entry in sets(0.6 if n == 1 else 0.75).items()}
    assert useful(report(utility={"image": {"convnet": condensed}})).light == "green"


def test_classifiers_that_disagree_make_it_useful_in_part() -> None:
    mixed = report(utility={"image": {"convnet": sets(0.84), "resnet18": sets(0.6)}})
    assert (useful(mixed).light, useful(mixed).word) == ("amber", "In part")


@pytest.mark.parametrize(("values", "light"), [((1.2, 2.0), "green"), ((1.2, 4.0), "amber"), ((9.0, 4.0), "red")])
def test_faithful_is_judged_by_all_measures(values: tuple[float, ...], light: str) -> None:
    metrics = {f"m{i}": {"value": v, "real_vs_real": 1.0, "better": "lower"} for i, v in enumerate(values)}
    assert faithful(report(fidelity={"image": metrics})).light == light


def test_what_was_not_measured_has_no_light() -> None:
    assert [answer(report()).word for answer in (useful, faithful, leaks)] == ["Not measured"] * 2 + ["Not audited"]
    assert [answer(report()).light for answer in (useful, faithful, leaks)] == ["none", "none", "red"]
    accuracy_only = {"image": {"convnet": {"synthetic": {"accuracy": {"mean": 0.7}, "seeds": 3}}}}
    assert useful(report(utility=accuracy_only)).word == "Not judged"


def test_leaks_say_the_worst_first_and_name_the_rest() -> None:
    def attack(auc: float) -> dict[str, Any]:
        sizes = {"n_members": 100, "n_non_members": 100}
        return {"auc": auc, "auc_ci": [auc - 0.04, auc + 0.04], "tpr_at_1_fpr": 0.01, **sizes}

    privacy = {"domias": attack(0.5), "reconstruction": attack(0.57), "pass_through": {"share": 0.1}}
    answer = leaks(report(privacy=privacy | {"closest_record": attack(0.7)}))
    assert (answer.light, answer.word) == ("red", "Yes")
    assert [reason.light for reason in answer.reasons] == ["red", "red", "amber", "green"]
    assert answer.reasons[0].text.startswith("Closest record: AUC 0.70")
    assert answer.reasons[-1].text == "Nothing was found by 1 of 4 checks: DOMIAS."
    unknown = leaks(report(privacy={"domias": attack(0.5), "effort": {"fast": True}}))
    assert (unknown.light, unknown.word) == ("red", "Too little is known")
    many = leaks(report(privacy={f"attack {i}": attack(0.6 + i / 50) for i in range(9)}))
    assert len(many.reasons) == 6 and many.reasons[0].text.startswith("Attack 8: AUC 0.76")
    assert many.reasons[-1].text.startswith("The gate is closed by 4 more of 9 checks: attack 3;")
