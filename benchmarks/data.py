"""What reading data costs: decoding, decoded copies in the cache, and a manifest of a million rows.

    python benchmarks/data.py --out benchmarks/results/data_cpu.json

Images and sounds are phantoms of the size of chest X-rays and coughs, or files of your own (--images, --audio: folder
or CSV). The ways to read them take turns in one run: torchvision's ImageFolder with PIL, librosa, the cache while it is
filled, the cache in a process's first epoch, which checks it, and in those afterwards. The manifest names hard links to
a few pictures, a thousand in a folder.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmgen.artifacts.provenance import machine
from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.cache import Cache
from mmgen.data.decoding import DecodedArray, DecodedFiles
from mmgen.data.images import ImageSettings
from mmgen.data.loading import prepare
from mmgen.data.manifest import Manifest, read_manifest
from mmgen.data.phantoms import write_phantoms
from mmgen.data.progress import progress_bar
from mmgen.data.samples import samples_of
from mmgen.data.settings import Settings, kind_of
from mmgen.data.sources import Reading, Source
from mmgen.training.batches import PairedBatches
from mmgen.training.loop import Position

logger = logging.getLogger("mmgen")
BATCH = 32


@dataclass(frozen=True)
class DataBenchmark:
    """Flags of this benchmark."""

    out: Path | None = None
    images: Path | None = None
    """Pictures to read instead of phantoms."""
    audio: Path | None = None
    """Recordings to read instead of phantoms."""
    rounds: int = 5
    """Turns of every way to read."""
    rows: tuple[int, ...] = (10_000, 1_000_000)
    """Sizes of the manifests."""
    batches: int = 50
    """Training batches read from each manifest."""
    start_up: Path | None = None
    """Only open this CSV, read batches, and print seconds and memory (each manifest has a process of its own)."""


# --- samples a second


def image_folder(manifest: Manifest, settings: ImageSettings) -> Callable[[], Iterable[Any]]:
    """torchvision's way: ImageFolder, PIL, resize and crop, tensor; batches of a DataLoader with as many workers as
    there are cores, since our threads use all cores, too."""
    from torch.utils.data import DataLoader
    from torchvision.datasets.folder import pil_loader
    from torchvision.transforms import CenterCrop, Compose, Grayscale, PILToTensor, Resize

    steps = Compose([Grayscale(), Resize(settings.size), CenterCrop(settings.size), PILToTensor()])

    class Folder:
        def __len__(self) -> int:
            return len(manifest)

        def __getitem__(self, row: int) -> Any:
            return steps(pil_loader(manifest.name(row)))  # what ImageFolder does with a file

    return lambda: DataLoader(Folder(), BATCH, num_workers=os.cpu_count() or 1)


def librosa_mels(manifest: Manifest, settings: AudioSettings) -> Callable[[], Iterable[Any]]:
    """librosa's way: load (decode and resample), mel spectrogram, logarithm; in one thread."""
    import librosa

    seconds = settings.frames * settings.hop_length / settings.sample_rate

    def mel(row: int) -> np.ndarray:
        wave, _ = librosa.load(manifest.name(row), sr=settings.sample_rate, duration=seconds)
        power = librosa.feature.melspectrogram(
            y=wave,
            sr=settings.sample_rate,
            n_fft=settings.n_fft,
            win_length=settings.win_length,
            hop_length=settings.hop_length,
            n_mels=settings.n_mels,
            norm=None,
        )
        return np.log(np.maximum(power, np.exp(settings.log_floor)))

    return lambda: (mel(row) for row in range(len(manifest)))


def batches_of(values: DecodedArray, seed: int) -> Iterable[np.ndarray]:
    """An epoch in random order."""
    order = np.random.default_rng(seed).permutation(len(values))
    return (values[order[start : start + BATCH]] for start in range(0, len(values), BATCH))


