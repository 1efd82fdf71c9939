"""``mmgen audit``, ``mmgen report`` and ``mmgen release`` one after the other, as they are typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import call, error
from pictures import files_of, use_a_search, use_short_attacks, write_csv, write_pictures
from PIL import Image
from small import digests, small_model
from tiny_medsynth import LABELS, small_generator, write_condensed

from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import save_model
from mmgen.evaluation.privacy.results import DisguisedCopiesResult
from mmgen.models.medsynth import MedSynthGenerator

Command = Callable[..., int]
NO_COPIES = DisguisedCopiesResult(
    found=0, of=60, found_ci=(0.0, 0.06), p_value=1.0, false_alarm_rate=0.01, falsely_listed=0.05, compared=200,
    compared_found=0, people=150, power={"shift": 0.98, "noise": 0.9}, power_alone=0.9, planted=20,
)  # fmt: skip


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    use_short_attacks(monkeypatch)
    return lambda *arguments: call(monkeypatch, *arguments)


@pytest.fixture(scope="module")
def generator() -> MedSynthGenerator:
    return small_generator()


@pytest.fixture(scope="module")
def data(generator: MedSynthGenerator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Members and others that a generator does not tell from each other, in one table, and others alone.

    Both are drawn from it, so that its samples lie near to both.
    """
    root = tmp_path_factory.mktemp("real data")
    drawn = generator.sample(70, seed=77)
    rows = []
    for number, (image, label) in enumerate(zip(drawn.images.numpy(), drawn.labels.tolist(), strict=True)):
        Image.fromarray(image.transpose(1, 2, 0)).save(root / f"{number}.png")
        split = ("train", "test")[number % 2]
        rows.append((f"{number}.png", LABELS[label], split, f"Patient {number}"))
    table = write_csv(root / "data.csv", rows, ("path", "label", "split", "subject"))
    return {"table": table, "others": write_pictures(root / "others", seed=5)}


@pytest.fixture(scope="module")
def built(generator: MedSynthGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "mein Lauf"
    (run / "model").mkdir(parents=True)
    save_model(generator, run / "model", CardFacts({"image": {LABELS[0]: 6, LABELS[1]: 8}}, 14))
    write_condensed(generator, 20, 0, run / "synthetic" / "ipc20")
    return run


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "mein Lauf"))


def said(caplog: pytest.LogCaptureFixture) -> str:
    text = "\n".join(caplog.messages)
    caplog.clear()
    return text


def test_a_run_is_audited_shown_and_released(
    command: Command,
    run: Path,
    data: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    use_a_search(monkeypatch, NO_COPIES)
    sides = ("--members", data["table"], "--non-members", data["table"])
    capsys.readouterr()
    assert command("audit", run, *sides, "--out", run / "audit", "--json") == 0
    text, done = said(caplog), json.loads(capsys.readouterr().out)
    assert done["may_be_released"] is True and Path(done["report"]) == run / "audit" / "index.html"
    assert {verdict["light"] for verdict in done["verdicts"]} <= {"green", "amber"}
    assert all(verdict["line"] in text for verdict in done["verdicts"])
    for line in (
        "ok    copies of records: none of ",
        "ok    disguised copies of records: none of 60",
        "DOMIAS: AUC 0.",
        "LOGAN, black box: AUC 0.",
    ):
        assert line in text
    assert f"Report    {run / 'audit' / 'index.html'}" in text and "must not be released" not in text
    page = (run / "audit" / "index.html").read_text(encoding="utf-8")
    assert "Nearest pairs: image" in page and "do not pass it on" in page and "Patient" not in page
    found = json.loads((run / "audit" / "privacy.json").read_text())
    reported = json.loads((run / "audit" / "report.json").read_text())
    assert reported["privacy"] == found["privacy"] and reported["run"] == run.name
    privacy = found["privacy"]["closest_record"]
    assert privacy["n_non_members"] == 70 and 60 <= privacy["n_members"] < 70

    shutil.copytree(data["table"].parent, tmp_path / "kept")
    try:
        shutil.rmtree(data["table"].parent)  # nothing real is needed any more
        before = digests(run / "audit")
        assert command("report", run / "audit") == 0
        assert digests(run / "audit") == before
        assert said(caplog) == f"Report    {run / 'audit' / 'index.html'}"
        assert command("report", run) == 0
        assert json.loads((run / "report" / "report.json").read_text())["privacy"] == found["privacy"]
        said(caplog)
        capsys.readouterr()
        assert command("release", run, "--out", tmp_path / "out", "--json") == 0
        released = json.loads(capsys.readouterr().out)
        assert released["out"] == str(tmp_path / "out") and released["overridden"] is False
    finally:
        shutil.copytree(tmp_path / "kept", data["table"].parent)
    text = said(caplog)
    assert text.endswith(f"\n\nReleased  {tmp_path / 'out'}") and "responsibility" not in text
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"model", "synthetic", "privacy.json"}


