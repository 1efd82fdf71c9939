"""Model cards: what a model is, which data it saw (by counts only), what was measured, and what it may be used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmgen.data.loading import PairedData
from mmgen.models.condensed import CondensedModel
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.generative import Origin
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.names import IMAGE

Counts = Mapping[str, Mapping[str, int]]

_MAE = """---
library_name: mmgen
tags: [synthetic-data, masked-autoencoder, medical]
---

# Cross-modal masked autoencoder

{size:.1f} million parameters; labels: {labels}.

| modality | sample (C, H, W) | patch | tokens |
|---|---|---|---|
{modalities}

## Training data

| modality | label | files |
|---|---|---|
{counts}

## Measured

{measures}

## Use

Makes labelled synthetic samples from real ones of which a part is shown to it; it needs real inputs. For developing
software and methods, not for diagnosis.

## Privacy

Not audited. A masked autoencoder can remember its training data: do not share it before an audit.
"""


def mae_card(model: CrossModalMAE, counts: Counts, measures: Mapping[str, Any]) -> str:
    """Card of a masked autoencoder: training files by modality and label, and short results by name."""
    return _MAE.format(
        size=_millions(model),
        labels=", ".join(model.class_names) or "not recorded",
        modalities="\n".join(f"| {m.name} | {m.shape} | {m.patch} | {m.tokens} |" for m in model.modalities.values()),
        counts=_count_rows(counts),
        measures=_listed(measures),
    )


_CONDENSED = """---
library_name: mmgen
tags: [synthetic-data, data-condensation, medical]
---

# Condensed image set, {title}

{size:.1f} million numbers; {makes} labelled images of {shape} (channels, height, width): {labels}.

{preview}```python
from mmgen import load_model

model = load_model("this folder")
{call}
```

## Intended use

{use} For developing software and methods, not for diagnosis; {nobody}

## Training data

| modality | label | files |
|---|---|---|
{counts}

{subjects}

## What is in the file

{contents}

## Size

{sizes}

## Measured

{measures}

## Privacy

* audit: not audited
* membership inference: not audited
* copies of training images: not audited
* real pixels in the output: {pass_through}

{warning}
"""

_PREVIEW = "![Synthetic images, a row a class](preview.png)\n\n"
_TITLES = {
    "medsynth": "MedSynth generator",
    "dcgan": "conditional DCGAN",
    "dim": "DiM generator",
    "it_gan": "IT-GAN latents",
    "dm": "distribution matching (DM)",
    "subset": "subset of the real images",
}
_PLAIN_USE = "Draws labelled images for training and testing classifiers; it needs no real image."
_NOBODY = "nothing it makes is a picture of a person, and none may be taken for one."
_NEARLY = "its images may show real people: they may hold real pixels."
_REAL_PEOPLE = "these are pictures of people."
_REMEMBERS = "A model can remember what it was trained on: do not share it, or what it makes, before an audit."


class _Words(NamedTuple):
    """What a card says of a model by the origin of its images."""

    call: str
    use: str
    contents: str
    pass_through: str


_WORDS: dict[Origin, _Words] = {
    "class": _Words(
        "images, labels, names = model.sample(images_per_class=50, seed=0)",
        _PLAIN_USE,
        "The weights, and for every class a prior from which generation starts: statistics of images reduced to 8 x 8 "
        "pixels (mean, at most {directions} principal directions and deviations, strength of fine detail) of at least "
        "{floor} images. {pooled}",
        "none are stored; what the weights remember is not audited",
    ),
    "noise": _Words(
        "images, labels, names = model.sample(images_per_class=50, seed=0)",
        _PLAIN_USE,
        "The weights; generation starts from noise and a label.",
        "none are stored; what the weights remember is not audited",
    ),
    "stored": _Words(
        "images, labels, names = model.sample(images_per_class={most})",
        "Holds labelled images for training classifiers.",
        "{what}, up to {most} a class.",
        "likely: treat them as real data",
    ),
    "real": _Words(
        "images, labels, names = model.condense(real_images, real_labels)",
        "Turns real images into synthetic ones of the same class; only who holds real images can run it.",
        "The weights.",
        "likely (generation starts from real images): treat what it makes as real data",
    ),
}
_STORED = {
    "subset": "Real images, unchanged",
    "dm": "Images that were real ones before their pixels were optimised",
    "it_gan": "The weights of a generator, and latents, each fitted to a real image and then tuned",
}


def condensed_card(
    model: CondensedModel,
    counts: Counts,
    subjects: int | None,
    sizes: Mapping[str, Any],
    measures: Mapping[str, Any],
) -> str:
    """Card of a condensed model: training files by modality and label, number of subjects, sizes and results by
    name."""
    words, real = _WORDS[model.origin], model.method == "subset"
    return _CONDENSED.format(
        title=_TITLES[model.method],
        size=_millions(model),
        makes="holds" if model.origin == "stored" else "makes",
        shape=model.shape,
        labels=", ".join(model.class_names),
        preview="" if model.may_hold_real_pixels else _PREVIEW,
        call=words.call.format(most=model.most_per_class),
        use=words.use,
        nobody=_REAL_PEOPLE if real else _NEARLY if model.may_hold_real_pixels else _NOBODY,
        counts=_count_rows(counts),
        subjects="Subjects are not known." if subjects is None else f"Of {subjects} subjects.",
        contents=_contents(model, words),
        sizes=_listed(sizes),
        measures=_listed(measures),
        pass_through="all of them" if real else words.pass_through,
        warning="These are real images of people: do not share them." if real else _REMEMBERS,
    )


def _contents(model: CondensedModel, words: _Words) -> str:
    if isinstance(model, MedSynthGenerator) and model.prior is not None:
        pooled = model.prior.config["pooled"]
        few = f"Too few people for a prior of their own, so they have that of all images: {', '.join(pooled)}."
        return words.contents.format(**{**model.prior.config, "pooled": few if pooled else ""}).rstrip()
    return words.contents.format(most=model.most_per_class, what=_STORED.get(model.method))


def _millions(model: CrossModalMAE | CondensedModel) -> float:
    """Numbers that a model holds, parameters and buffers."""
    return sum(tensor.numel() for tensor in model.state_dict().values()) / 1e6


def _count_rows(counts: Counts) -> str:
    return "\n".join(
        f"| {name} | {label} | {count} |" for name, by_label in counts.items() for label, count in by_label.items()
    )


def _listed(measures: Mapping[str, Any]) -> str:
    return "\n".join(f"* {name}: {value}" for name, value in measures.items()) or "Nothing yet."


def training_bytes(data: PairedData) -> int:
    """Size of the training images' files."""
    manifest = data.manifests[IMAGE].of_split("train")
    return sum(manifest.files.size(path) for path in manifest.paths)


def subjects_in_training(data: PairedData) -> int | None:
    """Number of people in the training images, None where unknown."""
    subjects = data.manifests[IMAGE].of_split("train").subjects
    return None if subjects is None else len(set(subjects))


def size_lines(data: PairedData, classes: int, images_per_class: Sequence[int]) -> dict[str, str]:
    """Sizes of the training images and ratios of condensed sets to them, for a model card."""
    images = len(data.splits["train"][IMAGE])
    lines = {"training images": f"{images}, {training_bytes(data) / 1e6:.1f} MB"}
    for count in images_per_class:
        lines[f"condensation ratio at {count} images a class"] = f"{100 * count * classes / images:.1f} %"
    return lines
