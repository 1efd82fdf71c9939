from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layout_trees import SECRETS, write_coronahack, write_coswara, write_coughvid, write_isic2019

from mmgen.data.images import IMAGE_SUFFIXES
from mmgen.data.labels import match_labels
from mmgen.data.manifest import Columns, Manifest
from mmgen.data.reading.layouts import LayoutOptions, choose_layout, read_layout
from mmgen.data.splits import shared_subjects, with_validation
from mmgen.errors import UserError

SUFFIXES = {"image": IMAGE_SUFFIXES, "audio": {".wav", ".ogg", ".webm", ".flac"}}
KIND = {"coronahack": "image", "coughvid": "audio", "coswara": "audio", "isic2019": "image"}
TABLE = {
    "coronahack": "Chest_xray_Corona_Metadata.csv",
    "coughvid": "metadata_compiled.csv",
    "coswara": "combined_data.csv",
    "isic2019": "ISIC_2019_Training_GroundTruth.csv",
}
WRITE: dict[str, Callable[..., Path]] = {
    "coronahack": write_coronahack,
    "coughvid": write_coughvid,
    "coswara": write_coswara,
    "isic2019": write_isic2019,
}
PER_CLASS = 4


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> dict[str, Path]:
    """One tree of each layout, each in a folder with a space and Chinese in its name. Not to be changed."""
    root = tmp_path_factory.mktemp("public sets 数据")
    return {name: write(root / name, per_class=PER_CLASS, seed=7) for name, write in WRITE.items()}


def read(path: Path, name: str, layouts: tuple[str, ...] | None = None, **options) -> Manifest:
    return read_layout(path, KIND[name], SUFFIXES[KIND[name]], layouts or (name,), **options)


def copy(trees: dict[str, Path], name: str, to: Path) -> Path:
    return shutil.copytree(trees[name], to / name)


def edit(table: Path, old: str, new: str, count: int = 1) -> None:
    text = table.read_text(encoding="utf-8")
    assert old in text
    table.write_text(text.replace(old, new, count), encoding="utf-8")


def labelled(manifest: Manifest) -> list[tuple[str, str]]:
    return [(path, manifest.label_names[label]) for path, label in zip(manifest.paths, manifest.labels, strict=True)]


def totals(manifest: Manifest) -> dict[str, int]:
    return {label: sum(counts.values()) for label, counts in manifest.counts().items()}


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


class TestChooseLayout:
    @pytest.mark.parametrize(
        ("layouts", "image", "audio"),
        [
            (["auto"], "auto", "auto"),
            ([], "auto", "auto"),
            (["coronahack", "coughvid"], "coronahack", "coughvid"),
            (["coswara"], "auto", "coswara"),
            (["isic2019", "folders"], "isic2019", "folders"),
            (["csv", "csv"], "csv", "csv"),
        ],
    )
    def test_each_kind_gets_its_own(self, layouts, image, audio):
        assert (choose_layout("image", layouts), choose_layout("audio", layouts)) == (image, audio)

    def test_two_for_one_kind(self):
        with pytest.raises(UserError, match="coughvid and coswara are both for audio"):
            choose_layout("audio", ["coughvid", "coswara"])
        assert choose_layout("image", ["coughvid", "coswara"]) == "auto"
        with pytest.raises(UserError, match="folders and csv"):
            choose_layout("image", ["folders", "csv"])

    def test_unknown(self):
        with pytest.raises(UserError, match="no layout mnist; there are auto, folders"):
            choose_layout("image", ["mnist"])


