"""The shareable folder: what was audited and may be passed on, copied and written anew by allow-lists."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mmgen.artifacts.card_facts import FACTS
from mmgen.artifacts.cards import pixels_line
from mmgen.artifacts.models import PRIVACY, load_model, model_digest
from mmgen.data.writing.atomic import new_folder
from mmgen.data.writing.layout import DOCUMENT, REJECTED, sha256
from mmgen.errors import UserError, first_few
from mmgen.evaluation.privacy.attacks import KINDS
from mmgen.evaluation.privacy.gate import Thresholds, Verdict, opens
from mmgen.evaluation.privacy.record import EFFORT, AuditRecord
from mmgen.models.generative import GenerativeModel
from mmgen.release.cleaning import cleaned
from mmgen.release.datasets import copy_dataset, dataset_digest
from mmgen.release.described import Described
from mmgen.release.evidence import Override, judged, presentable, privacy_section, red
from mmgen.release.gallery import add_gallery
from mmgen.release.models import copy_model, read_facts
from mmgen.release.rejected import Rejected
from mmgen.version import __version__

logger = logging.getLogger(__name__)

Parts = Literal["all", "model", "data"]


class ReleaseRefused(UserError):  # noqa: N818  # what happened, not what is wrong
    """The audit does not allow a release: the message says which thresholds fail and by how much."""


def write_release(
    run: str | Path,
    out: str | Path,
    thresholds: Thresholds | None = None,
    override: tuple[str, str] | None = None,
    parts: Parts = "all",
    audit: str | Path | None = None,
) -> list[Verdict]:
    """Copy a run's generator and data sets to a new folder if its privacy audit allows it; the verdicts.

    The verdict is formed anew from the audit's numbers. What is copied must be what was audited, by digest, against the
    training data, by the fingerprint that the run recorded of them, if any. Released are the model (weights,
    configuration, card, preview and utility, :func:`mmgen.release.models.copy_model`); the data sets
    (:func:`mmgen.release.datasets.copy_dataset`), with a picture in their cards; the audit without anything on single
    records; a README and checksums. Nothing else is: no critic, checkpoint, log or report, and no sample that a
    ``rejected.csv`` names. Omissions are logged. Cards are written from numbers, known names and the text of
    ``override``. The folder appears when it is whole. For data alone what an attacker can do who has nothing else
    counts (threat model S, or G if the audit has none of S; copies, pass-through); a generator needs attacks too.

    Args:
        run: folder of a run (``model/``, ``synthetic/``, ``audit/privacy.json``), a model's folder, or a data set's.
        out: new or empty folder.
        thresholds: what the audit may show at most.
        override: (name, reason): release although the audit does not allow it; both are written on the card as
            :func:`mmgen.release.cleaning.cleaned` leaves them, which is logged before.
        parts: only the model or only the data.
        audit: folder of ``privacy.json``; ``run/audit`` if absent.

    Raises:
        ReleaseRefused: not audited, or a threshold is exceeded, and there is no override.
        UserError: audited files changed, nothing to release, an ``out`` in use, an incomplete override, a full disk.

    Example:
        >>> import os, mmgen
        >>> verdicts = mmgen.write_release("runs/isic", "to_share", override=("A. Turing", "phantoms"))
        >>> sorted(os.listdir("to_share"))
        ['README.md', 'SHA256SUMS', 'model', 'privacy.json', 'release.json']
    """
    thresholds, signed = thresholds or Thresholds(), _signed(override)
    run, out = Path(run).resolve(), Path(os.path.abspath(out))
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise UserError(f"{out} is not an empty folder; choose another --out.")
    model_folder, data_sets = _contents(run, parts)
    record = _read_audit((run / "audit" if audit is None else Path(audit)) / PRIVACY)
    model = None if model_folder is None else load_model(model_folder)
    described = {name: Described.of(path) for name, path in data_sets.items()}
    digests = _digests(model, data_sets)
    modalities = _modalities(model, described)
    further = [*_may_hold_real_data(model, described), *_compare(run, digests, described, modalities, record)]
    # A generator needs attacks on it too; a fixed set of samples is audited as data are.
    makes_more = model is not None and (model.needs_real_data or model.threat == "G")
    verdicts = [*judged(record, thresholds, makes_more, modalities), *further]
    needed, record = _needed(signed, run, verdicts), presentable(record, modalities)
    said = [*judged(record, thresholds, makes_more, modalities), *further]
    section = partial(privacy_section, said, record, needed)
    about = _shared_audit(record, said, thresholds, digests, needed)
    with new_folder(out) as folder:
        _fill(folder, model, model_folder, data_sets, about, section)
        _write_checksums(folder)
    return verdicts


def _shared_audit(
    record: AuditRecord | None,
    verdicts: Sequence[Verdict],
    thresholds: Thresholds,
    digests: Mapping[str, Any],
    override: Override | None,
) -> dict[str, Any]:
    """``privacy.json`` of a release: the audit's numbers, what they were judged by, and nothing of single records."""
    return {
        "audited": record is not None,
        "created": None if record is None else record.created,
        "of": {**digests, "members": {} if record is None else dict(record.members)},
        "privacy": {} if record is None else record.privacy.shared(),
        "thresholds": asdict(thresholds),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        # Who, why, when, and against what.
        "override": override and asdict(override) | {"failed": [one.line for one in verdicts if not one.allowed]},
    }


