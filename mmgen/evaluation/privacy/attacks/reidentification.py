"""Recognised people."""

from __future__ import annotations

from mmgen.evaluation.privacy.attack import Attack, Kind
from mmgen.evaluation.privacy.results import RecognisedResult

KIND = Kind("recognised", "recognised people", "copying", RecognisedResult)
ATTACK = Attack((KIND,), lambda case: {})
