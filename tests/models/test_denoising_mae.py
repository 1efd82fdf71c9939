"""The denoising masked autoencoder: what is noised, what is seen, what is told, and that it learns to draw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.modality import Modality

LABELS = ("a", "b")
IMAGE = Modality("image", (1, 18, 16), (4, 4), mean=(3.0,), std=(2.0,))  # two rows of padding
AUDIO = Modality("audio", (1, 12, 6), (4, 3))
THIRD = Modality("third", (2, 8, 8), (8, 8))


def make(*modalities: Modality, trained: bool = True, **sizes: int) -> DenoisingMAE:
    """A small model; ``trained`` gives what starts at zero other values."""
    torch.manual_seed(0)
    small = {"dim": 32, "depth": 2, "heads": 2, "decoder_dim": 32, "decoder_depth": 2, "decoder_heads": 2} | sizes
    model = DenoisingMAE(modalities or (IMAGE, AUDIO), **small, labels=LABELS)
    if trained:
        with torch.no_grad():
            for p in model.decoders.parameters():
                p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def inputs(model: DenoisingMAE, batch: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, *m.shape, generator=generator) for name, m in model.modalities.items()}


def gaussian(model: DenoisingMAE, batch: int = 3, seed: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(batch, m.tokens, m.patch_size, generator=generator) for n, m in model.modalities.items()}


def test_one_step_from_noise_is_the_reconstruction() -> None:
    model = make()
    x, order, normal = inputs(model), model.noise(3, torch.Generator().manual_seed(3)), gaussian(model)
    rebuilt = model.reconstruct(x, 0.5, order, gaussian=normal)
    masked = model._mask(model._patches(x), 0.5, order)
    latent = model._encode(model._patches(x), masked)
    for name, modality in model.modalities.items():
        clean = modality.patchify(modality.normalise(x[name]))
        normal_there = torch.lerp(clean, normal[name] * model.valid(name), masked[name].mask.unsqueeze(-1))
        made = model._denoised(name, normal_there, latent, masked, torch.zeros(3), torch.full((3,), model.no_label))[0]
        hidden = modality.unpatchify(masked[name].mask.unsqueeze(-1).expand(-1, -1, modality.patch_size)).bool()
        expected = modality.denormalise(modality.unpatchify(made))
        torch.testing.assert_close(rebuilt[name][hidden], expected[hidden])
        torch.testing.assert_close(rebuilt[name][~hidden], x[name][~hidden])


def test_visible_patches_are_not_in_the_loss_and_hidden_ones_not_in_the_input() -> None:
    model = make()
    x, order = inputs(model), model.noise(3, torch.Generator().manual_seed(3))
    x = {name: value.requires_grad_() for name, value in x.items()}
    loss = model(x, {"image": 0.5, "audio": 1.0}, order, gaussian=gaussian(model))
    (gradient,) = torch.autograd.grad(loss["image"], x["image"])
    patches = IMAGE.patchify(gradient)
    hidden = model._mask(model._patches(x), {"image": 0.5, "audio": 1.0}, order)["image"].mask.bool()
    # At time 0 a hidden patch is only the target: its gradient is that of a squared error, at most of this size.
    assert patches[hidden].abs().sum() > 0 and patches[~hidden].abs().sum() > 0, "the visible ones are seen"
    with torch.no_grad():
        other = {n: v + 50.0 * IMAGE.unpatchify(hidden.unsqueeze(-1).float().expand(-1, -1, 16)) * (n == "image")
                 if n == "image" else v for n, v in x.items()}  # fmt: skip
        made = (
            model.reconstruct(one, {"image": 0.5, "audio": 1.0}, order, gaussian=gaussian(model)) for one in (x, other)
        )
        first, second = made
    torch.testing.assert_close(first["audio"], second["audio"])
    shown = IMAGE.unpatchify((~hidden).unsqueeze(-1).expand(-1, -1, 16))
    torch.testing.assert_close(first["image"][~shown], second["image"][~shown])


def test_the_lowest_value_is_set_apart_inside_and_nowhere_else() -> None:
    """Silence comes back to the bit where it is visible, and its gap is no error where it is hidden."""
    sound = Modality("audio", (1, 10, 14), (5, 4), (-5.0,), (2.0,), value_range=(-11.5, 4.0))
    model = make(sound)
    x = sound.denormalise(inputs(model)["audio"])
    x[:, :, :5] = -11.5
    kept = model.complete({"audio": x}, {"audio": torch.zeros(3, sound.tokens)})["audio"]
    torch.testing.assert_close(kept, x, rtol=0, atol=1e-5)
    assert (kept[:, :, :5] == -11.5).all()
    below = model._patches({"audio": x})["audio"]
    above = sound.put_back(below)
    lowest = sound.patchify(sound.normalise(x))
    torch.testing.assert_close(above, lowest)
    assert below.min() < lowest.min() - 0.25


def test_noise_in_padding_changes_nothing() -> None:
    model = make()
    normal, x = gaussian(model), inputs(model)
    other = {name: torch.where(model.valid(name) > 0, value, value + 9) for name, value in normal.items()}
    assert not torch.equal(normal["image"], other["image"])
    order, times = model.noise(3), {name: torch.tensor([0.0, 0.4, 0.9]) for name in model.modalities}
    one, two = (model(x, 1.0, order, torch.tensor([0, 1, 1]), times, g) for g in (normal, other))
    for name in one:
        torch.testing.assert_close(one[name], two[name])
    drawn = [model.sample(torch.tensor([0, 1, 2]), 4, gaussian=g) for g in (normal, other)]
    torch.testing.assert_close(drawn[0]["image"], drawn[1]["image"])


def test_no_label_is_the_label_left_out() -> None:
    model = make()
    x, order, normal = inputs(model), model.noise(3), gaussian(model)
    without, null = (model(x, 0.75, order, labels, gaussian=normal) for labels in (None, torch.full((3,), 2)))
    given = model(x, 0.75, order, torch.tensor([0, 1, 0]), gaussian=normal)
    for name in without:
        assert torch.equal(without[name], null[name]) and not torch.equal(without[name], given[name])


def test_the_others_are_read_where_a_modality_is_hidden_whole() -> None:
    model = make()
    normal, labels = gaussian(model), torch.tensor([0, 1, 1])
    x = inputs(model)["image"]
    coughs = [model.sample(labels, 3, gaussian=normal, inputs={"image": value})["audio"] for value in (x, x + 1)]
    assert not torch.allclose(coughs[0], coughs[1])
    for gate in model.decoders["audio"].fusion.values():
        torch.nn.init.zeros_(gate.xi)
    for layer in model.fusion:
        torch.nn.init.zeros_(layer["audio"].xi)
    coughs = [model.sample(labels, 3, gaussian=normal, inputs={"image": value})["audio"] for value in (x, x + 1)]
    torch.testing.assert_close(coughs[0], coughs[1])


@pytest.mark.parametrize("order", [(), ("third", "audio", "image"), ("audio", "image", "third")])
def test_three_modalities_with_unequal_grids_are_made_in_any_order(order: tuple[str, ...]) -> None:
    model = make(IMAGE, AUDIO, THIRD)
    made = model.sample(torch.tensor([1, 0]), 3, 2.0, gaussian(model, 2), order=order)
    assert list(made) == ["image", "audio", "third"]
    assert all(
        value.shape == (2, *model.modalities[name].shape) and value.isfinite().all() for name, value in made.items()
    )
    assert set(model(inputs(model), {"image": 1.0, "audio": 0.5, "third": 0.0})) == {"image", "audio"}


def test_every_item_is_made_by_itself() -> None:
    model = make()
    labels, normal = torch.tensor([0, 1, 1]), gaussian(model)
    together = model.sample(labels, 4, 2.0, normal)
    for item in range(3):
        alone = model.sample(labels[item : item + 1], 4, 2.0, {n: v[item : item + 1] for n, v in normal.items()})
        for name in alone:
            torch.testing.assert_close(alone[name][0], together[name][item], rtol=1e-4, atol=1e-4)


def test_each_loss_reaches_what_it_says() -> None:
    model = make(IMAGE, AUDIO, THIRD)
    times = {name: torch.full((3,), 0.3) for name in model.modalities}
    losses = model(inputs(model), 0.5, labels=torch.tensor([0, 1, 2]), times=times)
    names = {p: key for key, p in model.named_parameters()}
    for name, loss in losses.items():
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        reached = {names[p] for p, g in zip(parameters, gradients, strict=True) if g is not None}
        assert reached == set(model.parameters_of_loss(name))


def test_a_small_model_learns_to_draw_by_label() -> None:
    """Bright pictures of one label and dark ones of the other, with a sign that both modalities share."""
    image, audio = Modality("image", (1, 8, 8), (4, 4)), Modality("audio", (1, 4, 4), (2, 2))
    model = make(image, audio, trained=False)
    optimiser = torch.optim.AdamW(model.parameters(), 4e-3, betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(0)
    for update in range(500):
        labels = torch.randint(2, (64,), generator=generator)
        sign = 2.0 * torch.randint(2, (64, 1, 1, 1), generator=generator) - 1
        level = (2.0 * labels - 1).view(-1, 1, 1, 1)
        x = {"image": level + sign * torch.ones(64, 1, 8, 8) * 0.5, "audio": sign * torch.ones(64, 1, 4, 4)}
        told = torch.where(torch.rand(64, generator=generator) < 0.1, 2, labels)
        times = {n: torch.sigmoid(torch.randn(64, generator=generator) - 0.8) for n in x}
        ratios = {"image": 1.0, "audio": 1.0} if update % 3 else {"image": 0.0, "audio": 1.0}
        loss = sum(model(x, ratios, None, told, times).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.manual_seed(1)
    labels = torch.arange(2).repeat(100)
    made = {name: value.mean((1, 2, 3)) for name, value in model.eval().sample(labels, 12, 1.0).items()}
    bright = made["image"] > 0
    assert bright[labels == 1].float().mean() > 0.9 and bright[labels == 0].float().mean() < 0.1
    shared = made["image"] - (2.0 * labels - 1)
    assert (shared.sign() == made["audio"].sign()).float().mean() > 0.8, "the pair belongs together"
    assert 0.25 < (made["audio"] > 0).float().mean() < 0.75


def test_it_is_written_and_read(tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["kind"], config["decoder"], config["labels"]) == ("denoising_mae", "denoise", list(LABELS))
    again = DenoisingMAE.from_pretrained(tmp_path).eval()
    one, two = (m.sample(torch.tensor([0, 1, 2]), 3, gaussian=gaussian(model)) for m in (model, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda m: m.sample(torch.tensor([0, 7])), "there is no label 7"),
        (lambda m: m.sample(torch.tensor([0]), steps=0), "1 to 1000 steps, not 0"),
        (lambda m: m.sample(torch.tensor([0]), steps=11.5), "1 to 1000 steps, not 11.5"),
        (lambda m: m.sample(torch.tensor([0]), guidance=float("nan")), "Guidance is a number from 0 to 100, not nan"),
        (lambda m: m.sample(torch.tensor([0]), order=("smell",)), "not 'smell'"),
        (lambda m: m.reconstruct(inputs(m), paste_visible=False), "does not decode visible patches"),
        (lambda m: m.reconstruct({}), "needs at least one of"),
        (lambda m: m.complete(inputs(m), {"audio": torch.eye(3, 6).bool()}), None),
        (lambda m: m.complete(inputs(m), {"audio": torch.tril(torch.ones(3, 6))}), "as many ones in every sample"),
        (lambda m: DenoisingMAE([IMAGE], decoder="mse"), "goes with fusion_query"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(ask, words: str | None) -> None:
    if words is None:
        ask(make())
        return
    with pytest.raises(UserError, match=words):
        ask(make())
