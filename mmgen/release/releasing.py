"""The shareable folder: what was audited and may be passed on, copied by allow-list, without traces."""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mmgen.artifacts.models import load_model, model_digest
from mmgen.data.writing.writer import sha256
from mmgen.errors import UserError, first_few
from mmgen.evaluation.privacy.gate import Thresholds, Verdict, opens
from mmgen.evaluation.privacy.record import AuditRecord
from mmgen.models.condensed import CondensedModel
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.generative import GenerativeModel
from mmgen.models.stored import StoredImages
from mmgen.names import IMAGE
from mmgen.release.datasets import dataset_digest, dataset_modalities, dataset_origin, scrub_dataset
from mmgen.release.evidence import judged, red
from mmgen.release.models import copy_model
from mmgen.release.scrubbing import Scrubber
from mmgen.release.texts import Override, override_record, privacy_section, shared_audit, top_readme
from mmgen.version import __version__

logger = logging.getLogger(__name__)

What = Literal["all", "model", "data"]
_AUDIT = "privacy.json"


class ReleaseRefused(UserError):  # noqa: N818  # what happened, not what is wrong
    """The audit does not allow a release: the message says which thresholds fail and by how much."""


@dataclass(frozen=True)
class _Contents:
    """What there is to release: the model's folder, and data sets by the name they get in the release."""

    model: Path | None
    data_sets: Mapping[str, Path]


def write_release(
    run: Path,
    out: Path,
    thresholds: Thresholds | None = None,
    override: tuple[str, str] | None = None,
    what: What = "all",
    audit: Path | None = None,
) -> list[Verdict]:
    """Copy a run's generator and data sets to a new folder if its privacy audit allows it.

    The verdict is formed anew from the audit's numbers. What is copied must be what was audited, by digest. Released
    are the model (weights, configuration, card, preview and utility, :func:`mmgen.release.models.copy_model`); the data
    sets (:func:`mmgen.release.datasets.scrub_dataset`); the audit without anything on single records; a README and
    checksums. Nothing else is, whatever lies in the folders: no critic, checkpoint, log, configuration or report. Files
    that were left out of data sets are logged.

    The folder appears when everything is in it. For data alone what an attacker can do who has nothing else counts
    (threat model S, or G if the audit has none of S; copies, pass-through); a generator needs attacks on it too.

    Args:
        run: folder of a run (``model/``, ``synthetic/``, ``audit/privacy.json``), a model's folder, or a data set's.
        out: new or empty folder.
        thresholds: what the audit may show at most.
        override: (name, reason): release although the audit does not allow it; both are written on the card.
        what: only the model or only the data.
        audit: folder of ``privacy.json``; ``run/audit`` if absent.

    Returns:
        The verdicts.

    Raises:
        ReleaseRefused: not audited, or a threshold is exceeded, and there is no override.
        UserError: what was audited was changed since, there is nothing to release, ``out`` is not empty, an override
            without a name or a reason, or a full disk.

    Example:
        >>> from pathlib import Path
        >>> import mmgen
        >>> verdicts = mmgen.write_release(Path("runs/isic"), Path("to_share"), override=("A. Turing", "phantoms"))
        >>> sorted(path.name for path in Path("to_share").iterdir())
        ['README.md', 'SHA256SUMS', 'model', 'privacy.json', 'release.json']
    """
    thresholds = thresholds or Thresholds()
    signed = _signed(override)
    run, out = run.resolve(), Path(os.path.abspath(out))
    _refuse_occupied(out)
    found = _contents(run, what)
    record = AuditRecord.read((run / "audit" if audit is None else audit) / _AUDIT)
    model = None if found.model is None else load_model(found.model)
    may_hold = _may_hold_real_data(model, found.data_sets)
    digests = _digests(model, found.data_sets)
    unknown = _compare(digests, record)
    modalities = _modalities(model, found.data_sets)
    makes_more = model is not None and not isinstance(model, StoredImages)
    verdicts = [*judged(record, thresholds, makes_more, modalities), *may_hold, *unknown]
    if not opens(verdicts) and signed is None:
        raise ReleaseRefused(_refusal(run, verdicts))
    scrubber = Scrubber.of_this_machine()
    cleaned = [replace(verdict, line=scrubber.prose(verdict.line)) for verdict in verdicts]
    needed = None if opens(verdicts) else signed
    section = privacy_section(cleaned, None if record is None else record.created, needed)
    # Who overrides an audit signs with the own name, which is no trace.
    about = scrubber.tree(shared_audit(record, cleaned, thresholds, digests)) | override_record(cleaned, needed)
    with _new_folder(out) as folder:
        if found.model is not None and model is not None:
            copy_model(model, found.model, folder / "model", scrubber, section)
            _write_json(folder / "model" / _AUDIT, about)
        for name, source in found.data_sets.items():
            left_out = scrub_dataset(source, folder / name, scrubber, f"\n{section}")
            if left_out:
                logger.warning("Not released of %s: %s.", name, first_few(left_out))
        _write_json(folder / _AUDIT, about)
        readme = top_readme(found.model is not None, list(found.data_sets), section)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        _refuse_changed(folder, digests)
        _write_checksums(folder)
    return verdicts


def _signed(override: tuple[str, str] | None) -> Override | None:
    if override is None:
        return None
    name, because = (text.strip() for text in override)
    if not name or not because:
        raise UserError("An override needs a name and a reason: --override NAME --because REASON.")
    return Override(name, because, datetime.now(UTC).date().isoformat())