def samples_per_second(manifest: Manifest, settings: Settings, folder: Path, rounds: int) -> dict[str, Any]:
    """Files a second of every way to read, medians over rounds, and the ratios that count."""
    ours = DecodedFiles(manifest.files, manifest.paths, settings)
    ours.fill(progress=False)
    uncached = samples_of(manifest, ours).values
    cached_files = DecodedFiles(manifest.files, manifest.paths, settings, Cache(folder / "kept", 10**10))
    cached_files.fill(progress=False)
    cached = samples_of(manifest, cached_files).values
    image = isinstance(settings, ImageSettings)
    peer, peer_name = (image_folder, "ImageFolder") if image else (librosa_mels, "librosa")
    peers = peer(manifest, settings)

    def fill(turn: int) -> Iterable[Any]:
        files = DecodedFiles(manifest.files, manifest.paths, settings, Cache(folder / f"turn {turn}", 10**10))
        files.fill(progress=False)
        return ()

    def open_again(turn: int) -> Iterable[Any]:
        files = DecodedFiles(manifest.files, manifest.paths, settings, Cache(folder / "kept", 10**10))
        files.counts = cached_files.counts
        return batches_of(samples_of(manifest, files).values, turn)

    ways: dict[str, Callable[[int], Iterable[Any]]] = {
        peer_name: lambda turn: peers(),
        "decoding each time": lambda turn: batches_of(uncached, turn),
        "filling the cache": fill,
        "cached, opened again": open_again,
        "cached": lambda turn: batches_of(cached, turn),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in progress_bar(range(rounds), total=rounds, description="reading"):
        for name, way in ways.items():
            start = time.perf_counter()
            for _ in way(turn):
                pass
            seconds[name].append(time.perf_counter() - start)
        shutil.rmtree(folder / f"turn {turn}")
    rates = {name: len(manifest) / statistics.median(values) for name, values in seconds.items()}
    return {
        "files": len(manifest),
        "files_per_s": rates,
        "cached_over_decoding": rates["cached"] / rates["decoding each time"],
        "opened_again_over_decoding": rates["cached, opened again"] / rates["decoding each time"],
        f"decoding_over_{peer_name}": rates["decoding each time"] / rates[peer_name],
        f"cached_over_{peer_name}": rates["cached"] / rates[peer_name],
    }


# --- a million rows


def write_rows(manifest: Manifest, folder: Path, rows: int) -> Path:
    """A CSV of so many rows and the files it names: hard links to the manifest's."""
    folder.mkdir()
    lines = ["path,label,subject\n"]
    for row in progress_bar(range(rows), total=rows, description="linking files"):
        directory = folder / f"{row // 1000:04d}"
        if row % 1000 == 0:
            directory.mkdir()
        source = row % len(manifest)
        os.link(manifest.name(source), directory / f"{row}.png")
        label = manifest.label_names[manifest.labels[source]]
        lines.append(f"{row // 1000:04d}/{row}.png,{label},subject {row // 3}\n")
    (folder / "manifest.csv").write_text("".join(lines), encoding="utf-8")
    return folder / "manifest.csv"


def memory_mb() -> dict[str, float]:
    """Resident memory of this process in MB, the most so far and now: of its own, and of files that are mapped."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    names = {"peak": "VmHWM", "own": "RssAnon", "mapped_files": "RssFile"}
    return {name: int(fields[field].split()[0]) / 1000 for name, field in names.items()}


def start_up(csv: Path, batches: int) -> dict[str, Any]:
    """Seconds and memory of opening a manifest as recipes do and reading training batches."""
    before = memory_mb()
    start = time.perf_counter()
    data = prepare({"image": Source(csv, ImageSettings())}, Reading(cache=Cache(csv.parent / "cache", 10**9)))
    prepared = time.perf_counter() - start
    train = PairedBatches(data.splits["train"], BATCH, seed=0)
    train.batch(Position(0, 0, 0))
    first = time.perf_counter() - start
    after_first = memory_mb()
    for step in range(1, batches):
        train.batch(Position(0, step, step))
    after_all = memory_mb()
    marked = time.perf_counter()
    _ = data.fingerprints
    return {
        "rows": len(data.manifests["image"]),
        "seconds_prepared": prepared,
        "seconds_to_first_batch": first,
        "seconds_fingerprint": time.perf_counter() - marked,
        "peak_mb_at_first_batch": after_first["peak"],
        "own_mb": {"before": before["own"], "first batch": after_first["own"], f"{batches} batches": after_all["own"]},
    }


def measure_start_up(manifest: Manifest, folder: Path, config: DataBenchmark) -> list[dict[str, Any]]:
    """:func:`start_up` of every size, each in a process of its own."""
    measured = []
    for rows in config.rows:
        csv = write_rows(manifest, folder / f"{rows} rows", rows)
        command = [sys.executable, __file__, "--start-up", csv, "--batches", config.batches]
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        measured.append(json.loads(run.stdout.splitlines()[-1]))
        logger.info("%s", json.dumps(measured[-1]))
        shutil.rmtree(csv.parent)
    return measured


def main() -> None:
    config = parse_config(DataBenchmark, description=__doc__)
    if config.start_up:
        print(json.dumps(start_up(config.start_up, config.batches)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantom_images, phantom_sounds = write_phantoms(folder / "phantoms", subjects_per_class=100, image_size=256)
        document: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "machine": machine()}
        sources: dict[str, tuple[Path, Settings]] = {
            "images": (config.images or phantom_images, ImageSettings(224)),
            "sounds": (config.audio or phantom_sounds, AudioSettings()),
        }
        for kind, (path, settings) in sources.items():
            manifest = read_manifest(path, kind_of(settings).suffixes)
            document[kind] = samples_per_second(manifest, settings, folder / kind, config.rounds)
            logger.info("%s: %s", kind, json.dumps(document[kind], indent=1))
        few = read_manifest(phantom_images, {".png"})
        document["start_up"] = measure_start_up(few, folder, config)
    if config.out:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
