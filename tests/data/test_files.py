from __future__ import annotations

import os
import uuid
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.registry import known_implementations

import mmgen.data.files as files_module
from mmgen.data.files import LocalFiles, RemoteFiles
from mmgen.data.urls import connect, locate, without_secrets
from mmgen.errors import UserError


@pytest.fixture
def url():
    """A folder that is only in memory, with a space in its name."""
    url = f"memory://{uuid.uuid4().hex}/data set"
    yield url
    folder = url.rpartition("/")[0]
    if fsspec.filesystem("memory").exists(folder):
        fsspec.filesystem("memory").rm(folder, recursive=True)


def put(url: str, files: dict[str, bytes]) -> str:
    filesystem = fsspec.filesystem("memory")
    filesystem.makedirs(url, exist_ok=True)
    for path, data in files.items():
        filesystem.pipe_file(f"{url}/{path}", data)
    return url


@pytest.fixture
def calls(monkeypatch):
    """Names of the requests that the file system in memory was sent."""
    sent = []
    for name in ("ls", "info", "cat_file", "open"):
        original = getattr(MemoryFileSystem, name)

        def counted(self, *args, name=name, original=original, **kwargs):
            sent.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, name, counted)
    return sent


class TestLocalFiles:
    @pytest.mark.parametrize("list_from", [1, 5, 1000])
    def test_missing_is_what_a_look_at_each_file_says(self, tmp_path, monkeypatch, list_from):
        monkeypatch.setattr(files_module, "_LIST_FROM", list_from)
        rng = np.random.default_rng(0)
        names = [f"{folder}{index}.png" for folder in ("", "a/", "b c/健康/") for index in range(40)]
        for name in rng.permutation(names)[:70]:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "folder.png").mkdir()
        (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
        (tmp_path / "linked.png").symlink_to(tmp_path / names[0])
        names += ["folder.png", "broken.png", "linked.png", "gone/1.png", "../outside.png", "a/../a/0.png", "nul\0.png"]
        names += [str(tmp_path / name) for name in names[:5]] + ["/no/such.png", *names[:3]]
        asked = rng.permutation(np.array(names, dtype=object)).tolist()
        expected = [name for name in asked if not os.path.exists(os.path.join(tmp_path, name))]
        assert LocalFiles(tmp_path).missing(asked) == expected
        assert len(expected) > 30

    def test_a_full_folder_is_not_listed_to_its_end_for_a_few_files(self, tmp_path, monkeypatch):
        limits = []
        monkeypatch.setattr("mmgen.data.files.islice", lambda entries, n: limits.append(n) or islice(entries, n))
        names = [f"{index:04d}.png" for index in range(1000)]
        for name in names:
            (tmp_path / name).touch()
        assert LocalFiles(tmp_path).missing([*names[-25:], "gone.png"]) == ["gone.png"]
        assert limits == [8 * 26]

    def test_ranges_sizes_and_stamps(self, tmp_path):
        path = tmp_path / "ä b.bin"
        path.write_bytes(bytes(range(100)))
        files = LocalFiles(tmp_path)
        assert files.read_range(path.name, 10, 5) == bytes(range(10, 15))
        assert files.read_range(path.name, 98, 5) == bytes([98, 99])
        assert files.size(path.name) == 100
        before = files.stamp(path.name)
        path.write_bytes(bytes(range(99, -1, -1)))
        os.utime(path, ns=(1, int(before.split()[1])))
        assert files.stamp(path.name) != before, "a copied time of change hides nothing"
        with pytest.raises(OSError):
            files.stamp("gone")


class TestRemoteFiles:
    def test_opens_small_files_whole_and_large_ones_in_blocks(self, url, monkeypatch):
        monkeypatch.setattr(files_module, "WHOLE", 1000)
        small, large = bytes(1000), np.random.default_rng(0).bytes(5000)
        files = RemoteFiles(put(url, {"a/s.bin": small, "l.bin": large, "empty.bin": b""}))
        for path, data in (("a/s.bin", small), ("l.bin", large), ("empty.bin", b"")):
            with files.open(path) as file:
                assert file.read() == data
                file.seek(max(len(data) - 3, 0))
                assert file.read() == data[-3:]
            assert files.size(path) == len(data)
        assert files.read_range("l.bin", 4990, 100) == large[4990:]

    def test_servers_that_cannot_send_parts_are_found_out(self, url, monkeypatch):
        files = RemoteFiles(put(url, {"1.png": bytes(1000)}))
        whole = MemoryFileSystem.cat_file
        monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda self, path, **_: whole(self, path))
        monkeypatch.setattr(files_module, "WHOLE", 100)
        assert files.open("1.png").read() == bytes(1000)
        with pytest.raises(OSError, match=r"1\.png cannot be read \(the server sends whole files only; download it"):
            files.read_range("1.png", 10, 10)

    def test_a_file_known_to_be_large_is_not_fetched_to_find_out(self, url, monkeypatch, calls):
        monkeypatch.setattr(files_module, "WHOLE", 1000)
        files = RemoteFiles(put(url, {"l.bin": bytes(5000)}))
        assert files.missing(["l.bin"]) == []
        calls.clear()
        files.open("l.bin").close()
        assert "cat_file" not in calls

    def test_missing_lists_each_folder_once_and_stamps_come_from_it(self, url, calls):
        names = [f"{folder}/{index}.png" for folder in ("a", "健康 b") for index in range(30)]
        files = RemoteFiles(put(url, dict.fromkeys(names[::2], b"x")))
        calls.clear()
        fsspec.filesystem("memory").makedirs(f"{url}/a/folder.png")
        asked = [*names, "lonely/1.png", "a/folder.png", *names[:3]]
        assert files.missing(asked) == [name for name in asked if name not in names[::2]]
        n_absent = len(names) // 2 + 2
        assert calls.count("info") == n_absent, "only files that no listing shows are asked for one by one"
        assert calls.count("ls") <= 2 + n_absent
        calls.clear()
        assert {files.stamp(name)[:2] for name in names[::2]} == {"1 "}
        assert calls == []

    def test_stamps_differ_where_contents_do(self, url):
        put(url, {"1.png": b"one"})
        before = RemoteFiles(url).stamp("1.png")
        assert RemoteFiles(url).stamp("1.png") == before
        put(url, {"1.png": b"two"})
        assert RemoteFiles(url).stamp("1.png") != before

    def test_the_first_mark_of_the_content_that_a_server_gives_counts(self):
        stamp = files_module._stamp
        assert stamp({"size": 3, "ETag": '"abc"', "LastModified": 5}) == '3 "abc"'
        assert stamp({"size": 3, "mtime": 7.5, "etag": None}) == "3 7.5"
        assert stamp({"Size": 3, "size": 3}) == "3 "

    def test_absolute_urls_stand_for_themselves(self, url):
        put(url, {"far/1.png": b"far"})
        files = RemoteFiles(f"{url}/near")
        with files.open(f"{url}/far/1.png") as file:
            assert file.read() == b"far"
        assert files.missing([f"{url}/far/1.png", f"{url}/far/2.png", "1.png"]) == [f"{url}/far/2.png", "1.png"]
        assert files.missing([f"{url}/far/{index}.png" for index in range(1, 30)])[0] == f"{url}/far/2.png"

    def test_urls_that_lead_to_this_machine_are_not_opened(self, url, tmp_path):
        (tmp_path / "secret.png").touch()
        files = RemoteFiles(url)
        with pytest.raises(OSError, match="on this machine"):
            files.open(f"file://{tmp_path}/secret.png")
        with pytest.raises(UserError, match="on this machine"):
            RemoteFiles(f"local://{tmp_path}")

    def test_finds_all_files_below(self, url):
        names = ["健康/b 1.png", "a/deep/er/2.png", "top.csv"]
        files = RemoteFiles(put(url, dict.fromkeys(names, b"")))
        assert files.find() == sorted(names)
        with pytest.raises(OSError, match="does not exist or is empty"):
            RemoteFiles(f"{url}/nowhere").find()

    def test_errors_of_any_kind_become_os_errors_without_keys(self, url, monkeypatch):
        class ClientError(Exception):
            pass

        def refuse(self, path, *args, **kwargs):
            raise ClientError("403 for https://me:secret@host/a.png?sig=secret (denied)")

        files = RemoteFiles(put(url, {"1.png": b""}))
        with pytest.raises(FileNotFoundError, match=r"data set/2\.png does not exist"):
            files.open("2.png")
        monkeypatch.setattr(files_module, "WHOLE", 100)
        large = RemoteFiles(put(url, {"1.png": bytes(1000)})).open("1.png")
        monkeypatch.setattr(MemoryFile, "read", refuse)
        with pytest.raises(OSError, match=r"1\.png .*403 for https://host/a\.png") as caught:
            large.read()
        assert "secret" not in str(caught.value)
        monkeypatch.setattr(MemoryFileSystem, "cat_file", refuse)
        monkeypatch.setattr(MemoryFileSystem, "info", refuse)
        for use in (files.open, files.stamp, lambda path: files.missing([path])):
            with pytest.raises(OSError, match=r"1\.png .*403 for https://host/a\.png \(denied\)") as caught:
                use("1.png")
            assert "secret" not in str(caught.value)

    def test_names_hold_no_keys(self, url):
        files = RemoteFiles(url)
        assert files.name("a/1.png") == f"{url}/a/1.png"
        assert files.name("sftp://me:pass@word@host/1.png?key=1") == "sftp://host/1.png"
        assert str(RemoteFiles(url.replace("://", "://me:secret@"))) == url


