from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmgen.errors import UserError
from mmgen.models.attention_gan import AttentionGenerator, ClassModulation, Critic, PooledAttention

CLASSES = 3


def make_generator(size: int = 32, channels: int = 1, seed: int = 0, blocks: int = 2) -> AttentionGenerator:
    torch.manual_seed(seed)
    return AttentionGenerator(size, channels, CLASSES, width=8, blocks=blocks)


def make_critic(size: int = 32, channels: int = 1, seed: int = 0) -> Critic:
    torch.manual_seed(seed)
    return Critic(size, channels, CLASSES, width=4)


def images(count: int = 3, size: int = 32, channels: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def labels(count: int = 3) -> Tensor:
    return torch.arange(count) % CLASSES


# -- generator


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (48, 3), (80, 1), (224, 3), (256, 1)])
def test_every_size_gives_images_and_masks_in_range(size, channels):
    generator = make_generator(size, channels).eval()
    x = images(2, size, channels)
    with torch.no_grad():
        made = generator(x, labels(2))
        assert generator.encoder(x).shape[2:] == (size // 4, size // 4)
    assert made.s.shape == made.g.shape == x.shape
    assert made.a.shape == (2, 1, size, size)
    assert made.s.abs().max() <= 1 and made.g.abs().max() <= 1
    assert made.a.min() >= 0 and made.a.max() <= 1
    torch.testing.assert_close(made.s, made.a * x + (1 - made.a) * made.g)


def test_masks_start_moderate_whatever_the_seed():
    for seed in range(5):
        mask = make_generator(seed=seed, blocks=6)(images(), labels()).a
        assert 0.1 < mask.mean() < 0.45, seed


def test_a_label_changes_its_own_image_and_no_other():
    generator, x = make_generator().eval(), images()
    first, second = (generator(x, torch.tensor(label)).s for label in ([0, 1, 2], [1, 1, 2]))
    assert (first[0] - second[0]).abs().max() > 1e-3
    torch.testing.assert_close(first[1:], second[1:])


def test_gradients_reach_every_parameter():
    generator = make_generator()
    made = generator(images(), labels())
    (made.s * images(seed=1)).sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_it_can_reach_black_and_white_in_spite_of_its_bounds():
    generator = make_generator(blocks=1)
    wanted = torch.where(images(CLASSES, 4, seed=2) > 0, 0.95, -0.95)
    wanted = F.interpolate(wanted, size=32)
    optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
    for _ in range(40):
        loss = F.mse_loss(generator(images(), labels()).g, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1  # 0.9 is the error of grey


def test_spectral_norms_stay_one_under_training():
    generator = make_generator()
    optimizer = torch.optim.Adam(generator.parameters(), lr=5e-3)
    for step in range(30):
        loss = F.mse_loss(generator(images(seed=step), labels()).g, images(seed=100))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bounded, grown = 0, 0
    for name, module in generator.eval().named_modules():
        if parametrize.is_parametrized(module, "weight"):
            norm = torch.linalg.matrix_norm(module.weight.flatten(1), ord=2)
            assert 0.99 < norm < 1.05, name
            original = module.parametrizations.weight.original
            grown += int(torch.linalg.matrix_norm(original.flatten(1), ord=2) > 1.05)
            bounded += 1
    matrices = [p for p in generator.parameters() if p.ndim > 1]
    assert bounded == len(matrices) - len(generator.blocks)  # all but the tables of the classes
    assert grown > bounded / 2  # so the bound held something back


def test_a_class_scales_by_less_than_two_however_large_its_entry():
    modulation = ClassModulation(4, CLASSES)
    nn.init.constant_(modulation.table.weight, 50.0)
    x = images(channels=4)
    torch.testing.assert_close(modulation(x, labels()), 2 * x + 50)
    nn.init.constant_(modulation.table.weight, -50.0)
    torch.testing.assert_close(modulation(x, labels()), torch.full_like(x, -50))


def test_bf16_autocast_gives_float32_near_the_full_precision():
    generator = make_generator().eval()
    exact = generator(images(), labels())
    generator.train()
    with torch.autocast("cpu", torch.bfloat16):
        made = generator(images(), labels())
    assert {part.dtype for part in made} == {torch.float32}
    torch.testing.assert_close(made.s, exact.s, atol=0.05, rtol=0)
    made.s.mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in generator.parameters())
    for norm in (module for module in generator.modules() if hasattr(module, "_u")):
        assert norm._u.dtype == torch.float32
        torch.testing.assert_close(norm._u.norm(), torch.tensor(1.0))


def test_a_seed_decides_the_weights_and_evaluation_repeats_itself():
    first, second, other = (make_generator(seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first.state_dict()[key], value) for key, value in second.state_dict().items())
    x = images()
    assert torch.equal(first.eval()(x, labels()).s, second.eval()(x, labels()).s)
    assert torch.equal(first(x, labels()).s, first(x, labels()).s)
    assert not torch.allclose(first(x, labels()).s, other.eval()(x, labels()).s)


def test_two_forward_passes_before_one_backward():
    generator = make_generator()
    made = [generator(images(seed=seed), labels()).s for seed in (0, 1)]
    (made[0].mean() - made[1].mean()).backward()
    assert all(torch.isfinite(p.grad).all() for p in generator.parameters() if p.grad is not None)
    assert any(p.grad is not None and p.grad.any() for p in generator.parameters())


@pytest.mark.parametrize("make", [make_generator, make_critic])
def test_models_are_rebuilt_from_their_json_configuration(make):
    model = make()
    again = type(model)(**json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())
    inputs = (images(), labels())[: 2 if make is make_generator else 1]
    assert torch.equal(model.eval()(*inputs)[0], again.eval()(*inputs)[0])


@pytest.mark.parametrize("model", [AttentionGenerator, Critic])
def test_other_images_are_refused_in_one_sentence(model):
    for size in (16, 100, 272):
        with pytest.raises(UserError, match=rf"32 to 256 pixels that is a multiple of 16, not {size}; choose"):
            model(size, 1, CLASSES)
    with pytest.raises(UserError, match=r"1 \(grey\) or 3 \(RGB\) channels, not 4\."):
        model(32, 4, CLASSES)


def test_a_batch_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"shape \(B, 1, 32, 32\), not \(3, 1, 48, 48\)"):
        make_generator()(images(size=48), labels())
    with pytest.raises(UserError, match=r"shape \(B, 1, 32, 32\), not \(1, 32, 32\)"):
        make_critic()(images()[0])