def _contents(run: Path, what: What) -> _Contents:
    if (run / "dataset.json").is_file():
        model, data_sets = None, {"synthetic": run}
    elif (run / "model.safetensors").is_file():
        model, data_sets = run, {}
    else:
        folder = run / "synthetic"
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        several = {f"synthetic/{path.name}": path for path in inside if (path / "dataset.json").is_file()}
        model = run / "model" if (run / "model" / "model.safetensors").is_file() else None
        data_sets = {"synthetic": folder} if (folder / "dataset.json").is_file() else several
    chosen = _Contents(model if what != "data" else None, data_sets if what != "model" else {})
    if chosen.model is None and not chosen.data_sets:
        wanted = {"all": "neither a model nor a finished data set", "model": "no model", "data": "no finished data set"}
        raise UserError(f"There is {wanted[what]} in {run}; give the folder of a run, a model or a data set.")
    for path in filter(None, (chosen.model, *chosen.data_sets.values())):
        _refuse_links(run, path)
    return chosen


def _refuse_links(run: Path, path: Path) -> None:
    while path != run:
        if path.is_symlink():
            raise UserError(f"{path} is a link, which is not followed; put the folder itself there.")
        path = path.parent


def _digests(model: GenerativeModel | None, data_sets: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "model": None if model is None else model_digest(model),
        "data_sets": {name: dataset_digest(path) for name, path in data_sets.items()},
    }


def _modalities(model: GenerativeModel | None, data_sets: Mapping[str, Path]) -> list[str]:
    """Names of all that is released, each once."""
    own = [] if model is None else list(model.modalities) if isinstance(model, CrossModalMAE) else [IMAGE]
    return list(dict.fromkeys([*own, *(name for path in data_sets.values() for name in dataset_modalities(path))]))


def _may_hold_real_data(model: GenerativeModel | None, data_sets: Mapping[str, Path]) -> list[Verdict]:
    """Red verdicts on what says of itself that it may hold real data; the audit may have seen other members.

    Raises:
        UserError: a subset of the real images, which no audit and no override releases.
    """
    made = {name: dataset_origin(path) for name, path in data_sets.items()}
    if isinstance(model, CondensedModel):
        made["model"] = model.method, model.may_hold_real_pixels
    if subsets := [name for name, (method, _) in made.items() if method == "subset"]:
        raise UserError(f"{first_few(subsets)} is a subset of the real images, which is never released.")
    words = "made of real data, pixels of which it may hold"
    return [red(f"real data/{name}", f"{name}: {words}") for name, (_, copies) in made.items() if copies]


def _compare(digests: Mapping[str, Any], record: AuditRecord | None) -> list[Verdict]:
    """Red verdicts on what the audit did not look at; raises UserError for what has been changed since."""
    if record is None:
        return []
    missing = []
    if digests["model"] not in (None, record.model):
        if record.model:
            raise UserError("The model was changed after the audit; audit it again.")
        missing.append("model")
    for name, digest in digests["data_sets"].items():
        if digest not in record.data_sets.values():
            # A data set that is given by itself is called otherwise in the release than in the audit.
            if name in record.data_sets or (name == "synthetic" and len(record.data_sets) > 0):
                raise UserError(f"The data set {name} was changed after the audit; audit it again.")
            missing.append(name)
    return [red(f"audit/{name}", f"{name}: not audited") for name in missing]


def _refusal(run: Path, verdicts: list[Verdict]) -> str:
    failed = [verdict.line + _by_how_much(verdict) for verdict in verdicts if not verdict.allowed]
    listed = "; ".join(failed)
    return (
        f"{run} is not released, because its audit does not allow it: {listed}. Audit it if that was not done; "
        "else train on more people or for less long, or take the responsibility with --override NAME --because REASON, "
        "which the card will show."
    )


def _by_how_much(verdict: Verdict) -> str:
    if verdict.value is None or verdict.threshold is None:
        return ""
    return f" [{verdict.attack}: {verdict.value:.3g}, {verdict.excess:.3g} above {verdict.threshold:.3g}]"


def _refuse_changed(folder: Path, digests: Mapping[str, Any]) -> None:
    """Look at the copies: they are what was audited."""
    model = model_digest(load_model(folder / "model")) if digests["model"] else None
    copied = {name: dataset_digest(folder / name) for name in digests["data_sets"]}
    if {"model": model, "data_sets": copied} != digests:
        raise UserError("The files were changed while they were released; release them again when nothing runs.")


def _write_checksums(folder: Path) -> None:
    """``release.json`` with every file's size and SHA-256, and ``SHA256SUMS`` for the tool of that name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = {
        path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size} for path in files
    }
    _write_json(folder / "release.json", {"mmgen": __version__, "files": listed})
    sums = {name: about["sha256"] for name, about in listed.items()}
    sums["release.json"] = sha256(folder / "release.json")
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (folder / "SHA256SUMS").write_text(lines, encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _refuse_occupied(out: Path) -> None:
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise UserError(f"{out} is not an empty folder; choose another --out.")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets its name when the block ends well; otherwise nothing is there."""
    temporary = out.with_name(f".tmp-{secrets.token_hex(4)}-{out.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, out)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"The disk is full: {out} cannot be written; free space and release again.") from error
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UserError(f"{out} is not an empty folder any more; choose another --out.") from error
        raise
