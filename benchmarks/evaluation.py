"""What evaluating many samples costs: the closest-record search beside scikit-learn's, then fidelity and audit.

The images are smooth random fields with noise. Search and scikit-learn take turns and must find the same; every part
runs in a process of its own, so that its peak memory is its own.

    python benchmarks/evaluation.py --out benchmarks/results/evaluation_cpu.json
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mmgen.artifacts.provenance import machine
from mmgen.assessment.inputs import modality_of
from mmgen.cli.config import parse_config
from mmgen.data.images import ImageSettings
from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.features import PIXELS, make_extractor
from mmgen.evaluation.fidelity.measure import measure_fidelity
from mmgen.evaluation.neighbours import nearest
from mmgen.evaluation.privacy.attack import Case, Evidence
from mmgen.evaluation.privacy.attacks import disguised_copies
from mmgen.evaluation.privacy.audit import FULL, audit_section
from mmgen.evaluation.privacy.sides import Side
from mmgen.training.engine import peak_memory_mb


@dataclass(frozen=True)
class EvaluationBenchmark:
    """Flags of this benchmark."""

    out: Path | None = None
    samples: int = 10_000
    """Synthetic images, and as many real ones to compare them with."""
    searched: int = 4_000
    """Images of each side in the race of searches."""
    image_size: int = 64
    rounds: int = 3
    """Repetitions of each search."""
    parts: tuple[Literal["search", "fidelity", "disguises", "audit"], ...] = (
        "search",
        "fidelity",
        "disguises",
        "audit",
    )
    """What to measure; disguises is the attack that searches for disguised copies alone, audit all attacks."""


def main() -> None:
    config = parse_config(EvaluationBenchmark)
    parts: dict[str, Callable[[EvaluationBenchmark], dict[str, Any]]] = {
        "search": search, "fidelity": fidelity, "disguises": disguises, "audit": audit,
    }  # fmt: skip
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "samples": config.samples,
        "image_size": config.image_size,
    }
    for name in config.parts:
        part = parts[name]
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            report[name] = fresh.apply(part, (config,))
        print(name, json.dumps(report[name]), flush=True)
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def fields(count: int, size: int, seed: int) -> Samples:
    """So many random pictures (3, size, size) of two classes."""
    rng = np.random.default_rng(seed)
    values = np.empty((count, 3, size, size), np.uint8)
    for start in range(0, count, 256):
        part = values[start : start + 256]
        coarse = torch.from_numpy(rng.normal(128, 45, (len(part), 3, 6, 6)))
        smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").numpy()
        part[:] = (smooth + rng.normal(0, 6, part.shape)).clip(0, 255)
    return Samples(values, np.arange(count) % 2, ("a", "b"), np.arange(count))


def search(config: EvaluationBenchmark) -> dict[str, Any]:
    """Seconds of both searches, and whether they found the same."""
    from sklearn.neighbors import NearestNeighbors

    queries, references = (fields(config.searched, config.image_size, seed).values for seed in (0, 1))
    flat = [x.reshape(len(x), -1).astype(np.float32) for x in (queries, references)]
    seconds: dict[str, list[float]] = {"mmgen": [], "scikit-learn": []}
    for _ in range(config.rounds):
        start = time.perf_counter()
        distances, rows = nearest(queries, references)
        seconds["mmgen"].append(time.perf_counter() - start)
        start = time.perf_counter()
        found, peer_rows = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat[1]).kneighbors(flat[0])
        seconds["scikit-learn"].append(time.perf_counter() - start)
    found = found / np.sqrt(flat[0].shape[1])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "images": config.searched,
        "seconds": medians,
        "times_faster": medians["scikit-learn"] / medians["mmgen"],
        "same_rows": float((rows == peer_rows).mean()),
        "largest_difference": float(np.abs(distances - found).max()),
    }


def fidelity(config: EvaluationBenchmark) -> dict[str, Any]:
    """Seconds and peak memory of all fidelity measures."""
    real, made = (fields(config.samples, config.image_size, seed) for seed in (0, 1))
    modality = modality_of("image", ImageSettings(config.image_size, 3), real)
    return _timed(lambda: measure_fidelity(modality, real, made, make_extractor(PIXELS, modality)))


def disguises(config: EvaluationBenchmark) -> dict[str, Any]:
    """Seconds and peak memory of the search for disguised copies."""
    evidence = _evidence(config)
    return _timed(lambda: disguised_copies.run(Case(evidence, FULL, 0, "image")))


def audit(config: EvaluationBenchmark) -> dict[str, Any]:
    """Seconds and peak memory of all attacks."""
    evidence = _evidence(config)
    return _timed(lambda: audit_section(evidence, FULL))


def _evidence(config: EvaluationBenchmark) -> Evidence:
    """A set, as many members, and a quarter as many others."""
    sides = [fields(count, config.image_size, seed) for seed, count in enumerate((config.samples, config.samples // 4))]
    made = fields(config.samples, config.image_size, 2)
    modality = modality_of("image", ImageSettings(config.image_size, 3), sides[0])
    members, non_members = (Side({"image": samples}) for samples in sides)
    extractors = {"image": make_extractor(PIXELS, modality)}
    return Evidence({"image": modality}, {"image": made}, members, non_members, extractors)


def _timed(job: Callable[[], Any]) -> dict[str, Any]:
    start = time.perf_counter()
    job()
    return {"seconds": time.perf_counter() - start, "peak_memory_mb": peak_memory_mb(torch.device("cpu"))}


if __name__ == "__main__":
    main()
