"""What is installed is what ``constraints.txt`` says: the set that the tests are known to pass with."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]


def constraints() -> dict[str, str]:
    """{name: exact version} for this Python on this machine."""
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [found for found in requirements if found.marker is None or found.marker.evaluate()]
    return {canonicalize_name(found.name): str(found.specifier).removeprefix("==") for found in here}


def installed() -> dict[str, str]:
    """{name: version} of everything that mmgen requires, directly or not."""
    versions: dict[str, str] = {}
    waiting, seen = [("mmgen", ""), ("mmgen", "dev")], set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        package = distribution(name)
        if name != "mmgen":
            versions[canonicalize_name(name)] = package.version
        for requirement in map(Requirement, package.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting.extend((requirement.name, extra) for extra in ("", *requirement.extras))
    return versions


def test_the_installed_versions_are_those_of_the_constraints() -> None:
    pinned = constraints()
    assert {name: pinned.get(name) for name in installed()} == installed()


def test_every_constraint_is_one_exact_version() -> None:
    for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.+]+( ; .*)?", line), line


@pytest.mark.parametrize("name", ["torch", "torchvision", "torchaudio"])
def test_what_goes_together_is_pinned_exactly_in_the_metadata_too(name: str) -> None:
    requirements = {found.name: found for found in map(Requirement, distribution("mmgen").requires or ())}
    assert str(requirements[name].specifier) == f"=={constraints()[name]}"


def test_the_build_uses_the_pinned_setuptools() -> None:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires = ["setuptools=={constraints()["setuptools"]}"]' in text
