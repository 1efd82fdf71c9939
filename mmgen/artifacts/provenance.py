"""Where a result came from and its cost: configuration, versions, revision, data fingerprints, seconds, memory."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mmgen.artifacts.models import withdraw_audit
from mmgen.data.contents import refuse_changed, write_contents
from mmgen.data.loading import PairedData
from mmgen.data.opening import read_yaml
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError
from mmgen.training.engine import peak_memory_mb
from mmgen.training.run import Run

_PACKAGES = ("mmgen", "torch", "torchaudio", "timm", "accelerate", "numpy", "soundfile", "pillow")


class Costs(dict[str, dict[str, Any]]):
    """Seconds, device and peak memory of each phase of a run, as the report's ``cost`` wants them."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what happens inside; a phase that fails is not recorded.

        Peak memory is the phase's own on CUDA and the process's largest so far on a CPU.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        yield
        memory = peak_memory_mb(self.device)
        self[name] = {"seconds": time.perf_counter() - start, "device": self.device.type, "peak_memory_mb": memory}


def config_to_dict(config: Any, whole_paths: bool = True) -> dict[str, Any]:
    """A configuration dataclass as plain values (paths become text, tuples lists), ready for YAML and JSON.

    ``whole_paths`` off keeps only the last part of paths, for what may be shown to others.
    """

    def text(path: Path) -> str:
        return str(path) if whole_paths else path.name

    return json.loads(json.dumps(dataclasses.asdict(config), default=text))


def write_config(folder: Path, config: Mapping[str, Any], fingerprints: Mapping[str, str]) -> None:
    """Write ``config.yaml``: resolved configuration, versions, revision, machine and data fingerprints."""
    import yaml

    document = {"config": dict(config), "data_fingerprints": dict(fingerprints)}
    document |= {"versions": package_versions(), "git_revision": git_revision(), "machine": machine()}
    with new_file(folder / "config.yaml") as file:
        file.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode())


def begin_run(run: Run, config: Mapping[str, Any], data: PairedData, stages: Sequence[str]) -> None:
    """Write the configuration of a run and the files that it leaves out, and set aside what an earlier run left of its
    stages; its audit is removed. A run that is resumed keeps what it has; all processes wait for the first.

    Raises:
        UserError: a run is resumed on other data, or its configuration is damaged.
    """
    path, contents = run.folder / "config.yaml", run.folder / "contents.npz"
    if run.resume and path.is_file():  # a run without one is taken on trust
        try:
            earlier = read_yaml(path)["data_fingerprints"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{path} is damaged, and does not say which data the run began with; remove it to go on with the data "
                "taken on trust."
            ) from error
        if earlier != dict(data.fingerprints):
            hint = "give the data it began with, or choose another folder"
            raise UserError(f"{run.folder} holds a run on other data; {hint}.")
        refuse_changed(contents, data.files)
    if run.accelerator.is_main_process:
        if not run.resume:  # the checkpoints first: nobody resumes them with what is written then
            run.set_aside(".", *stages)
            withdraw_audit(run.folder)
            write_config(run.folder, config, data.fingerprints)
        data.write_skipped(run.folder / "skipped_files.csv")
        write_contents(contents, data.files)
    run.accelerator.wait_for_everyone()


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that numbers depend on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions


def git_revision() -> str | None:
    """Revision of the source checkout, with ``+`` when it has changes; None outside one."""
    here = Path(__file__).resolve().parents[2]
    try:
        options = {"cwd": here, "capture_output": True, "text": True, "timeout": 10, "check": True}
        top = subprocess.run(["git", "rev-parse", "--show-toplevel"], **options).stdout.strip()
        if Path(top) != here:  # installed into somebody else's repository
            return None
        revision = subprocess.run(["git", "rev-parse", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if changed else "")


def machine() -> dict[str, Any]:
    """Device, processor and thread count, without host or user names."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "processor": processor,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }
