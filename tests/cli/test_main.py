from __future__ import annotations

import csv
import errno
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import call, error
from small import digests, run

from mmgen.cli.auditing import Audit
from mmgen.cli.evaluating import Evaluate
from mmgen.cli.main import run_command
from mmgen.cli.releasing import Release, Report
from mmgen.cli.viewing import View
from mmgen.data.writing.unfinished import alone_in
from mmgen.errors import UserError
from mmgen.training.loop import Interrupted, NonFiniteLoss

Command = Callable[..., int]
COMMANDS = (
    "condense",
    "generate",
    "evaluate",
    "audit",
    "report",
    "release",
    "push",
    "export",
    "view",
    "check",
    "phantoms",
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``mmgen`` with these arguments in this process; its exit code."""
    return lambda *arguments: call(monkeypatch, *arguments)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# -- generate


def test_generate_writes_a_data_set(
    command: Command, model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path, caplog: Any, capsys: Any
) -> None:
    out = tmp_path / "a set"
    caplog.set_level("INFO")
    sources = ["--images", phantom_files["image"], "--audio", phantom_files["audio"]]
    capsys.readouterr()
    assert command("generate", model_folder, "--per-class", 3, *sources, "--seed", 5, "--out", out, "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert done["dataset"] == str(out) and done["counts"] == {"covid": 3, "healthy": 3} and done["samples"] == 6
    assert caplog.messages[-1] == f"6 samples of covid and healthy are in {out}"
    rows = rows_of(out)
    assert [row["image_file_name"] for row in rows] == [
        f"images/{label}/{number:06d}.png" for label in ("covid", "healthy") for number in range(3)
    ]
    assert {(row["seed"], row["image_mask_ratio"], row["audio_mask_ratio"]) for row in rows} == {("5", "0.75", "0.75")}
    for row in rows:
        for column in ("image_file_name", "audio_file_name", "audio_spectrogram"):
            assert (out / row[column]).is_file()
    assert not (out / "INCOMPLETE").exists()


@pytest.mark.parametrize(("given", "made"), [("image", "audio"), ("audio", "image")])
def test_one_modality_is_made_from_the_other_alone(
    command: Command, model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path, given: str, made: str
) -> None:
    source = ["--images" if given == "image" else "--audio", phantom_files[given]]
    ratio = [f"--{made}-mask-ratio", 1]
    assert command("generate", model_folder, "--per-class", 2, *source, *ratio, "--out", tmp_path / "set") == 0
    rows = rows_of(tmp_path / "set")
    assert {row[f"{made}_mask_ratio"] for row in rows} == {"1.0"}
    assert {row[f"{given}_mask_ratio"] for row in rows} == {"0.75"}
    assert {row[f"source_{made}_id"] for row in rows} == {""}
    assert all(row[f"source_{given}_id"].isdigit() for row in rows)
    assert len(list((tmp_path / "set" / {"image": "images"}.get(made, made)).rglob("*.*"))) == 4


def test_flags_reach_the_data_set(
    command: Command, model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path
) -> None:
    flags = ["--images", phantom_files["image"], "--audio-mask-ratio", 1, "--mask-ratio", 0.5, "--paste-visible"]
    flags += ["--no-source-ids", "--split", "test", "--image-mask-ratio", 0.25]
    assert command("generate", model_folder / "model", "--per-class", 1, *flags, "--out", tmp_path / "set") == 0
    about, rows = json.loads((tmp_path / "set" / "dataset.json").read_text()), rows_of(tmp_path / "set")
    assert about["mask_ratio"] == {"image": 0.25, "audio": 1.0}
    assert about["copies_real_data"] is True and about["per_class"] == 1
    assert rows[0].keys().isdisjoint({"source_image_id", "source_audio_id"})


def test_an_earlier_data_set_is_replaced_only_when_asked(
    command: Command, model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    def generate(*more: object) -> int:
        sources = ["--images", phantom_files["image"], "--audio-mask-ratio", 1]
        return command("generate", model_folder, *sources, "--out", tmp_path / "set", *more)

    assert generate("--per-class", 2) == 0
    before = digests(tmp_path / "set")
    capsys.readouterr()
    assert generate("--per-class", 1) == 2
    assert "is not empty" in error(capsys)
    for wrong in (["--mask-ratio", 1.5], ["--seed", -1], ["--split", "val"], ["--per-class", 0]):
        assert generate("--per-class", 1, "--overwrite", *wrong) == 2
        error(capsys)
    assert digests(tmp_path / "set") == before  # nothing is lost by a mistake in a command
    assert generate("--per-class", 1, "--overwrite") == 0
    assert len(digests(tmp_path / "set")) == 3 + 2 * 3


def test_a_folder_of_other_files_is_not_deleted(
    command: Command, model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    mine = shutil.copytree(phantom_files["image"], tmp_path / "mine")
    flags = ["--images", mine, "--audio-mask-ratio", 1, "--per-class", 1, "--overwrite"]
    before = digests(mine)
    assert command("generate", model_folder, *flags, "--out", mine) == 2
    assert "no synthetic data set and are not deleted" in error(capsys)
    assert digests(mine) == before


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "/no/such/model", "~/model", "runs/mistyped", "a/b/c"])
def test_a_missing_model_is_a_sentence_and_exit_code_2(
    command: Command, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert command("generate", name, "--per-class", 1, "--images", "x", "--out", "out") == 2
    assert error(capsys).startswith(f"error: There is no model in {name}")
    assert not (tmp_path / "out").exists()


def test_wrong_sources_are_a_sentence(
    command: Command, model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("mine")
    images = ["--images", phantom_files["image"]]
    for flags, words in (
        ([], "no samples of ['image', 'audio']"),
        (images, "no samples of ['audio']"),
        ([*images, "--mask-ratio", 1], "every modality is hidden whole"),
        ([*images, "--audio", tmp_path / "missing"], "missing"),
        ([*images, "--audio-mask-ratio", 1, "--label-column", "nonsense"], "nonsense"),
        ([*images, "--audio-mask-ratio", 1, "--out", tmp_path / "file"], "is a file"),
    ):
        flags = ["--out", tmp_path / "out", *flags]
        assert command("generate", model_folder, "--per-class", 1, *flags) == 2
        assert words in error(capsys)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_program_of_its_own_shows_no_traceback(tmp_path: Path) -> None:
    script, arguments = (
        Path(__file__).parents[1] / "scripts" / "generate_small.py",
        ["generate", "no/model/here", "--per-class", "1"],
    )
    done = run(script, json.dumps([[*arguments, "--out", str(tmp_path / "out")]]))
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: There is no model in no/model/here: config.json is missing; give the model/ folder of a run."
    )


# -- phantoms and help


def test_phantoms_writes_both_modalities(command: Command, tmp_path: Path) -> None:
    assert command("phantoms", "--out", tmp_path, "--subjects-per-class", 2, "--image-size", 16, "--seed", 1) == 0
    assert (tmp_path / "images" / "manifest.csv").is_file() and (tmp_path / "audio" / "manifest.csv").is_file()


@pytest.mark.parametrize(("kind", "label"), [("lesions", "melanoma"), ("brains", "moderate")])
def test_phantoms_writes_pictures_of_one_kind(
    command: Command, tmp_path: Path, caplog: Any, kind: str, label: str
) -> None:
    out = tmp_path / "новые снимки"
    caplog.set_level("INFO")
    flags = ["--kind", kind, "--subjects-per-class", 2, "--image-size", 16]
    assert command("phantoms", "--out", out, *flags) == 0
    assert caplog.messages[-1] == f"Phantom data are in {out}"
    assert (out / "manifest.csv").is_file() and len(list((out / "train" / label).glob("*.png"))) in (1, 2)


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_describes_flags(command: Command, arguments: list[str], capsys: Any) -> None:
    assert command(*arguments) == 0
    help_text = capsys.readouterr().out
    assert "mmgen" in help_text
    if arguments == ["--help"]:
        assert all(name in help_text for name in COMMANDS)
    else:
        assert "--json" in help_text


@pytest.mark.parametrize("kind", [Evaluate, Audit, Report, Release, View])
def test_every_flag_is_described_in_one_line(kind: type) -> None:
    """Line breaks of the source would be breaks on the terminal."""
    texts = re.findall(r'^    """(.*?)"""$', inspect.getsource(kind), re.MULTILINE | re.DOTALL)[1:]
    assert len(texts) == len(inspect.get_annotations(kind))
    assert all(text and "\n" not in text for text in texts)


def test_values_of_a_flag_given_in_two_places_are_not_lost(command: Command, capsys: Any) -> None:
    twice = ["--label-map", "a=b", "--label-map", "c=d"]
    assert command("condense", "data", "--ipc", 1, "--out", "x", *twice) == 2
    assert "--label-map is given 2 times" in error(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["generate"],
        ["condense", "x"],
        ["phantoms", "--out", "x", "--seed", "one"],
        ["evaluate", "x", "--out", "y"],
        ["audit", "x", "--members", "y", "--out", "z"],
        ["audit", "x", "--members", "a", "--non-members", "b", "--out", "c", "--modality", "smell"],
        ["release", "x"],
        ["report"],
    ],
)
def test_unusable_flags_are_exit_code_2(command: Command, arguments: list[str], capsys: Any) -> None:
    assert command(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("mmgen")
    if not script.is_file():
        pytest.skip(f"mmgen is not installed beside {sys.executable}")
    assert "mmgen.cli.main" in script.read_text()
    assert subprocess.run([script, "--help"], capture_output=True, check=False).returncode == 0


# -- errors


@pytest.mark.parametrize(
    ("raised", "code"),
    [(UserError("Do this."), 2), (NonFiniteLoss("Do this."), 1), (Interrupted("Do this."), 130)],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_exit_codes(raised: Exception, code: int, capsys: Any) -> None:
    def fail() -> None:
        raise raised

    with pytest.raises(SystemExit) as stop:
        run_command(fail)
    assert stop.value.code == code
    assert capsys.readouterr().err.rstrip().endswith("Do this.")


def test_faults_of_the_library_keep_their_traceback() -> None:
    def fail() -> None:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        run_command(fail)


# -- streams that nobody reads, and numbers that nobody meant


def test_generate_ends_well_when_nobody_reads_what_it_prints(
    model_folder: Path, phantom_files: dict[str, Path], tmp_path: Path
) -> None:
    program = "from mmgen.cli.main import main; main()"
    given = ["--images", phantom_files["image"], "--audio", phantom_files["audio"], "--per-class", "2"]
    command = [sys.executable, "-c", program, "generate", model_folder, *given, "--out", tmp_path / "set"]
    line = ["bash", "-o", "pipefail", "-c", '"$@" 2>&1 | head -c 1', "bash"]
    done = subprocess.run([*line, *map(str, command)], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0 and len(done.stdout) == 1 and not done.stderr, done
    assert len(rows_of(tmp_path / "set")) == 4


class Full(io.StringIO):
    """A stream to a disk that is full."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("number", "code"), [(errno.EPIPE, 0), (errno.ENOSPC, 2)])
def test_output_that_is_lost_is_told_unless_nobody_wanted_it(
    number: int, code: int, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "stdout", Full(number))

    def tell() -> None:
        print("result")

    try:
        run_command(tell)
        stopped = 0
    except SystemExit as stop:
        stopped = stop.code
    message = capsys.readouterr().err
    assert stopped == code and ("what it prints cannot be written: No space" in message) == bool(code)


def test_numbers_that_nobody_meant_are_refused_before_the_data_are_read(
    command: Command, model_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    for number in (10**12, 10**40):
        assert command("generate", model_folder, "--per-class", number, "--images", "no", "--out", tmp_path / "x") == 2
        assert f"{number:,} samples take at least" in error(capsys)
    for flags in (["--ipc", 10**12], ["--ipc", 1, "--choose-from", 10**12], ["--ipc", 10**10, "--method", "dm"]):
        assert command("condense", "no/data", *flags, "--out", tmp_path / "x") == 2
        assert "GB, where" in error(capsys)
    assert list(tmp_path.iterdir()) == []


# -- folders that another run writes to


@pytest.mark.parametrize(
    ("arguments", "held"),
    [
        (["audit", "no/model", "--members", "a", "--non-members", "b", "--out", "x"], "x"),
        (["evaluate", "no/data", "--real", "a", "--test", "b", "--out", "x"], "x"),
        (["condense", "no/data", "--ipc", 1, "--out", "x"], "x_run"),
        (["condense", "no/data", "--ipc", 1, "--out", "x", "--run", "y"], "y"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_a_folder_that_another_run_writes_to_is_refused_first(
    arguments: list[str], held: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with alone_in(Path(held)):
        assert command(*arguments) == 2
        words = f"error: Another run is writing to {held} (process {os.getpid()}); wait for its end, or choose another"
        assert error(capsys) == f"{words} --out."
    assert command(*arguments) == 2
    assert "no/" in error(capsys)
    assert list(tmp_path.iterdir()) == []


# -- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_every_command_and_flag(command: Command, capsys: Any, tmp_path: Path, shell: str) -> None:
    assert command("--print-completion", shell) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in (*COMMANDS, "--per-class", "--non-members"))
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_bash_completes_commands_and_flags(command: Command, capsys: Any, tmp_path: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    assert command("--print-completion", "bash") == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    for words, expected in ((["mmgen", "gen"], "generate"), (["mmgen", "generate", "--per-c"], "--per-class")):
        ask = (
            f"source '{script}'; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            'COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; '
            "$(complete -p mmgen | sed 's/.*-F \\([^ ]*\\).*/\\1/') mmgen; echo \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
        assert expected in done.stdout.split(), done


@pytest.mark.parametrize("arguments", [(), ("csh",), ("bash", "generate")])
def test_completion_is_for_shells_that_are_known(command: Command, capsys: Any, arguments: tuple[str, ...]) -> None:
    assert command("--print-completion", *arguments) == 2
    assert "bash, zsh, fish" in error(capsys)
