from __future__ import annotations

import csv
import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from awkward import AWKWARD
from PIL import Image
from small import SETTINGS, SOUND, digests

from mmgen.data.images import ImageSettings
from mmgen.data.writing import writer as module
from mmgen.data.writing.metadata import read_rows
from mmgen.data.writing.unfinished import INCOMPLETE, prepare_folder
from mmgen.data.writing.writer import FolderWriter, SyntheticSample
from mmgen.errors import UserError

LABELS = ("covid", "healthy")
RUN = {"seed": 0, "labels": list(LABELS)}


def arrays(seed: int) -> tuple[dict[str, np.ndarray], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """A picture, and a log-mel with a sound."""
    rng = np.random.default_rng(seed)
    log_mel = rng.uniform(-9, 1, SOUND.shape[1:]).astype(np.float32)
    wave = rng.uniform(-1, 1, SOUND.segment_samples).astype(np.float32)
    return {"image": rng.integers(0, 256, SETTINGS["image"].shape, dtype=np.uint8)}, {"audio": (log_mel, wave)}


def sample(index: int) -> SyntheticSample:
    return SyntheticSample(index, *arrays(index))


def make_writer(folder: Path, per_class: int = 2, labels: tuple[str, ...] = LABELS) -> FolderWriter:
    """For batches of three."""
    return FolderWriter(folder, SETTINGS, labels, per_class, 3, lambda index: {"label": labels[index // per_class]})


def write_set(
    folder: Path, per_class: int = 2, labels: tuple[str, ...] = LABELS, about: dict[str, Any] | None = None
) -> FolderWriter:
    prepare_folder(folder, False, RUN)
    writer = make_writer(folder, per_class, labels)
    writer.write(map(sample, range(len(writer))))
    writer.finish({"generator": "a test", **(about or {})})
    return writer


# -- files


def test_files_hold_what_was_given(tmp_path: Path) -> None:
    writer = write_set(tmp_path / "set")
    images, sounds = arrays(2)  # the first healthy one
    files = {column: tmp_path / "set" / path for column, path in writer.files(2).items()}
    assert {column: path.relative_to(tmp_path / "set").as_posix() for column, path in files.items()} == {
        "image_file_name": "images/healthy/000000.png",
        "audio_file_name": "audio/healthy/000000.flac",
        "audio_spectrogram": "spectrograms/healthy/000000.npy",
    }
    with Image.open(files["image_file_name"]) as picture:
        assert picture.mode == "L" and np.array_equal(np.array(picture), images["image"][0])
    log_mel, wave = sounds["audio"]
    read = np.load(files["audio_spectrogram"])
    assert read.dtype == np.float32 and np.array_equal(read, log_mel)
    heard, rate = soundfile.read(files["audio_file_name"], dtype="float32")
    assert rate == SOUND.sample_rate and soundfile.info(files["audio_file_name"]).subtype == "PCM_16"
    np.testing.assert_allclose(heard, wave, atol=2 / 2**15)


def test_colour_and_further_modalities_have_folders_of_their_own(tmp_path: Path) -> None:
    settings = {"image": ImageSettings(8, 3), "skin": ImageSettings(4, 1), "audio": SOUND, "breath": SOUND}
    writer = FolderWriter(tmp_path, settings, LABELS, 20, 4, lambda index: {})
    files = writer.files(12)
    assert len(set(files.values())) == len(files) == 6
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    writer.write([SyntheticSample(12, {"image": pixels, "skin": pixels[:1, :4, :4]}, {})])
    with Image.open(tmp_path / files["image_file_name"]) as picture:
        assert np.array_equal(np.array(picture).transpose(2, 0, 1), pixels)


def test_a_file_is_a_function_of_its_sample(tmp_path: Path) -> None:
    write_set(tmp_path / "a")
    write_set(tmp_path / "肺 b")
    assert digests(tmp_path / "a") == digests(tmp_path / "肺 b")


# -- pieces


def test_pieces_cover_all_samples_once(tmp_path: Path) -> None:
    pieces = make_writer(tmp_path, per_class=5).pieces()
    assert pieces == [range(0, 3), range(3, 6), range(6, 9), range(9, 10)]


def test_a_piece_is_there_when_all_its_files_hold_something(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "set", per_class=4)
    piece = writer.pieces()[1]
    assert writer.present(piece) == 0
    writer.write(map(sample, piece))
    assert [writer.present(part) for part in writer.pieces()] == [0, 3, 0]
    for path in (tmp_path / "set" / name for name in writer.files(4).values()):
        whole = path.read_bytes()
        path.unlink()
        assert writer.present(piece) == 2
        path.write_bytes(b"")  # what a power failure leaves
        assert writer.present(piece) == 2
        writer.write(map(sample, piece))
        assert writer.present(piece) == 3 and path.read_bytes() == whole


def test_pieces_may_be_written_in_any_order_and_again(tmp_path: Path) -> None:
    write_set(tmp_path / "plain")
    writer = make_writer(tmp_path / "set")
    for index in (1, 0, 1):
        writer.write(map(sample, writer.pieces()[index]))
    writer.finish({"generator": "a test"})
    assert digests(tmp_path / "set") == digests(tmp_path / "plain")


def test_an_error_in_the_making_is_not_lost(tmp_path: Path) -> None:
    def broken() -> Any:
        yield sample(0)
        raise RuntimeError("no more")

    writer = make_writer(tmp_path / "set")
    with pytest.raises(RuntimeError, match="no more"):
        writer.write(broken())
    assert writer.present(range(0, 1)) in (0, 1)
    assert not [path for path in (tmp_path / "set").rglob("*") if path.name.startswith(".tmp-")]


# -- what is said about them


def test_dataset_json_counts_and_checks_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_set(folder, per_class=3)
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert about["synthetic"] is True and about["licence"] is None and about["generator"] == "a test"
    assert about["counts"] == {"covid": 3, "healthy": 3}
    others = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    others.pop("dataset.json")
    assert about["checksums"] == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(others.items())
    }
    assert {"metadata.csv", "README.md", "spectrograms/covid/000002.npy"} <= about["checksums"].keys()


def test_metadata_name_every_file_once(tmp_path: Path) -> None:
    write_set(tmp_path / "set")
    with (tmp_path / "set" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    named = [row[column] for row in rows for column in row if column != "label"]
    written = [name for name in digests(tmp_path / "set") if name.count("/") == 2]
    assert sorted(named) == written


def test_what_killed_processes_left_is_in_no_finished_set(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "set")
    writer.write(map(sample, range(len(writer))))
    left = [tmp_path / "set" / name for name in (".tmp-0123abcd-README.md", "images/covid/.tmp-89abcdef-000000.png")]
    for path in left:
        path.write_bytes(b"half")
    writer.finish({})
    assert not any(path.exists() for path in left)
    assert not any(".tmp" in name for name in json.loads((tmp_path / "set" / "dataset.json").read_text())["checksums"])


def test_a_file_that_vanished_is_a_sentence_and_can_be_made_again(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "set", False, RUN)
    writer = make_writer(tmp_path / "set")
    writer.write(map(sample, range(3)))  # one of four is missing
    with pytest.raises(UserError, match=r"healthy/000001.png is gone; run the same command again"):
        writer.finish({})
    assert (tmp_path / "set" / INCOMPLETE).exists() and not (tmp_path / "set" / "dataset.json").exists()
    writer.write(map(sample, range(3, 4)))
    writer.finish({})
    assert not (tmp_path / "set" / INCOMPLETE).exists()


def test_a_data_set_is_marked_until_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, sync: bool) -> str:
        assert (tmp_path / "set" / INCOMPLETE).is_file()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "sha256", full)
    with pytest.raises(UserError, match="disk is full"):
        write_set(tmp_path / "set")
    assert not (tmp_path / "set" / "dataset.json").exists()
    monkeypatch.undo()
    assert prepare_folder(tmp_path / "set", False, RUN)  # its remains are known for what they are
    make_writer(tmp_path / "set").finish({})
    assert not (tmp_path / "set" / INCOMPLETE).exists()


def test_awkward_labels_are_written_inside_the_folder_and_kept_in_the_metadata(tmp_path: Path) -> None:
    labels = tuple(label for label in AWKWARD if "\0" not in label and "\n" not in label)
    write_set(tmp_path / "in" / "set", per_class=1, labels=labels)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["set"]
    assert len(list((tmp_path / "in" / "set").rglob("*.png"))) == len(labels)
    assert tuple(row["label"] for row in read_rows(tmp_path / "in" / "set" / "metadata.csv")) == labels
    assert list(json.loads((tmp_path / "in" / "set" / "dataset.json").read_text())["counts"]) == list(labels)
