from __future__ import annotations

import csv
import logging
import os
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest

from mmgen.data.files import LocalFiles, RemoteFiles
from mmgen.data.images import IMAGE_SUFFIXES
from mmgen.data.labels import match_labels
from mmgen.data.manifest import Columns, Manifest, read_manifest
from mmgen.data.reading.folders import RemoteTree
from mmgen.errors import UserError

PNG = {".png"}


def make_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def make_csv(root: Path, text: str, name: str = "table.csv", encoding: str = "utf-8") -> Path:
    (root / name).write_bytes(text.encode(encoding))
    return root / name


def make_manifest(labels: list[int], label_names: tuple[str, ...], splits: list[str] | None = None) -> Manifest:
    paths = [f"{index}.png" for index in range(len(labels))]
    return Manifest(LocalFiles(Path("data")), paths, np.array(labels, dtype=np.int64), label_names).with_splits(splits)


def names_of(manifest: Manifest) -> list[str]:
    return [manifest.label_names[label] for label in manifest.labels]


class TestManifest:
    def test_selects_by_mask_and_by_index_in_the_given_order(self):
        manifest = make_manifest([0, 1, 0], ("a", "b"), ["train", "val", "test"])
        assert manifest.select([2, 1]).paths == ["2.png", "1.png"]
        by_mask = manifest.select(manifest.labels == 0)
        assert by_mask.paths == ["0.png", "2.png"]
        assert by_mask.splits.tolist() == ["train", "test"]
        assert by_mask.label_names == ("a", "b")
        assert len(manifest.select([])) == 0

    def test_counts_by_label_and_split(self):
        labels, splits = [0, 1, 0, 0], ["test", "train", "train", "test"]
        assert make_manifest(labels, ("a", "b"), splits).counts() == {
            "a": {"train": 1, "test": 2},
            "b": {"train": 1, "test": 0},
        }
        assert make_manifest(labels, ("a", "b")).counts() == {"a": {"all": 3}, "b": {"all": 1}}

    def test_of_split_gives_its_samples_or_names_those_there_are(self):
        manifest = make_manifest([0, 0], ("a",), ["train", "test"])
        assert manifest.of_split("test").paths == ["1.png"]
        with pytest.raises(UserError, match=r"no 'val' split \(present: train, test\)"):
            manifest.of_split("val")
        with pytest.raises(UserError, match="no splits"):
            manifest.with_splits(None).of_split("train")

    def test_refuses_columns_that_do_not_fit(self):
        with pytest.raises(ValueError, match="length"):
            make_manifest([0, 0], ("a",), ["train"])
        with pytest.raises(ValueError, match="indices"):
            make_manifest([0, 1], ("a",))
        with pytest.raises(ValueError, match="named"):
            make_manifest([0], ("a",), ["fold1"])


