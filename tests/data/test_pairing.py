from __future__ import annotations

import numpy as np
import pytest

from mmgen.data.pairing import ModalDecouplingSampler
from mmgen.errors import UserError


def random_labels(seed: int) -> dict[str, np.ndarray]:
    """One to four modalities with one to five classes of one to thirty samples each, in random order."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(1, 6)
    names = ["image", "audio", "breath", "text"][: rng.integers(1, 5)]
    return {name: rng.permutation(np.repeat(np.arange(classes), rng.integers(1, 31, classes))) for name in names}


@pytest.mark.parametrize("seed", range(20))
def test_every_sample_is_visited_and_labels_never_mix(seed):
    labels = random_labels(seed)
    sampler = ModalDecouplingSampler(labels, batch_size=1 + seed, seed=seed)
    for epoch in range(3):
        drawn = sampler.epoch(epoch)
        assert {len(index) for index in drawn.values()} == {sampler.steps_per_epoch * (1 + seed)}
        tuples = np.stack([labels[name][index] for name, index in drawn.items()])
        assert (tuples == tuples[0]).all()
        for name, index in drawn.items():
            assert set(index) == set(range(len(labels[name]))), name


@pytest.mark.parametrize("seed", range(10))
def test_an_epoch_is_as_short_as_it_can_be(seed):
    labels = random_labels(seed)
    sampler = ModalDecouplingSampler(labels, 7, seed)
    classes = np.unique(labels["image"])
    needed = sum(max((values == c).sum() for values in labels.values()) for c in classes)
    assert sampler.tuples == needed
    assert 0 <= sampler.steps_per_epoch * 7 - needed < 7
    for name, index in sampler.epoch(0).items():  # nobody goes round twice before all have gone once
        counts = np.bincount(index[:needed], minlength=len(labels[name]))
        for c in classes:
            of_class = counts[labels[name] == c]
            assert of_class.max() - of_class.min() <= 1


def test_partners_are_fresh_every_epoch_and_follow_the_seed():
    labels = random_labels(3) | {"image": np.repeat([0, 1], 20), "audio": np.repeat([0, 1], 15)}
    labels = {name: labels[name] for name in ("image", "audio")}
    sampler, again = (ModalDecouplingSampler(labels, 8, seed=5) for _ in range(2))
    other = ModalDecouplingSampler(labels, 8, seed=6)

    def pairs(made: ModalDecouplingSampler, epoch: int) -> list[tuple[int, ...]]:
        return list(zip(*(index.tolist() for index in made.epoch(epoch).values()), strict=True))

    assert pairs(sampler, 4) == pairs(again, 4)
    assert pairs(sampler, 0) == pairs(again, 0)  # whatever was asked for before
    assert pairs(sampler, 0) != pairs(other, 0)
    assert pairs(sampler, 0) != pairs(sampler, 1)
    shared = set(pairs(sampler, 0)) & set(pairs(sampler, 1))
    assert len(shared) < 0.3 * sampler.tuples  # other partners, not another order
    met = set().union(*(pairs(sampler, epoch) for epoch in range(150)))
    assert len(met) == 2 * 20 * 15  # in the end everyone meets everyone of the class


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_shares_of_all_ranks_are_the_batch_of_one_process(world):
    labels = random_labels(1)
    sampler = ModalDecouplingSampler(labels, 6, seed=0)
    for epoch in range(2):
        for step in range(sampler.steps_per_epoch):
            whole = sampler.batch(epoch, step)
            shares = [sampler.batch(epoch, step, rank, world) for rank in range(world)]
            for name, index in whole.items():
                assert np.array_equal(np.concatenate([share[name] for share in shares]), index)
                assert np.array_equal(index, sampler.epoch(epoch)[name][step * 6 : step * 6 + 6])


def test_ranks_do_not_overlap_within_an_epoch():
    sampler = ModalDecouplingSampler({"image": np.zeros(24, int)}, batch_size=8, seed=0)
    seen = [np.concatenate([sampler.batch(0, step, rank, 2)["image"] for step in range(3)]) for rank in range(2)]
    assert set(seen[0]).isdisjoint(seen[1])
    assert set(seen[0]) | set(seen[1]) == set(range(24))


def test_a_batch_larger_than_the_data_is_filled_up():
    labels = {"image": np.array([0, 1]), "audio": np.array([1, 0, 0])}
    sampler = ModalDecouplingSampler(labels, batch_size=16, seed=0)
    assert (sampler.tuples, sampler.steps_per_epoch) == (3, 1)
    drawn = sampler.batch(0, 0)
    assert {len(index) for index in drawn.values()} == {16}
    assert np.array_equal(labels["image"][drawn["image"]], labels["audio"][drawn["audio"]])


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(UserError, match=r"by modality: \{'audio': \[1\]\}"):
        ModalDecouplingSampler({"image": np.array([0, 1]), "audio": np.array([0])}, 4, 0)
    with pytest.raises(UserError, match="Every label needs samples"):
        ModalDecouplingSampler({"image": np.zeros(0, int)}, 4, 0)
    with pytest.raises(UserError, match="batch size must be positive, got 0"):
        ModalDecouplingSampler({"image": np.zeros(3, int)}, 0, 0)
    with pytest.raises(UserError, match=r"batch size \(4\) must be a multiple of the number of processes \(3\)"):
        ModalDecouplingSampler({"image": np.zeros(3, int)}, 4, 0).batch(0, 0, 0, 3)