class TestUrls:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("s3://bucket/a b/m.csv", "s3://bucket/a b/m.csv"),
            ("s3:/bucket/m.csv", "s3://bucket/m.csv"),
            (Path("s3://bucket/x"), "s3://bucket/x"),
            (Path("memory://x") / "{00..09}.tar", "memory://x/{00..09}.tar"),
            ("HTTPS://host/m.csv?sig=1", "https://host/m.csv?sig=1"),
            ("file:///data/健康", Path("/data/健康")),
            (Path("file:///data/x"), Path("/data/x")),
            ("C:/data/x.csv", Path("C:/data/x.csv")),
            ("C:\\data\\x.csv", Path("C:\\data\\x.csv")),
            ("no-protocol:/x", Path("no-protocol:/x")),
            ("data/x.csv", Path("data/x.csv")),
            ("~/x.csv", Path.home() / "x.csv"),
        ],
    )
    def test_places(self, given, expected):
        assert locate(given) == expected

    def test_a_folder_here_that_looks_like_a_shortened_url_is_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "s3:" / "x").mkdir(parents=True)
        assert locate(Path("s3:/x")) == Path("s3:/x")

    def test_unknown_protocols_and_missing_packages_are_named(self, monkeypatch):
        with pytest.raises(UserError, match=r"^nosuch://host/x has the unknown protocol nosuch://; give a path, or"):
            locate("nosuch://me:secret@host/x")
        absent = {"class": "no_such_package.Fancy", "err": "Install fancyfs to use fancy files"}
        monkeypatch.setitem(known_implementations, "fancy", absent)
        with pytest.raises(UserError, match=r"^fancy://host/x needs a package that is not installed: Install fancyfs"):
            connect(locate(Path("fancy://me:secret@host/x")))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("https://host/a.png?X-Amz-Signature=1", "https://host/a.png"),
            ("GET 'https://u:p@host/a b.png?k=1' failed", "GET 'https://host/a b.png' failed"),
            ("what? nothing@all", "what? nothing@all"),
        ],
    )
    def test_secrets_are_cut(self, text, expected):
        assert without_secrets(text) == expected
