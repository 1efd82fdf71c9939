from __future__ import annotations

import copy

import pytest
import tiny
import torch
from torch import nn

from mmgen.training.gradients import LossStepper

LR, DECAY = 1e-2, 0.05


class TwoTowers(nn.Module):
    """A shared layer below two heads, one loss each; neither loss reaches the other's head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(3, 4)
        self.heads = nn.ModuleDict({name: nn.Linear(4, 1) for name in "ab"})

    def losses(self, x: torch.Tensor, scale: float = 1.0) -> dict[str, torch.Tensor]:
        hidden = self.shared(x).tanh()
        a, b = (self.heads[name](hidden).square().mean() for name in "ab")
        return {"a": scale * a, "b": b}

    def reach(self) -> dict[str, list[nn.Parameter]]:
        return {name: [*self.shared.parameters(), *self.heads[name].parameters()] for name in "ab"}


def batches(count: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 3, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("clip", [None, 0.05])
def test_one_loss_is_ordinary_training(clip):
    ours, plain = TwoTowers(), TwoTowers()
    stepper = LossStepper({"sum": list(ours.parameters())}, LR, DECAY, clip_norm=clip)
    groups = [
        {"params": [p for p in plain.parameters() if p.ndim >= 2], "weight_decay": DECAY},
        {"params": [p for p in plain.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), fused=True)
    for x in batches():
        stepper.accumulate({"sum": sum(ours.losses(x).values())})
        norm = stepper.step()["sum"]
        optimizer.zero_grad()
        sum(plain.losses(x).values()).backward()
        expected = nn.utils.clip_grad_norm_(plain.parameters(), clip if clip else torch.inf)
        optimizer.step()
        torch.testing.assert_close(norm, expected)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_every_gradient_is_taken_before_the_first_step():
    """Two AdamW in turn, fed with the gradients at the weights that both losses saw."""
    ours, reference = TwoTowers(), TwoTowers()
    stepper = LossStepper(ours.reach(), LR, DECAY, clip_norm=None)
    by_hand = LossStepper(reference.reach(), LR, DECAY, clip_norm=None).optimizers
    for x in batches():
        stepper.accumulate(ours.losses(x))
        stepper.step()
        frozen = copy.deepcopy(reference)
        found = {n: torch.autograd.grad(frozen.losses(x)[n], frozen.reach()[n]) for n in "ab"}
        for name, optimizer in by_hand.items():
            for parameter, gradient in zip(reference.reach()[name], found[name], strict=True):
                parameter.grad = gradient
            optimizer.step()
            optimizer.zero_grad()
    assert tiny.same_weights(ours.state_dict(), reference.state_dict())


@pytest.mark.parametrize("clip", [None, 1.0])
def test_scale_of_one_loss_does_not_touch_the_other(clip):
    ours, scaled = TwoTowers(), TwoTowers()
    steppers = [LossStepper(model.reach(), LR, DECAY, clip_norm=clip) for model in (ours, scaled)]
    for x in batches():
        for model, stepper, scale in zip((ours, scaled), steppers, (1.0, 1000.0), strict=True):
            stepper.accumulate(model.losses(x, scale))
            stepper.step()
        states = [list(stepper.optimizers["b"].state.values()) for stepper in steppers]
        for ours_state, scaled_state in zip(*states, strict=True):
            assert all(torch.equal(ours_state[key], scaled_state[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
        assert tiny.same_weights(ours.heads["b"].state_dict(), scaled.heads["b"].state_dict())
        # What the scaled loss itself did to the shared layer agrees up to AdamW's epsilon without clipping, and less
        # with it (a clipped gradient forgets how long it was); so start level again.
        for a, b in zip(ours.shared.parameters(), scaled.shared.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=(0.001 if clip is None else 1.0) * LR)
        scaled.load_state_dict(ours.state_dict())


def test_parts_add_up_to_the_whole():
    whole, parts = TwoTowers(), TwoTowers()
    steppers = [LossStepper(model.reach(), LR, DECAY) for model in (whole, parts)]
    for x in batches():
        steppers[0].accumulate(whole.losses(x))
        for part in x.chunk(4):
            steppers[1].accumulate(parts.losses(part), share=0.25)
        norms = [stepper.step() for stepper in steppers]
        torch.testing.assert_close(norms[0], norms[1])
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_each_loss_is_clipped_by_its_own_norm():
    model = TwoTowers()
    stepper = LossStepper(model.reach(), LR, DECAY, betas=(0.0, 0.0), clip_norm=0.1)
    stepper.accumulate(model.losses(batches(1)[0], scale=1000.0))
    norms = stepper.step()
    assert norms["a"] > 10 > 0.1 > 0
    for name in "ab":  # with betas of zero the state holds the last gradient itself
        kept = [state["exp_avg"] for state in stepper.optimizers[name].state.values()]
        assert float(nn.utils.get_total_norm(kept)) == pytest.approx(min(0.1, float(norms[name])), rel=1e-3)


def test_one_update_decays_as_much_with_two_losses_as_with_one():
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    stepper = LossStepper({name: [weight, bias] for name in "ab"}, lr=0.1, weight_decay=0.5)
    stepper.accumulate({name: (0.0 * weight).sum() + (0.0 * bias).sum() for name in "ab"})
    stepper.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), (1 - 0.1 * 0.25) ** 2))
    assert torch.equal(bias.detach(), torch.ones(2))


def test_parameters_that_a_loss_does_not_reach_stay():
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    stepper = LossStepper({"only": [used, unused]}, lr=0.1, weight_decay=0.5)
    for _ in range(2):
        stepper.accumulate({"only": used.square().sum()}, share=0.5)
    stepper.step()
    assert torch.equal(unused.detach(), torch.ones(2, 2))
    assert not torch.equal(used.detach(), torch.ones(2, 2))
    assert used.grad is None


@pytest.mark.parametrize("clip", [None, 0.1])
def test_gradients_that_share_memory_or_lie_in_it_otherwise_are_each_parameters_own(clip):
    """Planted: one tensor is the gradient of two parameters; others are expanded, parts of a larger one, transposed."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(3, 4, generator=generator)) for _ in range(6)]
    one, other, even, left, right, turned = parameters

    def loss() -> torch.Tensor:
        parts = (one + other).square().sum(), even.sum(), torch.cat([left, right], 1).pow(3).sum()
        return 9 * (sum(parts) + (turned.T.contiguous() ** 2).sum())

    stepper = LossStepper({"only": parameters}, LR, DECAY, betas=(0.0, 0.0), clip_norm=clip)
    expected = torch.autograd.grad(loss(), parameters)
    assert expected[-1].stride() != turned.stride()
    scale = 1.0 if clip is None else clip / nn.utils.get_total_norm(expected)
    stepper.accumulate({"only": loss()})
    stepper.step()
    for parameter, gradient in zip(parameters, expected, strict=True):
        kept = stepper.optimizers["only"].state[parameter]["exp_avg"]
        torch.testing.assert_close(kept, gradient * scale, rtol=1e-4, atol=1e-7)
