"""Members and non-members share neither records nor people; blank records prove nothing."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.privacy.sides import Side, apart, unseen, varied


def samples(count: int, seed: int) -> Samples:
    values = np.random.default_rng(seed).integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)
    return Samples(values, np.zeros(count, np.int64), ("a",), np.arange(count))


def side(count: int, seed: int, people: list[str] | None = None) -> Side:
    return Side({"image": samples(count, seed)}, {"image": None if people is None else np.array(people)})


def test_sides_that_share_nothing_pass() -> None:
    members, others = side(20, 0, ["x"] * 20), side(10, 1, ["y"] * 10)
    assert apart(members, others) is others


def test_shared_records_are_refused_with_their_count() -> None:
    members, others = side(20, 0), side(10, 1)
    others.samples["image"].values[[2, 7]] = members.samples["image"].values[[11, 0]]
    with pytest.raises(UserError, match="2 records of 'image' are among both the members and the non-members"):
        apart(members, others)


def test_shared_people_are_refused_with_their_count() -> None:
    members, others = side(4, 0, ["p1", "p2", "p3", "p4"]), side(5, 1, ["q", "p2", "p2", "q", "p4"])
    with pytest.raises(UserError, match="3 records of 2 people of 'image' are among both"):
        apart(members, others)


def test_what_is_shared_can_be_left_out(caplog: pytest.LogCaptureFixture) -> None:
    members, others = side(4, 0, ["p1", "p2", "p3", "p4"]), side(5, 1, ["q", "p2", "p2", "q", "p4"])
    others.samples["image"].values[0] = members.samples["image"].values[0]
    with caplog.at_level(logging.WARNING):
        rest = apart(members, others, leave_out=True)
    assert rest.samples["image"].rows.tolist() == [3] and rest.subjects["image"].tolist() == ["q"]
    assert "1 records and 3 records of 2 people" in caplog.text
    with pytest.raises(UserError, match="No non-member of 'image' is left"):
        apart(members, side(2, 3, ["p1", "p1"]), leave_out=True)


def test_blank_records_are_no_evidence(caplog: pytest.LogCaptureFixture) -> None:
    members, others = side(6, 0), side(6, 1)
    members.samples["image"].values[1] = others.samples["image"].values[4] = 0
    assert apart(members, others) is others
    with caplog.at_level(logging.WARNING):
        assert len(varied(others, "non-members").samples["image"]) == 5
    assert "1 blank or silent non-members of 'image' are left out" in caplog.text
    members.samples["image"].values[:] = 9
    with pytest.raises(UserError, match="All members of 'image' are blank"):
        varied(members, "members")


def test_empty_sides_and_nan_are_refused() -> None:
    with pytest.raises(UserError, match="There are no members of 'image'"):
        varied(side(0, 0), "members")
    values = np.zeros((3, 1, 4, 4), np.float16)
    values[1] = np.nan
    sound = Side({"audio": Samples(values, np.zeros(3, np.int64), ("a",), np.arange(3))})
    with pytest.raises(UserError, match="not numbers"):
        varied(sound, "members")


def test_test_samples_that_were_trained_on_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    train, test = side(20, 0, ["x"] * 20), side(10, 1, ["x"] * 10)
    test.samples["image"].values[[2, 7]] = train.samples["image"].values[[11, 0]]
    with caplog.at_level(logging.WARNING):
        rest = unseen(train, test)
    assert rest.samples["image"].rows.tolist() == [0, 1, 3, 4, 5, 6, 8, 9] and "2 test samples" in caplog.text
    with pytest.raises(UserError, match="All test samples of 'image' are among the training samples"):
        unseen(train, train)
