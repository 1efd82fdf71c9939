"""Model cards, rendered from a model and validated facts: what it is, which data it saw (by counts only), what was
measured, and what it may be used for. No text that anybody wrote gets onto a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmgen.artifacts.card_facts import CardFacts
from mmgen.data.markdown import in_markdown
from mmgen.data.writing.atomic import new_file
from mmgen.models.generative import GenerativeModel, Origin
from mmgen.models.modality import Modality
from mmgen.names import METHOD_TITLES
from mmgen.version import __version__

_CARD = """---
{front}---

# {title}

{summary}

## Intended use

{use} For developing software and methods, not for diagnosis{nobody}

## Training data

| modality | label | files |
|---|---|---|
{counts}
{contents}
## Measured

{measures}

## Limits

It shows what it learnt from its training data, their biases included, and knows the labels and kinds of files that are
named here, no others. What is measured holds for data like these, and synthetic is not anonymous: see Privacy.

## Cite

Made by mmgen {version}. Name it, and the data that the model was trained on.

{privacy}"""
# Of whoever trained the model: which data these are is not said.
_TEST_DATA = {"type": "private", "name": "Test part of the training's data"}

_MAE_SUMMARY = """{millions:.1f} million parameters; labels: {labels}.

| modality | sample (C, H, W) | patch | tokens |
|---|---|---|---|
{modalities}

Images are levels of 0 to 255, sounds log-mels; `config.json` says how they are made of files."""
_MAE_DRAWS = """

![Synthetic samples, a row a class](preview.png)

```python
import mmgen

for batch in mmgen.generate_pairs("this folder", per_class=50, seed=0):
    batch.values, batch.labels
```"""
_MAE_USE = "Makes labelled synthetic samples from real ones of which a part is shown to it; it needs real inputs."
_MAE_DRAWS_USE = (
    "Makes labelled synthetic samples from a label and chance alone, or one modality from another; it needs no real "
    "sample."
)
_MAE_WARNING = "A masked autoencoder can remember its training data: do not share it before an audit."

_CONDENSED_SUMMARY = """{millions:.1f} million numbers; {makes} labelled images of {shape} (channels, height, width): \
{labels}.

{preview}```python
from mmgen import load_model

model = load_model("this folder")
{call}
```"""
_CONDENSED_CONTENTS = """
{subjects}

## What is in the file

{contents}

## Size

{sizes}
"""
_CONDENSED_PRIVACY = """## Privacy

* audit: not audited
* membership inference: not audited
* copies of training images: not audited
* real pixels in the output: {pixels}

