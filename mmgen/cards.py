"""Model cards: what a model is, which data it saw (by counts only), what was measured, and what it may be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.medsynth import MedSynthGenerator

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
        labels=", ".join(model.labels) or "not recorded",
        modalities="\n".join(f"| {m.name} | {m.shape} | {m.patch} | {m.tokens} |" for m in model.modalities.values()),
        counts=_count_rows(counts),
        measures=_listed(measures),
    )


_MEDSYNTH = """---
library_name: mmgen
tags: [synthetic-data, data-condensation, gan, medical]
---

# MedSynth generator

{size:.1f} million parameters; makes labelled images of {shape} (channels, height, width): {labels}.

{preview}```python
from mmgen import MedSynthGenerator

generator = MedSynthGenerator.from_pretrained("this folder")
{call}
```

## Intended use

{use} For developing software and methods, not for diagnosis; nothing it makes is a picture of a person, and none may be
taken for one.

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

A generator can remember what it was trained on: do not share it, or what it makes, before an audit.
"""

_PREVIEW = "![Synthetic images, a row a class](preview.png)\n\n"
_FROM_CLASS = (
    "images, labels, names = generator.sample(images_per_class=50, seed=0)",
    "Draws labelled images for training and testing classifiers; it needs no real image.",
    "The weights, and for every class a prior from which generation starts: statistics of images reduced to 8 x 8 "
    "pixels (mean, at most {directions} principal directions and deviations, strength of fine detail) of at least "
    "{floor} images. {pooled}",
    "none are stored; what the weights remember is not audited",
)
_FROM_REAL = (
    "images, labels, names = generator.condense(real_images, real_labels)",
    "Turns real images into synthetic ones of the same class; only who holds real images can run it.",
    "The weights.",
    "likely (generation starts from real images): treat what it makes as real data",
)


def medsynth_card(
    model: MedSynthGenerator,
    counts: Counts,
    subjects: int | None,
    sizes: Mapping[str, Any],
    measures: Mapping[str, Any],
) -> str:
    """Card of a MedSynth generator: training files by modality and label, number of subjects, sizes and results by
    name."""
    call, use, contents, pass_through = _FROM_REAL if model.prior is None else _FROM_CLASS
    if model.prior is not None:
        pooled = model.prior.config["pooled"]
        few = f"Too few people for a prior of their own, so they have that of all images: {', '.join(pooled)}."
        contents = contents.format(**{**model.prior.config, "pooled": few if pooled else ""}).rstrip()
    return _MEDSYNTH.format(
        size=_millions(model),
        shape=model.shape,
        labels=", ".join(model.class_names),
        preview="" if model.prior is None else _PREVIEW,
        call=call,
        use=use,
        counts=_count_rows(counts),
        subjects="Subjects are not known." if subjects is None else f"Of {subjects} subjects.",
        contents=contents,
        sizes=_listed(sizes),
        measures=_listed(measures),
        pass_through=pass_through,
    )


def _millions(model: CrossModalMAE | MedSynthGenerator) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


def _count_rows(counts: Counts) -> str:
    return "\n".join(
        f"| {name} | {label} | {count} |" for name, by_label in counts.items() for label, count in by_label.items()
    )


def _listed(measures: Mapping[str, Any]) -> str:
    return "\n".join(f"* {name}: {value}" for name, value in measures.items()) or "Nothing yet."