class TestAuto:
    @pytest.mark.parametrize("name", WRITE)
    def test_takes_what_is_there_and_says_so_once(self, trees, name, caplog):
        with caplog.at_level(logging.INFO):
            found = read(trees[name], name, ("auto",))
        assert len([r for r in caplog.records if f"layout {name}" in r.getMessage() and r.levelname == "INFO"]) == 1
        explicit = read(trees[name], name)
        assert labelled(found) == labelled(explicit)
        assert not found.files.missing(found.paths)

    @pytest.mark.parametrize("name", WRITE)
    def test_from_the_table_and_from_one_folder_above(self, trees, name, tmp_path):
        table = trees[name] / TABLE[name]
        assert labelled(read(table, name, ("auto",))) == labelled(read(trees[name], name))
        (tmp_path / "download" / name).mkdir(parents=True)
        (tmp_path / "download" / name / name).symlink_to(trees[name])
        for above in (tmp_path / "download" / name, tmp_path / "download"):
            for layout in ("auto", name):
                assert totals(read(above, name, (layout,))) == totals(read(trees[name], name))

    @pytest.mark.parametrize("name", WRITE)
    def test_a_layout_is_for_one_kind_only(self, trees, name):
        other = {"image": "audio", "audio": "image"}[KIND[name]]
        with pytest.raises(UserError, match="No files that end in"):
            read_layout(trees[name], other, {".xyz"})

    def test_class_folders_stay_class_folders(self, tmp_path, caplog):
        touch(tmp_path, "sick/1.wav", "well/2.wav", "well/metadata.json")
        for folder in ("", "sick", "well"):
            (tmp_path / folder / "combined_data.csv").write_text("path,label\nx,y\n")
        with caplog.at_level(logging.INFO):
            manifest = read_layout(tmp_path, "audio", {".wav"})
        assert labelled(manifest) == [("sick/1.wav", "sick"), ("well/2.wav", "well")]
        assert not caplog.records

    def test_the_users_own_csv_wins(self, trees, tmp_path):
        root = copy(trees, "coswara", tmp_path)
        path = read(root, "coswara").paths[0]
        (root / "manifest.csv").write_text(f"path,label\n{path},mine\n")
        assert labelled(read(root, "coswara", ("auto",))) == [(path, "mine")]
        assert len(read(root, "coswara")) > 1, "the named layout still applies"

    def test_column_names_mean_an_own_csv(self, trees, tmp_path):
        root = copy(trees, "isic2019", tmp_path)
        (root / TABLE["isic2019"]).write_text("image,kind\nISIC_2019_Training_Input/ISIC_0007000.jpg,mole\n")
        manifest = read(root / TABLE["isic2019"], "isic2019", ("auto",), columns=Columns(label="kind"))
        assert manifest.label_names == ("mole",)

    def test_two_data_sets_in_one_folder(self, trees, tmp_path):
        copy(trees, "coughvid", tmp_path)
        copy(trees, "coswara", tmp_path)
        with pytest.raises(UserError, match="fits the layouts coughvid and coswara; name"):
            read_layout(tmp_path, "audio", {".wav"})
        assert len(read(tmp_path, "coswara")) == 4 * PER_CLASS + 2

    def test_two_copies_in_one_folder(self, trees, tmp_path):
        copy(trees, "coughvid", tmp_path / "a")
        shutil.copytree(tmp_path / "a" / "coughvid", tmp_path / "b")
        shutil.copytree(tmp_path / "b", tmp_path / "c")
        with pytest.raises(UserError, match="'coughvid' several times"):
            read(tmp_path, "coughvid")

    def test_paths_elsewhere_are_passed_on(self):
        fsspec = pytest.importorskip("fsspec")
        memory = fsspec.filesystem("memory")
        for path in ("set/a/1.png", "set/b/2.png", f"set/{TABLE['isic2019']}"):
            memory.pipe(path, b"image")
        for layout in ("auto", "folders"):
            assert read_layout("memory://set", "image", {".png"}, [layout]).label_names == ("a", "b")
        with pytest.raises(UserError, match="'isic2019' is read from this machine; download memory://set"):
            read_layout("memory://set", "image", {".png"}, ["isic2019"])


