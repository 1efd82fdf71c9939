from __future__ import annotations

import io
import json
import socket
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from small import digests, noise_samples, small_model
from tiny_medsynth import LABELS, small_generator
from torch import Tensor

from mmgen.artifacts.card_facts import CardFacts, Scores
from mmgen.artifacts.models import load_model, model_digest, save_model, start_from_timm
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.models.stored import StoredImages


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt to reach another machine, which fails."""
    attempts: list[object] = []

    def refuse(*arguments: Any, **options: Any) -> None:
        attempts.append(arguments)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def outputs(model: CrossModalMAE) -> dict[str, Tensor]:
    inputs = {name: torch.from_numpy(samples.values) for name, samples in noise_samples((2, 2), (2, 2)).items()}
    return model.reconstruct(inputs, 0.5, model.noise(4, torch.Generator().manual_seed(0)))


# -- save and load


def test_a_model_comes_back_the_same(model_folder: Path) -> None:
    model = small_model()
    for folder in (model_folder / "model", model_folder, str(model_folder)):
        loaded = load_model(folder)
        assert not loaded.training
        assert loaded.config == model.config
        assert all(torch.equal(a, b) for a, b in zip(outputs(loaded).values(), outputs(model).values(), strict=True))
        assert model_digest(loaded) == model_digest(model)


def test_the_digest_names_the_weights() -> None:
    model = small_model()
    digest = model_digest(model)
    assert len(digest) == 12 and int(digest, 16) >= 0
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    assert model_digest(model) != digest


def test_the_digest_names_the_configuration() -> None:
    model, generator = small_model(), small_generator()
    digests = {model_digest(model), model_digest(generator)}
    model.config["preprocessing"]["image"]["size"] = 64
    digests.add(model_digest(model))
    model.config["modalities"][0]["mean"] = (0.25,)
    digests.add(model_digest(model))
    generator.class_names = generator.class_names[::-1]
    digests.add(model_digest(generator))
    assert generator.prior is not None
    generator.prior.config["pooled"] = ["gesund"]
    digests.add(model_digest(generator))
    assert len(digests) == 6


@pytest.mark.parametrize("real", [False, True])
def test_the_configuration_is_that_of_the_file(real: bool, tmp_path: Path) -> None:
    generator = small_generator(real)
    save_model(generator, tmp_path)
    config = generator.config
    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert saved == {"kind": "medsynth", **config}
    assert model_digest(MedSynthGenerator(**config)) != model_digest(generator)  # only the weights differ
    assert MedSynthGenerator(**config).config == config


def test_a_shared_model_holds_no_pickle_and_no_file_names(model_folder: Path, phantom_files: dict[str, Path]) -> None:
    folder = model_folder / "model"
    names = {"config.json", "model.safetensors", "README.md", "card.json", "privacy.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert load_file(folder / "model.safetensors")
    text = (folder / "README.md").read_text() + (folder / "config.json").read_text()
    for path in [*phantom_files["image"].rglob("*.png"), *phantom_files["audio"].rglob("*.wav")]:
        assert path.name not in text and path.stem not in text
    assert str(model_folder.parent) not in text


# -- MedSynth generators


def test_a_generator_comes_back_the_same(tmp_path: Path) -> None:
    model = small_generator()
    save_model(model, tmp_path / "run" / "model", CardFacts({"image": {"gesund": 6, "меланома": 8}}, 11))
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        loaded = load_model(folder)
        assert isinstance(loaded, MedSynthGenerator) and not loaded.training
        assert loaded.class_names == LABELS and model_digest(loaded) == model_digest(model)
        assert torch.equal(loaded.sample(3, seed=1).images, model.sample(3, seed=1).images)


def test_a_shared_generator_says_what_it_is_and_that_nobody_audited_it(tmp_path: Path) -> None:
    model = small_generator()
    utility = {"image": {"convnet": {"real": {"auc": {"mean": 0.9}}}}}
    counts, scores = {"image": {"gesund": 6, "меланома": 8}}, (Scores("convnet", 1, 0.8, 0.7, 0.9),)
    save_model(model, tmp_path, CardFacts(counts, 11, 14, 2_500_000, (1,), scores=scores), utility)
    names = {
        "config.json",
        "model.safetensors",
        "README.md",
        "card.json",
        "preview.png",
        "privacy.json",
        "utility.json",
    }
    assert {path.name for path in tmp_path.iterdir()} == names
    assert json.loads((tmp_path / "privacy.json").read_text()) == {"audited": False}
    assert json.loads((tmp_path / "utility.json").read_text()) == utility
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: mmgen\n") and "{" not in card
    megabytes = (tmp_path / "model.safetensors").stat().st_size / 1e6
    for line in (
        "| image | gesund | 6 |",
        "| image | меланома | 8 |",
        "Of 11 subjects.",
        "![Synthetic images, a row a class](preview.png)",
        "images, labels, names = model.sample(images_per_class=50, seed=0)",
        f"* model: {megabytes:.1f} MB",
        "* training images: 14, 2.5 MB",
        "* condensation ratio at 1 images a class: 14.3 %",
        "* macro AUC on real test images, convnet, 1 images a class: "
        "0.800 condensed, 0.700 random real, 0.900 all real",
        "* audit: not audited",
        "* membership inference: not audited",
    ):
        assert f"{line}\n" in card


def test_the_preview_is_what_the_generator_draws(tmp_path: Path) -> None:
    for channels in (1, 3):
        model = small_generator(channels=channels)
        save_model(model, tmp_path)
        picture = np.asarray(Image.open(tmp_path / "preview.png"))
        assert picture.shape == (2 * 32, 8 * 32, 3)
        drawn = model.sample(8).images.numpy()
        tile = picture[32:, 5 * 32 : 6 * 32].transpose(2, 0, 1)
        assert np.array_equal(tile, np.broadcast_to(drawn[8 + 5], tile.shape))


def test_a_generator_from_real_images_has_no_picture_and_a_warning(tmp_path: Path) -> None:
    save_model(small_generator(), tmp_path, utility={"image": {}})
    save_model(small_generator(real=True), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
        "card.json",
        "privacy.json",
    }
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "treat what it makes as real data" in card and "model.condense(" in card and "preview" not in card
    assert "Subjects are not known." in card
    loaded = load_model(tmp_path)
    assert isinstance(loaded, MedSynthGenerator) and loaded.origin == "real"


# -- what is no model


@pytest.mark.parametrize(
    "name", ["nowhere", "./here/model", "../up/model", "/no/model", "~/model", "a/b/c", "runs/mistyped", "runs/", ""]
)
def test_a_path_without_a_model_is_refused_without_the_network(
    name: str, no_network: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="There is no model in"):
        load_model(name)
    assert not no_network


def test_a_path_object_is_never_a_hub_id(no_network: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="There is no model in"):
        load_model(Path("organisation/name"))
    assert not no_network


def test_only_organisation_and_name_is_a_hub_id(no_network: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(*arguments: str) -> None:
        asked.append(arguments)
        raise ConnectionError("no hub in tests.\n  Try again.")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError, match=r"organisation/name cannot be loaded \(no hub in tests. Try again\); save"):
        load_model("organisation/name")
    assert asked == [("organisation/name", "config.json")] and not no_network


def test_a_hub_that_is_switched_off_is_a_sentence(no_network: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="The model organisation/name cannot be loaded") as caught:
        load_model("organisation/name")
    assert "\n" not in str(caught.value) and not no_network


@pytest.mark.parametrize("kind", [CrossModalMAE, MedSynthGenerator])
def test_the_configuration_says_which_model_the_hub_has(
    kind: type[Any], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(small_generator(), tmp_path)
    folder = model_folder / "model" if kind is CrossModalMAE else tmp_path
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: str(folder / file))
    model = small_model() if kind is CrossModalMAE else small_generator()
    monkeypatch.setattr(kind, "from_pretrained", lambda name, strict: model if strict else None)
    assert load_model("organisation/name") is model


def damaged(folder: Path, **changes: bytes | None) -> Path:
    """A saved model with files replaced, or removed where the content is None."""
    save_model(small_model(), folder)
    for name, content in changes.items():
        path = folder / {"weights": "model.safetensors", "config": "config.json"}[name]
        path.unlink() if content is None else path.write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "changes",
    [{"weights": None}, {"weights": b"cut off"}, {"weights": b""}, {"config": b"{"}, {"config": b'{"modalities": []}'}],
    ids=str,
)
def test_a_damaged_model_is_named(changes: dict[str, bytes | None], tmp_path: Path, no_network: list[object]) -> None:
    folder = damaged(tmp_path / "broken", **changes)
    with pytest.raises(UserError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value).strip()
    assert not no_network


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = damaged(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "depth": 3}))
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(folder)


# -- ImageNet weights


def vit(**sizes: Any) -> torch.nn.Module:
    """A random timm ViT of the small model's width and depth, for larger colour pictures with smaller patches."""
    torch.manual_seed(5)
    return timm.create_model(
        "vit_tiny_patch16_224",
        pretrained=False,
        **{"embed_dim": 16, "depth": 2, "num_heads": 2, "img_size": 64, **sizes},
    )


