"""What is done to the folder of a model to do harm to whoever loads it, and configurations changed by chance."""

from __future__ import annotations

import json
import math
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

MIB = 1 << 20

Attack = Callable[[Path], None]
# By name: the model that it starts from, what is done to its folder, and words of the refusal.
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
    attack(f"depth {huge} inside", "draws", "asks for more than|range|int", mae__depth=huge)
    attack(f"teacher {huge}", "draws", "asks for more than|other types", teacher_width=huge)
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
attack("no autoencoder", "draws", "other types", mae=[1])
other_size = "needs an autoencoder of such|differ in|asks for more than"
attack("autoencoder of another size", "draws", other_size, mae__modalities__0__shape=[3, 48, 48])
attack("image size", "images", "squares with a side", image_size=20_000)
attack("size that formats", "images", "image_size in config.json is of another type", image_size="%999999999d")
attack("text of labels", "images", "class_names in config.json is of another type", class_names="ab")
attack("padding that formats", "mae", "whole numbers", modalities__0__pad_to=["%999999999d", "%999999999d"])
attack("width that formats", "latents", "width in config.json is of another type", width="%999999999d")
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
        holder[key] = deepcopy(draw.choice(near if near and draw.random() < 0.5 else VALUES))
    return config
