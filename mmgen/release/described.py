"""The description of a synthetic data set and of its samples as far as it is shared: allow-lists of keys and texts."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from mmgen.data.settings import FILE_KINDS, Settings, settings_from_dict
from mmgen.data.writing.layout import DOCUMENT, TABLE, is_inside, patches_of, read_document, safe_names, sample_files
from mmgen.data.writing.soft_labels import SOFT_LABELS
from mmgen.data.writing.unfinished import INCOMPLETE
from mmgen.errors import UserError, first_few
from mmgen.models.generative import Origin
from mmgen.names import MethodName

_HEAD = frozenset(
    (
        "synthetic", "format", "licence", "counts", "preprocessing", "generator", "per_class", "mask_ratio", "segments",
        "chosen_from", "copies_real_data", "input_prior", "patch", "seed", "steps", "guidance",
        "soft_labels", "rejected",
    )
)  # fmt: skip
_LONGEST_NUMBER = 24  # characters of a float at most; a text can be spelled as a longer one
_SETTINGS = frozenset(("kind", *(field.name for kind in FILE_KINDS.values() for field in fields(kind.settings))))
# What was chosen at random can be chosen again from them: which real sample each synthetic one was made from.
_DRAWS = frozenset(("seed", "index"))
_NUMBER = "[0-9]{6,9}"  # of a sample or shard in its file's name
# Texts of a description other than labels and names of modalities, of which every one is known.
_KNOWN: Mapping[str, re.Pattern[str]] = {
    "library": re.compile(r"mmgen \d+(\.\d+)*((a|b|rc|\.dev|\.post)\d+)?"),
    "model": re.compile("[0-9a-f]{12}"),
    "method": re.compile("|".join(get_args(MethodName))),
    "input_prior": re.compile("|".join(get_args(Origin))),
    "format": re.compile("folder|webdataset"),
    "kind": re.compile("image|audio"),
    "licence": re.compile(
        r"CC0-1\.0|CC-BY(-NC)?(-SA|-ND)?-[34]\.0|ODbL-1\.0|ODC-By-1\.0|PDDL-1\.0|MIT|Apache-2\.0|BSD-3-Clause"
    ),
}


@dataclass(frozen=True)
class Described:
    """The shared part of ``dataset.json``, of columns of ``metadata.csv`` and of keys of samples in shards.

    Shared are: labels, names of files as this library gives them, digests of models, mask ratios, numbers of segments,
    whether real data are copied; seed and index only of what is drawn from a class prior or from noise. Of samples that
    were made from real ones both say which. Names of modalities are those of the section "preprocessing".

    Attributes:
        about: ``dataset.json``.
    """

    about: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Described:
        """The description of a finished data set.

        Raises:
            UserError: the folder is none, or its description names files outside of it.
        """
        if os.path.lexists(folder / INCOMPLETE):
            raise UserError(f"{folder} is not finished; run the command that makes it again, and it goes on.")
        try:
            about = read_document(folder)
            if not about["counts"] or not dict(about["preprocessing"]) or not cls(about).settings:
                raise ValueError("it describes no synthetic data set")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{folder} is no finished synthetic data set ({DOCUMENT}: {error}); give the folder of one."
            ) from error
        if outside := [name for name in about["checksums"] if not is_inside(name)]:
            raise UserError(f"{folder / DOCUMENT} names {first_few(outside)}, which is outside of it; do not trust it.")
        return cls(about)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of modalities."""
        return tuple(self.about["preprocessing"])

    @property
    def method(self) -> str:
        """The method that made it, "" if it does not say."""
        return _part(self.about.get("generator"), ["method"]).get("method") or ""

    @property
    def from_real_samples(self) -> bool:
        """Whether samples may have been made from real ones: not if all came from a class prior or from noise."""
        return self.about.get("input_prior") not in ("class", "noise") or "mask_ratio" in self.about

    @property
    def samples(self) -> list[str]:
        """Listed files that hold samples and are called as this library does: shards, or files of a known kind."""
        return list(filter(self.is_named_by_us, self.about["checksums"]))

    @property
    def tables(self) -> list[str]:
        """Files that speak of all samples: the table of files in folders (samples in shards have their own), and soft
        labels, if there are any."""
        soft = [SOFT_LABELS] if self.has_soft_labels else []
        return [TABLE, *soft] if self.about["format"] == "folder" else soft

    @property
    def has_soft_labels(self) -> bool:
        """Whether there are class probabilities of the samples."""
        return SOFT_LABELS in self.about["checksums"]

    @cached_property
    def files(self) -> frozenset[str]:
        """Columns of the table that name files."""
        return frozenset(f"{name}{end}" for name in self.modalities for end in ("_file_name", "_spectrogram"))

    @cached_property
    def keys(self) -> frozenset[str]:
        """Columns of the table, and keys of a sample in a shard, that are shared."""
        numbers = {f"{name}{end}" for name in self.modalities for end in ("_mask_ratio", "_segments")}
        own = self.files | numbers | {"label", "model", "copies_real_data", "may_hold_real_pixels"}
        return own if self.from_real_samples else own | _DRAWS

    @cached_property
    def settings(self) -> dict[str, Settings]:
        """How the files of each modality become arrays."""
        return {name: settings_from_dict(own) for name, own in self.head()["preprocessing"].items()}

    @cached_property
    def _kinds(self) -> dict[str, tuple[str, Settings]]:
        """Ending and settings of samples' files by their folder and ending, in shards by what follows the number."""
        kinds = [(file, own) for name, own in self.settings.items() for file in sample_files({name: own}).values()]
        if self.about["format"] == "webdataset":
            return {f".{file.member}": (file.ending, own) for file, own in kinds}
        labels = safe_names(list(self.about["counts"]))
        return {f"{file.folder}/{label}/.{file.ending}": (file.ending, own) for file, own in kinds for label in labels}

    def kind_of(self, name: str) -> tuple[str, Settings] | None:
        """Ending and settings of a sample's file, or of one in a shard; None if it is not called as this library does:
        a number in a known folder, so that its name says nothing else."""
        folder, slash, last = name.rpartition("/")
        numbered = re.fullmatch(f"{_NUMBER}([.].+)", last)
        return None if numbered is None else self._kinds.get(f"{folder}{slash}{numbered[1]}")

    def is_named_by_us(self, name: str) -> bool:
        """Whether a file of the data set is a shard, or a sample's file, with a name that this library gives."""
        if self.about["format"] == "webdataset":
            return re.fullmatch(f"shards/{_NUMBER}[.]tar", name) is not None
        return self.kind_of(name) is not None

    def value(self, key: str, value: Any) -> Any:
        """A cell of the table, or a value of a sample in a shard, or nothing if it does not belong there."""
        if not isinstance(value, str):
            return value if _is_shared(key, value) else None
        number = len(value) <= _LONGEST_NUMBER and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?", value)
        plain = key != "model" and (bool(number) or value in ("", "True", "False"))
        own = key == "label" or (key in self.files and self.is_named_by_us(value))
        return value if own or plain or _is_shared(key, value) else ""

    def head(self) -> dict[str, Any]:
        """``dataset.json`` without checksums."""
        keys = _HEAD - _DRAWS if self.from_real_samples else _HEAD
        kept = {key: value for key, value in self.about.items() if key in keys}
        head = {key: value if key == "counts" or _is_shared(key, value) else None for key, value in kept.items()}
        head["preprocessing"] = {name: _part(own, _SETTINGS) for name, own in self.about["preprocessing"].items()}
        names = {"generator": ("library", "method", "model"), "mask_ratio": self.modalities}
        head |= {key: _part(kept[key], own) for key, own in names.items() if key in kept}
        patches = {name: patch for name, patch in patches_of(kept).items() if name in self.modalities}
        return head | ({"patch": patches} if "patch" in kept else {})


def _part(values: Any, keys: Collection[str]) -> dict[str, Any]:
    """The shared entries of a mapping that have one of these keys."""
    entries = values.items() if isinstance(values, Mapping) else ()
    return {key: value for key, value in entries if key in keys and _is_shared(key, value)}


def _is_shared(key: str, value: Any) -> bool:
    """Whether a value is a number of usual length, a truth value, nothing, or one of the known texts."""
    known = isinstance(value, str) and key in _KNOWN and (value == "" or _KNOWN[key].fullmatch(value) is not None)
    return known or value is None or (isinstance(value, bool | int | float) and len(repr(value)) <= _LONGEST_NUMBER)