def weights_file(folder: Path, suffix: str = ".safetensors", **sizes: Any) -> Path:
    path, state = folder / f"vit{suffix}", vit(**sizes).state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save({"model": state}, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_stream_starts_from_a_weights_file(tmp_path: Path, suffix: str, no_network: list[object]) -> None:
    model, before = small_model(), small_model().state_dict()
    start_from_timm(model, "image", str(weights_file(tmp_path, suffix)))
    state, after = vit().state_dict(), model.state_dict()
    for key in ("blocks.0.attn.qkv.weight", "blocks.1.mlp.fc2.bias", "norm.weight", "cls_token"):
        assert torch.equal(after[f"streams.image.{key}"], state[key])
    assert not torch.equal(after["streams.image.embed.weight"], before["streams.image.embed.weight"])
    untouched = [key for key in before if not key.startswith("streams.image.")]
    assert all(torch.equal(before[key], after[key]) for key in untouched)
    assert not no_network


def test_weights_of_another_size_are_refused_with_the_sizes(tmp_path: Path) -> None:
    model = small_model()
    for sizes, words in (({"depth": 3}, "width 16 and depth 3"), ({"embed_dim": 32}, "width 32 and depth 2")):
        with pytest.raises(UserError, match=f"{words}, the model 16 and 2; choose a preset"):
            start_from_timm(model, "image", str(weights_file(tmp_path, **sizes)))


def test_what_are_no_weights_is_refused(tmp_path: Path, no_network: list[object]) -> None:
    other, broken, code = tmp_path / "other.safetensors", tmp_path / "broken.safetensors", tmp_path / "code.pt"
    save_file({"fc.weight": torch.zeros(2, 2)}, other)
    broken.write_bytes(b"nothing")
    torch.save({"model": Samples}, code)  # a class: only unpickling could make it
    model = small_model()
    for name, words in (
        (other, "not a Vision Transformer"),
        (broken, "cannot be read"),
        (code, "cannot be read"),
        (tmp_path / "missing.safetensors", "neither a file nor a timm model"),
        ("no_such_vit", "neither a file nor a timm model"),
    ):
        with pytest.raises(UserError, match=words):
            start_from_timm(model, "image", str(name))
    assert not no_network


_WRONG = (3, (), "x", None, torch.zeros(3, 3), torch.zeros(()), torch.zeros(2, 2).to_sparse())
_KEYS = ("blocks.0.attn.qkv.bias", "patch_embed.proj.weight", "pos_embed", "cls_token", "blocks.x.y")


@pytest.mark.parametrize("value", _WRONG)
@pytest.mark.parametrize("key", _KEYS)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, key: str, value: object) -> None:
    torch.save(vit().state_dict() | {key: value}, tmp_path / "vit.pt")
    with pytest.raises(UserError, match=r"vit\.pt cannot be (used|read) \([^\n]*\)\.$"):
        start_from_timm(small_model(), "image", str(tmp_path / "vit.pt"))


