"""What the page's addresses answer. Nothing in an address is a path: files are asked for by number."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmgen.data.settings import kind_of
from mmgen.data.writing.rejected import reject
from mmgen.errors import UserError
from mmgen.view.pages import View, asset
from mmgen.view.rendering import flac, joined, png, sound_of

PNG, FLAC, JSON = "image/png", "audio/flac", "application/json"


@dataclass(frozen=True)
class Answer:
    """A reply: its content and type, and further headers."""

    body: bytes
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(content: Any, status: int = 200) -> Answer:
    """A reply in JSON."""
    return Answer(json.dumps(content, allow_nan=False).encode(), JSON, status)


def answer(view: View, path: str, query: Mapping[str, str], content: Mapping[str, Any] | None) -> Answer:
    """The reply to a request.

    Args:
        query: values after the path.
        content: of a request that changes or draws something, None for others.

    Raises:
        LookupError: there is nothing at this address.
        UserError: what is asked for is not possible.
        OSError, ValueError: a file is missing or damaged.
    """
    if content is not None:
        return _ACTIONS[path](view, content)
    for pattern, route in _ROUTES:
        if match := re.fullmatch(pattern, path, re.ASCII):
            return route(view, query, *match.groups())
    raise LookupError(path)


def _on_page(query: Mapping[str, str]) -> tuple[int, str, int]:
    """Number of the data set, label and page."""
    numbers = [query.get(name, default) for name, default in (("set", "0"), ("page", "1"))]
    if not all(re.fullmatch(r"\d{1,9}", number, re.ASCII) for number in numbers):
        raise LookupError(numbers)
    return int(numbers[0]), query.get("label", ""), int(numbers[1])


def _page(view: View, query: Mapping[str, str]) -> Answer:
    return Answer(view.page(*_on_page(query)).encode("utf-8", "replace"))


def _sample(view: View, _: Mapping[str, str], place: str, number: str, column: str) -> Answer:
    data_set = view.data_sets[int(place)]
    part = data_set.part(int(number), column)
    if column.endswith("_spectrogram"):
        values = data_set.values(int(number), column.removesuffix("_spectrogram"))
        return Answer(png(joined(values), view.colours), PNG)
    sounds = not kind_of(data_set.settings[column.removesuffix("_file_name")]).is_picture
    return Answer(part.read(), FLAC if sounds else PNG)


def _real(view: View, _: Mapping[str, str], name: str, row: str, ending: str) -> Answer:
    if view.real is None:
        raise LookupError(name)
    value, settings = view.real.value(name, int(row)), view.settings[name]
    if ending == "png":
        return Answer(png(value, view.colours), PNG)
    if kind_of(settings).is_picture:
        raise LookupError(ending)
    return Answer(sound_of(value, settings), FLAC)


def _nearest(view: View, query: Mapping[str, str]) -> Answer:
    """{number: parts} of a page, each part the nearest real record of a modality."""
    if view.real is None or not view.data_sets:
        raise LookupError("nearest")
    place, label, page = _on_page(query)
    data_set, numbers = view.data_sets[place], view.on_page(place, label, page)
    found: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
    for name, settings in data_set.settings.items() if numbers else ():
        picture = kind_of(settings).is_picture
        samples = [data_set.values(number, name) for number in numbers]
        unit = "grey levels" if picture else "in units of the log-mel"
        for number, (row, distance) in zip(numbers, view.real.nearest(name, samples), strict=True):
            base = f"/real/{name}/{row}"
            media = {"picture": f"{base}.png", "sound": "" if picture else f"{base}.flac"}
            found[number].append({"modality": name, "row": row, "distance": f"{distance:.3g} {unit}", **media})
    return as_json(found)


def _drawn(view: View, _: Mapping[str, str], number: str, place: str, name: str, ending: str) -> Answer:
    if view.drawer is None:
        raise LookupError(number)
    drawn = view.drawer.drawn(int(number))
    if ending == "png":
        return Answer(png(drawn.values[name][int(place)], view.colours), PNG)
    return Answer(flac(drawn.waveforms[name][int(place)], view.settings[name]), FLAC)


def _figure(view: View, _: Mapping[str, str], number: str) -> Answer:
    return Answer(view.figures[int(number)].png, PNG)


def _reject(view: View, content: Mapping[str, Any]) -> Answer:
    data_set = view.data_sets[_number(content, "set")]
    sample, rejected = data_set.samples[_number(content, "number")], content.get("rejected")
    if type(rejected) is not bool:
        raise UserError("A sample is rejected (true) or not (false).")
    with view.rejecting:
        return as_json({"count": len(reject(data_set.folder, sample.name, rejected))})


def _draw(view: View, content: Mapping[str, Any]) -> Answer:
    if view.drawer is None:
        raise LookupError("draw")
    numbers = [_number(content, name) for name in ("number", "seed", "steps")]
    label, guidance = content.get("label"), content.get("guidance")
    if not isinstance(label, str) or type(guidance) not in (int, float):
        raise UserError("A draw needs a label and a number for guidance.")
    place = view.drawer.draw(label, *numbers, guidance)
    drawn, samples = view.drawer.drawn(place), []
    for row in range(numbers[0]):
        bases = {name: f"/drawn/{place}/{row}/{name}" for name in drawn.values}
        sounds = {name: f"{base}.flac" if name in drawn.waveforms else "" for name, base in bases.items()}
        samples.append([{"modality": n, "picture": f"{base}.png", "sound": sounds[n]} for n, base in bases.items()])
    return as_json({"samples": samples})


def _number(content: Mapping[str, Any], name: str) -> int:
    value = content.get(name)
    if type(value) is not int or value < 0:
        raise UserError(f"'{name}' is a whole number of 0 or more.")
    return value


_STYLE = "text/css; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_NUMBER, _NAME = r"(\d{1,9})", r"(\w{1,120})"
_ROUTES: tuple[tuple[str, Callable[..., Answer]], ...] = (
    ("/", _page),
    (r"/view\.css", lambda view, query: Answer(asset("view.css"), _STYLE)),
    (r"/view\.js", lambda view, query: Answer(asset("view.js"), _SCRIPT)),
    (r"/favicon\.ico", lambda view, query: Answer(b"", "image/x-icon")),  # browsers ask for one
    (f"/sample/{_NUMBER}/{_NUMBER}/{_NAME}", _sample),
    (rf"/real/{_NAME}/{_NUMBER}\.(png|flac)", _real),
    ("/nearest", _nearest),
    (rf"/drawn/{_NUMBER}/{_NUMBER}/{_NAME}\.(png|flac)", _drawn),
    (f"/figure/{_NUMBER}", _figure),
)
_ACTIONS: Mapping[str, Callable[[View, Mapping[str, Any]], Answer]] = {"/reject": _reject, "/draw": _draw}
