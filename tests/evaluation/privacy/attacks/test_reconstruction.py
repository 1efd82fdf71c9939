"""The reconstruction attack: an overfitted masked autoencoder is caught, an untrained one is not."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from sklearn.metrics import roc_auc_score

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks.reconstruction import reconstruction_scores
from mmgen.evaluation.privacy.membership import Scores, membership_result
from mmgen.models.cross_modal_mae import CrossModalMAE

RATIO = 0.5


def few(seed: int, count: int) -> dict[str, Samples]:
    """So many samples of every label and modality, at most 4."""
    samples = tiny.make_samples(seed=seed)
    return {
        name: s.select(np.concatenate([np.flatnonzero(s.labels == label)[:count] for label in (0, 1)]))
        for name, s in samples.items()
    }


@pytest.fixture(scope="module")
def overfitted() -> CrossModalMAE:
    model = tiny.make_model(dim=32, decoder_dim=32)
    members, generator = few(0, 3), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    batch = {name: torch.from_numpy(s.values) for name, s in members.items()}
    for _ in range(200):
        shuffled = {
            name: x[torch.randperm(3, generator=generator).repeat(2) + torch.tensor([0, 0, 0, 3, 3, 3])]
            for name, x in batch.items()
        }
        loss = sum(model(shuffled, RATIO, model.noise(6, generator)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def area(pair: tuple[np.ndarray, np.ndarray]) -> float:
    return roc_auc_score([1] * len(pair[0]) + [0] * len(pair[1]), np.concatenate(pair))


def test_an_overfitted_model_is_caught(overfitted: CrossModalMAE) -> None:
    others = tiny.make_samples(seed=1)
    scores = reconstruction_scores(overfitted, few(0, 3), others, RATIO)
    assert list(scores) == ["image", "audio", "joint"]
    assert all(area(pair) > 0.9 for pair in scores.values())
    assert [len(side) for side in scores["joint"]] == [6, len(others["image"])]


def test_an_untrained_model_is_not() -> None:
    model, held = tiny.make_model().eval(), 0
    for seed in range(10):
        scores = reconstruction_scores(model, tiny.make_samples(seed=seed), tiny.make_samples(seed=seed + 50), RATIO)
        low, high = membership_result(Scores(*scores["joint"]), "W", resamples=300).auc_ci
        held += low <= 0.5 <= high
    assert held >= 8  # of only 12 samples a side; the interval is a little too narrow for so few


def test_the_batch_size_and_the_callers_chance_change_nothing() -> None:
    model, members, others = tiny.make_model().eval(), tiny.make_samples(), tiny.make_samples(seed=1)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = reconstruction_scores(model, members, others, RATIO)
    assert torch.equal(torch.get_rng_state(), state)
    again = reconstruction_scores(model, members, others, RATIO, batch_size=5)
    for name, pair in first.items():
        for one, other in zip(pair, again[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    different = reconstruction_scores(model, members, others, RATIO, seed=1)
    assert not np.allclose(first["image"][0], different["image"][0])


def test_all_samples_of_both_sides_get_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = tiny.make_model().eval(), []
    patch_losses = model.patch_losses

    def watched(*arguments: object) -> dict:
        found = patch_losses(*arguments)
        seen.append({name: mask for name, (_, mask) in found.items()})
        return found

    monkeypatch.setattr(model, "patch_losses", watched)
    reconstruction_scores(model, few(0, 2), few(1, 3), RATIO, draws=3)
    assert len(seen) == 2 * 2 * 3
    for draw, masks in enumerate(seen):
        for name, mask in masks.items():
            assert torch.equal(mask, seen[draw % 3][name][:1].expand_as(mask))
    assert len({tuple(masks["image"][0].tolist()) for masks in seen[:3]}) > 1


def test_the_same_samples_on_both_sides_score_the_same() -> None:
    samples = tiny.make_samples(("image",))
    scores = reconstruction_scores(tiny.make_model(("image",)).eval(), samples, samples, RATIO)
    assert list(scores) == ["image"]
    np.testing.assert_array_equal(*scores["image"])


def test_only_masked_patches_count_and_a_perfect_one_scores_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    model, members = tiny.make_model().eval(), few(0, 2)
    patch_losses = model.patch_losses

    def perfect_but_for_visible(*arguments: object) -> dict:
        return {name: (100 * (1 - mask), mask) for name, (_, mask) in patch_losses(*arguments).items()}

    monkeypatch.setattr(model, "patch_losses", perfect_but_for_visible)
    scores = reconstruction_scores(model, members, few(1, 2), RATIO)
    assert all((side == 0).all() for pair in scores.values() for side in pair)


def test_what_cannot_be_attacked_is_refused() -> None:
    model, samples = tiny.make_model().eval(), tiny.make_samples()
    with pytest.raises(UserError, match="nothing of 'image' is masked"):
        reconstruction_scores(model, samples, samples, {"image": 0.0, "audio": 0.5})
    lacking = {**samples, "audio": samples["audio"].select(samples["audio"].labels == 0)}
    with pytest.raises(UserError, match="Among the others, 'image' has samples labelled healthy and 'audio' has none"):
        reconstruction_scores(model, samples, lacking, RATIO)
