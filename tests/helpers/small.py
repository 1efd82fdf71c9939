"""A small untrained model that knows its files, real files for it, and how tests start processes of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.mae_layers import FusionQuery
from mmgen.names import DecoderName
from mmgen.presets import Preset, build_mae

PROJECT = Path(__file__).resolve().parents[2]
TWO_PROCESSES = PROJECT / "recipes" / "configs" / "accelerate_cpu2.yaml"
LABELS = ("covid", "healthy")

# 16 tokens in both modalities, so that either fusion can be built, and no padding.
SOUND = AudioSettings(n_mels=40, frames=80, segment_frames=40)
PRESET = Preset(ImageSettings(32, 1), 8, 10, 40, 16, 2, 2, 16, 1, 2, epochs=1, batch_size=4, audio=SOUND, decoder="mse")
SETTINGS: dict[str, Settings] = {"image": PRESET.image, "audio": PRESET.audio}


def noise_samples(images: tuple[int, int] = (7, 5), sounds: tuple[int, int] = (4, 9), seed: int = 0) -> dict:
    """{modality: :class:`Samples`} of white noise, a number of them for each label: no two patches are alike."""
    rng = np.random.default_rng(seed)
    labels = {"image": np.repeat([0, 1], images), "audio": np.repeat([0, 1], sounds)}
    values = {
        "image": rng.integers(1, 255, (sum(images), *PRESET.image.shape), dtype=np.uint8),
        "audio": rng.uniform(-9, 1, (sum(sounds), *PRESET.audio.shape)).astype(np.float16),
    }
    # Rows of the manifest are not positions in the arrays: a clip may give several segments.
    return {name: Samples(values[name], labels[name], LABELS, 100 + np.arange(len(labels[name]))) for name in values}


def small_model(fusion_query: FusionQuery = "own", decoder: DecoderName = "mse") -> CrossModalMAE:
    """Always the same weights, large enough for outputs that depend visibly on inputs and masks, or on labels and
    noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_mae(replace(PRESET, decoder=decoder, head_width=4), SETTINGS, noise_samples(), fusion_query)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter *= 3
                    if not parameter.any():  # layers that a denoising decoder begins without
                        parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(
    *arguments: object, processes: int = 1, threads: int = 1, timeout: int = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a Python script with arguments, through ``accelerate launch`` if in several processes, for so many seconds
    at most."""
    launcher = ["-m", "accelerate.commands.launch", f"--config_file={TWO_PROCESSES}", f"--num_processes={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), *map(str, arguments)]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads), **environment}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.terminate()  # a launcher takes its processes with it, as a kill would not
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)
