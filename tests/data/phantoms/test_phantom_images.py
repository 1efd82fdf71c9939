"""Lesions and brains as data sets on disk; what they share with X-rays and coughs is tested there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import digests

from mmgen.data.images import ImageSettings
from mmgen.data.loading import prepare
from mmgen.data.phantoms import BRAINS, LESIONS, write_phantom_images, write_phantoms
from mmgen.data.phantoms import writing as writing_module
from mmgen.data.sources import Source
from mmgen.errors import UserError

SMALL = {"subjects_per_class": 2, "image_size": 16}
KINDS = pytest.mark.parametrize(("kind", "labels", "mode"), [("lesions", LESIONS, "RGB"), ("brains", BRAINS, "L")])


def rows_of(root: Path) -> list[dict[str, str]]:
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@KINDS
def test_a_set_is_ordinary_files_and_a_manifest(tmp_path: Path, kind: str, labels: tuple[str, ...], mode: str) -> None:
    root = tmp_path / "снимки new"
    assert write_phantom_images(root, kind, subjects_per_class=8, image_size=16) == root
    rows = rows_of(root)
    assert {row["path"] for row in rows} == {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
    assert {row["label"] for row in rows} == set(labels)
    assert all(row["path"].startswith(f"{row['split']}/{row['label']}/") for row in rows)
    files: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        files.setdefault(row["subject"], []).append(row)
    assert len(files) == 4 * 8 and sum(len(own) == 2 for own in files.values()) == 4 * 2
    assert all(len({(row["split"], row["label"]) for row in own}) == 1 for own in files.values())
    for label in labels:
        assert sum(own[0]["split"] == "test" and own[0]["label"] == label for own in files.values()) == 2
    contents = digests(root)
    assert len(set(contents.values())) == len(contents)
    with Image.open(root / rows[0]["path"]) as image:
        assert (image.mode, image.size) == (mode, (16, 16))


def test_the_same_arguments_give_the_same_bytes_and_others_give_others(tmp_path: Path) -> None:
    sets = {
        name: digests(write_phantom_images(tmp_path / name, kind, seed=seed, **SMALL))
        for name, kind, seed in (("a", "lesions", 3), ("b", "lesions", 3), ("c", "lesions", 4), ("d", "brains", 3))
    }
    assert sets["a"] == sets["b"]
    pictures = [{content for path, content in files.items() if str(path).endswith("png")} for files in sets.values()]
    assert not pictures[0] & pictures[2] and not pictures[0] & pictures[3]


def test_a_set_can_be_read_as_training_data(tmp_path: Path) -> None:
    root = write_phantom_images(tmp_path / "set", "lesions", subjects_per_class=4, image_size=16)
    for source in (root, root / "manifest.csv"):
        data = prepare({"image": Source(source, ImageSettings(16, 3))})
        counts = data.training_counts()["image"]
        assert set(counts) == set(LESIONS) and min(counts.values()) >= 2


def test_labels_of_ones_own_are_folders_in_their_order(tmp_path: Path) -> None:
    names = ("b", "a one", "ц", "third", "fourth", "fifth")
    root = write_phantom_images(tmp_path / "set", "lesions", labels=names, **SMALL)
    assert {row["label"] for row in rows_of(root)} == set(names)
    other = write_phantom_images(tmp_path / "other", "lesions", labels=names[::-1][-2:], **SMALL)  # "a one", "b"
    assert (root / "train" / "b").is_dir()
    first, second = (sorted((folder / "train" / name).iterdir())[0] for folder, name in ((root, "b"), (other, "a one")))
    assert first.read_bytes() == second.read_bytes()  # both are of label index 0


def test_a_complete_set_is_left_alone_and_another_replaces_it(tmp_path: Path) -> None:
    root = write_phantom_images(tmp_path / "set", "lesions", **SMALL)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_phantom_images(root, "lesions", **SMALL)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == times
    write_phantom_images(root, "brains", **SMALL)
    assert digests(root) == digests(write_phantom_images(tmp_path / "fresh", "brains", **SMALL))
    write_phantoms(root, **SMALL)
    write_phantoms(tmp_path / "both", **SMALL)
    assert digests(root) == digests(tmp_path / "both")
    write_phantom_images(root, "brains", **SMALL)
    assert digests(root) == digests(tmp_path / "fresh")


@pytest.mark.parametrize(("earlier", "broken_at"), [(None, 0), ("lesions", 1), ("both", 5)])
def test_a_killed_run_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: str | None, broken_at: int
) -> None:
    root, done = tmp_path / "set", []
    if earlier == "both":
        write_phantoms(root, **SMALL)
    elif earlier:
        write_phantom_images(root, earlier, seed=8, **SMALL)
    drawing = writing_module.DRAWINGS["brains"]

    def stop(*arguments: object) -> np.ndarray:
        if len(done) == broken_at:
            raise KeyboardInterrupt
        done.append(drawing.draw(*arguments))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setitem(writing_module.DRAWINGS, "brains", drawing._replace(draw=stop))
        with pytest.raises(KeyboardInterrupt):
            write_phantom_images(root, "brains", **SMALL)
    assert json.loads((root / "phantoms.json").read_text())["complete"] is False
    write_phantom_images(root, "brains", **SMALL)
    assert digests(root) == digests(write_phantom_images(tmp_path / "fresh", "brains", **SMALL))


def test_a_run_killed_while_it_removes_the_earlier_set_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    write_phantoms(root, **SMALL)

    def stop(path: Path) -> None:
        next(path.rglob("*.png")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing_module.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            write_phantom_images(root, "lesions", **SMALL)
    write_phantom_images(root, "lesions", **SMALL)
    assert digests(root) == digests(write_phantom_images(tmp_path / "fresh", "lesions", **SMALL))


@pytest.mark.parametrize("told", [b"\xff", b"[]", b"[" * 100_000, b'{"kind": []}', b'{"kind": null}'])
def test_a_damaged_description_is_that_of_earlier_phantoms(tmp_path: Path, told: bytes) -> None:
    root = write_phantom_images(tmp_path / "set", "brains", **SMALL)
    whole = digests(root)
    for name in ("train", "test"):
        (root / name).rename(root / {"train": "images", "test": "audio"}[name])
    (root / "manifest.csv").unlink()
    (root / "phantoms.json").write_bytes(told)
    write_phantom_images(root, "brains", **SMALL)
    assert digests(root) == whole


@pytest.mark.parametrize("name", ["manifest.csv", "train/benign/1.png", "nevus/my picture.png", "notes.txt"])
def test_a_folder_with_other_data_is_not_touched(tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    before = digests(tmp_path)
    with pytest.raises(UserError, match=rf"{name.partition('/')[0]} that no phantoms\.json there tells of"):
        write_phantom_images(tmp_path, "lesions", **SMALL)
    assert digests(tmp_path) == before


def test_data_of_ones_own_beside_phantoms_of_another_kind_are_not_lost(tmp_path: Path) -> None:
    write_phantoms(tmp_path, **SMALL)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.png").write_text("mine")
    before = digests(tmp_path)
    with pytest.raises(UserError, match="train that no phantoms"):
        write_phantom_images(tmp_path, "lesions", **SMALL)
    assert digests(tmp_path) == before


def test_hidden_files_of_the_system_do_not_matter(tmp_path: Path) -> None:
    clean = write_phantom_images(tmp_path / "clean", "brains", **SMALL)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / ".DS_Store").write_text("")
    used = write_phantom_images(tmp_path / "used", "brains", **SMALL)
    assert digests(used).keys() == digests(clean).keys() | {".DS_Store"}
    assert digests(clean).items() <= digests(used).items()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "feet"}, "lesions, brains, not feet"),
        ({"subjects_per_class": 1}, "subjects_per_class >= 2"),
        ({"image_size": 7}, "image_size >= 8"),
        ({"seed": -1}, "seed >= 0"),
        ({"labels": ()}, "folder names"),
        ({"labels": ("a", "A")}, "folder names"),
        ({"labels": ("../a", "b")}, "folder names"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        write_phantom_images(tmp_path / "new", **{"kind": "lesions", **arguments})
    assert not (tmp_path / "new").exists()
