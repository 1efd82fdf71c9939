from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE, random_masking, visible_count
from mmgen.models.mae_layers import gather_tokens
from mmgen.models.modality import Modality

BOTH = ("image", "audio")


def single(model: CrossModalMAE, name: str) -> CrossModalMAE:
    """The network of one modality alone, with the weights that it has in ``model``."""
    alone = tiny.make_model([name], seed=99)
    prefixes = (f"streams.{name}.", f"decoders.{name}.")
    alone.load_state_dict({key: value for key, value in model.state_dict().items() if key.startswith(prefixes)})
    return alone


def set_gates(model: CrossModalMAE, xi: float) -> CrossModalMAE:
    with torch.no_grad():
        for layer in model.fusion:
            for fusion in layer.values():
                fusion.xi.fill_(xi)
    return model


def gradients(loss: Tensor, model: CrossModalMAE) -> dict[str, Tensor]:
    """Gradient of every parameter that the loss reaches."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


# -- fusion


@pytest.mark.parametrize("query", ["own", "other"])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.75])
def test_closed_gates_give_exactly_the_single_modal_network(query, ratio):
    model = set_gates(tiny.make_model(fusion_query=query), 0.0)
    inputs, noise = tiny.make_inputs(), model.noise(3)
    losses, features = model(inputs, ratio, noise), model.encode(inputs, ratio, noise)
    made = model.reconstruct(inputs, ratio, noise)
    for name in BOTH:
        alone, own = single(model, name), {name: inputs[name]}
        assert torch.equal(losses[name], alone(own, ratio, noise)[name])
        assert torch.equal(features[name], alone.encode(own, ratio, noise)[name])
        assert torch.equal(made[name], alone.reconstruct(own, ratio, noise)[name])


@pytest.mark.parametrize("query", ["own", "other"])
def test_open_gates_change_the_result(query):
    model = tiny.make_model(fusion_query=query)
    inputs, noise = tiny.make_inputs(), model.noise(3)
    for name in BOTH:
        alone = single(model, name)({name: inputs[name]}, 0.5, noise)[name]
        assert not torch.equal(model(inputs, 0.5, noise)[name], alone)


def test_gates_start_as_a_ramp_and_are_listed_by_modality():
    gates = tiny.make_model(("image", "audio", "breath"), depth=3).gates()
    assert {name: [float(xi) for xi in values] for name, values in gates.items()} == {
        name: [0.0, 0.5, 1.0] for name in ("image", "audio", "breath")
    }
    assert tiny.make_model(["image"]).gates() == {"image": []}
    assert tiny.make_model(depth=1).gates()["image"] == [0.0]


def test_the_printed_orientation_refuses_unequal_token_counts_at_construction():
    with pytest.raises(UserError, match=r"equal token counts, got \{'image': 8, 'breath': 6\}; .* use 'own'"):
        tiny.make_model(("image", "breath"), fusion_query="other")


def test_the_printed_orientation_refuses_unequal_ratios_at_run_time():
    model = tiny.make_model(fusion_query="other")
    with pytest.raises(UserError, match="same mask ratio"):
        model(tiny.make_inputs(), {"image": 0.5, "audio": 0.75})


def test_three_modalities_of_three_sizes_learn_without_a_change():
    names = ("image", "audio", "breath")
    torch.manual_seed(0)
    model = tiny.make_model(names)
    generator = torch.Generator().manual_seed(0)
    fixed = {name: samples.values[:4] for name, samples in tiny.make_samples(names).items()}
    inputs = {name: torch.from_numpy(values).float() for name, values in fixed.items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        losses = model(inputs, 0.5, model.noise(4, generator))
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    for name in names:
        assert history[-1][name] < 0.6 * history[0][name], name
    assert {name: made.shape for name, made in model.reconstruct(inputs, 0.75).items()} == {
        name: (4, *tiny.MODALITIES[name].shape) for name in names
    }


# -- losses


@pytest.mark.parametrize("names", [["image"], BOTH])
@pytest.mark.parametrize("visible_weight", [0.0, 0.25])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_nothing_or_everything_masked_still_gives_losses_on_the_graph(names, visible_weight, ratio):
    model = tiny.make_model(names, visible_weight=visible_weight)
    for name, loss in model(tiny.make_inputs(names), ratio).items():
        assert torch.isfinite(loss)
        found = gradients(loss, model)
        assert f"decoders.{name}.head.proj.weight" in found
        assert all(torch.isfinite(gradient).all() for gradient in found.values())


def test_one_modality_hidden_whole_is_learnt_from_the_other():
    model = tiny.make_model()
    loss = model(tiny.make_inputs(), {"image": 1.0, "audio": 0.5})["image"]
    assert gradients(loss, model)["streams.audio.embed.weight"].abs().sum() > 0


def test_loss_is_the_mean_square_of_the_valid_elements_of_masked_patches():
    model = tiny.make_model(["audio"], visible_weight=0.0)
    inputs, noise = tiny.make_inputs(["audio"]), model.noise(3)
    made = model.reconstruct(inputs, 0.5, noise)["audio"]  # inside the value range: an untrained model says little
    error = (tiny.AUDIO.normalise(made) - tiny.AUDIO.normalise(inputs["audio"])).square()
    hidden = tiny.AUDIO.unpatchify(tiny.AUDIO.valid() * model.patch_losses(inputs, 0.5, noise)["audio"][1][..., None])
    by_sample = (error * hidden).sum((1, 2, 3)) / hidden.sum((1, 2, 3))
    torch.testing.assert_close(model(inputs, 0.5, noise)["audio"], by_sample.mean(), rtol=1e-4, atol=1e-5)


def test_visible_patches_count_with_their_weight():
    heavy, light = (tiny.make_model(["image"], visible_weight=weight) for weight in (1.0, 0.0))
    inputs, noise = tiny.make_inputs(["image"]), heavy.noise(3)
    loss, mask = heavy.patch_losses(inputs, 0.75, noise)["image"]
    torch.testing.assert_close(heavy(inputs, 0.75, noise)["image"], loss.mean())
    torch.testing.assert_close(light(inputs, 0.75, noise)["image"], (loss * mask).sum() / mask.sum())


def test_padding_carries_no_loss():
    model = tiny.make_model(["audio"])
    head = model.decoders["audio"].head
    tokens, target, valid = torch.randn(2, 8, 16), torch.zeros(2, 8, 20), tiny.AUDIO.valid()
    loss = head.loss(tokens, target, valid)
    shifted = head.loss(tokens, target + 100 * (1 - valid), valid)
    assert torch.equal(loss, shifted)
    assert not torch.allclose(loss, head.loss(tokens, target + 100 * valid, valid))


def test_loss_of_a_batch_is_the_mean_of_its_parts():
    model = tiny.make_model()
    inputs, noise = tiny.make_inputs(batch=4), model.noise(4)
    whole = model(inputs, 0.5, noise)
    parts = [
        model({n: x[cut] for n, x in inputs.items()}, 0.5, {n: x[cut] for n, x in noise.items()})
        for cut in (slice(2), slice(2, 4))
    ]
    for name in BOTH:
        torch.testing.assert_close(whole[name], (parts[0][name] + parts[1][name]) / 2)


def test_a_loss_reaches_the_parameters_it_is_said_to_reach():
    model = tiny.make_model(("image", "audio", "breath"))
    losses = model(tiny.make_inputs(("image", "audio", "breath")), 0.5)
    for name, loss in losses.items():
        reached = gradients(loss, model).keys()
        assert reached <= model.parameters_of_loss(name).keys()
        # All but the ends of the other streams: their last block and norm feed their own decoders only.
        ends = (".blocks.1.", ".norm.weight", ".norm.bias")
        missed = model.parameters_of_loss(name).keys() - reached
        assert all(f".{name}." not in key and (any(end in key for end in ends) or "fusion.1" in key) for key in missed)


# -- use


def test_features_of_one_modality_do_not_need_the_others():
    model = tiny.make_model().eval()
    inputs = tiny.make_inputs()
    for name in BOTH:
        features = model.encode({name: inputs[name]})
        assert features.keys() == {name}
        assert features[name].shape == (3, 1 + tiny.MODALITIES[name].tokens, 16)
        assert torch.equal(features[name], single(model, name).encode({name: inputs[name]})[name])


def test_masked_features_have_the_visible_tokens_only():
    model = tiny.make_model(("image", "breath"))
    features = model.encode(tiny.make_inputs(("image", "breath")), {"image": 0.75, "breath": 0.5})
    assert {name: x.shape[1] for name, x in features.items()} == {"image": 1 + 2, "breath": 1 + 3}


def test_the_order_of_inputs_does_not_matter():
    model = tiny.make_model()
    inputs, noise = tiny.make_inputs(), model.noise(3)
    turned = dict(reversed(inputs.items()))
    assert torch.equal(model(inputs, 0.5, noise)["image"], model(turned, 0.5, noise)["image"])
    torch.manual_seed(1)
    first = model.reconstruct(inputs, 0.5)
    torch.manual_seed(1)
    assert torch.equal(first["audio"], model.reconstruct(turned, 0.5)["audio"])


@pytest.mark.parametrize("missing", BOTH)
def test_a_missing_modality_is_made_from_the_other_alone(missing):
    model = tiny.make_model()
    inputs, noise = tiny.make_inputs(), model.noise(3)
    given = {name: x for name, x in inputs.items() if name != missing}
    made = model.reconstruct(given, 0.5, noise)
    assert {name: x.shape for name, x in made.items()} == {name: x.shape for name, x in inputs.items()}
    ratios = {name: 1.0 if name == missing else 0.5 for name in BOTH}
    hidden = model.reconstruct(inputs, ratios, noise)
    assert all(torch.equal(made[name], hidden[name]) for name in BOTH)
    other = model.reconstruct({name: x.flip(0) for name, x in given.items()}, 0.5, noise)
    assert not torch.allclose(other[missing], made[missing])


def test_nothing_of_a_modality_at_ratio_one_reaches_the_output():
    model = tiny.make_model()
    inputs, noise = tiny.make_inputs(), model.noise(3)
    changed = {"image": 255.0 - inputs["image"], "audio": inputs["audio"]}
    ratios = {"image": 1.0, "audio": 0.5}
    first, second = (model.reconstruct(x, ratios, noise) for x in (inputs, changed))
    assert all(torch.equal(first[name], second[name]) for name in BOTH)
    everything = model.reconstruct(inputs, 1.0, noise)
    assert torch.equal(everything["image"], model.reconstruct(changed, 1.0, noise)["image"])


def test_nothing_hidden_of_a_modality_reaches_the_output():
    model = tiny.make_model(["image"])
    inputs, noise = tiny.make_inputs(["image"]), model.noise(3)
    mask = model.patch_losses(inputs, 0.75, noise)["image"][1].unsqueeze(-1)
    scrambled = tiny.IMAGE.unpatchify(tiny.IMAGE.patchify(inputs["image"]) + 40 * mask)
    made = model.reconstruct(inputs, 0.75, noise)["image"]
    assert torch.equal(model.reconstruct({"image": scrambled}, 0.75, noise)["image"], made)


def test_paste_visible_keeps_visible_patches_and_the_default_copies_none():
    model = tiny.make_model()
    inputs, noise = tiny.make_inputs(), model.noise(3)
    made = model.reconstruct(inputs, 0.5, noise)
    pasted = model.reconstruct(inputs, 0.5, noise, paste_visible=True)
    for name, (_, mask) in model.patch_losses(inputs, 0.5, noise).items():
        modality = tiny.MODALITIES[name]
        hidden = modality.unpatchify(mask.unsqueeze(-1) * torch.ones(modality.patch_size)).bool()
        assert (pasted[name] - inputs[name])[~hidden].abs().max() < 1e-4
        assert torch.equal(pasted[name][hidden], made[name][hidden])
        off = modality.patchify((made[name] - inputs[name]).abs()).amax(-1) / modality.std[0]
        assert off.min() > 0.05


def test_made_values_are_finite_and_in_range():
    model = tiny.make_model()
    with torch.no_grad():
        for decoder in model.decoders.values():
            decoder.head.proj.weight.mul_(1e4)
    for name, made in model.reconstruct(tiny.make_inputs(), 0.75).items():
        low, high = tiny.MODALITIES[name].value_range
        assert made.dtype == torch.float32
        assert (made.min(), made.max()) == (low, high)


def test_integer_and_half_inputs_are_raw_units_too():
    model = tiny.make_model()
    noise = model.noise(4)
    raw = {name: torch.from_numpy(samples.values[:4]) for name, samples in tiny.make_samples().items()}
    assert (raw["image"].dtype, raw["audio"].dtype) == (torch.uint8, torch.float16)
    as_float = {name: x.float() for name, x in raw.items()}
    assert torch.equal(model(raw, 0.5, noise)["image"], model(as_float, 0.5, noise)["image"])


# -- files


@pytest.mark.parametrize("options", [{}, {"fusion_query": "other", "visible_weight": 0.5}])
def test_save_and_load_give_equal_outputs(tmp_path, options):
    preprocessing = {"image": {"kind": "image", "size": 16}, "audio": {"kind": "audio", "n_fft": 64}}
    model = tiny.make_model(preprocessing=preprocessing, **options).eval()
    model.save_pretrained(tmp_path)
    loaded = CrossModalMAE.from_pretrained(tmp_path, strict=True).eval()
    assert loaded.class_names == tuple(tiny.LABELS)
    assert loaded.preprocessing == preprocessing
    assert loaded.modalities == model.modalities
    assert loaded.config == model.config
    inputs, noise = tiny.make_inputs(), model.noise(3)
    expected, got = model.reconstruct(inputs, 0.75, noise), loaded.reconstruct(inputs, 0.75, noise)
    assert all(torch.equal(got[name], expected[name]) for name in BOTH)
    assert torch.equal(loaded(inputs, 0.5, noise)["audio"], model(inputs, 0.5, noise)["audio"])


def test_a_saved_model_holds_tensors_and_json_only(tmp_path):
    tiny.make_model(["image"]).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert json.loads((tmp_path / "config.json").read_text())["labels"] == list(tiny.LABELS)


# -- refusals


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modalities": []}, "at least one modality"),
        ({"modalities": [tiny.IMAGE, tiny.IMAGE]}, "different names"),
        ({"dim": 18}, "multiple of 4"),
        ({"heads": 3}, "must divide the width"),
        ({"head": "diffusion"}, "Unknown decoder head 'diffusion'; there are"),
        ({"fusion_query": "neither"}, "fusion_query is one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, said):
    sizes = {"dim": 16, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    with pytest.raises(UserError, match=said):
        CrossModalMAE(**{"modalities": [tiny.IMAGE, tiny.AUDIO], **sizes, **options})


def test_inputs_that_do_not_fit_are_refused():
    model, inputs = tiny.make_model(), tiny.make_inputs()
    with pytest.raises(UserError, match=r"\['image', 'audio'\], not 'cough'"):
        model({"cough": inputs["audio"]})
    with pytest.raises(UserError, match="not 'cough'"):
        model.to_timm("cough")
    with pytest.raises(UserError, match="'image' expects samples of shape"):
        model({"image": inputs["audio"], "audio": inputs["audio"]})
    with pytest.raises(UserError, match=r"needed for \['image', 'audio'\], got \['image'\]"):
        model(inputs, {"image": 0.5})
    with pytest.raises(UserError, match="between 0 and 1"):
        model(inputs, 1.5)
    with pytest.raises(UserError, match="at least one of"):
        model.reconstruct({})


def test_modalities_may_come_as_dictionaries():
    modality = replace(tiny.IMAGE, name="scan")
    model = CrossModalMAE([modality.to_dict()], dim=16, depth=1, heads=2, decoder_dim=16, decoder_heads=2)
    assert model.modalities == {"scan": modality}
    assert isinstance(model.modalities["scan"], Modality)
    assert isinstance(model, nn.Module)


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


def test_the_order_of_tokens_and_its_inverse():
    tokens = torch.randn(5, 12, 3)
    ids_keep, ids_restore, _ = random_masking(torch.rand(5, 12), 0.0)
    assert torch.equal(gather_tokens(gather_tokens(tokens, ids_keep), ids_restore), tokens)
    assert all(sorted(row) == list(range(12)) for row in ids_keep.tolist())


@pytest.mark.parametrize("visible", [0, 1, 5, 12])
def test_mask_is_one_where_the_order_hides(visible):
    ids_keep, _, mask = random_masking(torch.rand(5, 12), 1 - visible / 12)
    assert mask.sum(1).tolist() == [12.0 - visible] * 5
    kept = gather_tokens(mask.unsqueeze(-1), ids_keep)
    assert kept.shape == (5, visible, 1) and torch.equal(kept, torch.zeros_like(kept))


def test_masks_follow_the_noise_and_cover_tokens_evenly():
    noise = torch.rand(4000, 8, generator=torch.Generator().manual_seed(0))
    mask = random_masking(noise, 0.75).mask
    assert torch.equal(mask, random_masking(noise, 0.75).mask)
    assert (mask.mean(0) - 0.75).abs().max() < 0.03