{warning}
"""

_DRAWS = "images, labels, names = model.sample(images_per_class=50, seed=0)"
_DRAWS_USE = "Draws labelled images for training and testing classifiers; it needs no real image."
_NOBODY = "nothing it makes is a picture of a person, and none may be taken for one."
_NEARLY = "its images may show real people: they may hold real pixels."
_REAL_PEOPLE = "these are pictures of people."
_REMEMBERED = "none are stored; what the weights remember is not audited"
_REAL = "These are real images of people: do not share them."
_REMEMBERS = "A model can remember what it was trained on: do not share it, or what it makes, before an audit."


class _Words(NamedTuple):
    """Phrases of the card of a condensed model, by the origin of its images."""

    call: str
    use: str
    contents: str
    pixels: str


_WORDS: dict[Origin, _Words] = {
    "class": _Words(
        _DRAWS,
        _DRAWS_USE,
        "The weights, and for every class a prior from which generation starts: statistics of images reduced to 8 x 8 "
        "pixels (mean, at most {directions} principal directions and deviations, strength of fine detail) of at least "
        "{floor} images.",
        _REMEMBERED,
    ),
    "noise": _Words(_DRAWS, _DRAWS_USE, "The weights; generation starts from noise and a label.", _REMEMBERED),
    "stored": _Words(
        "images, labels, names = model.sample(images_per_class={most})",
        "Holds labelled images for training classifiers.",
        "{stored}, up to {most} a class.",
        "likely: treat them as real data",
    ),
    "real": _Words(
        "images, labels, names = model.condense(real_images, real_labels)",
        "Turns real images into synthetic ones of the same class; only who holds real images can run it.",
        "The weights.",
        "likely (generation starts from real images): treat what it makes as real data",
    ),
}
_OF_REAL = "Images that are real ones or were made from such"
_STORED = {
    "subset": "Real images, unchanged",
    "dm": "Images that were real ones before their pixels were optimised",
    "it_gan": "The weights of a generator, and latents, each fitted to a real image and then tuned",
}


def write_card(model: GenerativeModel, folder: Path, facts: CardFacts, privacy: str | None = None) -> None:
    """Write the card ``README.md`` beside a model's ``model.safetensors``: what the model says of itself, and facts on
    modalities and labels that it has.

    Args:
        privacy: the section on privacy, Markdown with its heading; that nobody audited the model if absent.
    """
    counts = [
        f"| {in_markdown(name)} | {in_markdown(label)} | {count} |"
        for name, by_label in facts.counts.items()
        for label, count in by_label.items()
        if name in model.preprocessing and label in model.class_names
    ]
    weight_bytes = (folder / "model.safetensors").stat().st_size
    own = _of_mae(model) if "modalities" in model.config else _of_condensed(model, facts, weight_bytes)
    own |= {} if privacy is None else {"privacy": privacy}
    measures = [
        f"* error on hidden patches, {in_markdown(name)}: {error:.2f} of the mean patch's"
        for name, error in facts.hidden_patch_errors.items()
        if name in model.preprocessing
    ]
    measures += [
        f"* macro AUC on real test images, {x.classifier}, {x.images_per_class} images a class: "
        f"{x.condensed:.3f} condensed, {x.random_real:.3f} random real, {x.all_real:.3f} all real"
        for x in facts.scores
    ]
    front = _front_matter(own.pop("tag"), own["title"], _results(model, facts))
    measured = "\n".join(measures) or "Nothing yet."
    card = _CARD.format(front=front, counts="\n".join(counts), measures=measured, version=__version__, **own)
    with new_file(folder / "README.md") as file:
        file.write(card.encode())


def _front_matter(tag: str, title: str, results: Sequence[Mapping[str, Any]]) -> str:
    """The YAML above a card, as the Hugging Face hub reads it; measures as a ``model-index``."""
    import yaml

    task = "unconditional-image-generation" if tag == "data-condensation" else "feature-extraction"
    front: dict[str, Any] = {"library_name": "mmgen", "license": "unknown", "pipeline_tag": task}
    front["tags"] = ["synthetic-data", tag, "medical"]
    if results:
        front["model-index"] = [{"name": title, "results": results}]
    return yaml.safe_dump(front, sort_keys=False)


def _results(model: GenerativeModel, facts: CardFacts) -> list[dict[str, Any]]:
    """What was measured, as results of a ``model-index``."""
    results = []
    if errors := {name: error for name, error in facts.hidden_patch_errors.items() if name in model.preprocessing}:
        metrics = [
            {
                "type": "relative_mse",
                "name": f"Error on hidden patches, {name}, of the mean patch's",
                "value": float(error),
            }
            for name, error in errors.items()
        ]
        results.append({"task": {"type": "feature-extraction"}, "dataset": dict(_TEST_DATA), "metrics": metrics})
    if facts.scores:
        metrics = [
            {
                "type": "roc_auc",
                "name": f"Macro AUC, {x.classifier}, {x.images_per_class} images a class",
                "value": float(x.condensed),
            }
            for x in facts.scores
        ]
        task = {"type": "image-classification", "name": "Trained on images of the model, tested on real ones"}
        results.append({"task": task, "dataset": dict(_TEST_DATA), "metrics": metrics})
    return results


def _heading(model: GenerativeModel) -> dict[str, Any]:
    """Numbers that a model holds, parameters and buffers, in millions, and its labels."""
    numbers = sum(tensor.numel() for tensor in model.state_dict().values())
    return {"millions": numbers / 1e6, "labels": ", ".join(map(in_markdown, model.class_names)) or "not recorded"}


def _of_mae(model: GenerativeModel) -> dict[str, str]:
    """Parts of the card of a masked autoencoder."""
    rows = [Modality(**values) for values in model.config["modalities"]]
    table = "\n".join(f"| {in_markdown(m.name)} | {m.shape} | {m.patch} | {m.tokens} |" for m in rows)
    draws = not model.needs_real_data
    return {
        "tag": "masked-autoencoder",
        "title": "Cross-modal masked autoencoder" + (", denoising" if draws else ""),
        "summary": _MAE_SUMMARY.format(modalities=table, **_heading(model)) + (_MAE_DRAWS if draws else ""),
        "use": _MAE_DRAWS_USE if draws else _MAE_USE,
        "nobody": f"; {_NOBODY}" if draws else ".",
        "contents": "",
        "privacy": f"## Privacy\n\nNot audited. {_MAE_WARNING}\n",
    }


def _of_condensed(model: Any, facts: CardFacts, weight_bytes: int) -> dict[str, str]:
    """Parts of the card of a condensed model."""
    words, subset = _WORDS[model.origin], model.method == "subset"
    prior, most = model.config.get("prior") or {}, model.most_per_class
    contents = words.contents.format(
        **{
            "most": most,
            "stored": _STORED.get(model.method, _OF_REAL),
            **prior,
        }
    )
    if pooled := prior.get("pooled"):
        few = ", ".join(map(in_markdown, pooled))
        contents += f" Too few people for a prior of their own, so they have that of all images: {few}."
    if model.autoencoder is not None:
        contents += " Images are drawn with a denoising masked autoencoder that was trained on the real ones."
    if model.teacher is not None:
        contents += " And a classifier trained on the real images, which chooses and labels draws."
    sizes = [f"* model: {weight_bytes / 1e6:.1f} MB"]
    if images := facts.training_images:
        sizes.append(f"* training images: {images}, {facts.training_bytes / 1e6:.1f} MB")
        for count in facts.images_per_class:
            ratio = 100 * count * len(model.class_names) / images
            sizes.append(f"* condensation ratio at {count} images a class: {ratio:.1f} %")
    return {
        "tag": "data-condensation",
        "title": f"Condensed image set, {METHOD_TITLES[model.method]}",
        "summary": _CONDENSED_SUMMARY.format(
            makes="holds" if model.origin == "stored" else "makes",
            shape=model.shape,
            preview="" if model.may_hold_real_pixels else "![Synthetic images, a row a class](preview.png)\n\n",
            call=words.call.format(most=most),
            **_heading(model),
        ),
        "use": words.use,
        "nobody": "; " + (_REAL_PEOPLE if subset else _NEARLY if model.may_hold_real_pixels else _NOBODY),
        "contents": _CONDENSED_CONTENTS.format(
            subjects="Subjects are not known." if facts.subjects is None else f"Of {facts.subjects} subjects.",
            contents=contents,
            sizes="\n".join(sizes),
        ),
        "privacy": _CONDENSED_PRIVACY.format(pixels=_pixels(model), warning=_REAL if subset else _REMEMBERS),
    }


def pixels_line(model: GenerativeModel) -> str:
    """Line of the section on privacy that says that real pixels come through; "" where a model may hold none."""
    return f"* real pixels in the output: {_pixels(model)}" if model.may_hold_real_pixels else ""


def _pixels(model: GenerativeModel) -> str:
    return "all of them" if model.config.get("method") == "subset" else _WORDS[model.origin].pixels