def _fill(
    folder: Path,
    model: GenerativeModel | None,
    model_folder: Path | None,
    data_sets: Mapping[str, Path],
    about: Mapping[str, Any],
    section: Callable[..., str],
) -> None:
    """Write all parts of a release; ``about`` is its ``privacy.json``, ``section`` that on privacy of every card."""
    rejected = {name: Rejected.of(path) for name, path in data_sets.items()}
    released = {name: dataset_digest(path, rejected[name]) for name, path in data_sets.items() if rejected[name].count}
    about = {**about, "of": {**about["of"], "data_sets": {**about["of"]["data_sets"], **released}}}
    if model_folder is not None and model is not None:
        copy_model(model, model_folder, folder / "model", section(pixels_line(model)))
        _write_json(folder / "model" / PRIVACY, about)
    for name, source in data_sets.items():
        if count := rejected[name].count:
            logger.info("Left out of %s: %d rejected samples, listed in its %s.", name, count, REJECTED)
        if left_out := copy_dataset(source, folder / name, f"\n{section()}", rejected[name]):
            logger.warning("Not released of %s: %s.", name, first_few(left_out))
        add_gallery(folder / name)
    _write_json(folder / PRIVACY, about)
    parts = ["`model/`: the generator, with its card"] if model is not None else []
    for name, one in rejected.items():
        without = f" without {one.count} rejected samples" if one.count else ""
        parts.append(f"`{name}/`: a synthetic data set{without}; `{name}/README.md` says how to open it")
    parts += ["`privacy.json`: the privacy audit in numbers", "`SHA256SUMS`, `release.json`: every file's checksum"]
    listed = "".join(f"* {part}\n" for part in parts)
    made = "Made by generative models with mmgen. Check it with `sha256sum -c SHA256SUMS`."
    (folder / "README.md").write_text(f"# Synthetic release\n\n{made}\n\n{listed}\n{section()}", encoding="utf-8")
    copied = None if model is None else load_model(folder / "model")
    if about["of"] != about["of"] | _digests(copied, {name: folder / name for name in data_sets}):
        raise UserError("The files were changed while they were released; release them again when nothing runs.")


def _signed(override: tuple[str, str] | None) -> Override | None:
    if override is None:
        return None
    name, because = map(cleaned, override)
    if not name or not because:
        raise UserError("An override needs a name and a reason: --override NAME --because REASON.")
    return Override(name, because, datetime.now(UTC).date().isoformat())


def _needed(signed: Override | None, run: Path, verdicts: list[Verdict]) -> Override | None:
    """The override if the verdicts need one, logged as cards will show it; raises ReleaseRefused if there is none."""
    if opens(verdicts):
        return None
    if signed is None:
        raise ReleaseRefused(_refusal(run, verdicts))
    logger.info("The card will say: %s", signed)
    return signed


def _contents(run: Path, parts: Parts) -> tuple[Path | None, dict[str, Path]]:
    """The model's folder, and data sets by the name they get in the release."""
    model, data_sets, folder = None, {}, run / "synthetic"
    if (run / DOCUMENT).is_file():
        data_sets = {"synthetic": run}
    elif (run / "model.safetensors").is_file():
        model = run
    else:
        model = run / "model" if (run / "model" / "model.safetensors").is_file() else None
        inside = [path for path in sorted(folder.glob("*")) if (path / DOCUMENT).is_file()]
        # A recipe's own name for a data set, or a number for one that somebody else chose.
        names = [f"synthetic/{p.name if re.fullmatch('ipc[0-9]+', p.name) else i}" for i, p in enumerate(inside)]
        several = dict(zip(names, inside, strict=True))
        data_sets = {"synthetic": folder} if (folder / DOCUMENT).is_file() else several
    model, data_sets = model if parts != "data" else None, data_sets if parts != "model" else {}
    if model is None and not data_sets:
        wanted = {"all": "neither a model nor a finished data set", "model": "no model", "data": "no finished data set"}
        raise UserError(f"There is {wanted[parts]} in {run}; give the folder of a run, a model or a data set.")
    for path in filter(None, (model, *data_sets.values())):
        for link in (part for part in (path, *path.parents) if part.is_relative_to(run) and part.is_symlink()):
            raise UserError(f"{link} is a link, which is not followed; put the folder itself there.")
    return model, data_sets