class TestNamed:
    @pytest.mark.parametrize("name", WRITE)
    def test_names_the_file_that_was_expected(self, tmp_path, name):
        touch(tmp_path, "a/1.png", "a/1.wav")
        with pytest.raises(UserError, match=f"does not fit the layout '{name}': {TABLE[name]}"):
            read(tmp_path, name)
        with pytest.raises(UserError, match=TABLE[name]):
            read(tmp_path / "gone", name)

    def test_folders_and_csv(self, tmp_path):
        touch(tmp_path, "a/1.png", "b/2.PNG")
        with pytest.raises(UserError, match=r"holds no manifest\.csv"):
            read_layout(tmp_path, "image", {".png"}, ["csv"])
        (tmp_path / "manifest.csv").write_text("path,label\na/1.png,x\n")
        assert read_layout(tmp_path, "image", {".png"}, ["csv"]).label_names == ("x",)
        assert read_layout(tmp_path, "image", {".PNG"}, ["folders"]).label_names == ("a", "b")
        with pytest.raises(UserError, match="is no folder"):
            read_layout(tmp_path / "manifest.csv", "image", {".png"}, ["folders"])

    def test_pictures_and_coughs_pair(self, trees):
        images, sounds = read(trees["coronahack"], "coronahack"), read(trees["coughvid"], "coughvid")
        matched, lacking = match_labels({"image": images, "audio": sounds})
        assert matched["image"].label_names == ("covid", "healthy")
        assert lacking == {"pneumonia": ["audio"], "symptomatic": ["image"]}


class TestHostile:
    @pytest.mark.parametrize("name", WRITE)
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda raw: raw.replace(b"\n", b"\n\xf6", 1), "is not UTF-8"),
            (lambda raw: raw.replace(b"\n", b'\n"', 1), "cannot be read as a CSV"),
            (lambda raw: raw.replace(b"\n", b"\n0,", 2), "not that of the header in data rows 1, 2;"),
            (lambda raw: raw.partition(b"\n")[0], "header but no rows"),
            (lambda raw: b"", "has no column"),
            (lambda raw: b"a,b\n1,2\n", "has no column .*; restore the published file"),
        ],
    )
    def test_broken_tables_are_one_sentence(self, trees, tmp_path, name, damage, message):
        table = copy(trees, name, tmp_path) / TABLE[name]
        table.write_bytes(damage(table.read_bytes()))
        with pytest.raises(UserError, match=message) as error:
            read(table, name)
        assert TABLE[name] in str(error.value)

    @pytest.mark.parametrize("name", WRITE)
    def test_what_spreadsheets_make_of_tables(self, trees, tmp_path, name):
        root = copy(trees, name, tmp_path)
        lines = (root / TABLE[name]).read_text(encoding="utf-8").splitlines()
        # A mark at the start, lines that end as on Windows, an empty one; empty fields at the end, or left out there.
        lines[1:] = [line.rstrip(",") if row % 2 else f"{line},," for row, line in enumerate(lines[1:])]
        (root / TABLE[name]).write_bytes("\r\n".join([*lines, "", ""]).encode("utf-8-sig"))
        assert labelled(read(root, name)) == labelled(read(trees[name], name))

    @pytest.mark.parametrize("name", WRITE)
    def test_an_archive_is_no_table(self, tmp_path, name):
        archive = tmp_path / "download.zip"
        archive.write_bytes(b"PK\x03\x04" + bytes(range(256)))
        with pytest.raises(UserError, match=r"download\.zip (is not UTF-8|cannot be read)"):
            read(archive, name)

    @pytest.mark.parametrize("name", ["coronahack", "coughvid", "isic2019"])
    def test_partial_downloads_are_refused_with_a_count(self, trees, tmp_path, name):
        root = copy(trees, name, tmp_path)
        manifest = read(root, name)
        for path in manifest.paths[1:3]:
            (root / path).unlink()
        with pytest.raises(UserError, match=rf"2 of {len(manifest)} files named in .* do not exist \(.*, .*\)"):
            read(root, name)

    @pytest.mark.parametrize("name", WRITE)
    def test_repeated_rows_count_once_and_contradictions_are_refused(self, trees, tmp_path, name, caplog):
        root = copy(trees, name, tmp_path)
        table, manifest = root / TABLE[name], read(root, name)
        lines = table.read_text(encoding="utf-8").splitlines()
        table.write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")
        assert labelled(read(root, name)) == labelled(manifest)
        assert "1 files a second time" in caplog.text
        if name != "coswara":  # ids that differ in case are different people
            table.write_text("\n".join([*lines, lines[1].replace("a", "A").replace("I", "i")]) + "\n", encoding="utf-8")
            assert labelled(read(root, name)) == labelled(manifest)
        swap = {
            "coronahack": (",Pnemonia,", ",Normal,"),
            "coughvid": (",COVID-19,", ",healthy,"),
            "coswara": (",healthy,", ",recovered_full,"),
            "isic2019": (",1.0,0.0,", ",0.0,1.0,"),
        }[name]
        assert swap[0] in lines[1]
        table.write_text("\n".join([*lines, lines[1].replace(*swap)]) + "\n", encoding="utf-8")
        with pytest.raises(UserError, match=rf"data rows {len(lines)};"):
            read(root, name)

    @pytest.mark.parametrize("name", WRITE)
    def test_nothing_about_people_is_logged(self, trees, tmp_path, name, caplog):
        root = copy(trees, name, tmp_path)
        with caplog.at_level(logging.DEBUG):
            manifest = read(root, name, ("auto",))
        for secret in [*SECRETS, *(() if manifest.subjects is None else manifest.subjects[-1:])]:
            assert secret not in caplog.text
        # A column too many at the left shifts every value to the next column.
        table = root / TABLE[name]
        lines = table.read_text(encoding="utf-8").splitlines()
        table.write_text("\n".join([lines[0], *(f"0,{line}" for line in lines[1:])]), encoding="utf-8")
        with pytest.raises(UserError) as error:
            read(root, name)
        assert not [secret for secret in SECRETS if secret in str(error.value)]

    def test_names_that_lead_out_of_the_folder_are_not_found(self, trees, tmp_path):
        root = copy(trees, "coronahack", tmp_path)
        touch(tmp_path, "x.png")
        edit(root / TABLE["coronahack"], "IM-0700-0001.jpeg", "../../../../x.png")
        with pytest.raises(UserError, match="1 of 12 files"):
            read(root, "coronahack")


