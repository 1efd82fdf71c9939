"""Seeds of streams of random numbers that are drawn independently of each other."""

from __future__ import annotations


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers, by a rule that stays: 63 bits of a multiplicative hash."""
    value = 0
    for number in numbers:
        value = ((value ^ (number + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9) % 2**64
        value ^= value >> 31
    return value >> 1
