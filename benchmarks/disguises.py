"""What the search for disguised copies finds, in sets of which a small part are copies, and how often it errs.

    python benchmarks/disguises.py --data DATA/isic --split train --out benchmarks/results/disguises_isic.json
    python benchmarks/disguises.py --data DATA/cough --sounds --out benchmarks/results/disguises_cough.json

For every seed the people are divided anew: half are members, a quarter is held out for the audit, and records of the
rest pass as synthetic. Sets are drawn among these, and a share of each is replaced by disguised members. ``before`` is
what the plain distances to the closest record say of the same sets, as a release was decided without the search.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from disguised_records import ASIDE, PICTURES, SOUNDS

from mmgen.artifacts.provenance import machine
from mmgen.cli.config import parse_config
from mmgen.cli.main import run_command
from mmgen.data.audio import AUDIO_SUFFIXES, log_mel_segments, resampled
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.formats.sound_files import read_sound
from mmgen.data.images import ImageSettings
from mmgen.data.loading import are_grey, load
from mmgen.data.manifest import Columns, read_manifest
from mmgen.data.progress import progress_bar
from mmgen.data.sources import Source
from mmgen.errors import UserError
from mmgen.evaluation.neighbours import nearest
from mmgen.evaluation.privacy.attacks.copies import EXACT_GREY_LEVELS, EXACT_LOG_MEL, NEAR_SHARE
from mmgen.evaluation.privacy.attacks.disguised_copies import FALSE_ALARMS, FALSELY_LISTED
from mmgen.evaluation.privacy.audit import FULL
from mmgen.evaluation.privacy.disguises.calibrated import CalibratedSearch
from mmgen.evaluation.privacy.disguises.detectors import highest_listed, set_chance
from mmgen.evaluation.privacy.results import exact_interval
from mmgen.evaluation.privacy.sides import Records
from mmgen.models.modality import Modality
from mmgen.training.engine import peak_memory_mb


@dataclass(frozen=True)
class DisguisesBenchmark:
    """Flags of this benchmark."""

    data: Path
    """Folder of images, or of recordings with --sounds."""
    out: Path | None = None
    sounds: bool = False
    split: str | None = None
    """Of the images; all of them where it is not given."""
    subset: str | None = None
    """Column of images to use where it is 1."""
    image_size: int = 64
    most: int = 2_400
    """Records in all, by random people."""
    seeds: int = 20
    detection_seeds: int = 5
    """Seeds by which copies are also sought, not only innocent sets judged."""
    copies: int = 40
    """Members under each disguise, for every seed."""
    draws: int = 20
    """Sets for every seed, disguise, size and share."""
    threads: int = 1


class Pool(NamedTuple):
    """All records (N, C, H, W), whose they are, and a function that makes disguised ones of the given rows."""

    values: np.ndarray
    owners: np.ndarray
    kinds: tuple[str, ...]
    disguised: Callable[[str, np.ndarray, np.random.Generator], np.ndarray]


def pictures(config: DisguisesBenchmark, columns: int) -> Pool:
    """Images of a folder."""
    settings = ImageSettings(config.image_size, columns)
    source = Source(config.data, settings, Columns(subset=config.subset) if config.subset else Columns())
    samples = load({"image": source}, split=config.split)["image"]
    values = np.asarray(samples.values[:])

    def disguised(kind: str, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.stack([PICTURES[kind](values[row], rng, values[rng.integers(len(values))]) for row in rows])

    kinds = [kind for kind in PICTURES if columns == 3 or kind != "another hue"]
    return Pool(values, np.asarray(samples.subjects).astype(str), tuple(kinds), disguised)


def recordings(config: DisguisesBenchmark) -> Pool:
    """Log-mels of a folder's recordings, which are disguised as waveforms."""
    settings = AudioSettings()
    manifest = read_manifest(config.data, AUDIO_SUFFIXES)
    waves = []
    for row in range(len(manifest)):
        with manifest.open(row) as file:
            waves.append(resampled(read_sound(file), settings))
    segments = [_audible(log_mel_segments(wave, settings)) for wave in waves]
    counts = [len(part) for part in segments]
    recording = np.repeat(np.arange(len(waves)), counts)
    owners = np.repeat(manifest.subjects.astype(str), counts)

    def disguised(kind: str, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        made = []
        for row in rows:
            other = waves[rng.integers(len(waves))]
            changed = SOUNDS[kind](waves[recording[row]], rng, other, settings.sample_rate)
            parts = _audible(log_mel_segments(changed.astype(np.float32), settings))
            made.append(parts[rng.integers(len(parts))])
        return np.stack(made)

    return Pool(np.concatenate(segments), owners, tuple(SOUNDS), disguised)


def _audible(segments: np.ndarray) -> np.ndarray:
    """Without silent ones, which an audit leaves out; one is always kept."""
    keep = segments.astype(np.float32).std((1, 2, 3)) >= 0.05
    return segments[keep] if keep.any() else segments[:1]


class Sides(NamedTuple):
    """Rows of one seed's members, held-out records and innocent ones that pass as synthetic."""

    members: np.ndarray
    held_out: np.ndarray
    innocent: np.ndarray


def divided(pool: Pool, most: int, rng: np.random.Generator) -> Sides:
    """Random people: half, a quarter, a quarter."""
    people, numbers = np.unique(pool.owners, return_inverse=True)
    order = rng.permutation(len(people))
    counts = np.bincount(numbers)[order].cumsum()
    used = order[counts <= most]
    ends = [len(used) // 2, 3 * len(used) // 4]
    return Sides(*(np.flatnonzero(np.isin(numbers, part)) for part in np.split(used, ends)))


def near_limit(pool: Pool, sides: Sides, mirrored: bool) -> float:
    """The distance below which the closest record counts as a near copy, as in an audit."""
    exact = EXACT_GREY_LEVELS if pool.values.dtype == np.uint8 else EXACT_LOG_MEL
    real = nearest(pool.values[sides.held_out], pool.values[sides.members], mirrored=mirrored)[0][:, 0]
    return max(NEAR_SHARE * float(np.quantile(real, 0.01)), exact)


def measure(pool: Pool, modality: Modality, config: DisguisesBenchmark) -> dict[str, Any]:
    """Rows of sets with copies, and of innocent sets."""
    trials: dict[tuple[str, int, float], list[dict[str, Any]]] = {}
    alarms: list[dict[str, Any]] = []
    seconds: dict[str, list[float]] = {"calibration": [], "a record": []}
    for seed in progress_bar(range(config.seeds), config.seeds, "seeds"):
        rng = np.random.default_rng(seed)
        sides = divided(pool, config.most, rng)
        members, held_out = (Records(pool.values[rows], pool.owners[rows]) for rows in sides[:2])
        start = time.perf_counter()
        fitted = CalibratedSearch.fitted(
            members, held_out, modality, not config.sounds, FULL.planted, FULL.innocent, rng, quiet=True
        )
        seconds["calibration"].append(time.perf_counter() - start)
        innocent = fitted.chances(pool.values[sides.innocent])
        alarms.append({"seed": seed, "p": set_chance(innocent, fitted.people), "of": len(innocent)})
        if seed >= config.detection_seeds:
            continue
        limit = near_limit(pool, sides, not config.sounds)
        for kind in pool.kinds:
            copies = pool.disguised(kind, rng.choice(sides.members, config.copies), rng)
            start = time.perf_counter()
            chances = fitted.chances(copies)
            seconds["a record"].append((time.perf_counter() - start) / len(copies))
            plain = nearest(copies, members.values, mirrored=not config.sounds)[0][:, 0] < limit
            for size, share in sets(len(innocent), config):
                replaced = max(1, round(share * size))
                chosen = rng.choice(len(copies), replaced, replace=replaced > len(copies))
                others = rng.choice(len(innocent), size - replaced, replace=False)
                together = np.concatenate([chances[chosen], innocent[others]])
                closed = set_chance(together, fitted.people) <= FALSE_ALARMS
                found = int((together[:replaced] <= highest_listed(together, FALSELY_LISTED)).sum()) * closed
                row = {
                    "closed": closed,
                    "half": 2 * found >= replaced,
                    "found": found / replaced,
                    "before": bool(plain[chosen].any()),
                }
                trials.setdefault((kind, size, share), []).append(row)
    rows = [
        {"disguise": kind, "aside": kind in ASIDE, "of": size, "share": share, "trials": len(made)}
        | {name: float(np.mean([trial[name] for trial in made])) for name in ("closed", "half", "found", "before")}
        for (kind, size, share), made in trials.items()
    ]
    false = sum(alarm["p"] <= FALSE_ALARMS for alarm in alarms)
    return {
        "members": len(sides.members), "held_out": len(sides.held_out), "innocent": len(sides.innocent),
        "rows": rows,
        "false_alarms": {"sets": len(alarms), "alarms": false, "interval": exact_interval(false, len(alarms))},
        "innocent_sets": alarms,
        "seconds": {name: float(np.median(taken)) for name, taken in seconds.items()},
        "peak_memory_mb": peak_memory_mb(torch.device("cpu")),
    }  # fmt: skip


def sets(innocent: int, config: DisguisesBenchmark) -> Iterator[tuple[int, float]]:
    """Sizes and shares of copies of the sets to draw, as far as there are innocent records enough."""
    for size, share in ((200, 0.05), (1000, 0.01)):
        if round((1 - share) * size) <= innocent:
            yield from [(size, share)] * config.draws
    if innocent < 190:  # as many as there are, to the next ten, so that seeds agree
        yield from [(innocent // 10 * 10, 0.05)] * config.draws
    yield config.copies, 1.0


def print_rows(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'disguise':32}{'of':>7}{'share':>8}{'closed':>9}{'half':>8}{'found':>8}{'before':>8}")
    for row in rows:
        shares = "".join(f"{row[name]:8.0%}" for name in ("closed", "half", "found", "before"))
        print(f"{row['disguise'] + ' *' * row['aside']:32}{row['of']:7d}{row['share']:8.0%} {shares}")


def main() -> None:
    config = parse_config(DisguisesBenchmark, description=__doc__)
    torch.set_num_threads(config.threads)
    if config.sounds:
        pool = recordings(config)
        shape, centre, spread = pool.values.shape[1:], *(float(f(pool.values, dtype=float)) for f in (np.mean, np.std))
        modality = Modality("audio", shape, (1, 1), mean=(centre,), std=(spread,))
    else:
        grey = are_grey(Source(config.data, ImageSettings(config.image_size, 3)))
        pool = pictures(config, 1 if grey else 3)
        modality = Modality("image", pool.values.shape[1:], (1, 1), value_range=(0, 255))
    if len(np.unique(pool.owners)) < 8:
        raise UserError(f"{config.data} holds records of fewer than 8 people; they are divided in four parts.")
    results = measure(pool, modality, config)
    print_rows(results["rows"])
    print(json.dumps({name: results[name] for name in ("false_alarms", "seconds", "peak_memory_mb")}))
    document = {"command": " ".join(["python", *sys.argv]), "machine": machine(), **results}
    if config.out:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