def _read_audit(path: Path) -> AuditRecord | None:
    """An audit, None if there is none."""
    record = AuditRecord.read(path)
    results = {} if record is None else record.privacy.results
    if unknown := [key for key in results if key.partition("/")[0] not in (*KINDS, EFFORT)]:
        raise UserError(f"{path} is no privacy audit (it has unknown entries {first_few(unknown)}); audit again.")
    return record


def _digests(model: GenerativeModel | None, data_sets: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "model": None if model is None else model_digest(model),
        "data_sets": {name: dataset_digest(path) for name, path in data_sets.items()},
    }


def _modalities(model: GenerativeModel | None, described: Mapping[str, Described]) -> list[str]:
    """Names of all that is released, each once."""
    names = [name for about in described.values() for name in about.modalities]
    if model is not None:
        names = [*model.preprocessing, *(entry["name"] for entry in model.config.get("modalities", ())), *names]
    return list(dict.fromkeys(names))


def _may_hold_real_data(model: GenerativeModel | None, described: Mapping[str, Described]) -> list[Verdict]:
    """Red verdicts on what says of itself that it may hold real data; the audit may have seen other members.

    Raises:
        UserError: a subset of the real images, which no audit and no override releases.
    """
    origins = {name: (one.method, one.about.get("copies_real_data") is True) for name, one in described.items()}
    if model is not None:
        origins["model"] = model.config.get("method", ""), model.may_hold_real_pixels
    if subsets := [name for name, (method, _) in origins.items() if method == "subset"]:
        raise UserError(f"{first_few(subsets)} is a subset of the real images, which is never released.")
    words = "made of real data, pixels of which it may hold"
    return [red(f"real data/{name}", f"{name}: {words}") for name, (_, copies) in origins.items() if copies]


def _compare(
    run: Path,
    digests: Mapping[str, Any],
    described: Mapping[str, Described],
    modalities: Sequence[str],
    record: AuditRecord | None,
) -> list[Verdict]:
    """Red verdicts on what the audit did not look at, soft labels too, and on modalities whose members in it were
    others than those that were trained on; raises UserError for what has been changed since."""
    if record is None:
        return []
    missing, trained = [], _trained_on(run)
    if digests["model"] not in (None, record.model):
        if record.model:
            raise UserError(f"The model was changed after the audit; audit it again, in {run}.")
        missing.append("model")
    for name, digest in digests["data_sets"].items():
        if digest not in record.data_sets.values():
            # A data set that is given by itself is called otherwise in the release than in the audit.
            if name in record.data_sets or (name == "synthetic" and len(record.data_sets) > 0):
                raise UserError(f"The data set {name} was changed after the audit; audit it again, in {run}.")
            missing.append(name)
    words = (
        "the audit was made against other members than the training data; audit it again with the --members, --seed "
        "and labels of the training (of data without splits, --non-members is the same path)"
    )
    attacked = {key.partition("/")[0] for key in record.privacy.results}
    unseen = [name for name, own in described.items() if own.has_soft_labels and "soft_labels" not in attacked]
    wrong = [name for name in modalities if name in trained and record.members.get(name) != trained[name]]
    return [
        *(red(f"audit/{name}", f"{name}: not audited") for name in missing),
        *(red(f"members/{name}", f"{name}: {words}") for name in wrong),
        *(red(f"soft labels/{name}", f"{name}: its soft labels are not audited; audit it again") for name in unseen),
    ]


def _trained_on(run: Path) -> Mapping[str, str]:
    """Fingerprints of the training data, by modality, of the run that a folder is or lies in; none if not recorded."""
    # A run, its model, or its folder synthetic or a data set in that.
    places = [run / "model", run, *(p.parent / "model" for p in (run, run.parent) if p.name == "synthetic")]
    recorded = (read_facts(place) for place in places if (place / FACTS).is_file())
    return next((facts.members for facts in recorded), {})


def _refusal(run: Path, verdicts: list[Verdict]) -> str:
    failed = []
    for one in (verdict for verdict in verdicts if not verdict.allowed):
        numbers = ""
        if one.value is not None and one.threshold is not None:
            numbers = f" [{one.attack}: {one.value:.3g}, {one.excess:.3g} above {one.threshold:.3g}]"
        failed.append(one.line + numbers)
    return (
        f"{run} is not released, because its audit does not allow it: {'; '.join(failed)}. Audit it if that was not "
        "done; else train on more people or for less long, or take the responsibility with --override NAME --because "
        "REASON, which the card will show."
    )


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
