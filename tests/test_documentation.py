"""The documentation says what is there: names, links and commands; and its pages are built without a warning."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from calling import call

import mmgen
from mmgen.cli import main
from mmgen.cli.config import parse_config

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FRONT = PROJECT / "README.md"
# A line that starts one of our programs, after what launches it.
PROGRAM = re.compile(r"(?:^|\s)(?:\.venv/bin/)?(mmgen|(?:recipes|benchmarks)/\w+\.py)(?=\s|$)")
LAUNCHER = re.compile(r"((\.venv/bin/)?python|accelerate launch\s.*)?$")

# -- names


def described() -> list[str]:
    """Names that the reference takes from docstrings."""
    return [name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)]


def object_at(name: str) -> Any:
    """The module, or the object of a module, that a dotted name stands for; None where there is none."""
    try:
        found = find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is not None:
        return import_module(name)
    module, _, last = name.rpartition(".")
    return getattr(object_at(module), last, None) if module else None


def test_every_public_name_is_in_the_reference_once() -> None:
    listed = re.findall(r"^::: (\S+)$", (DOCS / "reference" / "python.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(f"mmgen.{name}" for name in mmgen.__all__)


@pytest.mark.parametrize("name", described())
def test_what_the_reference_describes_is_there_and_has_a_docstring(name: str) -> None:
    assert (object_at(name).__doc__ or "").strip(), f"{name} is not there, or has no docstring"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_modules_and_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:mmgen|recipes|benchmarks|tests)/[\w/.]+|mmgen(?:\.\w+)+)`", page.read_text("utf-8"))
    missing = [n for n in named if not ((PROJECT / n).exists() if "/" in n else object_at(n) is not None)]
    assert not missing


# -- links


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.M | re.S))


def anchors(page: Path) -> set[str]:
    """Of headings, as mkdocs makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def dead_links(page: Path) -> list[str]:
    dead = []
    for target in re.findall(r"\]\(\s*([^)\s]+)", prose(page)):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        known = file in PAGES if file.suffix == ".md" and page in PAGES else file.exists()
        if not re.match(r"[a-z]+:", target) and (not known or (anchor and anchor not in anchors(file))):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", [*PAGES, FRONT], ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_no_link_is_dead(page: Path) -> None:
    assert not dead_links(page)


def test_a_dead_link_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](page.md#one) [b](#two) [c](gone.md) [d](https://a.b) `[e](x.md)`\n```\n[f](y.md)\n```\n"
    )
    monkeypatch.setitem(globals(), "PAGES", [page])
    assert dead_links(page) == ["#two", "gone.md"]


def test_the_front_page_is_short_and_its_pictures_are_small() -> None:
    text = FRONT.read_text("utf-8")
    assert len(text.splitlines()) <= 120
    pictures = [PROJECT / name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)]
    assert pictures and all(0 < picture.stat().st_size < 150_000 for picture in pictures)


