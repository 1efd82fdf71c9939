"""The attack on denoising: a model that remembers its records is caught, an untrained one is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.features import PIXELS, make_extractor
from mmgen.evaluation.privacy.attack import Case, Effort, Evidence
from mmgen.evaluation.privacy.attacks import ATTACKS, reconstruction
from mmgen.evaluation.privacy.attacks.denoising_error import ATTACK, TIMES, membership_scores
from mmgen.evaluation.privacy.audit import audit_section
from mmgen.evaluation.privacy.gate import judge
from mmgen.evaluation.privacy.membership import membership_result
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.privacy.results import MembershipResult
from mmgen.evaluation.privacy.sides import Side
from mmgen.evaluation.report.privacy import privacy_tables
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.modality import Modality
from mmgen.training.memorisation import denoising_errors

IMAGE = Modality("image", (1, 16, 16), (4, 4), (128.0,), (40.0,), value_range=(0.0, 255.0))
SOUND = Modality("audio", (1, 5, 4), (4, 2))  # padded
LABELS = ("a", "b")
SIZES = {"dim": 32, "depth": 2, "heads": 2, "decoder_dim": 32, "decoder_depth": 2, "decoder_heads": 2}


def records(
    count: int, seed: int, modality: Modality = IMAGE, labels: tuple[str, ...] = LABELS, faint: float = 1.0
) -> Samples:
    """Six degrees of freedom of each label, and noise."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(0, 0.4, (2, 6, *modality.shape))
    label = np.arange(count) % 2
    values = np.einsum("nk,nkchw->nchw", rng.normal(0, 1, (count, 6)), basis[label])
    values = faint * (values + rng.normal(0, 0.3, values.shape))
    values = values if modality is SOUND else (128 + 40 * values).clip(0, 255)
    return Samples(values.astype(np.float16 if modality is SOUND else np.uint8), label, labels, np.arange(count))


def make(*modalities: Modality) -> DenoisingMAE:
    torch.manual_seed(0)
    return DenoisingMAE(modalities or (IMAGE,), **SIZES, labels=LABELS).eval()


def evidence(model: CrossModalMAE | None, members: Samples, others: Samples) -> Evidence:
    sides = Side({"image": members}), Side({"image": others})
    extractors = {"image": make_extractor(PIXELS, IMAGE)}
    return Evidence({"image": IMAGE}, {"image": records(40, 7)}, *sides, extractors, "G", model)


def attacked(model: DenoisingMAE, members: Samples, others: Samples) -> MembershipResult:
    scores = ATTACK.run(Case(evidence(model, members, others), Effort(draws=2), 0, "image"))
    return membership_result(scores["denoising_error"], "W", resamples=300)