class TestFolder:
    def test_folder_per_class_is_sorted_and_has_no_splits(self, tmp_path):
        root = make_files(tmp_path, "sick/2.png", "healthy/10.PNG", "sick/deep/er/1.png", "sick/notes.txt", "cover.png")
        manifest = read_manifest(root, PNG)
        assert manifest.paths == ["healthy/10.PNG", "sick/2.png", "sick/deep/er/1.png"]
        assert names_of(manifest) == ["healthy", "sick", "sick"]
        assert manifest.label_names == ("healthy", "sick")
        assert manifest.splits is None
        assert manifest.subjects is None
        assert not manifest.files.missing(manifest.paths)

    def test_split_folders_in_any_spelling(self, tmp_path):
        root = make_files(tmp_path, "Train/a/1.png", "VALIDATION/a/2.png", "test/A/3.png", "docs/readme.txt")
        manifest = read_manifest(root, PNG)
        by_path = dict(zip(manifest.paths, manifest.splits, strict=True))
        assert by_path == {"Train/a/1.png": "train", "VALIDATION/a/2.png": "val", "test/A/3.png": "test"}
        assert manifest.label_names == ("A",), (
            "labels that differ in case are one, spelled as the first in sorted order"
        )

    def test_class_folders_beside_split_folders_are_refused(self, tmp_path):
        root = make_files(tmp_path, "train/a/1.png", "b/2.png")
        with pytest.raises(UserError, match="b beside train"):
            read_manifest(root, PNG)

    def test_hidden_files_and_archive_leavings_are_no_samples(self, tmp_path):
        root = make_files(tmp_path, "a/1.png", "a/._1.png", ".cache/a/2.png", "__MACOSX/a/3.png", "a/.thumbs/4.png")
        assert read_manifest(root, PNG).paths == ["a/1.png"]

    def test_spaces_and_other_scripts(self, tmp_path):
        root = make_files(tmp_path, "健康/胸部 1.png", "Lungenentzündung/b c.png")
        manifest = read_manifest(root, PNG)
        assert sorted(manifest.label_names) == sorted(["健康", "Lungenentzündung"])
        assert not manifest.files.missing(manifest.paths)

    def test_empty_class_folder_is_logged_and_left_out(self, tmp_path, caplog):
        root = make_files(tmp_path, "a/1.png", "b/1.txt")
        with caplog.at_level(logging.WARNING):
            assert read_manifest(root, PNG).label_names == ("a",)
        assert str(root / "b") in caplog.text

    @pytest.mark.parametrize("names", [(), ("1.png",), ("a/1.txt",), ("train/1.png",)])
    def test_folder_without_class_folders_of_files(self, tmp_path, names):
        make_files(tmp_path, *names)
        with pytest.raises(UserError, match=r"No files that end in \.png"):
            read_manifest(tmp_path, PNG)

    def test_missing_path_and_meaningless_columns(self, tmp_path):
        with pytest.raises(UserError, match="nowhere does not exist"):
            read_manifest(tmp_path / "nowhere", PNG)
        make_files(tmp_path, "a/1.png")
        with pytest.raises(UserError, match=r"holds no manifest\.csv"):
            read_manifest(tmp_path, PNG, Columns(label="diagnosis"))


