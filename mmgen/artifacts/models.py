"""Load, save and describe models; ImageNet weights from a timm name or a local file."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import nn

from mmgen.artifacts.card_facts import FACTS, CardFacts
from mmgen.artifacts.cards import write_card
from mmgen.data.progress import Stream
from mmgen.data.settings import Settings, settings_from_dict
from mmgen.data.writing.atomic import new_files
from mmgen.errors import UserError, first_few
from mmgen.models.condensed import CondensedModel
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.generative import GenerativeModel
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.models.stored import StoredImages, StoredLatents
from mmgen.models.timm_bridge import load_stream, pretrained, read_weights

_WEIGHTS = "model.safetensors"

_KINDS: dict[str, type[GenerativeModel]] = {
    model.kind: model for model in (CrossModalMAE, MedSynthGenerator, ConditionalGenerator, StoredLatents, StoredImages)
}


def load_model(path_or_id: str | Path) -> GenerativeModel:
    """A trained model from a folder (or a run's folder), or from a hub id such as ``organisation/name``.

    Only a name of that form that is no local path reaches for the network.

    Raises:
        UserError: nothing is there, or it is not a model of this library.

    Example:
        >>> import mmgen
        >>> model = mmgen.load_model("runs/isic")
        >>> model.kind, model.class_names
        ('medsynth', ('melanoma', 'nevus'))
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
        if local:
            config, weights = folder / "config.json", folder / _WEIGHTS
        else:
            from huggingface_hub import hf_hub_download

            config, weights = (Path(hf_hub_download(path_or_id, name)) for name in ("config.json", _WEIGHTS))
        name = json.loads(config.read_text(encoding="utf-8")).get("kind")
        if name not in _KINDS:
            raise UserError(f"{config} names the kind {name!r}, which this version does not know; update mmgen.")
        _refuse_other_sizes(_KINDS[name], config, weights)
        with redirect_stdout(Stream(sys.stdout)):  # the hub's package prints, and that nobody reads is no fault here
            return _KINDS[name].from_pretrained(folder if local else str(path_or_id), strict=True).eval()
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        message = f"The model {path_or_id} cannot be loaded ({reason}); save it again or check the name."
        raise UserError(message) from error


def _refuse_other_sizes(kind: type[GenerativeModel], config: Path, weights: Path) -> None:
    """Raise ValueError unless the weights have the sizes that the configuration asks for, before any of them takes
    memory: whatever it says, a small file makes a small model."""
    from safetensors import safe_open

    keys = json.loads(config.read_text("utf-8"))
    known = {name: keys[name] for name in inspect.signature(kind).parameters if name in keys}
    with torch.device("meta"):
        wanted = {name: list(x.shape) for name, x in kind(**known).state_dict().items()}
    with safe_open(weights, "pt") as file:
        stored = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # it is no mapping
    if wanted != stored:
        differing = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
        raise ValueError(f"config.json and {weights.name} differ in {first_few(differing)}")


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
        (new / "privacy.json").write_text('{"audited": false}\n', encoding="utf-8")
        if utility:
            (new / "utility.json").write_text(json.dumps(utility, indent=2) + "\n", encoding="utf-8")
        for name in ("preview.png", "utility.json"):  # of another model
            if not (new / name).exists():
                (folder / name).unlink(missing_ok=True)


def preview(model: CondensedModel, per_class: int = 8) -> Any:
    """A uint8 picture (H, W, 3): a row of synthetic images a class.

    Raises:
        UserError: a generator that starts from real images.
    """
    images = model.sample(per_class).images.expand(-1, 3, -1, -1)
    return rearrange(images, "(rows columns) c h w -> (rows h) (columns w) c", columns=per_class).numpy()


def start_from_timm(model: CrossModalMAE, modality: str, name_or_file: str) -> None:
    """Start one stream from ImageNet weights, given as a file or a timm model name.

    Files are .safetensors, or .pt, .pth or .bin, which are read with ``weights_only``.

    Raises:
        UserError: neither can be had, or the sizes differ.
    """
    path = Path(name_or_file)
    weights = read_weights(path) if path.is_file() else pretrained(name_or_file).state_dict()
    load_stream(model.streams[modality], model.modalities[modality], weights)


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
