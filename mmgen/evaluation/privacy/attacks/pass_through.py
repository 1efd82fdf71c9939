"""Pass-through: which share of a synthetic set are patches of real records, taken over unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from einops import rearrange

from mmgen.data.samples import Sliceable
from mmgen.evaluation.privacy.attack import Attack, Case, Kind
from mmgen.evaluation.privacy.results import PassThroughResult
from mmgen.models.modality import Modality

_CHUNK = 32
# Patches of which fewer values than this share differ from their median are flat, but for some dots (a black border,
# silence), and equal by chance.
_VARIED_SHARE = 0.25
# What counts as a difference: grey levels, log-mel units.
_GREY_LEVELS, _LOG_MEL = 2, 0.1


def pass_through(modality: Modality, synthetic: Sliceable, real: Sliceable) -> PassThroughResult:
    """Share of the patches of synthetic samples that are equal, value for value, to the patch at the same place of a
    real sample.

    Flat patches do not count. Log-mels are compared as float16, as they are stored. Cropped, shifted or rescaled real
    pixels are not found: those are for the search for copies.

    Args:
        modality: its patches are compared.
        synthetic, real: (N, C, H, W) and (M, C, H, W) in raw units.
    """
    keys = np.unique(np.concatenate(list(_hashes(modality, real))))
    taken = total = 0
    for hashes in _hashes(modality, synthetic):
        total += len(hashes)
        # Keys are sorted once; np.isin would sort them for every chunk.
        places = np.minimum(np.searchsorted(keys, hashes), max(len(keys) - 1, 0))
        taken += int((keys[places] == hashes).sum()) if len(keys) else 0
    compared = f"{modality.patch[0]} x {modality.patch[1]} patches equal to a training record's at the same place"
    return PassThroughResult(taken / total if total else 0.0, total, compared)


def _hashes(modality: Modality, samples: Sliceable) -> Iterator[np.ndarray]:
    """64-bit hashes of patches that are not flat, together with their place; a chunk of samples at a time."""
    (h, w), rng = modality.patch, np.random.default_rng(0)
    multipliers = rng.integers(0, 2**63, modality.shape[0] * h * w, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    least = _GREY_LEVELS if samples.dtype == np.uint8 else _LOG_MEL
    for start in range(0, samples.shape[0], _CHUNK):
        chunk = np.asarray(samples[start : start + _CHUNK])
        rows, columns = samples.shape[2] // h, samples.shape[3] // w
        whole = chunk[:, :, : rows * h, : columns * w]  # without patches that lie partly outside
        patches = rearrange(whole, "b c (rows h) (columns w) -> b (rows columns) (c h w)", h=h, w=w)
        numbers = patches.astype(np.float32)
        differs = np.abs(numbers - np.median(numbers, -1, keepdims=True)) >= least
        varied = differs.mean(-1) >= _VARIED_SHARE
        codes = patches if patches.dtype == np.uint8 else patches.astype(np.float16).view(np.uint16)
        # Sums of products modulo 2^64; the place is mixed in, so that only the same place is equal.
        hashes = (codes.astype(np.uint64) * multipliers).sum(-1)
        hashes += np.arange(hashes.shape[1], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        yield hashes[varied]


def run(case: Case) -> dict[str, PassThroughResult]:
    """The share of real patches in the synthetic set."""
    synthetic, members, _ = case.records
    return {"pass_through": pass_through(case.evidence.modalities[case.name], synthetic.values, members.values)}


ATTACK = Attack((Kind("pass_through", "pass through", "copying", PassThroughResult),), run)
