"""What is wrong with the environment ends in one sentence that names it, and never as the fault of the user's files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.loading import load
from mmgen.data.mel import mel_filterbank
from mmgen.data.sources import Reading, Source
from mmgen.errors import EnvironmentProblem

PROJECT = Path(__file__).resolve().parents[1]
BROKEN = {
    "torchaudio": 'raise OSError("libtorchaudio.so: undefined symbol: _ZN3c10")',
    "soundfile": 'raise OSError("sndfile library not found")',
    "soxr": 'raise ImportError("libsoxr.so.0: cannot open shared object file")',
    "PIL": 'raise ImportError("cannot import name _imaging")',
    "pydicom": 'raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")',
}
MEND = {
    "torchaudio": "pip install --force-reinstall --no-deps 'torchaudio==2.11.0'",
    "soundfile": "pip install --force-reinstall --no-deps 'soundfile~=",
    "soxr": "pip install --force-reinstall --no-deps 'soxr~=",
    "PIL": "pip install --force-reinstall --no-deps 'pillow~=",
    "pydicom": "pip install --force-reinstall --no-deps 'pydicom~=",
}


def plant(folder: Path, *packages: str) -> dict[str, str]:
    """Packages that raise when they are imported, and the environment in which they come first."""
    for package in packages:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(BROKEN[package])
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])}


def run(*arguments: object, code: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """``mmgen`` in a process of its own, or ``code`` as a recipe would be."""
    code = code or "from mmgen.cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def assert_one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """It ended with 2 and one line that names all parts, and no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    *progress, line = done.stderr.splitlines()  # bars end in carriage returns
    assert line.startswith("error: ") and all(part in line for part in parts), line
    assert all(not text.strip() or text.startswith("decoding") for text in progress), done.stderr
    assert "cannot be used" not in done.stdout


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of another rate than the library's, so that they are resampled."""
    import numpy as np
    import soundfile

    folder = tmp_path_factory.mktemp("recordings")
    for label in ("a", "b"):
        for number in range(6):
            place = folder / label / f"{number}.wav"
            place.parent.mkdir(exist_ok=True)
            wave = np.random.default_rng(number).normal(0, 0.1, 8000)
            soundfile.write(place, wave, 8000)
    return folder