class TestCoronaHack:
    def test_labels_splits_and_rows(self, trees):
        manifest = read(trees["coronahack"], "coronahack")
        assert manifest.counts() == {name: {"train": 3, "test": 1} for name in ("covid", "healthy", "pneumonia")}
        for (path, label), split in zip(labelled(manifest), manifest.splits, strict=True):
            stem = path.rpartition("/")[2]
            assert label == {"1": "covid", "I": "healthy", "p": "pneumonia"}[stem[0]]
            assert f"/{split}/" in path
        assert manifest.origins.tolist() == list(range(12))
        assert any(path.endswith(".JPEG") for path in manifest.paths)

    def test_films_of_one_person_are_one_subject(self, trees):
        manifest = read(trees["coronahack"], "coronahack")
        ill = manifest.select(manifest.labels == 2)
        assert ill.subjects.tolist() == [
            "person1_trainvirus",
            "person1_trainvirus",
            "person2_trainvirus",
            "person2_testvirus",
        ]
        assert len(set(manifest.select(manifest.labels == 0).subjects)) == 4

    def test_spellings(self, trees, tmp_path):
        root = copy(trees, "coronahack", tmp_path)
        edit(root / TABLE["coronahack"], "Pnemonia", "Pneumonia", 5)
        edit(root / TABLE["coronahack"], "Normal", " normal ", 2)
        assert labelled(read(root, "coronahack")) == labelled(read(trees["coronahack"], "coronahack"))

    def test_published_splits_without_covid_in_test_are_not_used(self, tmp_path, caplog):
        root = write_coronahack(tmp_path, per_class=8, covid_in_test=False)
        manifest = read(root, "coronahack")
        assert manifest.splits is None
        assert "has covid in only one of TRAIN and TEST" in caplog.text
        split = with_validation(manifest, 0.2, 0)
        assert all(set(counts) == {"train", "val", "test"} for counts in split.counts().values())
        assert not shared_subjects(split)

    @pytest.mark.parametrize("moved", ["Coronahack-Chest-XRay-Dataset", "."])
    def test_pictures_may_lie_less_deep(self, tmp_path, moved):
        root = write_coronahack(tmp_path / "tief", per_class=3, nested=False)
        if moved == ".":
            for part in ("train", "test"):
                (root / "Coronahack-Chest-XRay-Dataset" / part).rename(root / part.title())
        assert totals(read(root, "coronahack")) == {"covid": 3, "healthy": 3, "pneumonia": 3}

    def test_faults(self, trees, tmp_path):
        root = copy(trees, "coronahack", tmp_path)
        edit(root / TABLE["coronahack"], "TEST", "FOLD 1")
        with pytest.raises(UserError, match=r"'Dataset_type' in .* is not TRAIN or TEST in data rows 4;"):
            read(root, "coronahack")
        edit(root / TABLE["coronahack"], "FOLD 1", "TEST")
        edit(root / TABLE["coronahack"], "Normal", "")
        with pytest.raises(UserError, match=r"'Label' in .* is not Normal or Pnemonia in data rows 5;"):
            read(root, "coronahack")
        shutil.rmtree(root / "Coronahack-Chest-XRay-Dataset")
        edit(root / TABLE["coronahack"], ",,TRAIN", ",Normal,TRAIN")
        with pytest.raises(UserError, match="no pictures of CoronaHack; expected Coronahack-Chest-XRay-Dataset/"):
            read(root, "coronahack")


