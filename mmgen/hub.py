"""Load, save and describe models; ImageNet weights from a timm name or a local file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.timm_bridge import load_stream, pretrained, read_weights


def load_model(path_or_id: str | Path) -> CrossModalMAE:
    """A trained model from a folder (or a run's folder), or from a hub id such as ``organisation/name``.

    Only a name of that form that is no local path reaches for the network.

    Raises:
        UserError: nothing is there, or it is not a model of this library.
    """
    folder = Path(path_or_id)
    if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    local = (folder / "config.json").is_file()
    # A mistyped runs/name has the form of an id too; the folder runs/ beside it gives it away.
    is_id = isinstance(path_or_id, str) and path_or_id.count("/") == 1 and not path_or_id.startswith((".", "/", "~"))
    if not local and (not is_id or folder.exists() or folder.parent.is_dir()):
        raise UserError(f"There is no model in {path_or_id}: config.json is missing; give the model/ folder of a run.")
    try:
        return CrossModalMAE.from_pretrained(folder if local else str(path_or_id), strict=True).eval()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The model {path_or_id} cannot be loaded ({error}); save it again or check the name."
        ) from error


def save_model(model: CrossModalMAE, folder: Path, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Write ``model.safetensors``, ``config.json`` and a card that describes the data by counts only.

    ``counts`` are training files by modality and label.
    """
    model.save_pretrained(folder)
    write_card(model, folder, counts)


def write_card(
    model: CrossModalMAE,
    folder: Path,
    counts: Mapping[str, Mapping[str, int]],
    measures: Mapping[str, Any] | None = None,
) -> None:
    """Write the model card ``README.md``, with short results by name where there are any."""
    (folder / "README.md").write_text(_card(model, counts, measures or {}), encoding="utf-8")


def start_from_timm(model: CrossModalMAE, modality: str, name_or_file: str) -> None:
    """Start one stream from ImageNet weights, given as a file or a timm model name.

    Files are .safetensors, or .pt, .pth or .bin, which are read with ``weights_only``.

    Raises:
        UserError: neither can be had, or the sizes differ.
    """
    path = Path(name_or_file)
    weights = read_weights(path) if path.is_file() else pretrained(name_or_file).state_dict()
    load_stream(model.streams[modality], model.modalities[modality], weights)


_CARD = """---
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


def _card(
    model: CrossModalMAE,
    counts: Mapping[str, Mapping[str, int]],
    measures: Mapping[str, Any],
) -> str:
    rows = [f"| {name} | {label} | {count} |" for name, by_label in counts.items() for label, count in by_label.items()]
    return _CARD.format(
        size=sum(p.numel() for p in model.parameters()) / 1e6,
        labels=", ".join(model.labels) or "not recorded",
        modalities="\n".join(f"| {m.name} | {m.shape} | {m.patch} | {m.tokens} |" for m in model.modalities.values()),
        counts="\n".join(rows),
        measures="\n".join(f"* {name}: {value}" for name, value in measures.items()) or "Nothing yet.",
    )


def model_digest(model: CrossModalMAE) -> str:
    """Twelve hexadecimal digits that name these weights, whatever the folder they lie in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
