"""Audits as files: what was written is read again, and what is damaged is missing and never good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_json import odd_texts

from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks import ATTACKS, KINDS, attack_name
from mmgen.evaluation.privacy.gate import judge
from mmgen.evaluation.privacy.membership import Scores, membership_result
from mmgen.evaluation.privacy.record import AuditRecord, PrivacySection
from mmgen.evaluation.privacy.results import (
    CopiesResult,
    DisguisedCopiesResult,
    DisguisedPair,
    EffortResult,
    MembershipResult,
    NoResult,
    Pair,
    PassThroughResult,
    RecognisedResult,
)

ATTACK = membership_result(Scores(np.arange(40.0), np.arange(30.0)), "S", resamples=20)
SECTION = PrivacySection(
    {
        "effort": EffortResult(False, 4000),
        "copies/image": CopiesResult(0, 1, 60, 3.5, 9.0, 9.5, 8.0, (Pair(3, 7, 1.5, "by_ratio"),), 0.5, (0.4, 0.6)),
        "disguised_copies/image": DisguisedCopiesResult(
            1,
            60,
            (0.0, 0.1),
            0.01,
            0.01,
            0.05,
            200,
            0,
            150,
            {"shift": 0.9},
            0.8,
            8,
            (DisguisedPair(5, 6, 1.5, (1.0, 0.0, 0.1, 0.0, 1.0, 0.0), True),),
        ),
        "recognised/image": RecognisedResult(note="each person has one record"),
        "pass_through/image": PassThroughResult(0.0, 12, "8 x 8 patches"),
        "domias/image": ATTACK,
        "reconstruction/joint": MembershipResult(threat_model="W", note="no partners", features="pixels"),
    }
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = AuditRecord(
        "2026-01-02", ("image",), "abc", {"synthetic": "def"}, SECTION, judge(SECTION), {"image": "5e7"}
    )
    record.write(tmp_path / "privacy.json")
    again = AuditRecord.read(tmp_path / "privacy.json")
    assert again.privacy == SECTION and again.verdicts == () and again.data_sets == {"synthetic": "def"}
    assert again.members == {"image": "5e7"}
    assert (again.created, again.modalities, again.model) == ("2026-01-02", ("image",), "abc")
    content = json.loads((tmp_path / "privacy.json").read_text())
    assert list(content) == ["audited", "created", "of", "privacy", "verdicts"] and len(content["verdicts"]) == 9
    failed = {"auc": None, "threat_model": "W", "counts": True, "note": "no partners", "features": "pixels"}
    assert content["privacy"]["reconstruction/joint"] == failed


def test_nothing_of_single_records_is_shared(tmp_path: Path) -> None:
    AuditRecord(None, (), None, {}, SECTION).write(tmp_path / "privacy.json", shared=True)
    shared = json.loads((tmp_path / "privacy.json").read_text())["privacy"]
    assert shared["effort"] == {} and "pairs" not in shared["copies/image"]
    search = {
        key: value for key, value in SECTION.results["disguised_copies/image"].to_json().items() if key != "pairs"
    }
    assert shared["disguised_copies/image"] == search and shared["recognised/image"] == {}
    assert "note" not in shared["reconstruction/joint"] and shared["domias/image"] == ATTACK.to_json()


@pytest.mark.parametrize("content", ["{", "[]", '{"audited": true}', '{"audited": true, "privacy": {}, "of": 3}'])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "privacy.json").write_text(content)
    with pytest.raises(UserError, match=r"privacy.json is no privacy audit .*; audit again\."):
        AuditRecord.read(tmp_path / "privacy.json")


@pytest.mark.parametrize("members", [None, "5e7", ["5e7"], {"image": 3}])
def test_members_that_are_not_named_are_none(members: Any) -> None:
    of = {"data_sets": {}, "members": members}
    assert AuditRecord.from_json({"audited": True, "of": of, "privacy": {}}).members == {}


def test_no_audit_is_no_record(tmp_path: Path) -> None:
    assert AuditRecord.read(tmp_path / "privacy.json") is None
    assert AuditRecord.from_json({"audited": False, "privacy": {}}) is None


@pytest.mark.parametrize("wrong", [None, "0.5", True, float("nan"), [0.5], {"mean": 0.5}])
def test_values_of_another_type_are_missing(wrong: Any) -> None:
    attack = MembershipResult.from_json({"auc": wrong, "auc_ci": wrong, "n_members": wrong, "roc": wrong})
    assert attack == MembershipResult() and attack.to_json() == {"auc": None, "counts": True}
    entry = {"exact": wrong, "share_closer_ci": [0.1, wrong], "pairs": [{"synthetic": wrong}, wrong]}
    assert CopiesResult.from_json(entry) == CopiesResult()
    pairs = [{"synthetic": 1, "training": 2, "score": 1.0, "transform": [1.0] * 6, "inverted": wrong}] * (
        wrong is not True
    )
    pairs += [{"synthetic": 1, "training": 2, "score": 1.0, "transform": wrong, "inverted": True}, wrong]
    for power in ([wrong], {"shift": wrong}, {"shift": 0.5, "turn": 1.5}):
        assert DisguisedCopiesResult.from_json({"power": power, "pairs": pairs}) == DisguisedCopiesResult()
    assert PassThroughResult.from_json({"share": wrong}) == PassThroughResult()


def test_sections_hold_mappings_by_attack() -> None:
    section = PrivacySection.from_json({"domias": 3, "other": {"auc": 0.5}, "more": {}, "refused": "too few"})
    assert section.results == {"domias": NoResult(), "other": MembershipResult(auc=0.5)}
    assert section.refused == "too few" and PrivacySection.from_json({}) == PrivacySection({})
    with pytest.raises(UserError, match="not a list"):
        PrivacySection.from_json([])


def test_every_kind_of_entry_belongs_to_one_attack() -> None:
    assert len(KINDS) == sum(len(attack.kinds) for attack in ATTACKS)
    assert attack_name("domias/image") == "DOMIAS, images" and attack_name("near_copies") == "near copies"


def test_whatever_a_file_holds_is_a_record_or_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "privacy.json"
    AuditRecord("2026-01-02", ("image",), "abc", {"synthetic": "def"}, SECTION, judge(SECTION)).write(path)
    named = 0
    for text in odd_texts(json.loads(path.read_text()), 500):
        path.write_bytes(text)
        try:
            record = AuditRecord.read(path)
        except UserError as error:
            named += 1
            assert str(error).startswith(f"{path} is no privacy audit (") and "\n" not in str(error)
        else:
            if record is not None:
                judge(record.privacy)
                record.write(tmp_path / "again.json", shared=True)
    assert named > 10
