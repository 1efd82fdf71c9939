from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter
from small import noise_samples, small_model

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import Extractor, make_extractor, unit_range
from mmgen.evaluation.fidelity.frechet import frechet_distance
from mmgen.models.modality import Modality

SHAPE = (1, 40, 30)
GREY = Modality("image", SHAPE, (8, 8), (120.0,), (60.0,), value_range=(0.0, 255.0))
COLOUR = replace(GREY, shape=(3, 40, 30))
SOUND = Modality("audio", SHAPE, (8, 8), (-6.0,), (2.5,))
NET = "test_efficientnet"  # timm's own, 99,000 weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{model: file of random weights, with a classifier}."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for name in (NET, "test_vit", "test_resnet"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            state = timm.create_model(name, num_classes=7).state_dict()
        files[name] = folder / f"{name}.safetensors"
        save_file(state, files[name])
    return files


def pictures(count: int = 9, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, *SHAPE[1:]), dtype=np.uint8)


def extractors(weights: dict[str, Path]) -> list[Extractor]:
    specs = ["pixels", *(f"{name}@{weights[name]}" for name in (NET, "test_vit"))]
    return [make_extractor(spec, GREY) for spec in specs] + [make_extractor("own", GREY, own=own_vit())]


def own_vit() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return timm.create_model("test_vit", num_classes=0, img_size=(40, 32), patch_size=8, in_chans=1)


def test_features_depend_on_the_sample_alone(weights: dict[str, Path]) -> None:
    x = pictures()
    for extractor in extractors(weights):
        features = extractor(x)
        assert features.shape == (9, extractor.dimensions) and features.dtype == np.float32
        close = {"rtol": 1e-4, "atol": 1e-4 * float(features.std())}
        np.testing.assert_allclose(replace(extractor, batch_size=2)(x), features, **close)
        np.testing.assert_allclose(extractor(x[::-1]), features[::-1], **close)
        np.testing.assert_allclose(extractor(Samples(x, np.zeros(9, int), ("a",), np.arange(9))), features, **close)
        assert features.std(axis=0).max() > 0  # they do depend on it
        assert extractor(x[:0]).shape == (0, extractor.dimensions)


def test_names_say_which_weights(weights: dict[str, Path]) -> None:
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in weights.items()}
    named = [f"{name}@{digests[name][:8]}" for name in (NET, "test_vit")]
    assert [extractor.name for extractor in extractors(weights)] == ["pixels", *named, "own"]


def test_samples_are_read_a_batch_at_a_time() -> None:
    class Watched(np.ndarray):
        most = 0

        def __getitem__(self, index: slice) -> np.ndarray:
            part = np.asarray(self)[index]
            Watched.most = max(Watched.most, len(part))
            return part

    make_extractor("pixels", GREY)(pictures(150).view(Watched))
    assert Watched.most == 64


# -- pixels


def test_pixels_are_averaged_and_normalised() -> None:
    modality = replace(GREY, shape=(2, 32, 16), mean=(100.0, 10.0), std=(50.0, 5.0))
    x = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 16), dtype=np.uint8)
    extractor = make_extractor("pixels", modality)
    blocks = x.reshape(3, 2, 16, 2, 8, 2).mean(axis=(3, 5))
    expected = (blocks - np.array([100, 10]).reshape(2, 1, 1)) / np.array([50, 5]).reshape(2, 1, 1)
    assert extractor.dimensions == 2 * 16 * 8
    np.testing.assert_allclose(extractor(x), expected.reshape(3, -1), atol=1e-5)


def test_small_pixels_stay_as_they_are() -> None:
    modality = replace(GREY, shape=(1, 12, 9))
    x = np.random.default_rng(0).integers(0, 256, (3, 1, 12, 9), dtype=np.uint8)
    np.testing.assert_allclose(make_extractor("pixels", modality)(x), (x.reshape(3, -1) - 120.0) / 60, atol=1e-5)


# -- own encoders


@pytest.mark.parametrize("name", ["image", "audio"])
def test_an_autoencoder_gives_the_mean_of_its_patch_tokens(name: str) -> None:
    model, x = small_model(), noise_samples()[name]
    features = make_extractor("own", model.modalities[name], own=model.to_timm(name))(x)
    with torch.no_grad():
        tokens = model.encode({name: torch.from_numpy(x.values)})[name]
    np.testing.assert_allclose(features, tokens[:, 1:].mean(1).numpy(), rtol=1e-4, atol=1e-5)