def test_a_timm_name_asks_the_hub_and_says_so_when_it_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def create_model(name: str, pretrained: bool, **options: Any) -> None:
        asked.append((name, pretrained))
        raise OSError("offline")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(UserError, match=r"'vit_base_patch16_224.mae' cannot be had.*offline.*give the file's path"):
        start_from_timm(small_model(), "image", "vit_base_patch16_224.mae")
    assert asked == [("vit_base_patch16_224.mae", True)]


@pytest.mark.parametrize(
    ("key", "value"), [("counts", [10**9, 10**9]), ("image_size", 20_000), ("class_names", ["a"] * 10**6)]
)
def test_a_small_file_makes_no_large_model(key: str, value: Any, tmp_path: Path) -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8).numpy()
    StoredImages.build(images, np.array([0, 0, 1, 1]), ("a", "b"), "dm").save_pretrained(tmp_path)
    assert load_model(tmp_path).sample(2).images.shape == (4, 3, 32, 32)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=r"differ in images|squares with a side|larger than 1 MiB"):
        load_model(tmp_path)


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    small_generator().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"kind": "mtt"}))
    with pytest.raises(UserError, match="'mtt', which this version does not know"):
        load_model(tmp_path)


# -- a folder of a model is whole


def test_a_save_that_fails_leaves_the_earlier_model_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(small_generator(seed=1), tmp_path, CardFacts({"image": {LABELS[0]: 3}}), {"image": {}})
    before = digests(tmp_path)

    def full(*arguments: Any, **options: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    for place, fault, expected in (
        ("safetensors.torch.save_model", full, UserError),
        ("mmgen.artifacts.models.write_card", interrupted, KeyboardInterrupt),
        ("mmgen.artifacts.models.preview", interrupted, KeyboardInterrupt),
    ):
        with (
            monkeypatch.context() as patch,
            pytest.raises(expected, match=None if expected != UserError else "is full"),
        ):
            patch.setattr(place, fault)
            save_model(small_generator(seed=2), tmp_path)
        assert digests(tmp_path) == before
    save_model(small_generator(real=True), tmp_path)
    assert {"preview.png", "utility.json"} & before.keys() and not {"preview.png", "utility.json"} & digests(
        tmp_path
    ).keys()
    assert load_model(tmp_path).needs_real_data


class NobodyReads(io.StringIO):
    """A pipe whose other end is closed."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_closed_pipe_is_no_fault_of_the_model(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", NobodyReads())
    assert load_model(model_folder).class_names == small_model().class_names
