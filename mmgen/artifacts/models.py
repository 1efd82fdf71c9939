"""Load, save and describe models; ImageNet weights from a timm name or a local file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import nn

from mmgen.artifacts.card_facts import FACTS, CardFacts
from mmgen.artifacts.cards import write_card
from mmgen.artifacts.received import check_numbers, check_received, read_config
from mmgen.data.progress import Stream
from mmgen.data.settings import Settings, settings_from_dict
from mmgen.data.writing.atomic import new_file, new_files
from mmgen.errors import EnvironmentProblem, UserError, refuse_broken_package, shown
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.generative import GenerativeModel, Request
from mmgen.models.mae_generator import MAEGenerator
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.models.stored import StoredImages, StoredLatents
from mmgen.models.timm_bridge import load_stream, pretrained, read_weights

_WEIGHTS = "model.safetensors"
PRIVACY = "privacy.json"

_KINDS: dict[str, type[GenerativeModel]] = {
    model.kind: model
    for model in (
        CrossModalMAE,
        DenoisingMAE,
        MedSynthGenerator,
        ConditionalGenerator,
        MAEGenerator,
        StoredLatents,
        StoredImages,
    )
}


def load_model(path_or_id: str | Path) -> GenerativeModel:
    """A trained model from a folder (or a run's folder), or from a hub id such as ``organisation/name``.

    Only a name of that form that is no local path reaches for the network. Whoever made the files, loading them runs no
    code of theirs and takes time and memory by the size of the weights, see :mod:`mmgen.artifacts.received`.

    Raises:
        UserError: nothing is there, or it is not a model of this library.

    Example:
        >>> import mmgen
        >>> model = mmgen.load_model("runs/isic")
        >>> model.kind, model.class_names
        ('medsynth', ('melanoma', 'nevus'))
    """
    folder = Path(path_or_id)
    if not os.path.isfile(folder / "config.json") and os.path.isfile(folder / "model" / "config.json"):
        folder = folder / "model"
    local = os.path.isfile(folder / "config.json")
    # A mistyped runs/name has the form of an id too; the folder runs/ beside it gives it away.
    is_id = isinstance(path_or_id, str) and path_or_id.count("/") == 1 and not path_or_id.startswith((".", "/", "~"))
    where = shown(path_or_id, 400)
    if not local and (not is_id or os.path.exists(folder) or os.path.isdir(folder.parent)):
        raise UserError(f"There is no model in {where}: config.json is missing; give the model/ folder of a run.")
    try:
        if local:
            config, weights = folder / "config.json", folder / _WEIGHTS
        else:
            from huggingface_hub import hf_hub_download

            config, weights = (Path(hf_hub_download(path_or_id, name)) for name in ("config.json", _WEIGHTS))
        values = read_config(config)
        name = values.get("kind")
        if not isinstance(name, str) or name not in _KINDS:
            raise UserError(f"its kind is {name!r}, which this version does not know; update mmgen.")
        check_received(_KINDS[name], values, weights)
        with redirect_stdout(Stream(sys.stdout)):  # the hub's package prints, and that nobody reads is no fault here
            model = _KINDS[name].from_pretrained(folder if local else str(path_or_id), strict=True)
        check_numbers(model)
        return model.eval()
    except EnvironmentProblem:
        raise
    except UserError as error:
        raise UserError(shown(f"The model {where} cannot be used: {error}", 1000)) from error
    except Exception as error:
        refuse_broken_package(error)
        reason = shown(" ".join(str(error).split()).rstrip(".") or type(error).__name__, 400)
        raise UserError(f"The model {where} cannot be loaded ({reason}); save it again or check the name.") from error


def save_model(
    model: GenerativeModel, folder: Path, facts: CardFacts | None = None, utility: Mapping[str, Any] | None = None
) -> None:
    """Write everything that a receiver gets of a model, in place of an earlier one.

    ``model.safetensors`` and ``config.json``; ``preview.png`` (synthetic images only, so not of a model that needs real
    ones or whose images may hold real pixels); ``card.json`` and the card ``README.md`` that is rendered from it;
    ``privacy.json``, which says that nobody audited it; and, where there is any, ``utility.json``.

    Args:
        facts: what the card says of data and results, in numbers; nothing if absent.
        utility: section ``utility`` of the report.
    """
    from PIL import Image

    facts = facts or CardFacts()
    with new_files(folder) as new:
        model.save_pretrained(new)
        (new / FACTS).write_text(json.dumps(asdict(facts), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        write_card(model, new, facts)
        if not (model.needs_real_data or model.may_hold_real_pixels):
            Image.fromarray(preview(model)).save(new / "preview.png")
        _say_unaudited(new)
        if utility:
            (new / "utility.json").write_text(json.dumps(utility, indent=2) + "\n", encoding="utf-8")
        for name in ("preview.png", "utility.json"):  # of another model
            if not (new / name).exists():
                (folder / name).unlink(missing_ok=True)


def withdraw_audit(run: Path) -> None:
    """Remove what an audit said of a run and of its model, before another training takes their place."""
    if (run / "audit" / PRIVACY).is_file():
        (run / "audit" / PRIVACY).unlink()
    if (run / "model" / PRIVACY).is_file():
        _say_unaudited(run / "model")


def _say_unaudited(folder: Path) -> None:
    with new_file(folder / PRIVACY) as file:
        file.write(b'{"audited": false}\n')


def preview(model: GenerativeModel, per_class: int = 8) -> Any:
    """A uint8 picture (H, W, 3) of the first modality: a row of synthetic samples a class.

    Raises:
        UserError: a model that starts from real samples.
    """
    count = per_class * len(model.class_names)
    request = Request(np.arange(count), per_class, seed=0, steps=np.zeros(count, dtype=np.int64))
    values = next(iter(model.make(request).values()))
    if values.dtype != torch.uint8:
        modality = next(iter(model.encoders.values()))
        low, high = modality.value_range or (float(values.min()), float(values.max()))
        values = ((values - low) / (high - low) * 255).round().clamp(0, 255).byte().cpu()
    images = values.expand(-1, 3, -1, -1)
    return rearrange(images, "(rows columns) c h w -> (rows h) (columns w) c", columns=per_class).numpy()


def start_from_timm(model: CrossModalMAE, modality: str, name_or_file: str) -> None:
    """Start one stream from ImageNet weights, given as a file or a timm model name.

    Files are .safetensors, or .pt, .pth or .bin, which are read with ``weights_only``.

    Raises:
        UserError: neither can be had, or the sizes differ.
    """
    path = Path(name_or_file)
    weights = read_weights(path) if path.is_file() else pretrained(name_or_file).state_dict()
    try:
        load_stream(model.streams[modality], model.modalities[modality], weights)
    except Exception as error:  # tensors of any shape under the right names
        reason = shown(str(error).rstrip("."), 300)
        raise UserError(f"The weights {name_or_file} cannot be used ({reason}).") from error


def model_digest(model: nn.Module) -> str:
    """Twelve hexadecimal digits that name a model, whatever the folder it lies in.

    They are taken over weights and, of this library's models, the configuration: with another name of a class or
    another normalisation the same weights are another model.
    """
    digest = hashlib.sha256()
    if hasattr(model, "kind"):
        digest.update(json.dumps(model.config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def model_settings(model: GenerativeModel) -> dict[str, Settings]:
    """How files of each modality become the model's arrays; raises UserError when the model does not say."""
    # In the order of the model: config.json is sorted by name.
    names = getattr(model, "modalities", None) or model.preprocessing
    if missing := [name for name in names if name not in model.preprocessing]:
        raise UserError(
            f"The model does not say how {missing} were decoded (preprocessing in config.json); train it with a recipe."
        )
    return {name: settings_from_dict(model.preprocessing[name]) for name in names}
