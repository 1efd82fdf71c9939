"""The three questions of the report page: is the synthetic data useful, is it faithful, does it leak?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mmgen.evaluation.privacy.attacks import attack_name
from mmgen.evaluation.privacy.gate import judge, worst
from mmgen.evaluation.report.fidelity import fidelity_sentences
from mmgen.evaluation.report.privacy import sentence
from mmgen.evaluation.report.reading import Report
from mmgen.evaluation.report.text import name_of
from mmgen.evaluation.report.utility import CHANCE_AUC, LOSS, Scores, compared_sets, mean_of, utility_sentences

Light = Literal["green", "amber", "red", "none"]
# More checks of one light than these are only named, so that the answer stays short.
MOST_SAID = {"red": 6, "amber": 3, "green": 0}
# Trainings that a mean is taken over before it counts as more than a rough figure.
LEAST_REPEATS = 3


@dataclass(frozen=True)
class Reason:
    """A sentence, and the light of what it speaks of, "" where it has none of its own."""

    text: str
    light: Light | Literal[""] = ""


@dataclass(frozen=True)
class Answer:
    """The answer to a question: a light, its word, and the reasons."""

    question: str
    light: Light
    word: str
    reasons: list[Reason] = field(default_factory=list)


def answers(report: Report) -> list[Answer]:
    """The three answers."""
    return [useful(report), faithful(report), leaks(report)]


def useful(report: Report) -> Answer:
    """Is the synthetic data good for training? Yes where it comes near all real data, or beats as many real samples."""
    lights, reasons = [], []
    for modality, classifiers in report.utility.items():
        for classifier, results in classifiers.items():
            names = report.title(modality), name_of(classifier)
            reasons += utility_sentences(*names, results, report.classes(modality))
            lights.append(_usefulness(results))
    return _answer("Is it useful?", [light for light in lights if light], reasons, "Utility was not measured.")


def faithful(report: Report) -> Answer:
    """Does it look like the real data? Yes where every measure is near that of real against real, no where none is."""
    lights, reasons = [], []
    for modality, results in report.fidelity.items():
        verdicts = {result.closeness for result in results.values()} - {None}
        lights += ["amber" if len(verdicts) > 1 else "green" if verdicts == {"near"} else "red"] if verdicts else []
        reasons += fidelity_sentences(report.title(modality), results)
    return _answer("Is it faithful?", lights, reasons, "Fidelity was not measured.")


def leaks(report: Report) -> Answer:
    """Does it tell about the people in the training data? What the gate says, worst first."""
    verdicts = judge(report.privacy)
    starts = {"red": "The gate is closed by", "amber": "Too little is known after", "green": "Nothing was found by"}
    reasons: list[Reason] = []
    for light, most in MOST_SAID.items():
        # By how many times over its threshold a verdict is; what was not measured comes first.
        of_light = sorted(
            (verdict for verdict in verdicts if verdict.light == light),
            key=lambda verdict: math.inf if verdict.value is None else verdict.excess / (verdict.threshold or 1),
            reverse=True,
        )
        said = of_light if len(of_light) <= most else of_light[: max(most - 1, 0)]
        reasons += [Reason(sentence(verdict.line), light) for verdict in said]
        if named := of_light[len(said) :]:
            more = "more " if said else ""
            checks = f"{len(named)} {more}of {len(verdicts)} check{'s' * (len(verdicts) > 1)}"
            names = "; ".join(attack_name(verdict.attack) for verdict in named)
            reasons.append(Reason(f"{starts[light]} {checks}: {names}.", light))
    not_audited = all(verdict.attack == "audit" for verdict in verdicts)
    light = worst([verdict.light for verdict in verdicts])
    found = any(verdict.light == "red" and not verdict.unknown for verdict in verdicts)
    words = {"green": "Nothing found", "amber": "Unclear", "red": "Yes" if found else "Too little is known"}
    word = "Not audited" if not_audited else words[light]
    return Answer("Does it leak?", light, word, reasons)


def _answer(question: str, lights: Sequence[Light], reasons: list[str], missing: str) -> Answer:
    """Yes where all lights are green, no where all are red."""
    if not lights:
        word = "Not judged" if reasons else "Not measured"
        return Answer(question, "none", word, list(map(Reason, reasons or [missing])))
    light = lights[0] if len(set(lights)) == 1 else "amber"
    return Answer(question, light, {"green": "Yes", "amber": "In part", "red": "No"}[light], list(map(Reason, reasons)))


def _usefulness(results: Scores) -> Light | None:
    """The light of one classifier for the largest synthetic set; None without an AUC."""
    synthetic, subset = compared_sets(results)
    auc, random, full = (mean_of(results, key) for key in (synthetic, subset, "real"))
    if auc is None:
        return None
    if full is not None and full <= CHANCE_AUC:
        return "amber"
    if auc <= CHANCE_AUC or (random is not None and auc < random - LOSS):
        return "red"
    repeats = max(results[synthetic].seeds or 1, results[synthetic].folds or 1)
    good = (full is not None and auc >= full - LOSS) or (random is not None and auc >= random + LOSS)
    return "green" if good and repeats >= LEAST_REPEATS else "amber"
