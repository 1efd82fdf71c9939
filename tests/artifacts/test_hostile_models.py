"""Models made to do harm are refused in one sentence, at once and without memory; all others are loaded."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from model_attacks import ATTACKS, MIB, mutated, write_zeros
from mutate import FUZZ

SECONDS = 2.0  # for a model, of one core
MEMORY = 300  # MiB at most beyond what torch takes once it is imported


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
    from tiny import tiny_drawing
    from tiny_medsynth import small_generator

    from mmgen.models.conditional_gan import ConditionalGenerator
    from mmgen.models.cross_modal_mae import CrossModalMAE
    from mmgen.models.drawn_prior import DrawnPrior
    from mmgen.models.medsynth import MedSynthGenerator
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
        "draws": tiny_drawing(("a", "b")),
        "drawn prior": MedSynthGenerator.build(
            small_generator().generator, ("a", "b"), DrawnPrior.build(tiny_drawing(("a", "b")))
        ),
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


@pytest.fixture(scope="module")
def attacked(saved: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
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


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [100, pytest.param(FUZZ // 10, marks=pytest.mark.slow)])
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