class TestCsv:
    def test_usual_names_row_order_and_stripped_values(self, tmp_path):
        make_files(tmp_path, "x/2.png", "x/1.png", "x/3.png")
        csv = make_csv(
            tmp_path, "File, Diagnosis,Patient,Split,age\nx/2.png, Sick ,p2,Train,9\n./x/1.png,sick,,valid,8\n"
        )
        manifest = read_manifest(csv, PNG)
        assert manifest.files == LocalFiles(tmp_path)
        assert manifest.paths == ["x/2.png", "x/1.png"]
        assert manifest.label_names == ("Sick",)
        assert manifest.labels.dtype == np.int64
        assert manifest.subjects.tolist() == ["p2", "x/1.png"], "a row without a subject is a subject of its own"
        assert manifest.splits.tolist() == ["train", "val"]

    def test_given_names_win_over_usual_ones(self, tmp_path):
        make_files(tmp_path, "1.png")
        csv = make_csv(tmp_path, "path,label,lesion,honest,picture,grade\nno,no,l1,test,1.png,3\n")
        columns = Columns(path="picture", label="grade", subject="lesion", split="honest")
        manifest = read_manifest(csv, PNG, columns)
        assert manifest.paths == ["1.png"]
        assert manifest.label_names == ("3",)
        assert manifest.subjects.tolist() == ["l1"]
        assert manifest.splits.tolist() == ["test"]

    def test_folder_with_manifest_is_read_through_it(self, tmp_path):
        make_files(tmp_path, "x/1.png", "x/2.png")
        make_csv(tmp_path, "path,label\nx/1.png,a\n", "manifest.csv")
        assert read_manifest(tmp_path, PNG).paths == ["x/1.png"]

    def test_splits_come_from_paths_only_if_all_paths_have_one(self, tmp_path):
        rows = "path,label\ntrain/1.png,a\nTest/2.png,a\n"
        manifest = read_manifest(make_csv(tmp_path, rows), PNG, check_files=False)
        assert manifest.splits.tolist() == ["train", "test"]
        manifest = read_manifest(make_csv(tmp_path, rows + "other/3.png,a\n"), PNG, check_files=False)
        assert manifest.splits is None

    def test_absolute_paths(self, tmp_path):
        make_files(tmp_path, "far/1.png")
        (tmp_path / "near").mkdir()
        csv = make_csv(tmp_path / "near", f"path,label\n{tmp_path / 'far/1.png'},a\n")
        assert read_manifest(csv, PNG).name(0) == str(tmp_path / "far" / "1.png")

    def test_labels_that_look_like_missing_values_or_numbers_stay_text(self, tmp_path):
        csv = make_csv(tmp_path, "path,label,subject\n1.png,None,007\n2.png,NA,1e3\n3.png,01,nan\n")
        manifest = read_manifest(csv, PNG, check_files=False)
        assert names_of(manifest) == ["None", "NA", "01"]
        assert manifest.subjects.tolist() == ["007", "1e3", "nan"]

    @pytest.mark.parametrize("separator", [";", "\t"])
    def test_spreadsheet_exports(self, tmp_path, separator):
        text = "path,label\n1.png,Ödem\n".replace(",", separator)
        csv = make_csv(tmp_path, text, encoding="utf-8-sig")
        assert read_manifest(csv, PNG, check_files=False).label_names == ("Ödem",)

    def test_trailing_separators_do_not_shift_the_columns(self, tmp_path):
        csv = make_csv(tmp_path, "path,label,age\n1.png,a,50,\n2.png,b,60,\n")
        manifest = read_manifest(csv, PNG, check_files=False)
        assert (manifest.paths, names_of(manifest)) == (["1.png", "2.png"], ["a", "b"])

    def test_missing_files_are_named_together(self, tmp_path):
        make_files(tmp_path, "0.png")
        csv = make_csv(tmp_path, "path,label\n" + "".join(f"{i}.png,a\n" for i in range(9)))
        with pytest.raises(UserError, match=r"8 of 9 files .*\(1.png, 2.png, 3.png, 4.png, 5.png and 3 more\)"):
            read_manifest(csv, PNG)
        assert len(read_manifest(csv, PNG, check_files=False)) == 9

    @pytest.mark.parametrize(
        ("text", "columns", "message"),
        [
            (
                "path,label\n1.png,a\n",
                Columns(subject="patient"),
                "no column 'patient' for the subject; its columns are",
            ),
            ("path,label\n1.png,a\n", Columns(label="Label"), "no column 'Label'"),
            (
                "path,finding\n1.png,a\n",
                Columns(),
                r"no column named label or class .* \(its columns are path, finding\)",
            ),
            ("name,label\n1.png,a\n", Columns(), "name its path column"),
            ("path,label,split\n1.png,a,fold 3\n", Columns(), "'split' of .* train, val and test .*'fold 3'"),
            ("path,label,split\n1.png,a,train\n2.png,a,\n", Columns(), "train, val and test"),
            ("path,label\n1.png,a\n2.png, \n3.png,\n", Columns(), "'label' of .* is empty in data rows 2, 3"),
            ("path,label\n1.png,a\n2.png\n", Columns(), "'label' of .* is empty in data rows 2"),
            ("path,label\n,a\n", Columns(), "'path' of .* is empty in data rows 1"),
            ("path,label\n1.flac,a\n", Columns(), r"1 files that do not end in .png \(1.flac\)"),
            ("path,label\n", Columns(), "header but no rows"),
            ("", Columns(), "cannot be read as a CSV"),
        ],
    )
    def test_faults_are_named(self, tmp_path, text, columns, message):
        with pytest.raises(UserError, match=message):
            read_manifest(make_csv(tmp_path, text), PNG, columns, check_files=False)

    def test_many_rows_are_read_as_a_plain_reader_reads_them(self, tmp_path):
        rng = np.random.default_rng(0)
        names = [f"ordner {i % 7}/{i}, {i}.png" for i in range(1000)]
        rows = [
            (name, rng.choice(["a ", "B", "Ü"]), rng.choice(["p1", "", " p 2"]), rng.choice(["train", "TEST"]))
            for name in names
        ]
        with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["note", "path", "label", "patient", "split"])
            for index, row in enumerate(rows):
                file.write("\n" * (index % 100 == 0))  # empty lines
                writer.writerow(['with "quotes",\nand a break', *row])
        manifest = read_manifest(tmp_path / "t.csv", PNG, check_files=False)
        assert manifest.paths == names
        assert names_of(manifest) == [label.strip() for _, label, _, _ in rows]
        assert manifest.subjects.tolist() == [subject.strip() or name for name, _, subject, _ in rows]
        assert manifest.splits.tolist() == [split.lower() for *_, split in rows]
        assert manifest.origins.tolist() == list(range(1000))


