from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from small import SETTINGS, SOUND

import mmgen.data.files as files_module
import mmgen.data.formats.tar as tar_module
from mmgen.data.decoded import UnusableFile
from mmgen.data.formats.tar import tar_members
from mmgen.data.manifest import Columns, Manifest, read_manifest
from mmgen.data.reading.shards import expand_braces, read_shards
from mmgen.data.writing.unfinished import prepare_folder
from mmgen.data.writing.writer import ShardWriter, SyntheticSample
from mmgen.errors import UserError

PNG, FLAC = {".png", ".jpg"}, {".flac"}
GROUPS = ("label", "subject", "split")


def tar_bytes(files: dict[str, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def sample(key: str, about: object = None, **files: bytes) -> dict[str, bytes]:
    """Files of one sample; ``about`` becomes its .json."""
    texts = {} if about is None else {f"{key}.json": json.dumps(about).encode()}
    return {f"{key}.{ending.replace('_', '.')}": data for ending, data in files.items()} | texts


def write(path: Path, *samples: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes({name: data for one in samples for name, data in one.items()}))
    return path


def names_of(manifest: Manifest) -> list[str]:
    return [manifest.label_names[label] for label in manifest.labels]


def contents(manifest: Manifest) -> list[bytes]:
    return [manifest.open(index).read() for index in range(len(manifest))]


@pytest.fixture
def bucket():
    """A folder that is only in memory, reached by URL."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    if fsspec.filesystem("memory").exists(url):
        fsspec.filesystem("memory").rm(url, recursive=True)


class TestSamples:
    def test_each_modality_takes_its_files_of_one_set(self, tmp_path):
        root = tmp_path / "data set" / "健康"
        for shard in range(2):
            write(
                root / f"{shard:06d}.tar",
                *(
                    sample(
                        f"{shard}{i}",
                        {"label": "ab"[i % 2], "seed": i},
                        png=f"png{shard}{i}".encode(),
                        flac=f"flac{shard}{i}".encode() * 100,
                        spectrogram_npy=b"npy",
                    )
                    for i in range(3)
                ),
            )
        for ending, suffixes in (("png", PNG), ("flac", FLAC)):
            manifest = read_manifest(root, suffixes)
            assert manifest.paths == [f"00000{shard}.tar/{shard}{i}.{ending}" for shard in range(2) for i in range(3)]
            assert [data[:6].rstrip(b"f") for data in contents(manifest)][-1] == f"{ending}12".encode()[:6]
            assert names_of(manifest) == list("abaaba")
            assert manifest.subjects is manifest.splits is None
        assert manifest.name(4) == f"{root}/000001.tar, member 11.flac"
        assert manifest.files.size(manifest.paths[0]) == len(manifest.open(0).read()) == 600
        assert manifest.files.missing([*manifest.paths, "000000.tar/00.png"]) == ["000000.tar/00.png"]
        assert str(manifest.files) == str(root)

    def test_a_data_set_with_its_shards_in_a_folder_below(self, tmp_path):
        write(tmp_path / "shards" / "000000.tar", sample("000000", {"label": "a"}, png=b"x"))
        (tmp_path / "dataset.json").write_text("{}")
        assert read_manifest(tmp_path, PNG).paths == ["000000.tar/000000.png"]

    def test_what_the_library_writes_it_reads(self, tmp_path):
        labels = ("covid", "肺炎")
        prepare_folder(tmp_path, False, {})
        writer = ShardWriter(tmp_path, SETTINGS, labels, 3, 4, lambda index: {"label": labels[index // 3], "seed": 7})
        silence = np.zeros(SOUND.shape[1:], np.float32), np.zeros(SOUND.segment_samples, np.float32)
        pixels = [np.full(SETTINGS["image"].shape, 9 * index, np.uint8) for index in range(6)]
        writer.write(SyntheticSample(index, {"image": pixels[index]}, {"audio": silence}) for index in range(6))
        writer.finish({"generator": "a test"})
        images, sounds = read_manifest(tmp_path, PNG), read_manifest(tmp_path, FLAC)
        assert names_of(images) == names_of(sounds) == ["covid"] * 3 + ["肺炎"] * 3
        assert [np.asarray(Image.open(images.open(index)))[0, 0] for index in range(6)] == list(range(0, 54, 9))
        assert all(data[:4] == b"fLaC" for data in contents(sounds))

    def test_subject_split_and_label_by_usual_and_by_given_names(self, tmp_path):
        about = [
            {"Class": " Sick ", "patient_id": 7, "split": "Training", "finding": "x", "fold": "dev"},
            {"Class": "sick", "patient_id": None, "split": "test", "finding": 3, "fold": "test"},
        ]
        shard = write(tmp_path / "x.tar", *(sample(str(i), one, png=b"") for i, one in enumerate(about)))
        manifest = read_manifest(shard, PNG)
        assert manifest.label_names == ("Sick",)
        assert manifest.subjects.tolist() == ["7", "x.tar/1.png"], "a sample without a subject is one of its own"
        assert manifest.splits.tolist() == ["train", "test"]
        manifest = read_manifest(shard, PNG, Columns(label="finding", split="fold"))
        assert names_of(manifest) == ["x", "3"]
        assert manifest.splits.tolist() == ["val", "test"]
        with pytest.raises(UserError, match=r'2 samples .*x\.tar: 0\.json has no "stage" for the label'):
            read_manifest(shard, PNG, Columns(label="stage"))
        with pytest.raises(UserError, match="no path column"):
            read_manifest(shard, PNG, Columns(path="picture"))

    def test_a_subset_by_its_name(self, tmp_path):
        marks = [1, True, " Yes", 0, False, "no", None, "", "true"]
        about = [{"label": "ab"[n % 2], "små": mark, "subject": f"p{n}"} for n, mark in enumerate(marks)]
        del about[3]["label"]
        shards = [
            write(tmp_path / f"{n // 5}.tar", *(sample(str(i), about[i], png=b"%d" % i) for i in range(n, n + size)))
            for n, size in ((0, 5), (5, 4))
        ]
        manifest = read_manifest(tmp_path, PNG, Columns(subset="små"))
        assert manifest.paths == ["0.tar/0.png", "0.tar/1.png", "0.tar/2.png", "1.tar/8.png"]
        assert manifest.origins.tolist() == [0, 1, 2, 8]
        assert names_of(manifest) == ["a", "b", "a", "a"] and manifest.subjects.tolist() == ["p0", "p1", "p2", "p8"]
        assert contents(manifest) == [b"0", b"1", b"2", b"8"]
        about[3]["label"] = "a"
        write(shards[0], *(sample(str(i), about[i], png=b"") for i in range(5)))
        whole = read_manifest(tmp_path, PNG)
        assert len(whole) == 9 and whole.origins.tolist() == list(range(9))

    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            ([sample("0", {"label": "a"}, png=b"")], r'0\.json has no "s" for the subset'),
            ([sample("0", {"label": "a", "s": 2}, png=b"")], r"0\.json holds '2' as \"s\", neither 1, true"),
            ([sample("0", {"label": "a", "s": [1]}, png=b"")], "holds a subset that is neither text nor a whole"),
            ([sample("0", png=b"", cls=b"a")], r'0 has no \.json with "s" for the subset'),
            ([sample("0", {"label": "a", "s": 0}, png=b"")], '"s" marks no sample of .*; write 1 or true'),
            ([sample("0", {"label": "a", "s": 0}, flac=b"")], "holds no files that end in"),
        ],
    )
    def test_what_is_wrong_with_a_subset_is_named(self, tmp_path, samples, message):
        with pytest.raises(UserError, match=message):
            read_manifest(write(tmp_path / "x.tar", *samples), PNG, Columns(subset="s"))

    def test_labels_in_texts_beside_the_files(self, tmp_path):
        shard = write(
            tmp_path / "x.tar",
            sample("0", png=b"", cls=b"3\n"),
            sample("1", png=b"", txt="Ödem".encode()),
            sample("2", {"label": "json"}, png=b"", cls=b"cls", txt=b"txt"),
            sample("3", {"subject": "p"}, png=b"", cls=b"cls", txt=b"a caption"),
        )
        manifest = read_manifest(shard, PNG)
        assert names_of(manifest) == ["3", "Ödem", "json", "cls"]
        assert manifest.subjects.tolist()[3] == "p"

    def test_keys_end_at_the_first_dot_and_members_may_be_in_any_order(self, tmp_path):
        members = {
            "./b/1.PNG": b"b1",
            "a/1.png": b"a1",
            "a/1.mask.png": b"mask",
            "b/1.json": b'{"label": "b"}',
            "a/._1.png": b"mac",
            "noending": b"",
            "a/1.json": b'{"label": "a"}',
            "a/2.json": b"no sample, so no matter",
        }
        (tmp_path / "x.tar").write_bytes(tar_bytes(members))
        manifest = read_manifest(tmp_path / "x.tar", PNG)
        assert dict(zip(manifest.paths, names_of(manifest), strict=True)) == {
            "x.tar/b/1.PNG": "b",
            "x.tar/a/1.png": "a",
        }
        assert contents(manifest) == [b"b1", b"a1"]

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            (
                sample("7", png=b""),
                r'x\.tar: 7 has no label: no \.json with "label" or "class" or "diagnosis", no \.cls',
            ),
            (sample("7", {"label": ""}, png=b""), "7 has no label"),
            (sample("7", {"label": "a"}, png=b"", jpg=b""), r"7 has several files: 7\.png, 7\.jpg"),
            (sample("7", {"label": ["a"]}, png=b""), r"7\.json holds a label that is neither text nor a whole number"),
            (sample("7", {"label": True}, png=b""), "neither text"),
            (sample("7", {"label": "a", "subject": 1.5}, png=b""), "holds a subject that is neither"),
            (sample("7", {"label": "a\ud800"}, png=b""), "holds a label that is not plain text"),
            (sample("7", ["a"], png=b""), r"7\.json is JSON but no object"),
            (sample("7", png=b"", json="{'label': 'ä'}".encode("latin-1")), r"7\.json is not UTF-8 text"),
            (sample("7", png=b"", json=b"{'label': 1}"), r"7\.json is not JSON"),
            (sample("7", png=b"", json=b'{"label": ' + b"[" * 100_000), r"7\.json is not JSON"),
            (sample("7", png=b"", json=b'{"label": ' + b"9" * 5000 + b"}"), r"7\.json is not JSON"),
            (sample("7", png=b"", json=b" " * (1 << 20) + b"{}"), r"7\.json is larger than 1 MiB"),
            (sample("7\x1b[31m", png=b""), r"7\\x1b\[31m has no label"),
        ],
    )
    def test_samples_that_cannot_be_used_are_named(self, tmp_path, files, message):
        write(tmp_path / "x.tar", sample("1", {"label": "a"}, png=b""), files)
        with pytest.raises(UserError, match=r"^1 samples of .*" + message):
            read_manifest(tmp_path / "x.tar", PNG)

    def test_long_or_unknown_labels_and_splits(self, tmp_path):
        write(tmp_path / "x.tar", sample("1", png=b"", txt=b"a long story " * 30))
        with pytest.raises(UserError, match="longer than 200 characters"):
            read_manifest(tmp_path / "x.tar", PNG)
        about = [{"label": "a", "split": "fold 1"}, {"label": "a"}]
        write(tmp_path / "x.tar", *(sample(str(i), one, png=b"") for i, one in enumerate(about)))
        with pytest.raises(UserError, match=r"The split in .* other than train, val and test \('fold 1', empty\)"):
            read_manifest(tmp_path / "x.tar", PNG)

    def test_shards_of_another_modality(self, tmp_path):
        write(tmp_path / "x.tar", sample("1", {"label": "a"}, png=b""))
        with pytest.raises(UserError, match=r"x\.tar holds no files that end in \.flac; give shards of this modality"):
            read_manifest(tmp_path / "x.tar", FLAC)


class TestReading:
    def test_many_threads_read_at_once(self, tmp_path):
        rng = np.random.default_rng(0)
        data = {f"{i:03d}": rng.bytes(int(rng.integers(0, 5000))) for i in range(200)}
        for shard in range(4):
            keys = list(data)[shard::4]
            write(tmp_path / f"{shard}.tar", *(sample(key, {"label": "a"}, png=data[key]) for key in keys))
        manifest = read_shards(tmp_path, PNG)
        rows = rng.permutation(np.repeat(np.arange(200), 5))
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda row: manifest.open(row).read(), rows))
        assert read == [data[manifest.paths[row].split("/")[1][:3]] for row in rows]

    def test_an_archive_that_was_written_anew_is_not_read_at_the_old_places(self, tmp_path):
        path = write(tmp_path / "x.tar", sample("1", {"label": "a"}, png=b"old"), sample("2", {"label": "a"}, png=b"2"))
        manifest = read_manifest(path, PNG)
        stamps = [manifest.files.stamp(path) for path in manifest.paths]
        assert len(set(stamps)) == 2
        write(path, sample("1", {"label": "a"}, png=b"new"), sample("2", {"label": "a"}, png=b"2"))
        os.utime(path, ns=(1, 1))
        with pytest.raises(OSError, match=r"x\.tar has changed since it was listed; start again"):
            manifest.open(0)
        assert read_manifest(path, PNG).files.stamp("x.tar/1.png") != stamps[0]

    def test_files_that_are_not_there(self, tmp_path):
        manifest = read_manifest(write(tmp_path / "x.tar", sample("1", {"label": "a"}, png=b"abc")), PNG)
        for use in (manifest.files.open, manifest.files.size, manifest.files.stamp, manifest.files.name):
            with pytest.raises(FileNotFoundError, match=r"holds no x\.tar/2\.png"):
                use("x.tar/2.png")

    @pytest.mark.parametrize("where", ["here", "remote"])
    def test_a_large_file_is_read_in_place(self, tmp_path, monkeypatch, where):
        monkeypatch.setattr("mmgen.data.reading.shards.WHOLE", 100)
        data = np.random.default_rng(0).bytes(5000)
        path = write(tmp_path / "x.tar", sample("1", {"label": "a"}, png=data), sample("2", {"label": "a"}, png=b"2"))
        if where == "remote":
            fsspec.filesystem("memory").pipe_file("/in place/x.tar", path.read_bytes())
            path = "memory://in place/x.tar"
        with read_manifest(path, PNG).open(0) as file:
            assert file.seek(0, os.SEEK_END) == 5000 and file.read() == b""
            assert file.seek(-10, os.SEEK_CUR) == 4990 and file.read(100) == data[-10:]
            assert file.seek(4000) == 4000 and file.read(7) == data[4000:4007] and file.tell() == 4007
            with pytest.raises(ValueError, match="negative"):
                file.seek(-1)
            file.seek(0)
            assert file.read() == data


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("x.tar", ["x.tar"]),
            ("{008..011}.tar", ["008.tar", "009.tar", "010.tar", "011.tar"]),
            ("{8..11}", ["8", "9", "10", "11"]),
            ("{2..0}", ["2", "1", "0"]),
            ("{0..10..5}", ["{0..10..5}"]),
            ("{a,健 b,}/{0..1}", ["a/0", "a/1", "健 b/0", "健 b/1", "/0", "/1"]),
            ("{a} {} }{", ["{a} {} }{"]),
        ],
    )
    def test_braces(self, pattern, expected):
        assert expand_braces(pattern) == expected

    def test_braces_in_braces(self):
        assert sorted(expand_braces("{train-{0..1},test}")) == ["test", "train-0", "train-1"]

    @pytest.mark.parametrize("pattern", ["{0..999999999}.tar", "{0..99999}{0..99999}.tar", "{a,b}" * 60])
    def test_too_many_are_refused_before_memory_runs_out(self, pattern):
        with pytest.raises(UserError, match="more than 100000 shards"):
            expand_braces(pattern)

    def test_shards_of_several_folders_and_their_splits(self, tmp_path):
        for split in ("train", "test"):
            for shard in range(2):
                write(
                    tmp_path / "a b" / split / f"{shard}.tar",
                    sample("1", {"label": "a"}, png=f"{split}{shard}".encode()),
                )
        manifest = read_manifest(tmp_path / "a b" / "{train,test}" / "{0..1}.tar", PNG)
        assert manifest.paths == [f"{split}/{shard}.tar/1.png" for split in ("train", "test") for shard in range(2)]
        assert contents(manifest) == [b"train0", b"train1", b"test0", b"test1"]
        assert manifest.splits.tolist() == ["train", "train", "test", "test"]
        assert read_manifest(str(tmp_path / "a b" / "*" / "[1].tar"), PNG).paths == [
            "test/1.tar/1.png",
            "train/1.tar/1.png",
        ]

    def test_relative_patterns_and_folders_with_brackets(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write(Path("x.tar"), sample("1", {"label": "a"}, png=b"1"))
        write(Path("set [1]/0.tar"), sample("1", {"label": "a"}, png=b"2"))
        assert contents(read_manifest("x.tar", PNG)) == contents(read_manifest("*.tar", PNG)) == [b"1"]
        assert contents(read_manifest("set [1]/{0..0}.tar", PNG)) == [b"2"]
        assert contents(read_manifest("set [1]", PNG)) == [b"2"]

    def test_shards_that_are_missing_or_compressed(self, tmp_path):
        write(tmp_path / "0.tar", sample("1", {"label": "a"}, png=b"1"))
        with pytest.raises(UserError, match=r"2 of 3 shards of .* do not exist \(.*/1\.tar, .*/2\.tar\)"):
            read_manifest(tmp_path / "{0..2}.tar", PNG)
        with pytest.raises(UserError, match=r"x\*\.tar matches no shards"):
            read_manifest(tmp_path / "x*.tar", PNG)
        (tmp_path / "0.tar.gz").write_bytes(gzip.compress((tmp_path / "0.tar").read_bytes()))
        for pattern in ("0.tar.gz", "*.tar.gz"):
            with pytest.raises(
                UserError, match=r"must be uncompressed \.tar archives: unpack .*0\.tar\.gz with gunzip"
            ):
                read_manifest(tmp_path / pattern, PNG)

    def test_a_folder_with_class_folders_and_a_stray_archive_is_a_folder(self, tmp_path):
        write(tmp_path / "backup.tar", sample("1", {"label": "a"}, png=b"1"))
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "1.png").touch()
        assert read_manifest(tmp_path, PNG).paths == ["a/1.png"]


class TestRemote:
    def test_shards_behind_a_url(self, bucket):
        filesystem = fsspec.filesystem("memory")
        for shard in range(3):
            data = tar_bytes(sample("1", {"label": "a"}, png=f"{shard}".encode() * 9))
            filesystem.pipe_file(f"{bucket}/x y/{shard:02d}.tar", data)
        patterns = [
            f"{bucket}/x y/{{00..02}}.tar",
            f"{bucket}/x y/*.tar",
            f"{bucket}/x y",
            Path(bucket) / "x y" / "*.tar",
        ]
        for pattern in patterns:
            manifest = read_manifest(pattern, PNG)
            assert manifest.paths == [f"{shard:02d}.tar/1.png" for shard in range(3)]
            assert contents(manifest) == [b"0" * 9, b"1" * 9, b"2" * 9]
            assert manifest.name(1) == f"{bucket}/x y/01.tar, member 1.png"
        assert read_manifest(f"{bucket}/x y/01.tar", PNG).paths == ["01.tar/1.png"]
        with pytest.raises(UserError, match=r"1 of 2 shards .* do not exist \(memory://.*/03\.tar\)"):
            read_manifest(f"{bucket}/x y/{{02,03}}.tar", PNG)

    def test_a_file_is_one_request_and_large_archives_are_read_in_blocks(self, bucket, monkeypatch):
        monkeypatch.setattr(files_module, "WHOLE", 10_000)
        rng = np.random.default_rng(0)
        data = [rng.bytes(3000) for _ in range(20)]
        archive = tar_bytes(
            {name: d for i, one in enumerate(data) for name, d in sample(f"{i}", {"label": "a"}, png=one).items()}
        )
        fsspec.filesystem("memory").pipe_file(f"{bucket}/0.tar", archive)
        sent = []
        original = MemoryFileSystem.cat_file

        def counted(self, path, start=None, end=None, **kwargs):
            sent.append((start, end))
            return original(self, path, start=start, end=end, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, "cat_file", counted)
        manifest = read_manifest(f"{bucket}/0.tar", PNG)
        assert sent == [], "a large archive is not fetched whole to be listed"
        assert contents(manifest) == data
        assert [end - start for start, end in sent] == [3000] * 20


class TestTarMembers:
    @pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    @pytest.mark.parametrize("seed", range(5))
    def test_agrees_with_the_standard_library(self, format, seed):
        rng = np.random.default_rng(seed)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=format, pax_headers={"comment": "für alle"}) as archive:
            for index in range(60):
                info = tarfile.TarInfo(rng.choice(["a b/", "健康/", "x/" * 60]) + f"{index}.png")
                if format != tarfile.USTAR_FORMAT:
                    info.name = "z" * int(rng.integers(0, 300)) + info.name
                kinds = [tarfile.REGTYPE] * 6 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
                info.type = kinds[rng.integers(len(kinds))]
                info.linkname = "y" * 150 if info.type == tarfile.SYMTYPE and format != tarfile.USTAR_FORMAT else "y"
                info.mtime = 1.5 if format == tarfile.PAX_FORMAT else 1
                info.size = int(rng.integers(0, 2000)) if info.isreg() else 0
                archive.addfile(info, io.BytesIO(rng.bytes(info.size)))
        with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
            expected = [(m.name, m.offset_data, m.size) for m in archive if m.isreg()]
        found = list(tar_members(io.BytesIO(buffer.getvalue()), len(buffer.getvalue())))
        assert [tuple(member) for member in found] == expected
        assert len(expected) > 20

    def test_links_that_claim_a_size_and_folders_of_old_archives(self):
        link, folder = tarfile.TarInfo("link.png"), tarfile.TarInfo("folder.png")
        link.type, link.size = tarfile.LNKTYPE, 700
        archive = link.tobuf() + old_folder(folder.tobuf()) + tar_bytes({"1.png": b"x"})
        with tarfile.open(fileobj=io.BytesIO(archive)) as standard:
            assert [about.isreg() for about in standard] == [False, False, True]
        assert list(tar_members(io.BytesIO(archive), len(archive))) == [("1.png", 1536, 1)]

    def test_sizes_beyond_octal_digits(self):
        info = tarfile.TarInfo("big.png")
        info.size = 9 << 30
        for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            header = info.tobuf(format)
            with pytest.raises(UnusableFile, match=r"cut off: big\.png reaches past its end"):
                list(tar_members(io.BytesIO(header), len(header)))
            claimed = Sparse(header, len(header) + info.size)
            assert next(iter(tar_members(claimed, len(header) + info.size))) == ("big.png", len(header), info.size)

    @pytest.mark.parametrize("kept", [0, 1, 511, 512, 700, 1023, 1024, 2047, 2048])
    def test_archives_cut_off_anywhere(self, kept):
        archive = tar_bytes({"1.png": b"x" * 500, "2.png": b"y" * 500})
        assert len(list(tar_members(io.BytesIO(archive), len(archive)))) == 2
        with pytest.raises(UnusableFile, match="cut off"):
            list(tar_members(io.BytesIO(archive[:kept]), kept))

    @pytest.mark.parametrize(
        ("start", "message"),
        [
            (b"\x1f\x8b\x08", "compressed, and shards must not be: gunzip it"),
            (b"BZh9", "bunzip2 it"),
            (b"\xfd7zXZ\0", "unxz it"),
            (b"\x28\xb5\x2f\xfd", "unzstd it"),
            (b"PK\x03\x04", "no tar archive"),
        ],
    )
    def test_what_is_no_tar_archive(self, start, message):
        data = start + bytes(1000)
        with pytest.raises(UnusableFile, match=message):
            list(tar_members(io.BytesIO(data), len(data)))

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            (slice(0, 1), b"Z", "header at byte 1024 is damaged"),
            (slice(124, 136), b"-0000000001\0", "something other than a number"),
            (slice(124, 136), b"0o000000001\0", "something other than a number"),
            (slice(124, 136), b"\xff" * 12, "something other than a number"),
            (slice(124, 136), b"\x80" + b"\xff" * 11, "reaches past its end"),
            (slice(124, 136), b"77777777777\0", "reaches past its end"),
            (slice(156, 157), b"S", "sparse"),
        ],
    )
    def test_headers_that_lie(self, field, value, message):
        archive = bytearray(tar_bytes({"1.png": b"x" * 500, "2.png": b"y" * 500}))
        header = archive[1024:1536]
        header[field] = value
        archive[1024:1536] = header if field.start == 0 else with_checksum(header)
        with pytest.raises(UnusableFile, match=message):
            list(tar_members(io.BytesIO(bytes(archive)), len(archive)))

    @pytest.mark.parametrize(
        ("records", "message"),
        [
            (b"20 path=x\n", "damaged"),
            (b"0 path=x\n", "damaged"),
            (b"-9 path=x\n", "damaged"),
            (b"11 size=-1\n", "no size"),
            (b"99999999999999999999 path=x\n", "damaged"),
            (b"22 GNU.sparse.major=1\n", "sparse"),
        ],
    )
    def test_extension_headers_that_lie(self, records, message):
        archive = extension(records) + tar_bytes({"1.png": b"x"})
        with pytest.raises(UnusableFile, match=message):
            list(tar_members(io.BytesIO(archive), len(archive)))

    def test_long_chains_and_long_extensions(self, monkeypatch):
        archive = extension(b"10 path=x\n") * 20_000 + tar_bytes({"1.png": b"x"})
        assert [member.name for member in tar_members(io.BytesIO(archive), len(archive))] == ["x"]
        archive = extension(b"x" * (2 << 20)) + tar_bytes({})
        with pytest.raises(UnusableFile, match="extension header at byte 0 is too long"):
            list(tar_members(io.BytesIO(archive), len(archive)))
        monkeypatch.setattr(tar_module, "_MOST_MEMBERS", 2)
        archive = tar_bytes(dict.fromkeys(["1.png", "2.png", "3.png"], b""))
        with pytest.raises(UnusableFile, match="more than 2 files"):
            list(tar_members(io.BytesIO(archive), len(archive)))

    def test_archives_written_one_after_another(self):
        archive = tar_bytes({"1.png": b"x"}) + tar_bytes({"2.png": bytes(2 << 20)})
        with pytest.raises(UnusableFile, match="several archives in one file"):
            list(tar_members(io.BytesIO(archive), len(archive)))

    @pytest.mark.parametrize("seed", range(30))
    def test_noise_ends_in_members_inside_the_file_or_in_one_kind_of_error(self, seed):
        rng = np.random.default_rng(seed)
        files = {f"{i}{'z' * (120 * (i % 2))}.png": rng.bytes(300) for i in range(20)}
        archive = bytearray(tar_bytes(files, tarfile.PAX_FORMAT if seed % 2 else tarfile.GNU_FORMAT))
        for position in rng.integers(0, len(archive), size=3):
            header = position // 512 * 512
            archive[position] = rng.integers(256)
            archive[header : header + 512] = with_checksum(archive[header : header + 512])  # goes further
        try:
            found = list(tar_members(io.BytesIO(bytes(archive)), len(archive)))
        except UnusableFile:
            return
        assert all(member.offset + member.size <= len(archive) for member in found)

    def test_faulty_shards_are_named_together(self, tmp_path):
        write(tmp_path / "0.tar", sample("1", {"label": "a"}, png=b"1"))
        good = (tmp_path / "0.tar").read_bytes()
        (tmp_path / "1.tar").write_bytes(good[:700])
        (tmp_path / "2.tar").write_bytes(gzip.compress(good))
        (tmp_path / "3.tar").write_bytes(b"")
        twice = tar_bytes({"1.png": b""})[:512] + tar_bytes({"1.png": b""})
        (tmp_path / "4.tar").write_bytes(twice)
        message = (
            r"4 of 5 shards of .* cannot be used \(1\.tar: it is cut off.*, 2\.tar: it is compressed, and shards must "
            r"not be: gunzip it, 3\.tar: it is cut off.*, 4\.tar: it holds 1\.png twice\)"
        )
        with pytest.raises(UserError, match=message):
            read_manifest(tmp_path, PNG)


class Sparse(io.RawIOBase):
    """A file that is longer than what it holds."""

    def __init__(self, start: bytes, length: int) -> None:
        self._file, self._length = io.BytesIO(start), length

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size).ljust(size, b"\0")


def with_checksum(header: bytes) -> bytes:
    """A header whose checksum is right."""
    changed = bytearray(header)
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def old_folder(header: bytes) -> bytes:
    """The header of a folder as the oldest format has it: a file whose name ends in a slash."""
    name, _, rest = header.partition(b"\0")
    header = name + b"/" + rest.rjust(len(header) - len(name) - 1, b"\0")
    return with_checksum(header[:156] + b"\0" + header[157:])


def extension(records: bytes) -> bytes:
    """A PAX header with these records for the file after it."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records.ljust(-(-len(records) // 512) * 512, b"\0")
