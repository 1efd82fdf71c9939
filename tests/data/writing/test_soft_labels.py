from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save
from small import SETTINGS, SOUND, digests

from mmgen.data.writing.soft_labels import SOFT_LABELS, decode_soft_labels, encode_soft_labels, read_soft_labels
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample
from mmgen.errors import UserError

CLASSES = ("covid", "ΑΒ c", "10")
SOFT = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]], dtype=np.float32)


def write(folder: Path, writer: Callable[..., Any] = FolderWriter, soft: np.ndarray | None = SOFT[:2]) -> Path:
    """A sample of each of two labels; the second sound has two segments."""
    folder.mkdir()

    def samples() -> Any:
        for index in range(2):
            image = np.full((1, 32, 32), 50 * index, dtype=np.uint8)
            log_mel = np.full((40, 40 * (index + 1)), -1.0 - index, dtype=np.float32)
            yield SyntheticSample(index, {"image": image}, {"audio": (log_mel, np.zeros(SOUND.segment_samples))})

    labels = CLASSES[:2]
    made = writer(folder, SETTINGS, labels, 1, 4, lambda index: {"label": labels[index]}, soft)
    made.write(samples())
    made.finish({})
    return folder


def two(soft: np.ndarray = SOFT[:2]) -> np.ndarray:
    """Probabilities of two classes."""
    return (soft[:, :2] / soft[:, :2].sum(1, keepdims=True)).astype(np.float32)


def test_any_safetensors_reader_opens_what_is_written(tmp_path: Path) -> None:
    content = encode_soft_labels(SOFT, CLASSES)
    assert content == encode_soft_labels(SOFT.astype(np.float64), list(CLASSES))
    assert np.array_equal(load(content)["probabilities"], SOFT)
    (tmp_path / SOFT_LABELS).write_bytes(content)
    with safe_open(tmp_path / SOFT_LABELS, "np") as file:
        assert json.loads(file.metadata()["classes"]) == list(CLASSES)
    assert np.array_equal(read_soft_labels(tmp_path, CLASSES, 4), SOFT)


def test_columns_get_the_order_of_the_names_that_are_asked_for() -> None:
    order = [2, 0, 1]
    read = decode_soft_labels(encode_soft_labels(SOFT, CLASSES), [CLASSES[i] for i in order], 4)
    assert np.array_equal(read, SOFT[:, order]) and read.dtype == np.float32


def spoiled(index: tuple[int, int], value: float) -> np.ndarray:
    changed = SOFT.copy()
    changed[index] = value
    return changed


def file_of(values: Any = SOFT, classes: Any = None, **tensors: np.ndarray) -> bytes:
    return save({"probabilities": values, **tensors}, {"classes": json.dumps(CLASSES) if classes is None else classes})


def with_header(header: Any, body: bytes = SOFT.tobytes()) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