class TestSubset:
    SUBSET = Columns(subset="klein ?")

    def read(self, root: Path, rows: str, columns: Columns = SUBSET, **options: bool) -> Manifest:
        table = make_csv(root, "path,label,subject,klein ?\n" + rows, "Tabelle β.csv")
        return read_manifest(table, PNG, columns, **options)

    def test_marked_rows_are_used_and_keep_their_numbers(self, tmp_path, caplog):
        marks = ["1", "0", " TRUE ", "false", "Yes", "no", "", " ", "true"]
        rows = "".join(f"{i}.png,{'ab'[i % 2]},p{i},{mark}\n\n" for i, mark in enumerate(marks))
        with caplog.at_level(logging.INFO):
            manifest = self.read(tmp_path, rows + "9.png,b\n", check_files=False)
        assert manifest.paths == ["0.png", "2.png", "4.png", "8.png"]
        assert manifest.subjects.tolist() == ["p0", "p2", "p4", "p8"]
        assert manifest.origins.tolist() == [0, 2, 4, 8]
        assert manifest.select([1, 3]).origins.tolist() == [2, 8]
        assert manifest.label_names == ("a",), "a label of other rows alone is no label"
        assert "4 of 10 rows are used, as column 'klein ?' says" in caplog.text

    def test_other_rows_are_not_looked_at(self, tmp_path):
        make_files(tmp_path, "1.png", "2.png")
        rows = "1.png,a,p,1\n2.png,b,p,1\n1.png,b,p,0\ngone.png,a,p,0\n,a,p,0\nx.gif,,p,\n1.png,a,p,1\n"
        manifest = self.read(tmp_path, rows)
        assert manifest.paths == ["1.png", "2.png"] and manifest.origins.tolist() == [0, 1]
        with pytest.raises(UserError):
            self.read(tmp_path, rows, Columns())

    def test_the_column_counts_only_where_it_is_named(self, tmp_path):
        table = make_csv(tmp_path, "path,label,subset,small\n1.png,a,0,maybe\n2.png,b,1,\n")
        manifest = read_manifest(table, PNG, check_files=False)
        assert len(manifest) == 2 and manifest.origins.tolist() == [0, 1]

    def test_rows_of_large_tables(self, tmp_path):
        marks = np.random.default_rng(0).integers(0, 2, 3000)
        rows = [f"{i}.png,a,p{i},{mark}\n" for i, mark in enumerate(marks.tolist())]
        manifest = self.read(tmp_path, "".join(rows), check_files=False)
        assert manifest.origins.tolist() == np.flatnonzero(marks).tolist()
        assert manifest.paths == [f"{i}.png" for i in np.flatnonzero(marks)]
        rows[2500] = "2500.png,,p,1\n"
        with pytest.raises(UserError, match=r"'label' of .* is empty in data rows 2501;"):
            self.read(tmp_path, "".join(rows), check_files=False)
        rows[2600] = "2600.png,a,p,vielleicht\n"
        with pytest.raises(
            UserError, match=r"'klein \?' of .*β\.csv is 'vielleicht' in data row 2601, neither 1, true"
        ):
            self.read(tmp_path, "".join(rows), check_files=False)

    @pytest.mark.parametrize(
        ("rows", "columns", "message"),
        [
            ("1.png,a,p,1\n2.png,a,p,2\n", SUBSET, "'klein .* is '2' in data row 2, neither .*; correct it"),
            ("1.png,a,p,1.0\n", SUBSET, r"is '1\.0' in data row 1"),
            ("1.png,a,p,\x1b[31m\n", SUBSET, r"is '\\x1b\[31m' in data row 1"),
            ("1.png,a,p,0\n2.png,a,p,\n", SUBSET, "'klein .*' of .* marks no row; write 1 in the rows to use"),
            ("1.png,a,p,1\n", Columns(subset="Klein ?"), r"no column 'Klein \?' for the subset; its columns are path"),
            ("", SUBSET, "header but no rows"),
        ],
    )
    def test_faults_are_named(self, tmp_path, rows, columns, message):
        with pytest.raises(UserError, match=message):
            self.read(tmp_path, rows, columns, check_files=False)

    def test_folders_without_a_table_have_no_subset(self, tmp_path):
        make_files(tmp_path, "a/1.png")
        with pytest.raises(UserError, match=r"holds no manifest\.csv, so column names mean nothing there"):
            read_manifest(tmp_path, PNG, self.SUBSET)
        make_csv(tmp_path, "path,label,klein ?\na/1.png,a,yes\na/2.png,a,no\n", "manifest.csv")
        assert read_manifest(tmp_path, PNG, self.SUBSET).paths == ["a/1.png"]


