"""All attacks on one model or synthetic set, as section ``privacy`` of a report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from mmgen.errors import UserError
from mmgen.evaluation.measured import Measured, fingerprint
from mmgen.evaluation.privacy.attack import Attack, Case, Effort, Evidence
from mmgen.evaluation.privacy.attacks import ATTACKS
from mmgen.evaluation.privacy.membership import Scores, membership_result
from mmgen.evaluation.privacy.record import EFFORT, PrivacySection
from mmgen.evaluation.privacy.results import EffortResult, MembershipResult, Result
from mmgen.evaluation.privacy.sides import Side, apart, varied

logger = logging.getLogger(__name__)

FULL = Effort()
FAST = Effort(updates=300, draws=2, resamples=300, planted=1, innocent=60, recognition=100, drawn=300, student=60)


def audit_section(
    evidence: Evidence,
    effort: Effort = FULL,
    measured: Measured | None = None,
    seed: int = 0,
    leave_out_shared: bool = False,
) -> PrivacySection:
    """Section ``privacy`` of a report: the results of all attacks, those of copying first, by modality.

    An attack that is impossible on these data has an entry without a result, which the gate does not take for a good
    one; "effort" says how hard the attacks tried. Blank and silent records are left out of the non-members; the other
    sides must hold none. Results are taken from ``measured`` where they were computed before.

    Raises:
        UserError: an empty side, or records or subjects that are on both (see :func:`apart`).
    """
    non_members = apart(evidence.members, varied(evidence.non_members, "non-members"), leave_out_shared)
    evidence, measured = replace(evidence, non_members=non_members), measured or Measured(None)
    sides = (Side(evidence.synthetic), evidence.members, non_members)
    content = {
        name: [fingerprint(side.samples[name], side.subjects.get(name)) for side in sides]
        for name in evidence.modalities
    }
    results: dict[str, Result] = {EFFORT: EffortResult(effort != FULL, effort.updates)}
    for name in [*evidence.modalities, ""]:
        case, entries = Case(evidence, effort, seed, name), {}
        for attack in ATTACKS:
            lacking = any(getattr(evidence, need) is None for need in attack.needs if need != "features")
            if attack.all_modalities == (not name) and not lacking:
                entries |= _results(attack, case, {name: content[name]} if name else content, measured)
        # Copying first, then what tells members from others.
        keys = sorted(entries, key=lambda key: isinstance(entries[key], MembershipResult))
        results |= {case.key(key, name) if name else key: entries[key] for key in keys}
    return PrivacySection(results)


def _results(attack: Attack, case: Case, records: Mapping[str, list[str]], measured: Measured) -> dict[str, Result]:
    """What an attack gives, from an earlier run on the same if there was one, or why there is nothing."""
    key, threat = attack.kinds[0].key, attack.threat or case.evidence.threat
    counting = {kind.key: kind.measures == "membership" for kind in attack.kinds}

    def measure() -> dict[str, dict]:
        logger.info("Attack %s%s", key.replace("_", " "), f" on {case.name}" if case.name else "")
        entries = {}
        for entry, result in attack.run(case).items():
            if isinstance(result, Scores):
                counts = counting[entry.partition("/")[0]]
                result = membership_result(result, threat, case.seed, counts, case.effort.resamples)
            entries[entry] = result.to_json()
        return entries

    try:
        depends_on = attack.depends_on(case) | {"content": records}
        entries = measured.once(f"{key}/{case.name}" if case.name else key, depends_on, measure)
        results = dict(PrivacySection.from_json(entries).results)
    except UserError as error:
        if not attack.may_fail:
            raise
        keys = [kind for kind, counts in counting.items() if counts]
        if attack.all_modalities:
            keys = [case.key(kind, name) for kind in keys for name in case.evidence.modalities]
        results = dict.fromkeys(keys, MembershipResult(threat_model=threat, note=str(error)))
        logger.warning("Not attacked by %s: %s", ", ".join(results).replace("_", " "), error)
    if "features" in attack.needs:
        features = case.evidence.extractors[case.name].name
        results = {key: replace(result, features=features) for key, result in results.items()}
    return results