def test_a_vit_gets_normalised_samples_padded_with_the_mean() -> None:
    vit, x = own_vit().eval(), pictures(3)
    before = {key: value.clone() for key, value in vit.state_dict().items()}
    features = make_extractor("own", GREY, own=vit)(x)
    padded = np.full((3, 1, 40, 32), 120.0, np.float32)
    padded[..., :30] = x
    with torch.no_grad():
        expected = vit.forward_features(torch.from_numpy((padded - 120) / 60))[:, vit.num_prefix_tokens :].mean(1)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in vit.state_dict().items())


def test_a_vit_for_another_size_is_fitted_and_left_alone() -> None:
    vit = timm.create_model("test_vit", num_classes=0)  # 160 x 160, colour
    extractor = make_extractor("own", GREY, own=vit)
    assert extractor(pictures()).shape == (9, 64)
    assert vit.patch_embed.img_size == (160, 160) and vit.patch_embed.proj.in_channels == 3


def test_without_an_encoder_there_is_no_own() -> None:
    with pytest.raises(UserError, match="no own encoder here; choose 'pixels'"):
        make_extractor("own", GREY)


# -- networks


@pytest.mark.parametrize(("side", "expected"), [(40, 64), (300, 160)])  # made larger and made smaller
def test_a_network_gets_squares_in_its_own_normalisation(side: int, expected: int, weights: dict[str, Path]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 3, side, 30), dtype=np.uint8)
    features = make_extractor(f"{NET}@{weights[NET]}", replace(COLOUR, shape=x.shape[1:]))(x)
    network = timm.create_model(NET, num_classes=7).eval()
    timm.models.load_checkpoint(network, str(weights[NET]))
    network.reset_classifier(0)
    square = torch.nn.functional.interpolate(
        torch.from_numpy(x).float() / 255, size=(expected, expected), mode="bilinear", antialias=True
    )
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        by_hand = network((square - mean) / std)
    np.testing.assert_allclose(features, by_hand.numpy(), rtol=1e-3, atol=1e-4)


def test_grey_is_colour_of_equal_channels(weights: dict[str, Path]) -> None:
    spec, x = f"{NET}@{weights[NET]}", pictures()
    grey, colour = make_extractor(spec, GREY)(x), make_extractor(spec, COLOUR)(x.repeat(3, axis=1))
    np.testing.assert_allclose(grey, colour, rtol=1e-4, atol=1e-5)


def test_log_mels_are_pictures_too(weights: dict[str, Path]) -> None:
    spec = f"{NET}@{weights[NET]}"
    mels = np.random.default_rng(0).normal(-6, 1.5, (4, *SHAPE)).astype(np.float16)
    as_pictures = ((mels.astype(np.float64) + 6) / 2.5 / 6 + 0.5).clip(0, 1) * 255
    features = make_extractor(spec, GREY)(as_pictures.astype(np.float32))
    np.testing.assert_allclose(make_extractor(spec, SOUND)(mels), features, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("side", "expected"), [(20, 64), (100, 100), (300, 160)])
