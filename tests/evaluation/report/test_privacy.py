"""Tables of privacy: verdicts beside numbers, realism apart, copies by modality."""

from __future__ import annotations

from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.report import privacy as page
from mmgen.evaluation.report.text import NOTHING, Mark, Table

ATTACK = {
    "auc": 0.5,
    "auc_ci": [0.46, 0.54],
    "tpr_at_1_fpr": 0.01,
    "tpr_at_1_fpr_ci": [0.0, 0.03],
    "tpr_at_01_fpr": 0.001,
    "accuracy": 0.51,
    "chance": 0.5,
    "threat_model": "S",
    "n_members": 100,
    "n_non_members": 90,
}


def privacy_tables(section: dict) -> list[Table]:
    return page.privacy_tables(PrivacySection.from_json(section))


def findings(section: dict) -> list[tuple[Mark, str]]:
    return page.findings(PrivacySection.from_json(section))


def test_attacks_have_a_verdict_and_realism_stands_below() -> None:
    privacy = {"logan_black_box_paper": ATTACK | {"counts": False, "auc": 0.99}, "domias": ATTACK | {"counts": True}}
    (table,) = privacy_tables(privacy)
    assert [len(row) for row in table.rows] == [len(table.columns)] * 2
    assert table.rows[0] == [
        "DOMIAS",
        Mark("green", "Nothing found"),
        "S",
        "0.500 (0.46 to 0.54)",
        "0.010 (0.00 to 0.03)",
        "0.001",
        "0.510 (0.500)",
        "100 / 90",
    ]
    assert table.rows[1][:2] == ["LOGAN, black box, as in the paper", Mark("none", "Not judged")]
    assert table.groups == {0: "Tells members from others?", 1: "For comparison: does not measure membership"}
    assert table.notes[0] == "S: the attacker sees the synthetic set only."


def test_an_entry_without_numbers_is_shown_as_such() -> None:
    (table,) = privacy_tables({"domias": {"auc": None, "auc_ci": "?", "threat_model": ["W"]}})
    assert table.rows == [
        ["DOMIAS", Mark("red", "Not known"), NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, f"{NOTHING} / {NOTHING}"]
    ]
    assert privacy_tables({}) == [] and privacy_tables({"refused": "x", "copies": 3}) == []


def test_copies_and_pass_through_share_a_table_per_modality() -> None:
    copies = {
        "exact": 2,
        "near": 0,
        "by_ratio": 3,
        "by_ratio_of_others": 2,
        "of_others": 40,
        "of": 60,
        "limit": 3.2,
        "share_closer_to_training": 0.52,
        "share_closer_ci": [0.45, 0.59],
        "identifiability": 0.1,
        "identifiability_of_others": 0.09,
        "distance_to_training": 14.0,
        "distance_to_others": 14.5,
        "real_distance": 13.0,
    }
    passed = {"share": 0.0, "patches": 1200, "how": "16 x 16 patches"}
    images, sounds = privacy_tables(
        {"copies/image": copies, "pass_through/image": passed, "pass_through/audio": passed}
    )
    assert images.rows == [
        ["Exact copies", "2 of 60", "0", Mark("red", "Leaks")],
        ["Near copies", "0 of 60", "0", Mark("green", "Nothing found")],
        ["Copies by ratio", "3 of 60", "2 of 40", Mark("amber", "Unclear")],
        ["Closer to a training than to a held-out record", "52 % (45 to 59 %)", "50 %", Mark("green", "Nothing found")],
        ["Identifiable records", "10 %", "9 %", NOTHING],
        ["Median distance to the nearest training record", "14", "13", NOTHING],
        ["Median distance to the nearest held-out record", "14.5", NOTHING, NOTHING],
        ["Taken over as it is", "0 %", "0 %", Mark("green", "Nothing found")],
    ]
    assert images.caption == "Images: copies of training images" and len(images.notes) == 3
    assert sounds.rows == [["Taken over as it is", "0 %", "0 %", Mark("green", "Nothing found")]]


def test_every_check_says_something() -> None:
    said = findings({"domias": ATTACK, "pass_through": {"share": 0.5}})
    assert [mark.light for mark, _ in said] == ["green", "red"] and all(text.endswith(".") for _, text in said)
    assert findings({}) == []


SEARCH = {
    "found": 12, "of": 200, "found_ci": [0.03, 0.1], "p_value": 1e-9, "false_alarm_rate": 0.01, "compared": 1040,
    "compared_found": 2, "power": {"shift": 0.98, "average of two": 0.61}, "planted": 20, "people": 800,
}  # fmt: skip


def test_disguised_copies_stand_beside_what_would_have_been_found() -> None:
    found, power = privacy_tables({"disguised_copies/image": SEARCH})
    assert found.caption == "Images: disguised copies of training images"
    assert found.rows == [
        ["Disguised copies", "12 of 200 (3.0 to 10.0 %)", "2 of 1,040", Mark("red", "Leaks")],
        ["Chance of so many if none is a copy", "1.0 \u00d7 10\u207b\u2079", "1 %", NOTHING],
    ]
    assert power.rows == [["Average of two", "61 %"], ["Shift", "98 %"]]
    assert power.notes == [
        "20 training images were disguised in each way by the audit itself. Found: would be listed if such copies were "
        "a twentieth of the set."
    ]
    (blind,) = privacy_tables({"disguised_copies": {"note": "too few people"}})
    assert blind.rows[0] == ["Disguised copies", f"{NOTHING} of {NOTHING}", f"{NOTHING} of {NOTHING}",
                             Mark("red", "Not known")]  # fmt: skip
    assert blind.notes[-1] == "Too few people."


def test_recognised_people_stand_beside_chance_and_real_records() -> None:
    entry = {
        "recognised": 0.3, "recognised_ci": [0.2, 0.4], "of": 200, "others": 0.01, "others_ci": [0.0, 0.03],
        "real": 0.8, "auc": 0.7, "auc_ci": [0.6, 0.8], "verification_auc": 0.99,
    }  # fmt: skip
    (table,) = privacy_tables({"recognised/image": entry, "recognised/audio": {"note": "each person has one record"}})
    cells = ["30 % (20.0 to 40.0 %)", "1 % (0.0 to 3.0 %)", "80 %", "0.700 (0.60 to 0.80)", "0.990"]
    assert table.rows[0] == ["Images", *cells, Mark("red", "Leaks")]
    assert table.rows[1] == ["Sounds", *[NOTHING] * 5, Mark("amber", "Unclear")]
    assert table.notes[-1] == "Sounds: each person has one record."
    assert all(len(row) == len(table.columns) for row in table.rows)
