from __future__ import annotations

import numpy as np
import pytest
import torch
from structures import smooth

from mmgen.evaluation.privacy.disguises.search import Candidates, CopySearch
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.modality import Modality

MODALITY = Modality("image", (1, 64, 64), (8, 8), value_range=(0, 255))


def pictures(count: int, seed: int) -> np.ndarray:
    return smooth(count, seed).numpy().astype(np.uint8)


@pytest.fixture(scope="module")
def search() -> CopySearch:
    """40 records of 20 people."""
    return CopySearch(Records(pictures(40, 0), np.repeat(np.arange(20), 2)), MODALITY, is_picture=True)


def stands_out(candidates: Candidates, search: CopySearch) -> np.ndarray:
    """(N, K, V)"""
    return candidates.features[..., -len(search.views) :]


def test_the_original_is_a_candidate_and_stands_out_in_every_view(search: CopySearch) -> None:
    found = search.candidates(np.asarray(search.values[:10]).astype(np.uint8))
    right = found.rows == np.arange(10)[:, None]
    assert right.any(1).all() and (found.owners == search.owners[found.rows]).all()
    assert (stands_out(found, search)[right] > 0.5).all()
    assert np.median(stands_out(found, search)[~right]) < 0


def test_no_record_of_the_same_person_is_a_candidate(search: CopySearch) -> None:
    found = search.candidates(np.asarray(search.values).astype(np.uint8), search.owners)
    assert (found.owners[found.rows >= 0] >= 0).all() and not (found.owners == search.owners[:, None]).any()
    assert stands_out(found, search)[found.rows >= 0].max() < 1.0


def test_two_records_of_one_person_do_not_hide_each_other() -> None:
    """Neighbouring slices are alike; that one stands out is measured beside other people."""
    values = pictures(30, 1)
    values[1] = np.clip(values[0] + np.random.default_rng(0).normal(0, 2, values[0].shape), 0, 255)
    together, apart = np.r_[0, 0, np.arange(1, 29)], np.arange(30)
    seen = {}
    for name, owners in (("together", together), ("apart", apart)):
        search = CopySearch(Records(values, owners), MODALITY, is_picture=True)
        seen[name] = stands_out(search.candidates(values[:1]), search).max()
    assert seen["together"] > seen["apart"] + 0.1


def test_few_records_and_one_person_are_searched_too() -> None:
    for count in (1, 3):
        search = CopySearch(Records(pictures(count, 2), np.zeros(count)), MODALITY, is_picture=True)
        found = search.candidates(pictures(5, 3))
        assert np.isfinite(found.features).all()
        nothing = search.candidates(pictures(5, 3), np.zeros(5, np.int64))
        assert (nothing.rows == -1).all() and (nothing.features == -10).all()


def test_sounds_are_searched_in_time() -> None:
    mels = torch.log(smooth(20, 4) / 255 + 1e-3).numpy().astype(np.float16)
    modality = Modality("audio", (1, 64, 64), (8, 8), mean=(-2.0,), std=(2.0,))
    search = CopySearch(Records(mels), modality, is_picture=False)
    found = search.candidates(np.ascontiguousarray(mels[..., ::-1]))
    assert (found.rows == np.arange(20)[:, None]).any(1).all()