class TestCoughvid:
    def test_labels_drops_and_no_subjects(self, trees, caplog):
        with caplog.at_level(logging.INFO):
            manifest = read(trees["coughvid"], "coughvid")
        assert totals(manifest) == dict.fromkeys(("covid", "healthy", "symptomatic"), PER_CLASS)
        assert manifest.subjects is None
        assert manifest.splits is None
        [line] = [record.getMessage() for record in caplog.records]
        assert (
            "12 of 16 recordings are used; left out are 2 in which a cough is less likely than 0.8, and 2 others"
            in line
        )

    def test_rows_are_those_of_the_table(self, trees, tmp_path):
        root = copy(trees, "coughvid", tmp_path)
        table = root / TABLE["coughvid"]
        header, *rows = table.read_text(encoding="utf-8").splitlines()
        table.write_text("\n".join([header, *reversed(rows)]), encoding="utf-8")
        manifest = read(root, "coughvid")
        assert manifest.origins.tolist() == list(range(4, 16))
        named = [list(reversed(rows))[row].split(",")[1] for row in manifest.origins]
        assert [Path(path).stem for path in manifest.paths] == named

    def test_least_probability(self, trees):
        manifest = read(trees["coughvid"], "coughvid", options=LayoutOptions(cough_detected=0.0))
        assert totals(manifest) == {"covid": 5, "healthy": 5, "symptomatic": 4}
        assert set(totals(read(trees["coughvid"], "coughvid", options=LayoutOptions(0.97)))) == {"symptomatic"}
        with pytest.raises(UserError, match="lower the least cough_detected"):
            read(trees["coughvid"], "coughvid", options=LayoutOptions(cough_detected=1.0))
        with pytest.raises(UserError, match="from 0 to 1, not 80"):
            LayoutOptions(cough_detected=80)

    @pytest.mark.parametrize("nested", [False, True])
    def test_json_and_table_agree(self, tmp_path, nested):
        of_table = read(write_coughvid(tmp_path / "t", per_class=2, nested=nested), "coughvid")
        of_json = read(write_coughvid(tmp_path / "j", per_class=2, table=False, nested=nested), "coughvid", ("auto",))
        stems = [sorted((Path(p).name, label) for p, label in labelled(m)) for m in (of_table, of_json)]
        assert stems[0] == stems[1]
        assert not of_json.files.missing(of_json.paths)

    def test_wav_before_ogg_before_webm_in_any_case(self, trees, tmp_path):
        root = copy(trees, "coughvid", tmp_path)
        first = next(path for path in read(root, "coughvid").paths if path.endswith(".ogg"))
        touch(root, first.replace(".ogg", ".webm"))
        assert first in read(root, "coughvid").paths
        converted = touch(root, first.replace(".ogg", ".Wav"))
        assert first.replace(".ogg", ".Wav") in read(converted, "coughvid").paths
        (root / first).rename(root / first.upper())
        (root / first.replace(".ogg", ".Wav")).unlink()
        assert first.upper() in read(root, "coughvid").paths

    def test_recordings_that_are_left_out_need_no_file(self, trees, tmp_path):
        root = copy(trees, "coughvid", tmp_path)
        used = set(read(root, "coughvid").paths)
        for path in root.iterdir():
            if path.name not in used and path.suffix != ".csv":
                path.unlink()
        assert set(read(root, "coughvid").paths) == used

    def test_faults(self, trees, tmp_path):
        root = copy(trees, "coughvid", tmp_path)
        edit(root / TABLE["coughvid"], "symptomatic", "Frau Holle")
        with pytest.raises(UserError, match=r"'status' in .* or empty in data rows 3;") as error:
            read(root, "coughvid")
        assert "Holle" not in str(error.value)
        edit(root / TABLE["coughvid"], "0.9500", "often")
        with pytest.raises(UserError, match=r"'cough_detected' in .* is not a number in data rows 1;"):
            read(root, "coughvid")

    @pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe\xff", b'{"a":' * 100_000, b""])
    def test_broken_json_files_are_named_together(self, tmp_path, content):
        root = write_coughvid(tmp_path, per_class=1, table=False)
        broken = sorted(root.glob("*.json"))[:2]
        for path in broken:
            path.write_bytes(content)
        with pytest.raises(UserError, match=f"2 of 7 JSON files .*{broken[0].name}, {broken[1].name}"):
            read(root, "coughvid")

    def test_odd_json_values(self, tmp_path):
        root = write_coughvid(tmp_path, per_class=1, table=False)
        first, second = sorted(root.glob("*.json"))[:2]
        first.write_text('{"cough_detected": 0.99, "status": {"name": "Frau Holle"}}')
        with pytest.raises(UserError, match=f"is not COVID-19, .* in files {first.name};") as error:
            read(root, "coughvid")
        assert "Holle" not in str(error.value)
        first.write_text('{"cough_detected": 0.99, "status": "healthy"}')
        second.write_text("{}")
        assert f"{first.stem}" in {Path(path).stem for path in read(root, "coughvid").paths}

    def test_files_are_listed_not_asked_for_one_by_one(self, trees, monkeypatch):
        # Each question takes a millisecond on a network drive.
        asked, stat = [], os.stat
        monkeypatch.setattr(os, "stat", lambda path, *rest, **named: asked.append(path) or stat(path, *rest, **named))
        for name in ("coronahack", "coughvid", "isic2019"):
            files = read(trees[name], name).paths
            assert not [path for path in asked if str(path).endswith(tuple(files))]
        assert asked, "nothing was recorded"