def test_an_audit_in_a_hurry_or_against_others_releases_nothing(
    command: Command,
    run: Path,
    data: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    use_a_search(monkeypatch, NO_COPIES)

    def release(members: Path, *flags: object) -> int:
        sides = ("--members", members, "--non-members", data["table"], "--non-members-split", "test")
        assert command("audit", run, *sides, "--out", run / "audit", *flags) == 0
        capsys.readouterr()
        return command("release", run, "--out", tmp_path / "out")

    assert release(data["table"], "--fast") == 2
    assert "the attacks were short; audit in full before a release (mmgen audit without --fast" in error(capsys)
    text = said(caplog)
    assert "STOP  effort: the attacks were short" in text and "LEAK" not in text
    facts = json.loads((run / "model" / "card.json").read_text())
    trained = json.loads((run / "audit" / "privacy.json").read_text())["of"]["members"]
    (run / "model" / "card.json").write_text(json.dumps(facts | {"members": trained}))
    others = write_pictures(tmp_path / "ultrasound", per_label=20, seed=9)
    assert release(others) == 2
    assert "image: the audit was made against other members than the training data; audit it again" in error(capsys)
    assert release(data["table"]) == 0


def test_a_run_that_copies_its_members_is_not_released(
    command: Command, run: Path, data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    caplog.set_level("INFO")
    members = tmp_path / "members"
    for path in (run / "synthetic" / "ipc20" / "images").rglob("*.png"):
        target = members / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    sides = ("--members", members, "--non-members", data["others"])
    assert command("audit", run, *sides, "--out", run / "audit", "--fast") == 0  # what it finds is no failure
    text = said(caplog)
    assert "LEAK  copies of records: 40 of" in text and text.split("\n\n")[0].endswith("It must not be released.")
    capsys.readouterr()
    assert command("release", run, "--out", tmp_path / "out") == 2
    sentence = error(capsys)
    assert "is not released, because its audit does not allow it: " in sentence and "exact copies" in sentence
    assert not (tmp_path / "out").exists()
    for half in (("--override", "Dr Who"), ("--because", "of this")):
        assert command("release", run, "--out", tmp_path / "out", *half) == 2
        assert error(capsys) == "error: --override NAME and --because REASON belong together; give both or neither."
    said(caplog)
    whole = ("--override", "Dr Who", "--because", "these are phantoms")
    assert command("release", run, "--out", tmp_path / "out", *whole) == 0
    assert said(caplog).endswith(f"Released  {tmp_path / 'out'}, on the responsibility of Dr Who")


def test_what_was_not_audited_is_not_released(command: Command, run: Path, tmp_path: Path, capsys: Any) -> None:
    assert command("release", run, "--out", tmp_path / "out") == 2
    assert "not audited" in error(capsys)
    assert command("release", tmp_path / "gone", "--out", tmp_path / "out") == 2
    assert "There is neither a model nor a finished data set" in error(capsys)


def test_a_run_of_two_modalities_is_audited_and_judged(
    command: Command, phantom_files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    run = tmp_path / "run"
    save_model(small_model(), run / "model", CardFacts({"image": {"covid": 7}, "audio": {"covid": 4}}))
    paths = [f"{name}={path}" for name, path in phantom_files.items()]
    sides = ("--members", *paths, "--non-members", *paths)
    caplog.set_level("INFO")
    assert command("audit", run, *sides, "--out", run / "audit", "--fast") == 0
    text = said(caplog)
    for line in ("copies of images:", "copies of sounds:", "DOMIAS, sounds: AUC", "reconstruction error, tuples: AUC"):
        assert line in text
    status = command("release", run, "--out", tmp_path / "out", "--only", "model")
    found = json.loads((run / "audit" / "privacy.json").read_text())["verdicts"]
    assert status == (0 if all(verdict["allowed"] for verdict in found) else 2)
    assert (tmp_path / "out" / "model").is_dir() == (status == 0)
    capsys.readouterr()
    assert command("audit", run, "--members", paths[0], *sides[3:], "--out", tmp_path / "x") == 2
    assert "--members needs a path for image and audio; give --members image=PATH audio=PATH." in error(capsys)


@pytest.fixture
def broken(data: dict[str, Path], tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(data["others"], tmp_path / "broken"))
    (folder / LABELS[0] / "003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_mistakes_are_a_sentence_and_exit_code_2(
    command: Command, data: dict[str, Path], broken: Path, tmp_path: Path, capsys: Any
) -> None:
    others, table = data["others"], data["table"]
    flat = shutil.copytree(others / LABELS[0], tmp_path / "flat")
    copied = shutil.copytree(others, tmp_path / "copied")
    (tmp_path / "empty").mkdir()
    for what, members, non_members, more, words in (
        (tmp_path / "empty", table, others, (), "holds neither pictures nor sounds"),
        (others, tmp_path / "gone", table, (), "gone does not exist"),
        (others, broken, table, (), "1 file cannot be used"),
        (others, others, flat, (), "expected FOLDER/LABEL/FILE"),
        (others, others, copied, (), "16 records of 'image' are among both"),
        (others, table, table, ("--non-members-split", "train"), "people of 'image' are among both"),
        (others, table, others, ("--features", "nonsense"), "There are no features 'nonsense'"),
        (others, table, others, ("--features", "own"), "There is no own encoder"),
        (others, table, others, ("--modality", "audio"), "holds no sounds; correct --modality"),
        (others, table, others, ("--subject-column", "nobody"), "has no column 'nobody' for the subject"),
    ):
        flags = ("--members", members, "--non-members", non_members, "--out", tmp_path / "out", "--fast", *more)
        assert command("audit", what, *flags) == 2
        assert words in error(capsys)
    assert not (tmp_path / "out" / "report.json").exists()


def test_bad_and_shared_records_are_left_out_when_asked(
    command: Command, data: dict[str, Path], broken: Path, tmp_path: Path
) -> None:
    for path in (broken / LABELS[1]).iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    sides = ("--members", data["others"], "--non-members", broken, "--out", tmp_path / "out")
    assert command("audit", data["others"], *sides, "--fast", "--skip-bad", "--leave-out-shared") == 0
    counts = json.loads((tmp_path / "out" / "privacy.json").read_text())["privacy"]["closest_record"]
    assert (counts["n_members"], counts["n_non_members"]) == (16, 8)


def test_a_table_by_other_column_names(
    command: Command, data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = ("where", "what", "who", "part")
    rows = [(*row, n // 2, "train" if n % 2 else "test") for n, row in enumerate(files_of(data["others"]))]
    table = write_csv(tmp_path / "odd.csv", rows, head)
    columns = [flag for role, name in zip(("path", "label", "subject", "split"), head, strict=True)
               for flag in (f"--{role}-column", name)]  # fmt: skip
    sides = ("--members", table, "--non-members", table, "--out", tmp_path / "out", "--fast")
    assert command("audit", data["others"], *sides, *columns) == 2
    assert "people of 'image' are among both the members and the non-members" in error(capsys)
