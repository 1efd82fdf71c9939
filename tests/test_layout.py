"""The layout of CONTRIBUTING.md: imports point downwards without a circle, and files and functions stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

# A room may import itself and the floors below; rooms on one floor do not import each other.
FLOORS = (
    ("errors", "names", "version"),
    ("data", "models"),
    ("training",),
    ("artifacts",),
    ("condensation",),
    ("evaluation",),
    ("presets",),
    ("generation",),
    ("release",),
    ("assessment",),
    ("view",),
    ("cli",),
    ("mmgen", "recipes", "benchmarks"),  # mmgen: the exports of the package itself
)
# The same inside rooms that are large enough to have floors of their own; a room's other modules are not bound.
INNER_FLOORS = {
    "mmgen.data": (("formats",), ("reading", "writing"), ("phantoms",), ("loading",)),
    "mmgen.evaluation": (("fidelity",), ("privacy",), ("report",)),
}
LOOSE = {"__init__", "errors", "names", "presets", "version"}
MOST_LINES = {"mmgen": 350, "benchmarks": 350, "recipes": 150}
MOST_FUNCTION_LINES = 60
MOST_TYPE_SWITCHES = 8


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name; scripts have the name of their folder before them."""
    found = {}
    for top in MOST_LINES:
        for path in sorted((PROJECT / top).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def resolved(importer: str, name: str) -> str | None:
    """The module of the project that a dotted name lies in, None if it is another package's."""
    top = importer.partition(".")[0]
    # Scripts import their neighbours by bare names.
    if top != "mmgen" and f"{top}.{name}" in modules():
        return f"{top}.{name}"
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


@cache
def imports(module: str) -> list[tuple[int, str]]:
    """(line, module of the project) of every import, also within functions, under TYPE_CHECKING and by a string."""
    found: set[tuple[int, str]] = set()
    for node in ast.walk(tree(module)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(module, node.lineno)} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("mmgen."):
            names = [node.value] if node.value in modules() else []
        found |= {(node.lineno, target) for name in names if (target := resolved(module, name)) not in (None, module)}
    return sorted(found)


def place(module: str, line: int) -> str:
    return f"{modules()[module].relative_to(PROJECT)}:{line}"


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "mmgen" and len(parts) > 1 else parts[0]


def floor(name: str, floors: Iterable[Iterable[str]] = FLOORS) -> int | None:
    return next((number for number, names in enumerate(floors) if name in names), None)


def listed(faults: Iterable[str]) -> str:
    return "\n" + "\n".join(faults)


def test_every_room_has_a_floor() -> None:
    unplaced = sorted({room(module) for module in modules() if floor(room(module)) is None})
    assert not unplaced, f"say in FLOORS and in CONTRIBUTING.md where these stand: {unplaced}"


def test_imports_point_downwards() -> None:
    upwards = []
    for module in modules():
        for line, target in imports(module):
            own, other = floor(room(module)), floor(room(target))
            if room(module) != room(target) and own is not None and other is not None and other >= own:
                upwards.append(f"{place(module, line)}: {room(module)} imports {target}")
    assert not upwards, listed(upwards)


@pytest.mark.parametrize("outer", INNER_FLOORS)
def test_imports_point_downwards_within_a_room(outer: str) -> None:
    def part(module: str) -> str:
        return module.removeprefix(f"{outer}.").partition(".")[0] if module.startswith(f"{outer}.") else ""

    upwards = []
    for module in modules():
        for line, target in imports(module):
            own, other = (floor(part(name), INNER_FLOORS[outer]) for name in (module, target))
            if part(module) != part(target) and own is not None and other is not None and other >= own:
                upwards.append(f"{place(module, line)} imports {target}")
    assert not upwards, listed(upwards)


def circles() -> Iterator[list[str]]:
    """Sets of modules that import each other, directly or through others (strongly connected components)."""
    reached = {module: _reachable(module) for module in modules()}
    seen: set[str] = set()
    for module in modules():
        circle = [other for other in sorted(reached[module]) if module in reached[other]]
        if circle and module not in seen:
            seen.update(circle)
            yield circle


def _reachable(module: str) -> set[str]:
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        for _, target in imports(waiting.pop()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


def test_no_modules_import_each_other() -> None:
    faults = []
    for circle in circles():
        inside = [(m, line, target) for m in circle for line, target in imports(m) if target in circle]
        faults.append(" <-> ".join(circle) + "".join(f"\n    {place(m, line)} -> {t}" for m, line, t in inside))
    assert not faults, listed(faults)


def test_little_lies_loose_at_the_top_of_the_package() -> None:
    loose = {path.stem for path in (PROJECT / "mmgen").glob("*.py")}
    missing, more = LOOSE - loose, sorted(loose - LOOSE)
    assert not missing, f"mmgen/ lacks {sorted(missing)}"
    assert len(more) <= 1, f"mmgen/ holds {more} beside {sorted(LOOSE)}; find a room for all but one"


def test_files_are_short() -> None:
    long = []
    for module, path in modules().items():
        lines, most = len(path.read_text(encoding="utf-8").splitlines()), MOST_LINES[module.partition(".")[0]]
        if lines > most:
            long.append(f"{path.relative_to(PROJECT)}: {lines} lines, at most {most}")
    assert not long, listed(long)


def test_functions_are_short() -> None:
    long = []
    for module in modules():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    long.append(f"{place(module, node.lineno)}: {node.name} has {lines} lines")
    assert not long, listed(long)


def model_classes() -> set[str]:
    """Classes of mmgen.models that are torch modules."""
    bases = {
        node.name: {last_name(base) for base in node.bases}
        for module in modules()
        if room(module) == "models"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
    }
    classes: set[str] = set()
    while more := {name for name in bases if name not in classes and bases[name] & (classes | {"Module"})}:
        classes |= more
    return classes


def last_name(node: ast.expr) -> str:
    """C of both ``C`` and ``a.b.C``."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def test_hardly_any_code_asks_which_class_a_model_is_of() -> None:
    classes = model_classes()
    assert {"GenerativeModel", "CrossModalMAE", "MedSynthGenerator"} <= classes
    switches = []
    for module in modules():
        for node in ast.walk(tree(module)):
            if room(module) not in ("recipes", "benchmarks") and isinstance(node, ast.Call) and len(node.args) == 2:
                asked = {last_name(part) for part in ast.walk(node.args[1]) if isinstance(part, ast.expr)}
                if last_name(node.func) in ("isinstance", "issubclass") and asked & classes:
                    switches.append(f"{place(module, node.lineno)}: {ast.unparse(node)}")
    assert len(switches) <= MOST_TYPE_SWITCHES, listed(switches)