class TestCoswara:
    def test_labels_and_subjects(self, trees, caplog):
        with caplog.at_level(logging.INFO):
            manifest = read(trees["coswara"], "coswara")
        assert totals(manifest) == {"covid": 2 * PER_CLASS, "healthy": 2 * PER_CLASS, "recovered_full": 2}
        assert "9 of 10 participants are used; left out are 0 without a status and 1 without a recording" in caplog.text
        for path, subject in zip(manifest.paths, manifest.subjects, strict=True):
            assert path.split("/")[-2] == subject
        assert len(set(manifest.subjects)) == 9
        assert not shared_subjects(with_validation(manifest, 0.2, 0))

    def test_chosen_recordings(self, trees):
        options = LayoutOptions(coswara_recordings=("cough-heavy",))
        assert len(read(trees["coswara"], "coswara", options=options)) == 9
        options = LayoutOptions(coswara_recordings=("Breathing-Deep",))
        assert len(read(trees["coswara"], "coswara", options=options)) == 10
        with pytest.raises(UserError, match=r"No participant in .* has a recording vowel-x"):
            read(trees["coswara"], "coswara", options=LayoutOptions(coswara_recordings=("vowel-x",)))
        with pytest.raises(UserError, match="names no recording"):
            LayoutOptions(coswara_recordings=())

    @pytest.mark.parametrize("place", [".", "20200413", "Extracted_data/20200413/New Folder With Items"])
    def test_participants_at_any_depth(self, tmp_path, place):
        root = write_coswara(tmp_path / "Датасет", per_class=1, recordings=("cough-heavy",), place=place)
        assert totals(read(root, "coswara")) == {"covid": 1, "healthy": 1, "recovered_full": 1}

    def test_recordings_in_any_case(self, trees, tmp_path):
        root = copy(trees, "coswara", tmp_path)
        path = root / read(root, "coswara").paths[0]
        path.rename(path.with_name("Cough-Heavy.WAV"))
        assert "Cough-Heavy.WAV" in {Path(name).name for name in read(root, "coswara").paths}

    def test_statuses_of_no_use_and_unknown_ones(self, trees, tmp_path, caplog):
        root = copy(trees, "coswara", tmp_path)
        edit(root / TABLE["coswara"], ",healthy,", ",,")
        edit(root / TABLE["coswara"], ",positive_mild,", ",Under_Validation,")
        with caplog.at_level(logging.INFO):
            manifest = read(root, "coswara")
        assert "8 of 10 participants are used; left out are 1 without a status and 1 without" in caplog.text
        assert totals(manifest)["under_validation"] == 2

    def test_everything_without_a_recording(self, trees, tmp_path):
        shutil.copy(trees["coswara"] / TABLE["coswara"], tmp_path)
        with pytest.raises(UserError, match=r"expected Extracted_data/DATE/ID/cough-heavy.wav"):
            read(tmp_path, "coswara")


