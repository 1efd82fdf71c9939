"""What a model from elsewhere says of itself, checked before any of it takes memory: whatever its configuration asks
for, small weights make a small model."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from mmgen.data.opening import MIB, open_regular, read_json
from mmgen.data.settings import settings_from_dict
from mmgen.data.table import check_labels, label_key
from mmgen.errors import UserError, first_few
from mmgen.models.generative import GenerativeModel

# Bytes of config.json and of the header of the weights, and tensors in these: a large model has a thousand.
_LARGEST = MIB
_MOST_TENSORS = 5000
# How values of parameters that are annotated so stand in JSON.
_TYPES = {"int": (int,), "float": (int, float), "str": (str,), "Sequence[str]": (list,), "Sequence[int]": (list,)}


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a model.

    Raises:
        ValueError: it is no JSON object, larger than 1 MiB, or holds a number that is not finite.
        OSError: there is none, or it is no regular file.
    """
    try:
        config = read_json(path, _LARGEST)
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path.name} holds no settings by name")
    parts: list[tuple[str, Any]] = [*config.items()]
    while parts:
        key, value = parts.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key} in {path.name} is {value}, which is no finite number")
        if isinstance(value, dict):
            parts += value.items()
        elif isinstance(value, list):
            parts += ((key, part) for part in value)
    return config


def check_received(kind: type[GenerativeModel], config: Mapping[str, Any], weights: Path) -> None:
    """Build a model without memory, and check that it is what the weights hold, with proper labels and settings.

    Args:
        kind: class of the model.
        config: arguments of its constructor, beside others.
        weights: a file in the format safetensors.

    Raises:
        UserError, ValueError: arguments that make no model, tensors of other names, shapes or kinds of numbers than the
            model has, labels that no data could have, or settings that do not fit.
        OSError: the weights are no regular file.
    """
    from safetensors import safe_open

    with open_regular(weights) as file:
        if int.from_bytes(file.read(8), "little") > _LARGEST:
            raise ValueError(f"the header of {weights.name} is larger than 1 MiB")
    with safe_open(weights, "pt") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        if len(parts) > _MOST_TENSORS:
            raise ValueError(f"{weights.name} holds more than {_MOST_TENSORS:,} tensors")
        stored = {
            name: (tuple(part.get_shape()), part.get_dtype().startswith(("F", "BF"))) for name, part in parts.items()
        }
    model = _sketched(kind, config, [shape for shape, _ in stored.values()])
    wanted = {name: (tuple(x.shape), x.is_floating_point()) for name, x in model.state_dict().items()}
    if wanted != stored:
        differing = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
        raise ValueError(f"config.json and {weights.name} differ in {first_few(differing)}")
    _check_texts(model)


def check_numbers(model: nn.Module) -> None:
    """Raise ValueError if a parameter or buffer of a model holds NaN or infinity."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() and not all(map(math.isfinite, tensor.aminmax())):
            raise ValueError(f"{name} holds numbers that are not finite")


def _sketched(kind: type[GenerativeModel], config: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]) -> Any:
    """A model of this kind and configuration on the device "meta", without memory, of tensors of these shapes."""
    parameters = inspect.signature(kind).parameters
    known = {name: config[name] for name in parameters if name in config}
    for name, value in known.items():
        if type(value) not in _TYPES.get(parameters[name].annotation, (type(value),)):
            raise ValueError(f"{name} in config.json is of another type than {parameters[name].annotation}")
    try:
        with torch.device("meta"), _Stock(shapes):
            return kind(**known)
    except TypeError as error:
        raise ValueError(f"config.json lacks values of the kind {kind.kind}, or has some of other types") from error


class _Stock(TorchFunctionMode):
    """Within it ``torch.empty``, from which layers take their parameters, raises ValueError when none of these shapes
    is left for one: building a model takes no longer than it does for the model that the shapes belong to."""

    def __init__(self, shapes: Iterable[tuple[int, ...]]) -> None:
        super().__init__()
        self._left = Counter(shapes)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init" and "tensor" in kwargs:
            return kwargs["tensor"]  # there are no values to set
        made = func(*args, **kwargs)
        if func is torch.empty:
            self._left[tuple(made.shape)] -= 1
            if self._left[tuple(made.shape)] < 0:
                raise ValueError("config.json asks for more than the weights hold")
        return made


def _check_texts(model: GenerativeModel) -> None:
    """Labels are those that data could have, and settings of files make what the model takes."""
    names, hint = model.class_names, "save the model with other names."
    check_labels("config.json", names, hint)
    if not all(name.strip() for name in names) or len(set(map(label_key, names))) < len(names):
        raise UserError(f"config.json holds labels that are empty, or the same but for case and space; {hint}")
    for name, values in model.preprocessing.items():
        settings = settings_from_dict(values)
        if name in model.encoders and settings.shape != model.encoders[name].shape:
            sizes = f"{settings.shape}, not {model.encoders[name].shape}"
            raise ValueError(f"preprocessing of {name} in config.json makes samples of {sizes}")
