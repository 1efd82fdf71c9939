"""The audit as a whole: planted leaks are caught and close the gate, innocents open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmgen.data.phantoms import phantom_xray
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import PIXELS, make_extractor
from mmgen.evaluation.measured import Measured
from mmgen.evaluation.privacy.attack import Effort, Evidence
from mmgen.evaluation.privacy.audit import audit_section
from mmgen.evaluation.privacy.gate import judge, opens
from mmgen.evaluation.privacy.record import EFFORT, PrivacySection
from mmgen.evaluation.privacy.results import Verdict
from mmgen.evaluation.privacy.sides import Side
from mmgen.models.attention_gan import Critic
from mmgen.models.images import to_unit_range
from mmgen.models.modality import Modality

FILMS = Modality("image", (1, 32, 32), (8, 8), (110.0,), (60.0,), value_range=(0.0, 255.0))
# The attacker's GAN has tests of its own.
QUICK = Effort(updates=4, resamples=400, planted=3, innocent=30, recognition=50, gan={"side": 8, "width": 2})
ATTACKS = {"closest_record", "closest_record_features", "closest_record_views", "domias", "logan_black_box"}


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([phantom_xray(number % 2, rng, 32) for number in range(600)])[:, None]


def samples(values: np.ndarray) -> Samples:
    return Samples(values, np.arange(len(values)) % 2, ("covid", "healthy"), np.arange(len(values)))


def evidence(synthetic: np.ndarray, members: np.ndarray, others: np.ndarray, **more: Any) -> Evidence:
    sides = (Side({"image": samples(values)}) for values in (members, others))
    extractors = {"image": make_extractor(PIXELS, FILMS)}
    return Evidence({"image": FILMS}, {"image": samples(synthetic)}, *sides, extractors, **more)


def noised(images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 4, images.shape)
    return (images + noise).round().clip(0, 255).astype(np.uint8)


def parts(films: np.ndarray, seed: int, *counts: int) -> list[np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(films))
    return [films[order[start : start + n]] for start, n in zip(np.cumsum([0, *counts]), counts, strict=False)]


def judged(section: PrivacySection) -> list[Verdict]:
    """The verdicts, without the one on the effort: of these short attacks no release could come."""
    assert section.results[EFFORT].fast
    return [verdict for verdict in judge(section) if verdict.attack != EFFORT]


@pytest.mark.parametrize(
    ("leak", "copies"),
    [
        (np.copy, "exact"),
        (noised, "near"),
        (lambda members: members[..., ::-1].copy(), "exact"),
        (lambda members: noised(members[..., ::-1]), "near"),
    ],
    ids=["exact", "noised", "mirrored", "mirrored and noised"],
)
def test_generators_that_return_training_images_are_caught(
    films: np.ndarray, leak: Callable[[np.ndarray], np.ndarray], copies: str
) -> None:
    members, others = parts(films, 0, 120, 120)
    section = audit_section(evidence(leak(members), members, others), QUICK)
    assert getattr(section.results["copies"], copies) == 120
    assert section.results["closest_record"].auc > 0.9
    assert section.results["copies"].share_closer_ci[0] > 0.55
    assert not opens(judged(section))


def test_half_of_the_training_set_memorised_is_caught(films: np.ndarray) -> None:
    members, others, fresh = parts(films, 1, 120, 120, 60)
    section = audit_section(evidence(np.concatenate([members[:60], fresh]), members, others), QUICK)
    assert section.results["copies"].exact == 60
    assert {pair.training for pair in section.results["copies"].pairs if pair.kind == "exact"} == set(range(60))
    red = {verdict.attack for verdict in judged(section) if verdict.light == "red"}
    assert {"exact_copies", "closest_record", "domias", "pass_through"} <= red


def test_one_copy_in_a_hundred_is_listed_and_closes_the_gate(films: np.ndarray) -> None:
    members, others, synthetic = parts(films, 2, 150, 150, 200)
    synthetic[[17, 93]] = members[[4, 8]][..., ::-1]
    section = audit_section(evidence(synthetic, members, others), QUICK)
    found = {(p.synthetic, p.training) for p in section.results["copies"].pairs if p.kind == "exact"}
    assert found == {(17, 4), (93, 8)}
    verdicts = judged(section)
    closed = [verdict.attack for verdict in verdicts if not verdict.allowed]
    assert closed == ["exact_copies", "copies_by_ratio", "disguised_copies"]
    assert "2 of 200" in verdicts[0].line and not opens(verdicts)


def test_a_pasted_patch_is_passed_through_and_closes_the_gate(films: np.ndarray) -> None:
    members, others, synthetic = parts(films, 3, 150, 150, 100)
    synthetic[5, :, 8:16, 8:16] = members[70, :, 8:16, 8:16]
    verdicts = judged(audit_section(evidence(synthetic, members, others), QUICK))
    assert [verdict.attack for verdict in verdicts if not verdict.allowed] == ["pass_through"]


def test_an_overfitted_critic_is_caught(films: np.ndarray) -> None:
    members, others, synthetic = parts(films, 4, 64, 200, 200)
    torch.manual_seed(0)
    critic = Critic(32, 1, 2, width=4)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3)
    real, fake = (to_unit_range(torch.from_numpy(values)) for values in (members, synthetic))
    for _ in range(90):
        score = critic(torch.cat([real, fake[torch.randint(len(fake), (64,))]])).score
        loss = F.softplus(-score[:64]).mean() + F.softplus(score[64:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    section = audit_section(evidence(synthetic, members, others, critic=critic.eval()), QUICK)
    assert section.results["logan_white_box"].auc > 0.9 and section.results["logan_white_box"].threat_model == "W"
    assert section.results["logan_white_box_paper"].auc > 0.99 and not section.results["logan_white_box_paper"].counts
    assert [verdict.attack for verdict in judged(section) if not verdict.allowed] == ["logan_white_box"]


def contains_chance(films: np.ndarray, seeds: range, effort: Effort) -> dict[str, int]:
    """In how many seeds the interval of each attack holds 0.5; the gate must open in all."""
    held = dict.fromkeys([*ATTACKS, "share"], 0)
    for seed in seeds:
        members, others, synthetic = parts(films, seed, 200, 200, 200)
        section = audit_section(evidence(synthetic, members, others), effort, seed=seed)
        intervals = {name: section.results[name].auc_ci for name in ATTACKS}
        intervals["share"] = section.results["copies"].share_closer_ci
        for name, (low, high) in intervals.items():
            held[name] += low <= 0.5 <= high
        assert opens(judged(section)), [v.line for v in judged(section) if not v.allowed]
    return held


def test_fresh_phantoms_open_the_gate(films: np.ndarray) -> None:
    held = contains_chance(films, range(2), QUICK)
    assert min(held.values()) >= 1 and sum(held.values()) >= 8, held


@pytest.mark.slow
def test_intervals_of_innocents_contain_chance_in_nine_of_ten_seeds(films: np.ndarray) -> None:
    held = contains_chance(films, range(10, 20), Effort(updates=600, gan={"side": 16}))
    assert min(held.values()) >= 9, held


def test_second_audits_compute_nothing(films: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = evidence(*parts(films, 5, 60, 80, 80))
    first = audit_section(given, QUICK, Measured(tmp_path))
    monkeypatch.setattr("mmgen.evaluation.privacy.attacks.copies.closest_record", None)
    monkeypatch.setattr("mmgen.evaluation.privacy.attacks.logan_black_box.logan_black_box", None)
    measured = Measured(tmp_path)
    assert audit_section(given, QUICK, measured) == first and measured.reused == len(list(tmp_path.iterdir()))
    changed = given.synthetic["image"].values.copy()
    changed[3, 0, 4, 4] ^= 1
    with pytest.raises(TypeError):
        audit_section(replace(given, synthetic={"image": samples(changed)}), QUICK, Measured(tmp_path))


def test_several_modalities_are_told_apart(films: np.ndarray) -> None:
    members, others, synthetic = parts(films, 6, 60, 60, 40)
    rng = np.random.default_rng(0)
    sounds = [rng.normal(-5, 2, (n, 1, 20, 20)).astype(np.float16) for n in (60, 60, 40)]
    sounds[2][7] = sounds[0][30]
    audio = Modality("audio", (1, 20, 20), (5, 5), (-5.0,), (2.0,))
    sides = [Side({"image": samples(x), "audio": samples(y)}) for x, y in zip((members, others), sounds, strict=False)]
    modalities = {"image": FILMS, "audio": audio}
    extractors = {name: make_extractor(PIXELS, modality) for name, modality in modalities.items()}
    made = {"image": samples(synthetic), "audio": samples(sounds[2])}
    section = audit_section(Evidence(modalities, made, *sides, extractors), QUICK)
    assert section.results["copies/image"].exact == 0 and section.results["copies/audio"].exact == 1
    assert {key.partition("/")[2] for key in section.results if key != "effort"} == {"image", "audio"}
    assert section.results["pass_through/audio"].share == pytest.approx(1 / 40)


def test_shared_records_are_refused_with_the_count(films: np.ndarray) -> None:
    members, others, synthetic = parts(films, 7, 60, 60, 40)
    others[:5] = members[10:15]
    with pytest.raises(UserError, match="5 records of 'image' are among both"):
        audit_section(evidence(synthetic, members, others), QUICK)
    section = audit_section(evidence(synthetic, members, others), QUICK, leave_out_shared=True)
    assert section.results["closest_record"].n_non_members == 55


def test_sides_that_differ_anyway_are_said_to(films: np.ndarray) -> None:
    """Planted: the held-out pictures come from a brighter machine; the synthetic ones are innocent."""
    members, others, synthetic = parts(films, 8, 150, 150, 150)
    brighter = (others.astype(int) + 12).clip(0, 255).astype(np.uint8)
    section = audit_section(evidence(synthetic, members, brighter), QUICK)
    assert section.results["blind_baseline"].auc > 0.8 and not section.results["blind_baseline"].counts
    blind = next(verdict for verdict in judged(section) if verdict.attack == "blind_baseline")
    assert blind.light == "amber" and blind.allowed and "differ anyway" in blind.line
    alike = audit_section(evidence(synthetic, members, others), QUICK).results["blind_baseline"]
    assert alike.auc_ci[0] < 0.5 < alike.auc_ci[1]