@pytest.fixture(scope="module")
def remembering() -> DenoisingMAE:
    model, known = make(), records(16, 0)
    x, labels = torch.from_numpy(known.values), torch.from_numpy(known.labels)
    optimiser, generator = torch.optim.AdamW(model.parameters(), 4e-3), torch.Generator().manual_seed(0)
    for _ in range(180):
        told = torch.where(torch.rand(16, generator=generator) < 0.1, model.no_label, labels)
        times = {"image": torch.sigmoid(torch.randn(16, generator=generator) - 0.4)}
        loss = model({"image": x}, 1.0, None, told, times)["image"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def test_a_model_that_remembers_is_caught(remembering: DenoisingMAE) -> None:
    results = [attacked(remembering, records(16, 0), records(16, seed)) for seed in (1, 2, 3)]
    assert min(result.auc for result in results) > 0.8, results


def test_records_it_has_never_seen_and_untrained_models_are_not_told_apart(remembering: DenoisingMAE) -> None:
    for model in (make(), remembering):
        held = 0
        for seed in range(10, 20):
            low, high = attacked(model, records(16, seed), records(16, 50 + seed)).auc_ci
            held += low <= 0.5 <= high
        assert held >= 8


def test_unusual_records_are_no_members(remembering: DenoisingMAE) -> None:
    """Records that anybody could denoise, for they are faint."""
    faint = records(16, 4, faint=0.25)
    of_known, of_faint = (denoising_errors(remembering, "image", side, TIMES, 2) for side in (records(16, 0), faint))
    assert of_faint.mean(0)[0] < 0.5 * of_known.mean(0)[0]  # where noise hides nearly all
    assert attacked(remembering, records(16, 0), faint).auc > 0.5


def test_every_record_is_attacked_alike_whatever_the_batch_and_the_callers_chance() -> None:
    model = make(IMAGE, SOUND)
    with torch.no_grad():
        for p in model.decoders.parameters():
            p.add_(0.05 * torch.randn_like(p))
    samples, state = records(7, 0), torch.get_rng_state()
    errors = denoising_errors(model, "image", samples, TIMES, 2)
    assert torch.equal(torch.get_rng_state(), state) and errors.shape == (7, 5)
    np.testing.assert_allclose(denoising_errors(model, "image", samples, TIMES, 2, batch_size=3), errors, rtol=1e-4)
    # The same records in another order, and under names in another order.
    other = Samples(samples.values[::-1], 1 - samples.labels[::-1], LABELS[::-1], samples.rows)
    np.testing.assert_allclose(denoising_errors(model, "image", other, TIMES, 2)[::-1], errors, rtol=1e-4)
    unknown = denoising_errors(model, "image", records(7, 0, labels=("c", "d")), TIMES, 2)
    assert np.isfinite(unknown).all() and not np.allclose(unknown, errors)
    assert not np.allclose(denoising_errors(model, "image", samples, TIMES, 2, seed=1), errors)
    assert denoising_errors(model, "audio", records(5, 0, SOUND), TIMES, 1).shape == (5, 5)


def test_scores_know_nothing_of_a_common_factor() -> None:
    """What is a factor at all times is difficulty; one that is there at late times alone is knowledge."""
    rng = np.random.default_rng(0)
    errors = np.exp(rng.normal(0, 0.01, (40, 5)))
    factor = np.exp(rng.normal(0, 1, (40, 1)))
    errors[:20, 2:] *= 0.9
    scores = membership_scores(errors * factor)
    assert (
        roc_auc_score(np.arange(40) < 20, scores) > 0.95 > roc_auc_score(np.arange(40) < 20, -(errors * factor).mean(1))
    )
    assert (membership_scores(np.ones((6, 5))) == 0).all()


@pytest.mark.parametrize("kind", [None, CrossModalMAE, DenoisingMAE])
def test_audits_attack_denoising_models_alone(
    kind: type[CrossModalMAE] | None, remembering: DenoisingMAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmgen.evaluation.privacy.audit.ATTACKS", (reconstruction.ATTACK, ATTACK))
    assert {reconstruction.ATTACK, ATTACK} <= {*ATTACKS}
    model = remembering if kind is DenoisingMAE else None if kind is None else kind([IMAGE], **SIZES, labels=LABELS)
    state = torch.get_rng_state()
    section = audit_section(evidence(model, records(16, 0), records(40, 1)), Effort(draws=2, resamples=100))
    assert torch.equal(torch.get_rng_state(), state)
    assert ("reconstruction" in section.results) == (kind is not None)
    assert ("denoising_error" in section.results) == (kind is DenoisingMAE)
    if kind is DenoisingMAE:
        entry = section.results["denoising_error"]
        assert (entry.threat_model, entry.counts, entry.n_members, entry.n_non_members) == ("W", True, 16, 40)
        only = PrivacySection({"denoising_error": entry})
        (verdict,) = judge(only)
        assert verdict.light == "red" and verdict.line.startswith("denoising error, white box: AUC ")
        assert privacy_tables(only)[0].rows[0][0] == "Denoising error, white box"