# -- attention


def test_attention_reaches_across_the_whole_map():
    attention = PooledAttention(16, 40)
    x = images(1, 40, 16).requires_grad_()
    (reached,) = torch.autograd.grad(attention(x)[0, :, 0, 0].square().sum(), x)
    assert (reached.abs().amax(dim=(0, 1)) > 0).all()


def test_attention_on_a_small_map_is_the_textbook_formula_for_each_head():
    attention = PooledAttention(16, 8).eval()
    x = images(2, 8, 16)
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = attention.query(tokens), attention.key(tokens), attention.value(tokens)
    heads = []
    for head in range(4):
        part = slice(head * 4, (head + 1) * 4)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / 2).softmax(-1)
        heads.append(weights @ v[..., part])
    expected = attention.proj(torch.cat(heads, -1)).transpose(1, 2).unflatten(2, (8, 8))
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("side", [8, 14, 16, 56, 64])
def test_the_memory_is_short_and_lies_as_the_fused_kernel_wants_it(side, monkeypatch):
    seen = {}

    def record(query, key, value):
        seen.update(query=query, key=key, value=value)
        return query

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    PooledAttention(16, side)(images(1, side, 16))
    assert seen["query"].shape[2] == side**2
    assert min(side**2, 49) <= seen["key"].shape[2] <= 196
    assert all(tokens.stride(-1) == 1 for tokens in seen.values())


# -- critic


@pytest.mark.parametrize("size", range(32, 257, 16))
def test_nine_convolutions_and_two_heads_at_every_size(size):
    critic = Critic(size, 3, CLASSES, width=1)
    critique = critic(images(2, size, 3))
    places = critic.features[:-1](images(1, size, 3)).shape[2]
    assert critique.score.shape == (2,) and critique.logits.shape == (2, CLASSES)
    assert 4 <= places <= 7
    kinds = [type(module) for module in critic.modules()]
    assert kinds.count(nn.Conv2d) == 9 and kinds.count(nn.Linear) == 2
    assert set(kinds) == {Critic, nn.Sequential, nn.Conv2d, nn.LeakyReLU, nn.Flatten, nn.Linear}


def test_scores_of_a_batch_do_not_depend_on_each_other():
    critic, x = make_critic(), images(4)
    torch.testing.assert_close(critic(x).score[:2], critic(x[:2]).score)


def test_gradients_reach_every_parameter_of_the_critic():
    critic = make_critic()
    score, logits = critic(images())
    (score.sum() + F.cross_entropy(logits, labels())).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in critic.parameters())


def test_the_critic_computes_in_float32_under_autocast():
    critic, x = make_critic(), images()
    exact = critic(x)
    with torch.autocast("cpu", torch.bfloat16):
        made = critic(x)
    assert torch.equal(made.score, exact.score) and torch.equal(made.logits, exact.logits)
