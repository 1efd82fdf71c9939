"""``README.md`` of a synthetic data set: its card, and above it what the Hugging Face hub and ``datasets`` read."""

from __future__ import annotations

import glob
import json
from collections.abc import Collection, Mapping
from typing import Any

from mmgen.data.cells import to_cell
from mmgen.data.markdown import in_markdown
from mmgen.data.settings import kind_of, settings_from_dict
from mmgen.data.writing.layout import TABLE, sample_files

_README = """---
{front}---

# {title}

{origin}

| label | samples |
|---|---|
{counts}

## Intended use

Developing and testing software and methods, above all classifiers. Not for diagnosis, and not for conclusions on the
frequency of diseases: labels are as frequent as whoever made the set wanted them to be.

## Files

{place}
`dataset.json` says how it was made and holds checksums, which `mmgen check` compares.

```python
{opening}
```
{note}
## Limits

A synthetic sample is not better than the model that made it, and shows what that model learnt from its training data,
their biases included. Whether it may be shared is decided by a privacy audit, not by the word synthetic.

## Cite

Made by {library}{model}. Name both, and the data that the model was trained on.
"""
_SYNTHETIC = "Made by a generative model; no file in it is a recording or picture of a person."
_PASTED = "**Parts of real samples are, or may be, copied into these files**: treat them as real data."
_REAL = "**These are real samples, unchanged**: for comparison only, not to be shared."
_ONE_KIND = """
From folders `datasets` reads files of one kind, pictures; until the cast, sounds are paths. From shards (`mmgen
generate --format webdataset`) it reads both.
"""
# Types of the columns of a sample's metadata, by name or by the end of the name. Row numbers of real samples may be
# missing, which only floats can say in a CSV.
_TYPES = {
    "index": "int64", "seed": "int64", "model": "string", "copies_real_data": "bool", "may_hold_real_pixels": "bool",
}  # fmt: skip
_ENDS = {"_mask_ratio": "float64", "_segments": "int64", "_spectrogram": "string", "_id": "float64"}
_LICENCES = {"odc-by-1.0": "odc-by", "pddl-1.0": "pddl", "odbl-1.0": "odbl", "bsd-3-clause": "bsd-3-clause"}
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def readme(about: Mapping[str, Any], shard_size: int, columns: Collection[str]) -> str:
    """``README.md`` of a data set, from its description ``dataset.json``.

    ``datasets.load_dataset`` of the folder reads the types of the columns from it.

    Args:
        shard_size: samples a shard, at most; of shards only.
        columns: names of a sample's metadata: columns of the table, or keys in a shard's ``json``.
    """
    generator = about.get("generator")
    generator = generator if isinstance(generator, Mapping) else {}
    origin, title = _PASTED if about.get("copies_real_data") else _SYNTHETIC, "Synthetic data set"
    if generator.get("method") == "subset":
        origin, title = _REAL, "Subset of a real data set"
    kinds = [settings["kind"] for settings in about["preprocessing"].values()]
    sounds = [name for name, settings in about["preprocessing"].items() if settings["kind"] == "audio"]
    casts = ""
    if about["format"] == "folder":
        place = f"`{TABLE}` has a row a sample."
        if "image" in kinds:
            casts = "".join(f".cast_column({json.dumps(name)}, Audio())" for name in sounds)
    else:
        place = f"`shards/` holds up to {shard_size} samples a file, sorted by label: shuffle them. "
        place += "A sample's label is in its `json`."
    if about.get("soft_labels"):
        place += "\n`labels.safetensors` holds soft labels: the class probabilities that a classifier of the real data"
        place += "\ngives each sample, in their order."
    names, needs = "Audio, load_dataset" if casts else "load_dataset", "  # sound needs datasets[audio]"
    opening = f"from datasets import {names}{needs if sounds else ''}\n\n"
    opening += f'load_dataset("this folder", split="train"){casts}'
    digest = generator.get("model")
    return _README.format(
        front=front_matter(about, columns, title),
        title=title,
        origin=origin,
        counts="\n".join(f"| {in_markdown(label)} | {count} |" for label, count in about["counts"].items()),
        place=place,
        opening=opening,
        note=_ONE_KIND if casts else "",
        library=in_markdown(str(generator.get("library") or "mmgen")),
        model=f" with the model {in_markdown(str(digest))}" if digest else "",
    )