TENSOR = {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}
NAMED = {"classes": json.dumps(CLASSES)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no safetensors file"),
        (b"\xff" * 64, "no safetensors file"),
        (struct.pack("<Q", 1 << 62) + b"{}", "no safetensors file"),
        (with_header(b"[" * 5000), "cannot be used"),
        (with_header(b"\xff\xfe{"), "cannot be used"),
        (with_header([1, 2]), "one float32 tensor"),
        (with_header({"probabilities": TENSOR}), "does not name its classes"),
        (with_header({"probabilities": TENSOR, "__metadata__": [NAMED]}), "does not name its classes"),
        (with_header({"probabilities": TENSOR, "__metadata__": {"classes": 3}}), "does not name its classes"),
        (with_header({"probabilities": TENSOR | {"shape": [1 << 40, 3]}, "__metadata__": NAMED}), "one float32 tensor"),
        (with_header({"probabilities": TENSOR | {"data_offsets": [8, 56]}, "__metadata__": NAMED}), "float32 tensor"),
        (with_header({"probabilities": TENSOR, "__metadata__": NAMED}, SOFT.tobytes()[:-1]), "another length"),
        (with_header({"probabilities": TENSOR, "__metadata__": NAMED}, SOFT.tobytes() + b"x"), "another length"),
        (file_of() + bytes(2 << 20), "larger than 1"),
        (file_of(SOFT[:3]), r"of shape \(4, 3\)"),
        (file_of(SOFT.astype(np.float64)), "one float32 tensor"),
        (file_of(SOFT[:, :2].copy()), r"of shape \(4, 3\)"),
        (file_of(patients=np.zeros(3, np.float32)), "one float32 tensor"),
        (file_of(classes="["), "cannot be used"),
        (file_of(classes='["covid", "10"]'), "its classes are not"),
        (file_of(classes='["covid", "covid", "10"]'), "its classes are not"),
        (file_of(classes='["covid", "ΑΒ c", 10]'), "cannot be used"),
        (file_of(spoiled((1, 2), np.nan)), "not numbers"),
        (file_of(spoiled((1, 2), np.inf)), "not numbers"),
        (file_of(spoiled((0, 0), -0.1)), "below 0 or above 1"),
        (file_of(spoiled((0, 0), 1.5)), "below 0 or above 1"),
        (file_of(spoiled((0, 0), 0.5)), "of 1 of 4 samples do not add up"),
    ],
)
def test_a_spoiled_file_is_a_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / SOFT_LABELS).write_bytes(content)
    with pytest.raises(UserError, match=words) as refused:
        read_soft_labels(tmp_path, CLASSES, 4)
    assert SOFT_LABELS in str(refused.value) and "\n" not in str(refused.value)


def test_no_link_leads_to_soft_labels_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(file_of())
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / SOFT_LABELS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link out of the data set"):
        read_soft_labels(folder, CLASSES, 4)


def test_what_are_no_probabilities_is_not_written() -> None:
    for values in (SOFT * 2, SOFT - 0.1, SOFT[:, :2], spoiled((0, 0), np.nan)):
        with pytest.raises(ValueError):
            encode_soft_labels(values, CLASSES)


@pytest.mark.parametrize("writer", [FolderWriter, ShardWriter])
def test_a_data_set_with_soft_labels_is_whole_and_read_with_or_without(writer: Any, tmp_path: Path) -> None:
    folder, plain = write(tmp_path / "set", writer, two()), write(tmp_path / "plain", writer, None)
    assert verify_dataset(folder) == verify_dataset(plain) == []
    read = read_dataset(folder, SETTINGS, soft_labels=True)
    assert np.array_equal(read["image"].probabilities, two())
    assert np.array_equal(read["audio"].probabilities, two()[[0, 1, 1]])  # of segments, those of their sound
    assert read_dataset(folder, SETTINGS)["image"].probabilities is None
    more = digests(folder).keys() - digests(plain).keys()
    assert more == {SOFT_LABELS} and SOFT_LABELS in json.loads((folder / "dataset.json").read_text())["checksums"]
    assert SOFT_LABELS in (folder / "README.md").read_text(encoding="utf-8")
    assert SOFT_LABELS not in (plain / "README.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"has no soft labels .* condense --soft-labels"):
        read_dataset(plain, SETTINGS, soft_labels=True)


def test_hard_labels_do_not_care_for_a_spoiled_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", soft=two())
    (folder / SOFT_LABELS).write_bytes(b"nonsense")
    assert len(read_dataset(folder, SETTINGS)["image"]) == 2
    problems = verify_dataset(folder)
    assert any("changed since they were listed: labels.safetensors" in line for line in problems), problems
    assert any("no safetensors file" in line for line in problems)
    (folder / SOFT_LABELS).unlink()
    assert verify_dataset(folder) == ["1 file is missing: labels.safetensors."]


def test_soft_labels_that_nobody_lists_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", soft=None)
    (folder / SOFT_LABELS).write_bytes(encode_soft_labels(two(), CLASSES[:2]))
    assert verify_dataset(folder) == ["1 file is not listed in dataset.json: labels.safetensors."]
