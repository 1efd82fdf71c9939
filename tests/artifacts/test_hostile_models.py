"""Models made to do harm are refused in one sentence, at once and without memory; all others are loaded."""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

SECONDS = 2.0  # for a model, of one core
MEMORY = 300  # MiB at most beyond what torch takes once it is imported
FUZZ = int(os.environ.get("MMGEN_FUZZ", "100"))
MIB = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """What came of loading a model: an error's type and text, None if it was loaded; MiB are beyond those of torch."""

    error: str | None
    text: str
    seconds: float
    memory: float


def load_all() -> None:
    """Load the models in the folders named on the standard input; a line of JSON on each."""
    import torch  # noqa: F401  # whose memory does not count

    start = memory("VmRSS")
    from mmgen.artifacts.models import load_model
    from mmgen.errors import UserError

    for number, folder in enumerate(sys.stdin.read().splitlines()):
        begun, error, text = time.process_time(), None, ""
        try:
            load_model(folder)
        except UserError as refused:
            error, text = "UserError", str(refused)
        except BaseException as other:
            error, text = "another", repr(other)
        line = (error, text, time.process_time() - begun, memory("VmHWM") - start)
        # What the first model takes is imported.
        print(json.dumps(line) if number else json.dumps((*line[:2], 0.0, line[3])), flush=True)


def memory(field: str) -> float:
    """MiB of this process; 0 where there is no such file."""
    status = Path("/proc/self/status")
    return int(re.search(rf"{field}:\s*(\d+) kB", status.read_text())[1]) / 1024 if status.exists() else 0.0