class TestIsic2019:
    def test_labels_and_lesions(self, trees):
        manifest = read(trees["isic2019"], "isic2019")
        assert totals(manifest) == {"BCC": 4, "MEL": 4, "NV": 4}
        for path, label in labelled(manifest):
            assert label == ("MEL", "NV", "BCC")[int(Path(path).stem[5:12]) // 100 % 10]
        moles = manifest.select(manifest.labels == manifest.label_names.index("NV"))
        assert moles.subjects.tolist() == [*moles.paths[:2], "BCN_1001", "BCN_1001"]

    def test_without_the_table_of_lesions(self, tmp_path, caplog):
        root = write_isic2019(tmp_path, per_class=2, metadata=False, nested=True)
        manifest = read(root, "isic2019")
        assert len(manifest) == 6
        assert manifest.subjects is None
        assert "ISIC_2019_Training_Metadata.csv is missing" in caplog.text

    def test_downsampled_pictures_are_found_by_their_name_without_it(self, trees, tmp_path):
        root = copy(trees, "isic2019", tmp_path)
        for table in root.glob("*.csv"):
            edit(table, "_downsampled", "", -1)
        assert read(root, "isic2019").paths == read(trees["isic2019"], "isic2019").paths

    @pytest.mark.parametrize("new", ["0.0,0.0", "1.0,1.0", "0.5,0.5", "1.0,0.5", ",0.0"])
    def test_rows_without_exactly_one_label_are_named(self, trees, tmp_path, new):
        root = copy(trees, "isic2019", tmp_path)
        edit(root / TABLE["isic2019"], "1.0,0.0", new)
        with pytest.raises(UserError, match=r"1 rows of .* exactly one label \(ISIC_0007000\)"):
            read(root, "isic2019")

    def test_faults(self, trees, tmp_path):
        root = copy(trees, "isic2019", tmp_path)
        edit(root / TABLE["isic2019"], "1.0,0.0", "yes,no")
        with pytest.raises(UserError, match=r"'MEL' in .* is not a number in data rows 1;"):
            read(root, "isic2019")
        edit(root / TABLE["isic2019"], "yes,no", "1.0,0.0")
        (root / "ISIC_2019_Training_Metadata.csv").write_text("image,sex\n")
        with pytest.raises(UserError, match=r"Metadata.csv has no column lesion_id"):
            read(root, "isic2019")
        shutil.rmtree(root / "ISIC_2019_Training_Input")
        with pytest.raises(UserError, match="expected the folder ISIC_2019_Training_Input"):
            read(root, "isic2019")


def test_manifests_are_those_of_any_other_data(trees):
    for name, tree in trees.items():
        manifest = read(tree, name)
        assert manifest.labels.dtype == np.int64
        assert list(manifest.label_names) == sorted(manifest.label_names)
        assert all(type(label) is str for label in manifest.label_names)
        assert all(type(path) is str and not path.startswith(("/", "./")) for path in manifest.paths)
