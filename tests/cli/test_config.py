from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from mmgen.cli.config import parse_config
from mmgen.errors import UserError


@dataclass(frozen=True)
class Flags:
    """Flags of a test.

    Attributes:
        lr: learning rate.
        out: folder.
        resume: go on with a run.
    """

    lr: float = 1e-3
    epochs: int | None = None
    out: Path = Path("runs/demo")
    preset: Literal["tiny", "small"] = "tiny"
    resume: bool = False
    previews: bool = True
    mask_ratio: float = 0.75
    variants: tuple[str, ...] = ("own", "other")


def write(folder: Path, text: str) -> str:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults_and_flags():
    assert parse_config(Flags, []) == Flags()
    flags = ["--lr", "0.5", "--epochs", "3", "--resume", "--no-previews", "--mask-ratio", "1", "--variants", "single"]
    assert parse_config(Flags, flags) == Flags(
        0.5, 3, resume=True, previews=False, mask_ratio=1.0, variants=("single",)
    )


def test_a_file_fills_in_and_flags_go_on_top(tmp_path):
    text = (
        "lr: 1e-4\nepochs: 7\nout: runs/ein Lauf\nresume: true\npreviews: false\nmask-ratio: 0.5\nvariants: [a, b, c]"
    )
    path = write(tmp_path, text)
    from_file = Flags(1e-4, 7, Path("runs/ein Lauf"), "tiny", True, False, 0.5, ("a", "b", "c"))
    assert parse_config(Flags, ["--config", path]) == from_file
    assert parse_config(Flags, [f"--config={path}"]) == from_file
    for flags in (
        ["--config", path, "--lr", "2", "--no-resume", "--variants", "d", "--previews", "--preset", "small"],
        ["--lr", "2", "--no-resume", "--variants", "d", "--previews", "--preset", "small", "--config", path],
    ):
        expected = Flags(2.0, 7, Path("runs/ein Lauf"), "small", False, True, 0.5, ("d",))
        assert parse_config(Flags, flags) == expected


def test_nothing_and_an_empty_file_change_nothing(tmp_path):
    assert parse_config(Flags, ["--config", write(tmp_path, "# nothing yet\n")]) == Flags()
    assert parse_config(Flags, ["--config", write(tmp_path, "epochs: null\n")]) == Flags()


def test_an_unknown_key_is_refused_by_name(tmp_path):
    path = write(tmp_path, "lr: 1\nlearning_rate: 2\nepoch: 3\n")
    with pytest.raises(
        UserError, match=r"run\.yaml has unknown keys \['epoch', 'learning_rate'\]; known are \['epochs'"
    ):
        parse_config(Flags, ["--config", path])


@pytest.mark.parametrize(
    ("text", "said"), [("- lr\n- epochs\n", "must map flags to values"), ("lr: [1\n", "Cannot read the configuration")]
)
def test_a_file_of_another_form_is_refused(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        parse_config(Flags, ["--config", write(tmp_path, text)])


@pytest.mark.parametrize("flags", [["--config", "gone.yaml"], ["--config=gone.yaml"], ["--config"]])
def test_a_missing_file_is_refused(tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="Cannot read the configuration"):
        parse_config(Flags, flags)


@pytest.mark.parametrize("value", ["lr: fast", "preset: huge", "epochs: 1.5", "resume: maybe"])
def test_values_of_a_file_are_checked_as_flags_are(tmp_path, value, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_config(Flags, ["--config", write(tmp_path, value)])
    assert stop.value.code == 2
    assert capsys.readouterr().err


def test_a_flag_of_several_values_is_given_once():
    @dataclass(frozen=True)
    class Flags:
        names: tuple[str, ...] = ()
        size: int = 1

    assert parse_config(Flags, ["--names", "a", "b"]).names == ("a", "b")
    assert parse_config(Flags, ["--size", "1", "--size", "2"]).size == 2
    for repeated in (["--names", "a", "--names", "b"], ["--names", "a", "--names=b"]):
        with pytest.raises(UserError, match="--names is given 2 times; give all its values after one"):
            parse_config(Flags, repeated)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "[" * (1 << 20),
        "lr: " + "[" * 5000,
        "lr: &a [x, x]\nepochs: &b [*a, *a, *a]\nout: [*b, *b, *b]\n",
        "lr: 1:" + ":".join(["59"] * 100_000),
        "lr: 2024-99-99",
        "x" * (2 << 20),
        "\ud800",
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_a_file_that_no_flags_are_in_is_one_sentence(tmp_path, text):
    (tmp_path / "run.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"^Cannot read the configuration \S*run\.yaml: ") as refused:
        parse_config(Flags, ["--config", str(tmp_path / "run.yaml")])
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