def front_matter(about: Mapping[str, Any], columns: Collection[str], title: str) -> str:
    """The YAML above a card: licence, tags, size, and which columns are images, sounds and labels."""
    import yaml

    licence, total = str(about.get("licence") or "unknown").lower(), sum(about["counts"].values())
    kinds = sorted({settings["kind"] for settings in about["preprocessing"].values()})
    in_shards = about["format"] == "webdataset"
    front: dict[str, Any] = {
        "license": _LICENCES.get(licence, licence),
        "pretty_name": title,
        "task_categories": [f"{kind}-classification" for kind in kinds],
        "tags": ["synthetic", "medical", "mmgen", *(["webdataset"] if in_shards else [])],
        "size_categories": [next((size for most, size in _SIZES.items() if total < most), "n>1M")],
    }
    config: dict[str, Any] = {"config_name": "default"}
    if in_shards:
        config["data_files"] = [{"split": "train", "path": "shards/*.tar"}]
        front["dataset_info"] = {"features": _members(about, columns)}
    else:
        features, folder = _columns(about, columns)
        config["data_files"] = [{"split": "train", "path": [TABLE, f"{glob.escape(folder)}/**"]}]
        config["features"] = features
    front["configs"] = [config]
    return yaml.safe_dump(front, sort_keys=False, width=120)


def _columns(about: Mapping[str, Any], columns: Collection[str]) -> tuple[list[dict[str, Any]], str]:
    """Features of the rows of ``metadata.csv``, and the folder of the files that decide which kind is typed: pictures
    where there are any."""
    settings = {name: settings_from_dict(own) for name, own in about["preprocessing"].items()}
    kinds = {name: kind_of(own) for name, own in settings.items()}
    first = next((name for name, kind in kinds.items() if kind.is_picture), next(iter(kinds)))
    # The loader of pictures would not find files of sounds that are typed as such; so it reads where they are.
    files = {
        name: kind.name if kind is kinds[first] else {kinds[first].name: {"decode": False}}
        for name, kind in kinds.items()
    }
    features = [{"name": name, "dtype": dtype} for name, dtype in files.items()]
    labels = [str(to_cell(label)) for label in about["counts"]]
    return [*features, *_metadata(labels, columns)], sample_files(settings)[f"{first}_file_name"].folder


def _members(about: Mapping[str, Any], columns: Collection[str]) -> list[dict[str, Any]]:
    """Features of the files of a sample in a shard."""
    settings = {name: settings_from_dict(own) for name, own in about["preprocessing"].items()}
    features: list[dict[str, Any]] = []
    for file in sample_files(settings).values():
        kinds = {"png": {"dtype": "image"}, "flac": {"dtype": "audio"}, "npy": {"list": {"list": "float32"}}}
        features.append({"name": file.member, **kinds[file.ending]})
    features.append({"name": "json", "struct": _metadata(list(map(str, about["counts"])), columns)})
    return [*features, {"name": "__key__", "dtype": "string"}]


def _metadata(labels: list[str], columns: Collection[str]) -> list[dict[str, Any]]:
    """Features of a sample's metadata: the label, a number whose name is known, and what else has a known type."""
    names = {str(number): label for number, label in enumerate(labels)}
    features: list[dict[str, Any]] = []
    for column in columns:
        known = _TYPES.get(column) or next((kind for end, kind in _ENDS.items() if column.endswith(end)), None)
        if column == "label":
            features.append({"name": column, "dtype": {"class_label": {"names": names}}})
        elif known is not None:
            features.append({"name": column, "dtype": known})
    return features
