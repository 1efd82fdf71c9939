"""The one rule for seeds.

A stream of random numbers is named by integers, of which the user's seed is the first; streams of different names are
independent of each other. How integers become a seed is fixed here and stays: the bytes of data sets depend on it.
"""

from __future__ import annotations

import numpy as np
import torch


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers: 63 bits of a multiplicative hash."""
    value = 0
    for number in numbers:
        value = ((value ^ (number + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9) % 2**64
        value ^= value >> 31
    return value >> 1


def torch_stream(*numbers: int) -> torch.Generator:
    """A stream of torch, on the CPU so that a seed means the same on every device."""
    return torch.Generator().manual_seed(mixed_seed(*numbers))


def counted_stream(seed: int, number: int) -> torch.Generator:
    """One of a million streams of torch that are counted: an update of a training, a draw of masks."""
    return torch.Generator().manual_seed(seed * 1_000_003 + number)


def global_seed(seed: int, update: int, rank: int) -> int:
    """Seed of torch's global state in an update of a training, for what draws without a generator, such as dropout."""
    return hash((seed, update, rank)) & 0x7FFF_FFFF  # of whole numbers, whose hash is the same in every process


def numpy_stream(*numbers: int) -> np.random.Generator:
    """A stream of numpy, which mixes the numbers itself."""
    return np.random.default_rng(numbers)


def noise_stream(seed: int, index: int, step: int) -> torch.Generator:
    """Noise that segment ``step`` of sample ``index`` is drawn from."""
    state = np.random.SeedSequence([seed, 0x6E6F6973, index, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def mask_stream(seed: int, index: int, step: int) -> torch.Generator:
    """Masking noise of segment ``step`` of sample ``index``."""
    name = [seed, 0x6D61736B, index, step]  # the constant keeps streams of masks apart from those of partners
    state = np.random.SeedSequence(name).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