def test_sizes_stay_within_bounds(
    side: int, expected: int, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sizes_seen(monkeypatch)
    make_extractor(f"{NET}@{weights[NET]}", replace(GREY, shape=(1, side, side // 2)))
    assert seen == [(expected, expected)]


def test_networks_of_a_fixed_size_get_it(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = sizes_seen(monkeypatch)
    make_extractor(f"test_vit@{weights['test_vit']}", GREY)
    assert seen == [(160, 160)]


def test_large_vits_are_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = sizes_seen(monkeypatch)
    config = {**timm.create_model("test_vit").pretrained_cfg, "input_size": (3, 320, 320)}
    vit = timm.create_model("test_vit", num_classes=0, img_size=320)
    vit.pretrained_cfg = config
    monkeypatch.setattr("mmgen.evaluation.fidelity.features.pretrained", lambda name: vit)
    assert make_extractor("test_vit", GREY)(pictures(2)).shape == (2, 64)
    assert seen[-1] == (144, 144)  # nine patches of 16
    make_extractor("test_vit", replace(GREY, shape=(1, 300, 200)))
    assert seen[-1] == (224, 224)


def sizes_seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes that networks are asked for from now on."""
    seen, resize = [], torch.nn.functional.interpolate
    monkeypatch.setattr(
        "torch.nn.functional.interpolate", lambda x, size, **how: seen.append(tuple(size)) or resize(x, size, **how)
    )
    return seen


def test_pickled_weights_and_those_without_a_classifier_do_as_well(weights: dict[str, Path], tmp_path: Path) -> None:
    state = load_file(weights[NET])
    bare = {key: v for key, v in state.items() if "classifier" not in key and "num_batches" not in key}
    torch.save(bare, tmp_path / "bare.pth")
    found = make_extractor(f"{NET}@{tmp_path / 'bare.pth'}", GREY)
    original = make_extractor(f"{NET}@{weights[NET]}", GREY)
    np.testing.assert_array_equal(found(pictures()), original(pictures()))
    assert found.name != original.name  # another file


def test_imagenet_features_see_a_blur_that_pixels_hardly_do(real_data: Path, xrays: np.ndarray) -> None:
    file = real_data.parent / "weights" / "tf_efficientnet_lite0.safetensors"
    if not file.is_file():
        pytest.skip(f"no weights in {file.parent}")
    modality = replace(GREY, shape=xrays.shape[1:])
    half, other = xrays[:30], xrays[30:60]
    blurred = gaussian_filter(other, (0, 0, 1, 1))
    shifts = []
    for spec in (f"tf_efficientnet_lite0@{file}", "pixels"):
        extractor = make_extractor(spec, modality)
        sharp, soft = (frechet_distance(extractor(half), extractor(x)) for x in (other, blurred))
        shifts.append(soft / sharp)
    assert shifts[0] > 2 > shifts[1], shifts


# -- what may be wrong


def test_unknown_models_are_named() -> None:
    for spec in ("resnot18", "resnet18.no_such_tag", "inception@weights.pt", "", "Pixels"):
        with pytest.raises(UserError, match=f"no features '{re.escape(spec.partition('@')[0])}'; choose pixels, own"):
            make_extractor(spec, GREY)


def test_damaged_missing_and_wrong_weights_are_named(weights: dict[str, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights[NET].read_bytes()[:-1000])
    pickled = tmp_path / "no dictionary.pt"
    torch.save([1, 2], pickled)
    for file in (cut, pickled, tmp_path / "missing.safetensors"):
        with pytest.raises(UserError, match=rf"{file.name} cannot be read \("):
            make_extractor(f"{NET}@{file}", GREY)
    for name, others in ((NET, "test_resnet"), ("test_resnet", NET), ("test_vit", NET), (NET, "test_vit")):
        with pytest.raises(UserError, match="do not fit; name the model") as error:
            make_extractor(f"{name}@{weights[others]}", GREY)
        assert "\n" not in str(error.value)


def test_weights_with_another_layer_are_refused(weights: dict[str, Path], tmp_path: Path) -> None:
    state = load_file(weights[NET])
    key = next(key for key in state if key.endswith("conv_pw.weight"))
    less = {other: value for other, value in state.items() if other != key}
    for name, wrong in (("without it", less), ("wider", {**less, key: state[key].repeat(2, 1, 1, 1)})):
        file = tmp_path / f"{name}.safetensors"
        save_file(wrong, file)
        with pytest.raises(UserError, match=re.escape(f"{file} are not those of {NET}, ['{key}'] do not fit")):
            make_extractor(f"{NET}@{file}", GREY)


def test_features_that_are_no_numbers_are_counted() -> None:
    x = np.zeros((6, *SHAPE), np.float16)
    x[1, 0, 3, 3], x[4, 0, 3, 3] = np.nan, np.inf
    with pytest.raises(UserError, match="pixels features of 2 of 6 samples are NaN or infinite"):
        make_extractor("pixels", SOUND)(x)


def test_other_shapes_and_channels_are_refused(weights: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"of shape \(1, 40, 30\), not \(3, 40, 30\)"):
        make_extractor("pixels", GREY)(pictures(2, 3))
    with pytest.raises(UserError, match="not the 2 channels of 'image'"):
        make_extractor(f"{NET}@{weights[NET]}", replace(GREY, shape=(2, 40, 30)))


# -- one scale


def test_images_are_scaled_by_their_range() -> None:
    image = Modality("image", (1, 1, 3), (1, 1), (77.0,), (3.0,), value_range=(0.0, 255.0))
    scaled = unit_range(image, torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8))
    torch.testing.assert_close(scaled, torch.tensor([[[[0.0, 0.2, 1.0]]]]))


def test_log_mels_are_scaled_by_three_deviations() -> None:
    sound = Modality("audio", (1, 1, 5), (1, 1), (-6.0,), (2.0,))
    scaled = unit_range(sound, torch.tensor([[[[-20.0, -12.0, -6.0, -3.0, 9.0]]]], dtype=torch.float16))
    torch.testing.assert_close(scaled, torch.tensor([[[[0.0, 0.0, 0.5, 0.75, 1.0]]]]))
