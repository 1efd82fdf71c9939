from __future__ import annotations

import pytest
import torch

from mmgen.errors import UserError
from mmgen.models.mae_layers import GradualCrossAttention

DIM, HEADS = 16, 4


def make(query: str, xi: float = 0.7) -> GradualCrossAttention:
    torch.manual_seed(0)
    return GradualCrossAttention(DIM, HEADS, xi, query)


def tokens(count: int, seed: int) -> torch.Tensor:
    return torch.randn(2, count, DIM, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("query", ["own", "other"])
def test_a_gate_of_zero_adds_exactly_nothing(query):
    added = make(query, xi=0.0)(tokens(5, 0), [tokens(5, 1)])
    assert torch.equal(added, torch.zeros_like(added))


@pytest.mark.parametrize("query", ["own", "other"])
def test_the_gate_scales_the_term(query):
    own, other = tokens(5, 0), tokens(5, 1)
    torch.testing.assert_close(make(query, 0.5)(own, [other]), 0.5 * make(query, 1.0)(own, [other]))


def test_own_asks_and_the_other_answers():
    fusion, own, other = make("own"), tokens(5, 0), tokens(7, 1)
    added = fusion(own, [other])
    assert added.shape == own.shape
    torch.testing.assert_close(fusion(own, [other.flip(1)]), added)  # keys are a set
    torch.testing.assert_close(fusion(own.flip(1), [other]), added.flip(1))  # queries are places
    assert not torch.allclose(fusion(own, [other + tokens(7, 2)]), added)


def test_other_asks_and_own_answers_as_printed():
    fusion, own, other = make("other"), tokens(5, 0), tokens(5, 1)
    added = fusion(own, [other])
    torch.testing.assert_close(fusion(own.flip(1), [other]), added)
    torch.testing.assert_close(fusion(own, [other.flip(1)]), added.flip(1))


def test_several_others_are_one_sequence_or_a_mean():
    own, first, second = tokens(5, 0), tokens(5, 1), tokens(5, 2)
    together = make("own")(own, [first, second])
    torch.testing.assert_close(make("own")(own, [second, first]), together)
    torch.testing.assert_close(make("own")(own, [torch.cat([first, second], 1)]), together)
    mean = (make("other")(own, [first]) + make("other")(own, [second])) / 2
    torch.testing.assert_close(make("other")(own, [first, second]), mean)


@pytest.mark.parametrize("query", ["own", "other"])
def test_both_attention_paths_agree(query):
    fusion, own, other = make(query), tokens(5, 0), tokens(5, 1)
    fused = fusion(own, [other])
    fusion.fused_attn = False
    torch.testing.assert_close(fusion(own, [other]), fused, rtol=1e-5, atol=1e-6)


def test_attention_is_the_textbook_formula_for_each_head():
    fusion, own, other = make("own", xi=1.0), tokens(3, 0), tokens(4, 1)
    q = fusion.query(fusion.query_norm(own))
    k, v = fusion.key_value(fusion.key_norm(other)).split(DIM, dim=-1)
    width = DIM // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / width**0.5).softmax(-1)
        heads.append(weights @ v[..., part])
    torch.testing.assert_close(fusion(own, [other]), fusion.proj(torch.cat(heads, -1)), rtol=1e-5, atol=1e-6)


def test_unequal_counts_are_refused_in_one_sentence_for_the_printed_orientation():
    with pytest.raises(UserError, match=r"7 tokens to 5 own ones; .*same mask ratio.*fusion_query='own'"):
        make("other")(tokens(5, 0), [tokens(7, 1)])


def test_wrong_settings_are_refused():
    with pytest.raises(UserError, match="fusion_query is one of"):
        GradualCrossAttention(DIM, HEADS, 0.0, "both")
    with pytest.raises(UserError, match=r"heads \(3\) must divide the width \(16\)"):
        GradualCrossAttention(DIM, 3, 0.0)