def outcomes(folders: Sequence[Path]) -> list[Outcome]:
    """What comes of loading these models one after the other, in a process of their own."""
    process = subprocess.run(
        [sys.executable, __file__],
        input="\n".join(map(str, folders)),
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=60 + SECONDS * len(folders),
    )
    lines = [line for line in process.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == len(folders), f"ended at {folders[len(lines)]}: {process.stderr[-2000:]}"
    return [Outcome(*json.loads(line)) for line in lines]


def check_in_bounds(outcome: Outcome) -> None:
    assert outcome.error in (None, "UserError"), outcome.text
    assert outcome.seconds < SECONDS and outcome.memory < MEMORY, outcome
    assert "\n" not in outcome.text and len(outcome.text) < 1500


# -- models


def models() -> dict[str, Any]:
    """A small model of every kind."""
    import numpy as np
    import torch
    from small import small_model
    from tiny_medsynth import small_generator

    from mmgen.models.conditional_gan import ConditionalGenerator
    from mmgen.models.cross_modal_mae import CrossModalMAE
    from mmgen.models.stored import StoredImages, StoredLatents

    torch.manual_seed(0)
    gan = ConditionalGenerator(32, 3, ["<5 mm", "T-stage <2"], noise=16, width=4)
    gan.settle(batches=1, batch_size=4)
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), dtype=np.uint8)
    padded = {"name": "cough", "shape": (1, 10, 7), "patch": (4, 4), "pad_to": (16, 12), "value_range": (-11.5, 3)}
    return {
        "mae": small_model(),
        "one modality": CrossModalMAE([padded], dim=8, depth=1, heads=2, decoder_dim=8, decoder_depth=1),
        "medsynth": small_generator(),
        "real": small_generator(real=True),
        "gan": gan,
        "latents": StoredLatents.build(gan, torch.randn(2, 3, 16)),
        "images": StoredImages.build(images, np.array([0, 0, 1, 1, 1]), ("a", "b"), "subset"),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the :func:`models`."""
    root = tmp_path_factory.mktemp("models")
    for name, model in (made := models()).items():
        model.eval().save_pretrained(root / name)
    return {name: root / name for name in made}


def variant(source: Path, folder: Path) -> Path:
    """A model of its own with the same files."""
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


# -- attacks

Attack = Callable[[Path], None]
ATTACKS: dict[str, tuple[str, Attack, str]] = {}


def put(config: Any, path: str, value: Any) -> None:
    """Set the value at ``a.0.b``."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        config = config[part]
    config[last] = value


def attack(name: str, kind: str, words: str, /, **changes: Any) -> None:
    """An attack by a configuration, in which ``__`` stands for a dot."""

    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for path, value in changes.items():
            put(config, path.replace("__", "."), value)
        (folder / "config.json").write_text(json.dumps(config))

    ATTACKS[name] = (kind, change, words)


def attack_on_files(name: str, kind: str, words: str) -> Callable[[Attack], Attack]:
    def add(change: Attack) -> Attack:
        ATTACKS[name] = (kind, change, words)
        return change

    return add


for huge in (10_000_000, 10**30):
    for key in ("depth", "decoder_depth"):
        attack(f"{key} {huge}", "mae", "asks for more than|range|int", **{key: huge})
    attack(f"blocks {huge}", "medsynth", "asks for more than|other types", blocks=huge)
    attack(f"counts {huge}", "images", "differ in images|other types", counts=[huge, huge])
    attack(f"latents {huge}", "latents", "differ in latents|other types", images_per_class=huge)
    attack(f"directions {huge}", "medsynth", "differ in prior|other types", prior__directions=huge)
    for key in ("noise", "width"):
        attack(f"{key} {huge}", "gan", "asks for more than|other types", **{key: huge})
attack("blocks 20000", "medsynth", "asks for more than", blocks=20_000)
attack("dim 20000", "mae", "asks for more than", dim=20_000, heads=4)
attack("decoder dim 20000", "mae", "asks for more than", decoder_dim=20_000)
attack("image of 40000", "mae", "1,600,000,000 numbers|1,600,001,600", modalities__0__shape=[1, 40_000, 40_000])
attack("padding", "one modality", "numbers, more than", modalities__0__pad_to=[40_000, 40_000])
attack("channels", "one modality", "numbers, more than", modalities__0__shape=[10**9, 10, 7])
large = {"modalities__0__shape": [1, 4096, 4096], "modalities__0__pad_to": None}
attack("large, in small patches", "one modality", "differ in", **large)
attack("patch 1", "mae", "asks for more than", modalities__0__shape=[1, 4000, 4000], modalities__0__patch=[1, 1])
attack(
    "2000 modalities",
    "mae",
    "asks for more than",
    modalities=[{"name": f"m{i}", "shape": [1, 32, 32], "patch": [8, 8]} for i in range(2000)],
)
attack("image size", "images", "squares with a side", image_size=20_000)
attack("size that formats", "images", "squares with a side", image_size="%999999999d")
attack("padding that formats", "mae", "whole numbers", modalities__0__pad_to=["%999999999d", "%999999999d"])
attack("width that formats", "mae", "cannot be loaded", dim="%999999999d")
attack("a million classes", "images", "larger than 1 MiB", class_names=["a"] * 10**6)
attack("many classes", "images", "needs at least 1", class_names=[f"{i}" for i in range(100_000)])
attack("negative heads", "mae", "heads .* must divide", heads=-2)
attack("no heads", "mae", "cannot be loaded|must divide", heads=0)
attack("kind", "mae", "does not know", kind="a" * 10**6)
attack("kind of another type", "mae", "does not know", kind=["mae"])
attack("turned kind", "mae", "does not know", kind="\u202emae\x1b[2J\n")

for number in (math.nan, math.inf, -math.inf):
    attack(f"mean {number}", "mae", "mean in config.json is .* no finite number", modalities__0__mean=[number])
    attack(f"std {number}", "mae", "std in config.json is .* no finite number", modalities__1__std=[number])
    attack(f"range {number}", "mae", "value_range in config.json is", modalities__1__value_range=[0, number])
    attack(f"weight {number}", "mae", "visible_weight in config.json is", visible_weight=number)
attack("std 0", "mae", "std must be positive", modalities__0__std=[0])
attack("std that is 0 in float32", "mae", "std must be positive", modalities__0__std=[1e-60])
attack("mean that is infinite in float32", "mae", "must be finite numbers", modalities__0__mean=[1e60])
attack("mean as text", "mae", "must be finite numbers", modalities__0__mean=["1"])
attack("empty range", "mae", r"value_range is \(low, high\)", modalities__0__value_range=[255, 0])
attack("range of three", "mae", r"value_range is \(low, high\)", modalities__0__value_range=[0, 1, 2])
attack("sizes that are fractions", "mae", "whole numbers", modalities__0__patch=[8.0, 8.0])

for name, label in {
    "number": 5,
    "nothing": None,
    "list": ["a"],
    "empty": "",
    "blank": "  ",
    "long": "a" * 201,
    "line": "a\nb",
    "control": "a\x1b[2J",
    "half": "a\ud800",
    "turned": "a\u202eb",
    "twice": "healthy ",
    "twice in capitals": "HEALTHY",
}.items():
    attack(f"label: {name}", "mae", "config.json holds labels", labels=[label, "healthy"])
attack("label of images", "images", "config.json holds labels", class_names=["a", "a\x07"])
attack("pooled", "medsynth", "Pooled classes are some", prior__pooled=["Maria Rossi"])
for modality in ("a b", "<b>", "a" * 101, "", 5, "a\n"):
    attack(f"modality {modality!r}", "mae", "at most 100 letters, digits", modalities__0__name=modality)

for key, value in {
    **dict.fromkeys(("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "frames"), 10**9),
    "segment_frames": "80",
    "log_floor": "low",
    "colour": 1,
}.items():
    attack(f"preprocessing {key}", "mae", f"{key}|log_floor|settings", **{f"preprocessing__audio__{key}": value})
attack("preprocessing size", "mae", "image size must be 1 to 8192", preprocessing__image__size=10**6)
attack("preprocessing of another size", "mae", r"image .* makes samples of", preprocessing__image__size=8000)
attack("preprocessing of another kind", "mae", "Unknown kind", preprocessing__image__kind=["image"])
attack("no preprocessing", "mae", "cannot be loaded", preprocessing=7)


@attack_on_files("configuration of 2 GB", "mae", "larger than 1 MiB")
def _(folder: Path) -> None:
    os.truncate(folder / "config.json", 2 << 30)


@attack_on_files("number beyond all floats", "mae", "visible_weight in config.json is inf")
def _(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"visible_weight": 0.25', '"visible_weight": 1e999'))


@attack_on_files("deep configuration", "mae", "nested too deeply")
def _(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)


@attack_on_files("configuration without names", "mae", "holds no settings by name")
def _(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")


for name in ("config.json", "model.safetensors"):
    refused = "There is no model" if name == "config.json" else "no regular file"

    @attack_on_files(f"pipe {name}", "mae", refused)
    def _(folder: Path, name: str = name) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    @attack_on_files(f"device {name}", "mae", refused)
    def _(folder: Path, name: str = name) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")


@attack_on_files("folder of weights", "mae", "cannot be loaded")
def _(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


for length in (100 * 10**6, 2**63, 2**64 - 1):

    @attack_on_files(f"header of {length}", "mae", "larger than 1 MiB")
    def _(folder: Path, length: int = length) -> None:
        (folder / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{")
        os.truncate(folder / "model.safetensors", 200 * MIB)


def write_zeros(path: Path, shapes: Mapping[str, Sequence[int]], dtypes: Mapping[str, str] | None = None) -> None:
    """Weights of zeros, of whatever size, that take no room on disk; float32 unless ``dtypes`` says otherwise."""
    header, end = {}, 0
    for name, shape in shapes.items():
        dtype = (dtypes or {}).get(name, "F32")
        place = [end, end := end + {"F32": 4, "I64": 8, "U8": 1}[dtype] * math.prod(shape)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": place}
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)


def stuff(folder: Path, shapes: Sequence[Sequence[int]], **sizes: int) -> None:
    """Weights of these shapes, with the shortest of names, and a configuration that asks for more of them."""
    write_zeros(folder / "model.safetensors", {f"{number:x}": shape for number, shape in enumerate(shapes)})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | sizes))


@attack_on_files("as many blocks as a header has room for", "one modality", "cannot be loaded")
def _(folder: Path) -> None:
    block = [[8], [8], [24, 8], [24], [8, 8], [8], [8], [8], [32, 8], [32], [8, 32], [8]]
    stuff(folder, [[8, 16], [8], *block * 416], depth=10**6)


@attack_on_files("as many convolutions as a header has room for", "real", "cannot be loaded")
def _(folder: Path) -> None:
    block = [[32, 32, 3, 3], [32], [2, 64], [32, 32, 3, 3], [32], *[[32, 32]] * 4, [32]]
    outer = [[8, 3, 3, 3], [8], [16, 8, 4, 4], [16], [32, 16, 4, 4], [32]]
    stuff(folder, [*outer, *block * 499], blocks=10**6)


@attack_on_files("many tensors", "real", "more than 5,000 tensors")
def _(folder: Path) -> None:
    stuff(folder, [[]] * 15_000, blocks=10**6)


def spoil(kind: str, tensor: str, number: float) -> None:
    """An attack by one number in a tensor."""

    def change(folder: Path) -> None:
        import torch
        from safetensors.torch import load_file, save_file

        state = load_file(folder / "model.safetensors")
        state[tensor] = state[tensor].to(torch.float64 if abs(number) > 1e39 else state[tensor].dtype)
        state[tensor].view(-1)[-1] = number
        save_file(state, folder / "model.safetensors")

    words = f"{re.escape(tensor)} holds numbers that are not finite"
    ATTACKS[f"{number} in {tensor}"] = (kind, change, words)


for number in (math.nan, math.inf, -math.inf, 1e60):
    spoil("mae", "decoders.image.head.proj.weight", number)
    spoil("mae", "streams.audio.positions", number)
    spoil("medsynth", "prior.texture", number)
    spoil("medsynth", "generator.blocks.0.gate", number)
    spoil("gan", "layers.1.running_var", number)
    spoil("latents", "latents", number)


@attack_on_files("images that are no bytes", "images", "differ in images")
def _(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"images": torch.full((5, 1, 32, 32), math.nan)}, folder / "model.safetensors")


@pytest.fixture(scope="module")
def attacked(saved: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    root = tmp_path_factory.mktemp("attacks")
    folders = []
    for number, (kind, change, _) in enumerate(ATTACKS.values()):
        folders.append(variant(saved[kind], root / f"{number}"))
        change(folders[-1])
    whole = list(saved.values())
    found = outcomes([*whole, *folders])
    assert [outcome.text for outcome in found[: len(whole)] if outcome.error] == []
    return dict(zip(ATTACKS, found[len(whole) :], strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_in_one_sentence(name: str, attacked: dict[str, Outcome]) -> None:
    check_in_bounds(attacked[name])
    assert attacked[name].error == "UserError"
    assert re.search(ATTACKS[name][2], attacked[name].text), attacked[name].text


# -- chance

VALUES = (
    *(0, -1, 1, 2, 3, 7, 1000, 65_536, 2**31, 2**63, 10**30, 0.5, 1e-300, 1e308, math.nan, math.inf, True, None),
    *("", "x", "%999999999d", [], {}, [1] * 1000),
)


def places(config: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a configuration with every key of it."""
    for key, value in [*(config.items() if isinstance(config, dict) else enumerate(config))]:
        yield config, key
        if isinstance(value, dict | list):
            yield from places(value)


def mutated(config: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """A configuration with one to three numbers or other values changed."""
    config = json.loads(json.dumps(config))
    for _ in range(draw.choice([1, 1, 2, 3])):
        found = [(holder, key) for holder, key in places(config) if key != "kind"]
        numbers = [(holder, key) for holder, key in found if isinstance(holder[key], int | float)]
        holder, key = draw.choice(numbers if numbers and draw.random() < 0.8 else found)
        old = holder[key]
        near = [old + 1, old - 1, 2 * old, -old, old / 2, old * 1.001] if isinstance(old, int | float) else []
        holder[key] = draw.choice(near if near and draw.random() < 0.5 else VALUES)
    return config


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [FUZZ, pytest.param(20 * FUZZ, marks=pytest.mark.slow)])
def test_whatever_a_configuration_says_is_loaded_or_refused(count: int, saved: dict[str, Path], tmp_path: Path) -> None:
    draw, folders = random.Random(0), []
    for number in range(count):
        source = draw.choice(list(saved.values()))
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "model.safetensors").symlink_to(source / "model.safetensors")
        config = mutated(json.loads((source / "config.json").read_text()), draw)
        (folder / "config.json").write_text(json.dumps(config))
        folders.append(folder)
    found = outcomes([saved["mae"], saved["medsynth"], *folders])[2:]
    for folder, outcome in zip(folders, found, strict=True):
        check_in_bounds(replace(outcome, text=f"{folder}: {outcome.text}"))
    loaded = sum(outcome.error is None for outcome in found)
    assert 0.02 * count < loaded < 0.9 * count


# -- what is loaded


def test_models_of_every_kind_are_loaded_as_they_were(saved: dict[str, Path]) -> None:
    import torch
    from safetensors.torch import load_file

    from mmgen.artifacts.models import load_model

    for name, model in models().items():
        loaded, stored = load_model(saved[name]), load_file(saved[name] / "model.safetensors")
        state, buffers = loaded.state_dict(), dict(loaded.named_buffers())
        assert not loaded.training and loaded.class_names == model.class_names
        assert all(torch.equal(state[key], stored[key]) for key in state.keys() | stored.keys())
        fixed = dict(model.named_buffers()).keys() - model.state_dict().keys()
        assert all(torch.equal(buffers[key], dict(model.named_buffers())[key]) for key in fixed)


LARGE = ("tiny", "small", "base", "paper", "ViT-L of four views", "medsynth", "gan", "latents", "faces")


def large_model(name: str) -> Any:
    """A model as large as they are trained, in the paper's sizes or beyond."""
    from small import noise_samples

    from mmgen.models.conditional_gan import ConditionalGenerator
    from mmgen.models.cross_modal_mae import CrossModalMAE
    from mmgen.models.medsynth import MedSynthGenerator
    from mmgen.models.stored import StoredImages, StoredLatents
    from mmgen.presets import PRESETS, build_mae

    if preset := PRESETS.get(name):
        return build_mae(preset, preset.settings, noise_samples())
    if name == "medsynth":
        return MedSynthGenerator(224, 3, ["a", "b"], prior={"directions": 16, "pooled": ["b"]})
    if name == "gan":
        return ConditionalGenerator(224, 3, ["a", "b"])
    if name == "latents":
        return StoredLatents(224, 3, ["a", "b"], 1000)
    if name == "faces":  # of as many people as CelebA has
        people = [f"identity {number}" for number in range(10_177)]
        return StoredImages(64, 3, people, "subset", [20] * len(people))
    views = [{"name": f"view_{number}", "shape": (3, 512, 512), "patch": (16, 16)} for number in range(4)]
    return CrossModalMAE(views, 1024, 24, 16, decoder_dim=512, decoder_depth=8, decoder_heads=16)


@pytest.mark.parametrize("name", LARGE)
def test_large_models_are_loaded(name: str, tmp_path: Path) -> None:
    import torch

    from mmgen.artifacts.models import load_model
    from mmgen.artifacts.received import check_received, read_config

    with torch.device("meta"):
        model = large_model(name)
    dtypes = {torch.float32: "F32", torch.int64: "I64", torch.uint8: "U8"}
    tensors, config, weights = model.state_dict(), tmp_path / "config.json", tmp_path / "model.safetensors"
    config.write_text(json.dumps({"kind": model.kind, **model.config}, indent=2))
    shapes = {key: x.shape for key, x in tensors.items()}
    write_zeros(weights, shapes, {key: dtypes[x.dtype] for key, x in tensors.items()})
    check_received(type(model), read_config(config), weights)
    if weights.stat().st_size < 100 * MIB:  # the others take long
        assert json.dumps(load_model(tmp_path).config) == json.dumps(model.config)


if __name__ == "__main__":
    load_all()