class TestDirt:
    """What tables and folders from elsewhere hold; each gets a sentence that names it, or is read as it is meant."""

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
    def test_other_encodings_are_refused_with_the_way_out(self, tmp_path, encoding):
        table = make_csv(tmp_path, "path,label\n1.png,Ödem\n", encoding=encoding)
        with pytest.raises(UserError, match=r"table\.csv is not UTF-8 text; save it as a CSV in UTF-8"):
            read_manifest(table, PNG, check_files=False)

    def test_rows_with_more_fields_than_the_header(self, tmp_path):
        table = make_csv(tmp_path, "path,label,subject\n1.png,a,p1\n\n2.png,pneumonia, viral,p2\n3.png,b,p3,,\n")
        with pytest.raises(UserError, match=r"Data rows 2 of .* have more fields than the header; put fields"):
            read_manifest(table, PNG, check_files=False)
        table = make_csv(tmp_path, "path,label\n" + "1.png,a\n" * 700 + "2.png,a,b\n")
        with pytest.raises(UserError, match="Data rows 701 of"):
            read_manifest(table, PNG, check_files=False)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('path,label\n"1.png,a\n2.png,b\n', r"cannot be read as a CSV at line 3 \(unexpected end of data\)"),
            (f"path,label\n1.png,{'a' * 200_000}\n", r"at line 2 \(field larger than field limit"),
            (f"path,label\n1.png,{'a' * 300}\n", r"longer than 200 characters or not plain text \(a{100}…a{100}\)"),
            ('path,label\n1.png,"a\n2.png,b"\n', r"Column 'label' .* not plain text \(a\\n2.png,b\)"),
            ("path,label\n1\0.png,a\n", r"holds NUL characters \(1\\x00\.png\)"),
            ("\0\0\0\0", "is not UTF-8 text"),
            ("\n \n", "no header line"),
            ("path,label,Label\n1.png,a,b\n", "several columns named label"),
            ("path,label\n\x1b[31m.gif,a\n", r"do not end in \.png \(\\x1b\[31m\.gif\)"),
        ],
    )
    def test_broken_tables(self, tmp_path, text, message):
        with pytest.raises(UserError, match=message):
            read_manifest(make_csv(tmp_path, text), PNG, check_files=False)

    def test_one_file_has_one_spelling(self, tmp_path):
        make_files(tmp_path, "a/1.png", "b/2.png")
        table = make_csv(tmp_path, "path,label\na//1.png,x\n./b/./2.png,x\nb/../a/./1.png,y\n")
        assert read_manifest(table, PNG).paths == ["a/1.png", "b/2.png", "b/../a/1.png"]

    def test_repeated_rows_are_left_out_and_named(self, tmp_path, caplog):
        table = make_csv(tmp_path, "path,label\n1.png,a\n2.png,b\n./1.png,A\n1.png,a\n3.png,a\n")
        manifest = read_manifest(table, PNG, check_files=False)
        assert manifest.paths == ["1.png", "2.png", "3.png"]
        assert manifest.origins.tolist() == [0, 1, 4]
        assert "lists 1 files more than once (1.png)" in caplog.text

    @pytest.mark.parametrize("what", ["labels", "subjects", "splits"])
    def test_one_file_with_two_labels_subjects_or_splits_is_refused(self, tmp_path, what):
        other = {"labels": "b,p,train", "subjects": "a,q,train", "splits": "a,p,test"}[what]
        table = make_csv(
            tmp_path, f"path,label,subject,split\n1.png,a,p,train\n2.png,b,p,test\n2.png,b,p,test\n1.png,{other}\n"
        )
        with pytest.raises(UserError, match=rf"more than once with different {what} \(1\.png\); keep one row a file"):
            read_manifest(table, PNG, check_files=False)

    def test_classes_of_one_file_and_labels_in_several_cases(self, tmp_path):
        table = make_csv(tmp_path, "path,label\n1.png,covid\n2.png,COVID \n3.png,rare\n")
        assert read_manifest(table, PNG, check_files=False).counts() == {"COVID": {"all": 2}, "rare": {"all": 1}}

    def test_a_named_table_may_lead_out_of_its_folder_and_one_found_in_a_folder_not(self, tmp_path):
        make_files(tmp_path, "elsewhere/1.png", "set/x/2.png")
        make_csv(tmp_path / "set", "path,label\n../elsewhere/1.png,a\nx/../x/2.png,a\n", "manifest.csv")
        manifest = read_manifest(tmp_path / "set" / "manifest.csv", PNG)
        assert manifest.paths == ["../elsewhere/1.png", "x/../x/2.png"]
        message = r"names 1 files outside its folder \(\.\./elsewhere/1\.png\); .*name it instead of its folder"
        with pytest.raises(UserError, match=message):
            read_manifest(tmp_path / "set", PNG)

    def test_files_gone_links_to_nowhere_and_paths_of_windows(self, tmp_path):
        make_files(tmp_path, "here.png")
        (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
        table = make_csv(tmp_path, "path,label\nhere.png,a\nbroken.png,a\ncovid\\1.png,a\n")
        with pytest.raises(
            UserError, match=r"2 of 3 files .*\(broken.png, covid\\1.png\); restore them, write \\ as /"
        ):
            read_manifest(table, PNG)

    def test_links_to_nowhere_in_class_folders(self, tmp_path):
        make_files(tmp_path, "a/1.png")
        (tmp_path / "a" / "2.png").symlink_to(tmp_path / "nowhere.png")
        (tmp_path / "a" / "notes.txt").symlink_to(tmp_path / "nowhere.txt")
        with pytest.raises(UserError, match=r"1 entries of .* are no files or lead nowhere \(a/2\.png\)"):
            read_manifest(tmp_path, PNG)

    def test_links_that_lead_back_up_end(self, tmp_path):
        make_files(tmp_path, "a/1.png")
        (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
        assert read_manifest(tmp_path, PNG).paths == ["a/1.png"]

    def test_folders_and_tables_that_may_not_be_read(self, tmp_path, monkeypatch):
        make_files(tmp_path, "a/1.png", "b/2.png")
        table = make_csv(tmp_path, "path,label\na/1.png,x\n")
        scandir = os.scandir

        def guarded(path):
            if os.path.basename(path) == "b":
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        with pytest.raises(UserError, match=r"/b cannot be listed \(Permission denied\); make it readable"):
            read_manifest(tmp_path, PNG)

        def refused(self, path):
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr(LocalFiles, "open", refused)
        with pytest.raises(UserError, match=r"table\.csv cannot be read \(Permission denied\)"):
            read_manifest(table, PNG)

    def test_names_in_another_encoding(self, tmp_path):
        make_files(tmp_path, "a/1.png")
        try:
            (tmp_path / os.fsdecode(b"a/r\xf6ntgen.png")).touch()
        except OSError:
            pytest.skip("this file system stores names as UTF-8")
        with pytest.raises(UserError, match=r"1 file names .* are not UTF-8 \(a/r\\udcf6ntgen\.png\); rename them"):
            read_manifest(tmp_path, PNG)


@pytest.fixture
def bucket():
    """A folder that is only in memory, reached by URL."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    if fsspec.filesystem("memory").exists(url):
        fsspec.filesystem("memory").rm(url, recursive=True)


def put(url: str, **files: str) -> None:
    for path, text in files.items():
        fsspec.filesystem("memory").pipe_file(f"{url}/{path}", text.encode())


class TestRemote:
    def test_a_table_and_files_relative_to_it_or_named_by_url(self, bucket):
        rows = f"path,label\nx y/1.png,a\n{bucket}/far/健.png,b\n"
        put(bucket, **{"set/m.csv": rows, "set/x y/1.png": "one", "far/健.png": "two"})
        manifest = read_manifest(f"{bucket}/set/m.csv", PNG)
        assert [manifest.open(index).read() for index in (0, 1)] == [b"one", b"two"]
        assert manifest.name(0) == f"{bucket}/set/x y/1.png"
        put(bucket, **{"set/m.csv": rows + "2.png,a\n"})
        with pytest.raises(UserError, match=r"1 of 3 files named in memory://.*/set/m.csv do not exist \(2.png\)"):
            read_manifest(f"{bucket}/set/m.csv", PNG)

    def test_urls_pass_through_options_that_are_paths(self, bucket):
        put(bucket, **{"m.csv": "path,label\n1.png,a\n", "1.png": ""})
        assert read_manifest(Path(bucket) / "m.csv", PNG).name(0) == f"{bucket}/1.png"

    def test_folders_are_read_as_those_on_this_machine_are(self, bucket, tmp_path, caplog):
        names = ["Train/b c/2.png", "Train/b c/deep/1.png", "test/健/3.png", "test/.a/4.png", "test/健/._3.png"]
        names += ["test/empty/notes.txt", "readme.md", "docs/a.txt"]
        make_files(tmp_path, *names)
        put(bucket, **dict.fromkeys(names, ""))
        here, there = read_manifest(tmp_path, PNG), read_manifest(bucket, PNG)
        assert there.paths == here.paths == sorted(names[:3])
        assert there.splits.tolist() == here.splits.tolist()
        assert names_of(there) == names_of(here)
        assert f"{tmp_path}/test/empty" in caplog.text
        assert f"{bucket}/test/empty" in caplog.text

    def test_class_folders_whose_names_begin_alike_are_kept_apart(self, bucket):
        put(bucket, **dict.fromkeys(["a/1.png", "a b/2.png", "a.b/3.png", "a0/4.png"], ""))
        manifest = read_manifest(bucket, PNG)
        assert dict(zip(manifest.paths, names_of(manifest), strict=True)) == {
            f"{label}/{index}.png": label for index, label in enumerate(["a", "a b", "a.b", "a0"], 1)
        }
        assert RemoteTree(RemoteFiles(bucket)).files_below("a", (".png",)) == ["a/1.png"]

    def test_a_folder_with_a_manifest_is_read_through_it(self, bucket):
        put(bucket, **{"manifest.csv": "path,label\n1.png,a\n", "1.png": "", "x/2.png": ""})
        assert read_manifest(bucket, PNG).paths == ["1.png"]

    def test_file_urls_are_paths(self, tmp_path):
        make_files(tmp_path, "a b/1.png")
        manifest = read_manifest(f"file://{tmp_path}", PNG)
        assert manifest.files == LocalFiles(tmp_path)
        assert read_manifest(Path(f"file://{tmp_path}"), PNG).paths == manifest.paths == ["a b/1.png"]

    def test_a_table_here_that_lists_urls(self, bucket, tmp_path):
        put(bucket, **{"x/1.png": "one", "y/2.png": "two"})
        table = make_csv(tmp_path, f"path,label\n{bucket}/x/1.png,a\n{bucket}/y/2.png,a\n", "manifest.csv")
        manifest = read_manifest(table, PNG)
        assert manifest.open(1).read() == b"two"
        with pytest.raises(UserError, match=r"names URLs .* if you trust it name it instead of its folder"):
            read_manifest(tmp_path, PNG)
        make_csv(tmp_path, f"path,label\n{bucket}/x/1.png,a\n2.png,a\n", "manifest.csv")
        with pytest.raises(UserError, match="mixes URLs"):
            read_manifest(table, PNG)

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("file:///etc/secret.png", r"URLs of another protocol than its own \(file:///etc/secret.png\)"),
            ("https://me:secret@host/1.png?key=secret", r"another protocol than its own \(https://host/1.png\)"),
            ("../../other/1.png", "outside its folder"),
        ],
    )
    def test_what_a_table_from_elsewhere_may_not_name(self, bucket, path, message):
        put(bucket, **{"m.csv": f"path,label\n{path},a\n"})
        with pytest.raises(UserError, match=message) as caught:
            read_manifest(f"{bucket}/m.csv", PNG, check_files=False)
        assert "me:secret" not in str(caught.value)
        assert "key=" not in str(caught.value)

    def test_nothing_there(self, bucket):
        with pytest.raises(UserError, match=r"memory://.*/nowhere does not exist or is empty; check the URL"):
            read_manifest(f"{bucket}/nowhere", PNG)
        with pytest.raises(UserError, match=r"m\.csv does not exist; correct its path"):
            read_manifest(f"{bucket}/m.csv", PNG)
        with pytest.raises(UserError, match="unknown protocol nosuch://"):
            read_manifest("nosuch://bucket", PNG)


class TestMatchLabels:
    def test_common_labels_in_any_case_with_one_list_of_names(self):
        images = make_manifest([2, 0, 1, 0], ("COVID", "healthy", "pneumonia"))
        sounds = make_manifest([0, 1, 2, 1], ("asthma", "Covid", "Healthy"))
        matched, lacking = match_labels({"image": images, "audio": sounds})
        assert list(matched) == ["image", "audio"]
        assert matched["image"].label_names == matched["audio"].label_names == ("COVID", "healthy")
        assert matched["image"].paths == ["1.png", "2.png", "3.png"]
        assert names_of(matched["image"]) == ["COVID", "healthy", "COVID"]
        assert matched["audio"].paths == ["1.png", "2.png", "3.png"]
        assert names_of(matched["audio"]) == ["COVID", "healthy", "COVID"]
        assert lacking == {"asthma": ["image"], "pneumonia": ["audio"]}

    def test_one_and_three_modalities(self):
        first = make_manifest([0, 1], ("a", "b"))
        matched, lacking = match_labels({"image": first})
        assert matched["image"].label_names == ("a", "b")
        assert lacking == {}
        others = {"left": make_manifest([0], ("B",)), "right": make_manifest([0, 1], ("b", "c"))}
        matched, lacking = match_labels({"image": first, **others})
        assert {manifest.label_names for manifest in matched.values()} == {("b",)}
        assert lacking == {"a": ["left", "right"], "c": ["image", "left"]}

    def test_a_label_without_samples_counts_as_absent(self):
        _, lacking = match_labels({"image": make_manifest([0], ("a", "b")), "audio": make_manifest([0, 1], ("a", "b"))})
        assert lacking == {"b": ["image"]}

    def test_nothing_in_common_names_both_lists(self):
        with pytest.raises(UserError, match=r"image: a, b; audio: c"):
            match_labels({"image": make_manifest([0, 1], ("a", "b")), "audio": make_manifest([0], ("c",))})


class TestRealData:
    def test_chest_x_rays_and_coughs_share_two_labels(self, real_data):
        images = read_manifest(real_data / "cxr", IMAGE_SUFFIXES)
        sounds = read_manifest(real_data / "cough", {".flac"})
        assert (len(images), len(sounds)) == (442, 277)
        assert images.subjects is not None
        assert set(images.splits) == {"train", "test"}
        matched, lacking = match_labels({"image": images, "audio": sounds})
        assert matched["image"].label_names == ("covid", "healthy")
        assert lacking == {"pneumonia": ["audio"]}

    def test_folders_and_csv_agree(self, real_data, tmp_path):
        (tmp_path / "cxr").mkdir()
        for split in ("train", "test"):
            (tmp_path / "cxr" / split).symlink_to(real_data / "cxr" / split)
        from_folders = read_manifest(tmp_path / "cxr", IMAGE_SUFFIXES)
        from_csv = read_manifest(real_data / "cxr" / "manifest.csv", IMAGE_SUFFIXES)
        assert from_folders.paths == sorted(from_csv.paths)
        assert from_folders.counts() == from_csv.counts()
