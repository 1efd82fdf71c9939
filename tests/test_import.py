from __future__ import annotations

import json
import subprocess
import sys

import pytest

import mmgen


def test_importing_the_package_takes_no_time_and_no_torch() -> None:
    code = (
        "import time; start = time.perf_counter(); import mmgen; seconds = time.perf_counter() - start;"
        "import json, sys; print(json.dumps([seconds, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout)
    assert seconds < 2.0
    assert not {"torch", "numpy", "pandas", "timm", "accelerate", "huggingface_hub", "matplotlib"} & set(modules)


def test_the_command_line_says_what_it_can_do_without_torch() -> None:
    code = (
        "import sys; from mmgen.cli.main import commands; commands();"
        "print([name for name in ('torch', 'timm', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", mmgen.__all__)
def test_public_names_can_be_had(name: str) -> None:
    assert getattr(mmgen, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mmgen.nonsense  # noqa: B018
