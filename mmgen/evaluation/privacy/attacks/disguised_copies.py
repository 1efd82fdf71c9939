"""Copies under disguise."""

from __future__ import annotations

from mmgen.evaluation.privacy.attack import Attack, Kind
from mmgen.evaluation.privacy.results import DisguisedCopiesResult

KIND = Kind("disguised_copies", "disguised copies", "copying", DisguisedCopiesResult)
ATTACK = Attack((KIND,), lambda case: {})