@pytest.fixture(scope="module")
def dicom_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of DICOM files; nobody gets as far as their pixels."""
    folder = tmp_path_factory.mktemp("dicom")
    for label in ("a", "b"):
        (folder / label).mkdir()
        (folder / label / "0.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
    return folder


@pytest.mark.parametrize("package", ["torchaudio", "soundfile", "soxr"])
def test_check_names_a_package_that_sound_needs(package: str, recordings: Path, tmp_path: Path) -> None:
    done = run("check", "--audio", recordings, **plant(tmp_path, package))
    assert_one_sentence(done, package, MEND[package], BROKEN[package].split('"')[1].split(":")[0])


@pytest.mark.parametrize("package", ["PIL", "pydicom"])
def test_check_names_a_package_that_pictures_need(package: str, dicom_pictures: Path, tmp_path: Path) -> None:
    done = run("check", "--images", dicom_pictures, **plant(tmp_path, package))
    assert_one_sentence(done, MEND[package])


@pytest.mark.parametrize("package", ["torchaudio", "soundfile", "soxr"])
def test_decoding_names_the_package_and_no_file(
    package: str, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, package)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    mel_filterbank.cache_clear()
    with pytest.raises(EnvironmentProblem) as error:
        load({"audio": Source(recordings, AudioSettings())}, Reading(skip_bad=True))
    assert str(error.value).startswith(f"The package {package} does not load (") and MEND[package] in str(error.value)
    assert ".wav" not in str(error.value)


@pytest.mark.parametrize("recipe", ["mmae_covid", "medsynth_isic", "medsynth_alzheimer"])
@pytest.mark.parametrize(("package", "fault"), [("PIL", "OSError"), ("torch", "ImportError"), ("timm", "ValueError")])
def test_a_recipe_names_a_package_that_does_not_load(recipe: str, package: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f'raise {fault}("undefined symbol")')
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    command = [sys.executable, str(PROJECT / "recipes" / f"{recipe}.py"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    name = {"PIL": "pillow"}.get(package, package)
    assert_one_sentence(done, f"The package {name} does not load (undefined symbol)", f"--no-deps '{name}")


def test_pictures_need_nothing_of_sound(phantom_files: dict[str, Path], tmp_path: Path) -> None:
    broken = plant(tmp_path / "packages", "torchaudio", "soundfile", "soxr")
    assert run("--help", **broken).returncode == 0
    done = run("check", "--images", phantom_files["image"], **broken)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Training can start." in done.stdout


def test_training_and_generating_pictures_does_not_import_torchaudio(
    phantom_files: dict[str, Path], tmp_path: Path
) -> None:
    pictures, out = str(phantom_files["image"]), str(tmp_path / "set")
    code = (
        "import sys\n"
        "from mmgen.cli.main import main\n"
        f"sys.argv = ['mmgen', 'condense', {pictures!r}, '--ipc', '1', '--method', 'subset', '--out', {out!r},"
        " '--image-size', '32']\n"
        "main()\n"
        f"sys.argv = ['mmgen', 'generate', {out + '_run'!r}, '--per-class', '1', '--out', {out + '2'!r}]\n"
        "main()\n"
        "assert 'torchaudio' not in sys.modules"
    )
    done = run(code=code, **plant(tmp_path / "packages", "torchaudio"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("RANK", "abc"), ("RANK", "-1"), ("LOCAL_RANK", "x"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "two")],
)
@pytest.mark.parametrize("code", [None, "from mmgen.cli.main import run_command; run_command(print)"])
def test_a_launchers_variable_is_named(name: str, value: str, code: str | None, tmp_path: Path) -> None:
    done = run("phantoms", "--out", tmp_path / "x", code=code, **{name: value})
    assert_one_sentence(done, f"{name} is '{value}'")


def test_a_rank_beyond_the_processes_is_named() -> None:
    assert_one_sentence(run("check", RANK="2", WORLD_SIZE="2"), "RANK is 2", "WORLD_SIZE=2")


def shell(command: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """``mmgen`` with its streams as ``command`` says, e.g. ``2>&-``."""
    script = f'"$0" -c "from mmgen.cli.main import main; main()" "$@" {command}'
    line = ["bash", "-c", script, sys.executable, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, **environment})


def test_a_closed_stderr_is_no_hindrance(phantom_files: dict[str, Path]) -> None:
    done = shell("2>&-", "check", "--images", phantom_files["image"], "--audio", phantom_files["audio"])
    assert done.returncode == 0, done.stdout
    assert "Training can start." in done.stdout


def test_errors_go_to_stdout_where_stderr_is_closed() -> None:
    done = shell("2>&-", "check")
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert done.stdout.startswith("error: Give --images and --audio")


def test_a_closed_stdout_is_no_hindrance(tmp_path: Path) -> None:
    done = shell(">&-", "phantoms", "--out", tmp_path / "x", "--subjects-per-class", "2", "--image-size", "8")
    assert (done.returncode, done.stderr) == (0, "")


def test_names_in_scripts_that_the_terminal_lacks_are_written_out(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("健康", "größer"):
        for split in ("train", "val", "test"):
            place = tmp_path / "bilder – 図" / split / label / f"{split}.png"
            place.parent.mkdir(parents=True)
            Image.linear_gradient("L").save(place)
    done = run("check", "--images", tmp_path / "bilder – 図", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\\u5065\\u5eb7" in done.stdout and "gr\\xf6\\xdfer" in done.stdout
    missing = run("check", "--images", tmp_path / "図", PYTHONIOENCODING="ascii")
    assert missing.returncode == 1 and "\\u56f3" in missing.stdout and "Traceback" not in missing.stderr
    assert run("--help", PYTHONIOENCODING="ascii").returncode == 0
