from __future__ import annotations

import math

import pytest
import torch

from mmgen.errors import UserError
from mmgen.models.masking import gather_tokens, mask_from_order, shuffle, uniform_noise, visible_count


def test_no_token_is_lost_to_rounding():
    assert visible_count(100, 0.9) == 10  # int(100 * (1 - 0.9)) is 9
    assert visible_count(196, 0.75) == 49
    for tokens in range(1, 200):
        for hundredths in range(100):
            visible = visible_count(tokens, hundredths / 100)
            assert 1 <= visible <= tokens
            assert visible == 1 or abs(visible - tokens * (100 - hundredths) / 100) <= 0.5


def test_the_ends_of_the_scale():
    assert visible_count(64, 0.0) == 64
    assert visible_count(64, 1.0) == 0
    assert visible_count(64, 0.9999) == 1


@pytest.mark.parametrize("ratio", [-0.1, 1.1, math.nan])
def test_ratios_outside_the_scale_are_refused(ratio):
    with pytest.raises(UserError, match="between 0 and 1"):
        visible_count(64, ratio)


def test_shuffle_and_its_inverse():
    tokens = torch.randn(5, 12, 3)
    order, inverse = shuffle(uniform_noise(5, 12))
    assert torch.equal(gather_tokens(gather_tokens(tokens, order), inverse), tokens)
    assert all(sorted(row) == list(range(12)) for row in order.tolist())


@pytest.mark.parametrize("visible", [0, 1, 5, 12])
def test_mask_is_one_where_the_order_hides(visible):
    order, inverse = shuffle(uniform_noise(5, 12))
    mask = mask_from_order(inverse, visible)
    assert mask.sum(1).tolist() == [12.0 - visible] * 5
    kept = gather_tokens(mask.unsqueeze(-1), order[:, :visible])
    assert torch.equal(kept, torch.zeros_like(kept))


def test_noise_follows_its_seed_and_covers_tokens_evenly():
    first, again = (uniform_noise(4, 9, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    _, inverse = shuffle(uniform_noise(4000, 8, torch.Generator().manual_seed(0)))
    hidden = mask_from_order(inverse, 2).mean(0)
    assert (hidden - 0.75).abs().max() < 0.03
