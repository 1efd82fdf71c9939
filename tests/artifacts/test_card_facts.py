from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mmgen.artifacts.card_facts import CardFacts, Scores
from mmgen.errors import UserError

FACTS = CardFacts(
    {"image": {"covid": 7, "healthy": 0}},
    11,
    14,
    2_500_000,
    (1, 10),
    {"image": 0.5},
    (Scores("convnet", 1, 0.8, 0.7, 0.9),),
    {"image": "0123456789abcdef01234567"},
)


def test_facts_come_back_the_same(tmp_path: Path) -> None:
    for facts in (FACTS, CardFacts()):
        (tmp_path / "card.json").write_text(json.dumps(asdict(facts)))
        assert CardFacts.read(tmp_path) == facts


def test_a_model_without_facts_has_none(tmp_path: Path) -> None:
    assert CardFacts.read(tmp_path) == CardFacts()


def test_facts_of_before_members_were_recorded_have_none(tmp_path: Path) -> None:
    facts = asdict(FACTS)
    del facts["members"]
    assert CardFacts.from_json(facts).members == {}


def test_keys_that_are_not_known_are_left_out() -> None:
    values = json.loads(json.dumps(asdict(FACTS)))
    values["patient"] = values["scores"][0]["patient"] = "Maria Rossi"
    assert CardFacts.from_json(values) == FACTS


@pytest.mark.parametrize(
    "change",
    [
        {"counts": {"image": {"covid": "7"}}},
        {"counts": {"image": {"covid": -7}}},
        {"counts": {"image": 7}},
        {"counts": None},
        {"subjects": True},
        {"subjects": "11 of the ward"},
        {"training_bytes": 1.5},
        {"images_per_class": ["ten"]},
        {"hidden_patch_errors": {"image": "low"}},
        {"hidden_patch_errors": {"image": float("nan")}},
        {"hidden_patch_errors": {"image": float("inf")}},
        {"scores": [{"classifier": "Maria Rossi", "images_per_class": 1}]},
        {"members": {"image": "Maria Rossi"}},
        {"members": {"image": 7}},
        {"members": ["0123456789abcdef01234567"]},
        {"scores": [asdict(FACTS.scores[0]) | {"all_real": "good"}]},
    ],
)
def test_facts_of_another_form_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"card\.json"):
        CardFacts.from_json(asdict(FACTS) | change)
    for values in ([], None, "facts", {}):
        with pytest.raises(ValueError, match=r"card\.json"):
            CardFacts.from_json(values)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"3", b"[" * 100_000, json.dumps(asdict(FACTS))[:-9].encode()])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"^{tmp_path}/card\.json is damaged \(.*\); save the model again\.$"):
        CardFacts.read(tmp_path)


def test_numbers_that_no_card_can_show_are_refused() -> None:
    for number in (float("nan"), float("inf"), 10**400):
        with pytest.raises(ValueError, match=r"card\.json"):
            CardFacts.from_json(asdict(FACTS) | {"hidden_patch_errors": {"image": number}})