def test_notebooks_are_shown_and_hold_no_outputs() -> None:
    notebooks = sorted((DOCS / "notebooks").glob("*.ipynb"))
    shown = re.findall(r"^<!-- notebook: (\S+) -->$", (DOCS / "notebooks.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(shown) == [path.stem for path in notebooks]
    for path in notebooks:
        cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
        assert cells and not any(cell["outputs"] or cell["execution_count"] for cell in cells), path.name


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"- ([\w/-]+\.md)$", (PROJECT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


# -- commands


def shown_commands(page: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(launcher, program, arguments) of each command in blocks of shell code, in indented ones, or at the end of a row
    of a table."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^ {4}(\.venv/bin/\S.*)$", text, re.MULTILINE)
    blocks += re.findall(r"^\|.*\| `((?:mmgen|python) \S+ [^`]+)` \|$", text, re.MULTILINE)
    for line in "\n".join(blocks).splitlines():
        found = PROGRAM.search(line)
        if found and LAUNCHER.match(before := line[: found.start(1)].strip().removesuffix(".venv/bin/")):
            yield before, found[1], shlex.split(line[found.end(1) :], comments=True)


def parse(program: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the program's own parser makes of arguments; raises SystemExit where it refuses them."""
    if program == "mmgen":
        taken: list[Any] = []

        def take(options: Any) -> dict[str, Any]:
            taken.append(options)
            return {}

        known = dict.fromkeys(main.commands(), take)
        monkeypatch.setattr(main, "commands", lambda: known)
        if code := call(monkeypatch, *arguments):
            raise SystemExit(code)
        return taken[0]
    path = PROJECT / program
    monkeypatch.syspath_prepend(str(path.parent))
    (flags,) = re.findall(r"parse_config\((\w+)", path.read_text("utf-8"))
    return parse_config(getattr(import_module(path.stem), flags), arguments)


COMMANDS = [
    pytest.param(page, *command, id=f"{page.relative_to(PROJECT).as_posix()}: {command[1]} {' '.join(command[2][:4])}")
    for page in (*PAGES, FRONT)
    for command in shown_commands(page)
]


@pytest.mark.parametrize(("page", "launcher", "program", "arguments"), COMMANDS)
def test_a_shown_command_has_flags_that_the_program_knows(
    page: Path, launcher: str, program: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)  # where configurations are
    try:
        assert parse(program, arguments, monkeypatch) is not None
    except SystemExit:
        pytest.fail(f"{page.name} shows what {program} does not take: {' '.join(arguments)}")
    if launcher.startswith("accelerate"):
        from accelerate.commands.launch import launch_command_parser

        given = launch_command_parser().parse_args([*shlex.split(launcher)[2:], program])
        assert Path(given.config_file).is_file()


def test_commands_are_found_and_a_wrong_flag_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {param.values[2] for param in COMMANDS if param.values[0] in PAGES}
    assert {"mmgen", "recipes/mmae_covid.py", "recipes/medsynth_isic.py", "benchmarks/table1.py"} <= programs
    shown = {param.values[3][0] for param in COMMANDS if param.values[2] == "mmgen"}
    assert shown == {kind.__name__.lower() for kind in main.commands()}
    for program, flag in (("mmgen", "--not-a-flag"), ("recipes/mmae_covid.py", "--pre-set")):
        with pytest.raises(SystemExit):
            parse(program, ["report", "runs/mine", flag] if program == "mmgen" else [flag, "1"], monkeypatch)


# -- what the pages are filled with


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    monkeypatch.syspath_prepend(str(DOCS))
    return import_module("hooks").results


def test_results_name_every_file_and_its_command(results: Callable[[Path], str]) -> None:
    folder = PROJECT / "benchmarks" / "results"
    text = results(folder)
    for path in folder.glob("*.json"):
        assert f"## {path.stem.replace('_', ' ')}\n" in text
        assert json.loads(path.read_text("utf-8"))["command"] in text
    assert "| mfcc |" in text and "## table1 isic\n" in text


def test_results_do_without_whatever_is_missing_or_odd(results: Callable[[Path], str], tmp_path: Path) -> None:
    scores = {"image": {"net": {"real": {"auc": {"mean": 0.75, "std": 0.01}}, "odd": 3}, "other": None}, "audio": []}
    files = {
        "a": {},
        "b": [1, 2],
        "c": {"command": 3, "machine": None, "utility": scores, "fidelity": 1, "verdicts": None, "privacy": {"x": 1}},
        "d": {"rows": [{"a|b": 1}, {"c": None}, {}], "more": {"deep": {"er": [1, 2, 3], "n": 12345}}, "entries": [{}]},
        "e": {"privacy": {"domias/image": {"auc": 0.5, "auc_ci": None}}},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "half.json").write_text('{"utility": ')
    text = results(tmp_path)
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == list(files)
    assert "| image | net | real | 0.75 ± 0.01 | – |" in text
    assert "| more deep n | 12,345 |" in text and "a\\|b" in text
    assert "| domias/image | 0.5 | – | – | – |" in text


# -- the site


def test_the_site_is_built_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs is not installed; pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path: path.read_text("utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert len(pages) >= len(PAGES)
    for path, text in pages.items():
        loaded = re.findall(
            r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)", text
        )
        assert not loaded, f"{path.name} loads {loaded}"
        assert "<!-- help" not in text and "<!-- results" not in text and "<!-- notebook" not in text
    reference = pages[tmp_path / "site" / "reference" / "python.html"]
    assert all(f'id="mmgen.{name}"' in reference for name in mmgen.__all__)
    assert "--per-class INT" in pages[tmp_path / "site" / "reference" / "commands.html"]
