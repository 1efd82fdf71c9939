"""The one protocol of all models that can be asked for labelled samples, whichever system they belong to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.modality import Modality
from mmgen.models.teacher import Teacher

Origin = Literal["class", "noise", "stored", "real"]
Threat = Literal["G", "S"]
MaskRatio = float | Mapping[str, float]


@dataclass(frozen=True)
class Sampling:
    """How a model that takes out noise step by step draws.

    Attributes:
        steps: network passes a modality; one with and one without the label, together, counts once here.
        guidance: 1 follows the label as training did, more exaggerates it.

    Raises:
        UserError: numbers that make no sense.
    """

    steps: int = 11
    guidance: float = 2.25

    def __post_init__(self) -> None:
        if type(self.steps) is not int or not 1 <= self.steps <= 1000:
            raise UserError(f"Sampling takes 1 to 1000 steps, not {self.steps}.")
        if type(self.guidance) not in (int, float) or not 0.0 <= self.guidance <= 100.0:
            raise UserError(f"Guidance is a number from 0 to 100, not {self.guidance}; 1 is none.")


@dataclass(frozen=True)
class Request:
    """Consecutive samples of a data set, asked for at once. A sound of several segments is several items of it.

    Attributes:
        indices: (B,) position in the data set, which has ``per_class`` samples of each class, one class after another.
        per_class: samples of each class in the whole data set.
        seed: of the data set.
        steps: (B,) which segment of its sample an item is.
        ratios: hidden share of the real samples of each modality.
        inputs: real samples to start from by modality, raw (B, C, H, W) on the model's device.
        paste_visible: keep the visible patches of ``inputs``.
        labels: (B,) number of each item's label among the model's; that of the index if absent.
        sampling: how noise is taken out.
    """

    indices: np.ndarray
    per_class: int
    seed: int
    steps: np.ndarray
    ratios: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    paste_visible: bool = False
    labels: np.ndarray | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if self.labels is None:
            object.__setattr__(self, "labels", self.indices // self.per_class)


class GenerativeModel(nn.Module, PyTorchModelHubMixin, library_name="mmgen"):
    """Base of all models that make or hold labelled samples.

    Code that handles models asks these questions and never which class a model is of. ``save_pretrained(folder)``
    writes ``config.json`` (``kind`` and the parameters of the constructor) and ``model.safetensors``;
    ``from_pretrained`` reads them.

    Attributes:
        kind: name of the class of models in ``config.json``.
        config: parameters of the constructor that make a model of the same form, as in ``config.json``.
        class_names: names of the labels.
        method: name of the method that made it; None where the kind says it all.
        origin: what its samples are made from: "class", statistics of classes; "noise", random numbers; "stored",
            samples or latents in its file that were real ones, began as such or were fitted to one each; "real", real
            samples that whoever runs it must hold.
        threat: what an attacker has who has the model: "G", a generator to query, or "S", a set of samples.
    """

    kind: ClassVar[str]
    config: dict[str, Any]
    class_names: tuple[str, ...]
    method: str | None = None
    origin: Origin
    threat: Threat = "G"

    @property
    @abstractmethod
    def preprocessing(self) -> Mapping[str, Mapping[str, Any]]:
        """How files of each modality became arrays, as JSON-able dictionaries by modality; opaque to models."""

    @property
    def needs_real_data(self) -> bool:
        """Whether samples are made from real ones, which whoever asks for them must hold."""
        return self.origin == "real"

    @property
    def may_hold_real_pixels(self) -> bool:
        """Whether samples may be real ones in part or as a whole."""
        return self.origin in ("stored", "real")

    @property
    def starts(self) -> tuple[str, ...]:
        """What samples can be made from, first what they are if nothing else is said: "label", a label and chance
        alone; "samples", parts of real samples of all modalities; or the name of a modality, whole real samples of it.
        """
        return ("image",) if self.needs_real_data else ("label",)

    def ratios(self, mask_ratio: MaskRatio) -> dict[str, float]:
        """Hidden share of the real samples of each modality; empty for models that hide nothing of real samples."""
        return {}

    @abstractmethod
    def make(self, request: Request) -> dict[str, Tensor]:
        """Raw samples (B, C, H, W) of each modality.

        Every item is a function of the weights, its index, step and inputs, and the seed, whatever else is asked for.
        """

    @property
    def encoders(self) -> Mapping[str, Modality]:
        """Modalities that it has an encoder of, by name, see :meth:`CrossModalMAE.to_timm`; most models have none."""
        return {}

    @property
    def autoencoder(self) -> GenerativeModel | None:
        """The masked autoencoder that it is or draws with; None where there is none."""
        return None

    @property
    def teacher(self) -> Teacher | None:
        """A classifier trained on the real samples that it carries; None where it carries none."""
        return None

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write ``config.json`` and ``model.safetensors``; arguments as in :class:`PyTorchModelHubMixin`."""
        kwargs["config"] = {"kind": self.kind, **self.config}
        return super().save_pretrained(save_directory, **kwargs)

    @classmethod
    def from_pretrained(cls, *args: Any, strict: bool = True, **kwargs: Any) -> Self:
        """A model from a folder or hub id; weights must be complete unless ``strict`` is off.

        See ``PyTorchModelHubMixin.from_pretrained``; :func:`mmgen.load_model` is the same with clearer errors.
        """
        return super().from_pretrained(*args, strict=strict, **kwargs)
