"""Sound to log-mels and back: how fast and how faithful, beside librosa and torchaudio at equal settings.

    python benchmarks/mel.py --out benchmarks/results/mel_cpu.json

The ways take turns clip by clip in one run; seconds are medians over the repeats, ratios are medians of the ratios
within a repeat. The sounds are phantom coughs, or recordings of your own (--audio FOLDER), cut to equal length.
Round-trip errors compare the log-mel of the made sound with the given one, by the same function for all.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
import torchaudio
from threadpoolctl import threadpool_limits
from timing import DeviceName, device_of

from mmgen.artifacts.provenance import machine, package_versions
from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.data.audio import AUDIO_SUFFIXES, resampled
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.formats.sound_files import read_sound
from mmgen.data.mel import log_mel, mel_filterbank, mel_to_waveform
from mmgen.data.phantoms import write_phantoms
from mmgen.data.progress import progress_bar
from mmgen.errors import UserError

SETTINGS = AudioSettings()
ROUNDS = 32
"""Griffin-Lim iterations of librosa and torchaudio, their default."""
FLOOR = float(np.exp(SETTINGS.log_floor))
STFT: dict[str, Any] = {
    "n_fft": SETTINGS.n_fft,
    "hop_length": SETTINGS.hop_length,
    "win_length": SETTINGS.win_length,
    "center": True,
    "pad_mode": "constant",
}
LIBROSA: dict[str, Any] = {**STFT, "sr": SETTINGS.sample_rate, "htk": False, "norm": None}
Way = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class MelBenchmark:
    """Flags of this benchmark."""

    out: Path | None = None
    audio: Path | None = None
    """Folder of recordings to use instead of phantoms."""
    seconds: float = 4.0
    """Length of a clip."""
    clips: int = 8
    repeats: int = 7
    """Turns of every way, after one that warms up."""
    threads: tuple[int, ...] = field(default_factory=lambda: tuple(sorted({1, os.cpu_count() or 1})))
    """Numbers of threads to measure with."""
    device: DeviceName = "cpu"
    """Where the library computes too, if it is not the CPU: clip by clip, each brought there and back."""


def read_clips(folder: Path, config: MelBenchmark) -> list[np.ndarray]:
    """Clips (samples,) of equal length, cut from all recordings of a folder in a row."""
    length = round(config.seconds * SETTINGS.sample_rate) // SETTINGS.hop_length * SETTINGS.hop_length
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    waves: list[np.ndarray] = []
    # Evenly from the whole folder, whose beginning may be one label.
    for path in files[:: max(1, len(files) // (4 * config.clips))]:
        with path.open("rb") as file:
            waves.append(resampled(read_sound(file), SETTINGS))
    sound = np.concatenate(waves) if waves else np.empty(0, np.float32)
    clips = list(sound[: len(sound) // length * length].reshape(-1, length)[: config.clips])
    if not clips:
        raise UserError(f"{folder} holds less than {config.seconds} seconds of sound; give more, or fewer --seconds.")
    return clips


def log_mel_ways(device: torch.device) -> dict[str, Way]:
    """Waveform (samples,) -> log-mel (n_mels, frames); the first is what others are compared with."""
    bank = librosa.filters.mel(sr=LIBROSA["sr"], n_fft=STFT["n_fft"], n_mels=SETTINGS.n_mels, htk=False, norm=None)
    transform = torchaudio.transforms.MelSpectrogram(
        SETTINGS.sample_rate, **STFT, n_mels=SETTINGS.n_mels, mel_scale="slaney", norm=None
    )

    def kept_bank(wave: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(bank @ np.abs(librosa.stft(wave, **STFT)) ** 2, FLOOR))

    ways: dict[str, Way] = {
        "librosa": lambda x: np.log(np.maximum(librosa.feature.melspectrogram(y=x, n_mels=100, **LIBROSA), FLOOR)),
        "librosa, filterbank made once": kept_bank,
        "torchaudio": lambda x: transform(torch.from_numpy(x)).clamp_min(FLOOR).log().numpy(),
        "mmgen": lambda x: log_mel(torch.from_numpy(x), SETTINGS).numpy(),
    }
    if device.type != "cpu":
        ways[f"mmgen, {device.type}"] = lambda x: log_mel(torch.from_numpy(x).to(device), SETTINGS).cpu().numpy()
    return ways


def inversion_ways(device: torch.device) -> dict[str, Way]:
    """Log-mel (n_mels, frames) -> waveform (frames * hop_length,)."""
    inverse = torch.linalg.pinv(mel_filterbank(SETTINGS).T.double()).float()
    griffin_lim = torchaudio.transforms.GriffinLim(
        STFT["n_fft"], ROUNDS, SETTINGS.win_length, SETTINGS.hop_length, power=2.0
    )

    def power(mel: np.ndarray) -> np.ndarray:
        """The floor is silence, also for the others; their last frame is repeated, since T + 1 frames make T hops."""
        closed = np.concatenate([mel, mel[:, -1:]], axis=1)
        return np.where(closed <= SETTINGS.log_floor + 0.01, 0.0, np.exp(closed)).astype(np.float32)

    ways: dict[str, Way] = {
        "librosa": lambda x: librosa.feature.inverse.mel_to_audio(power(x), n_iter=ROUNDS, **LIBROSA),
        "pseudo-inverse, torchaudio": lambda x: griffin_lim(
            (inverse @ torch.from_numpy(power(x))).clamp_min(0)
        ).numpy(),
        "mmgen": lambda x: mel_to_waveform(torch.from_numpy(x), SETTINGS).numpy(),
    }
    if device.type != "cpu":
        ways[f"mmgen, {device.type}"] = lambda x: (
            mel_to_waveform(torch.from_numpy(x).to(device), SETTINGS).cpu().numpy()
        )
    return ways


def measure(ways: dict[str, Way], inputs: Sequence[np.ndarray], repeats: int, name: str) -> list[dict[str, Any]]:
    """Milliseconds a clip of every way and how many times as fast as the first it is: by the clock, and by the time
    that processors spent on it, which others on the same machine disturb less."""
    clocks = {"": time.perf_counter, "cpu_": time.process_time}
    seconds = {clock: {way: np.zeros(repeats + 1) for way in ways} for clock in clocks}
    for repeat in progress_bar(range(repeats + 1), total=repeats + 1, description=name):
        for values in inputs:
            for way, function in ways.items():
                starts = {clock: now() for clock, now in clocks.items()}
                function(values)
                for clock, now in clocks.items():
                    seconds[clock][way][repeat] += now() - starts[clock]
    rows: list[dict[str, Any]] = [{"way": way} for way in ways]
    for clock, taken in seconds.items():
        first = next(iter(taken.values()))[1:]
        for row in rows:
            own = taken[row["way"]][1:]
            row[f"{clock}ms_per_clip"] = statistics.median(own) / len(inputs) * 1000
            row[f"{clock}times_librosa"] = statistics.median(first / own)
    return rows


def round_trip(way: Way, waves: Sequence[np.ndarray], mels: Sequence[np.ndarray]) -> dict[str, float]:
    """Errors of the log-mels of the made sounds in dB, means over clips.

    ``all``: of all cells, silence clamped at the floor; ``audible``: of those within 30 dB of the clip's loudest;
    ``audible_95``: what 95 % of these stay below; ``level``: of the clip's energy.
    """
    errors = []
    for wave, mel in zip(waves, mels, strict=True):
        made = way(mel)
        error = np.abs(log_mel(torch.from_numpy(made), SETTINGS).numpy() - mel) * (10 / np.log(10))
        audible = error[mel > mel.max() - 3 * np.log(10)]
        level = abs(10 * np.log10(np.mean(made**2) / np.mean(wave**2)))
        errors.append((error.mean(), audible.mean(), np.quantile(audible, 0.95), level))
    return dict(zip(("all", "audible", "audible_95", "level"), np.mean(errors, axis=0).tolist(), strict=True))


def print_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """A table of rows that have the same columns."""
    print(f"\n{title}\n{'':32}" + "".join(f"{column:>19}" for column in list(rows[0])[1:]))
    for row in rows:
        print(f"{row['way']:32}" + "".join(f"{value:19.3f}" for value in list(row.values())[1:]), flush=True)


def run(folder: Path, config: MelBenchmark) -> dict[str, Any]:
    """Everything that is measured on one set of recordings."""
    waves = read_clips(folder, config)
    device = device_of(config.device)
    there, back = log_mel_ways(device), inversion_ways(device)
    mels = [there["mmgen"](wave) for wave in waves]
    results: dict[str, Any] = {"clips": len(waves), "seconds": len(waves[0]) / SETTINGS.sample_rate}
    results["round_trip_db"] = [{"way": name, **round_trip(way, waves, mels)} for name, way in back.items()]
    print_rows("round-trip error, dB", results["round_trip_db"])
    for threads in config.threads:
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            for name, ways, inputs in (("log-mel", there, waves), ("inversion", back, mels)):
                rows = measure(ways, inputs, config.repeats, f"{name}, threads: {threads}")
                results.setdefault(name, {})[f"threads_{threads}"] = rows
                print_rows(f"{name}, threads: {threads}", rows)
    return results


def main() -> None:
    config = parse_config(MelBenchmark, description=__doc__)
    document: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "versions": package_versions() | {"librosa": version("librosa")},
    }
    if config.audio:
        document |= run(config.audio, config)
    else:
        with tempfile.TemporaryDirectory() as name:
            _, sounds = write_phantoms(Path(name), subjects_per_class=40, image_size=8)
            document |= run(sounds, config)
    if config.out:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
