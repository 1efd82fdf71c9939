"""What every model that can be asked for labelled samples says of itself, whichever system it belongs to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from mmgen.models.modality import Modality

Origin = Literal["class", "noise", "stored", "real"]
Threat = Literal["G", "S"]


class GenerativeModel(nn.Module, PyTorchModelHubMixin, library_name="mmgen"):
    """Base of all models that make or hold labelled samples.

    Code that handles models asks these questions and never which class a model is of. ``save_pretrained(folder)``
    writes ``config.json`` (``kind`` and the parameters of the constructor) and ``model.safetensors``;
    ``from_pretrained`` reads them.

    Attributes:
        kind: name of the class of models in ``config.json``.
        class_names: names of the labels.
        origin: what its samples are made from: "class", statistics of classes; "noise", random numbers; "stored",
            samples or latents in its file that were real ones, began as such or were fitted to one each; "real", real
            samples that whoever runs it must hold.
    """

    kind: ClassVar[str]
    class_names: tuple[str, ...]
    origin: Origin

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Parameters of the constructor that make a model of the same form, as in ``config.json``."""

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
    def threat(self) -> Threat:
        """What an attacker has who has the model: "G", a generator to query, or "S", a set of samples."""
        return "G"

    @property
    def encoders(self) -> Mapping[str, Modality]:
        """Modalities that it has an encoder of, by name, see :meth:`CrossModalMAE.to_timm`; most models have none."""
        return {}

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write ``config.json`` and ``model.safetensors``; arguments as in :class:`PyTorchModelHubMixin`."""
        kwargs["config"] = {"kind": self.kind, **self.config}
        return super().save_pretrained(save_directory, **kwargs)
