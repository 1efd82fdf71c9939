from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import random
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fill_cache
import numpy as np
import pytest

from mmgen.data import cache as cache_module
from mmgen.data import decoding
from mmgen.data.cache import Cache, parse_size
from mmgen.data.decoded import Decoded, Remark, UnusableFile
from mmgen.data.decoding import DecodedArray, DecodedFiles
from mmgen.data.files import LocalFiles
from mmgen.data.images import ImageSettings
from mmgen.data.phantoms import write_phantoms
from mmgen.data.settings import kind_of
from mmgen.errors import UserError

SETTINGS = ImageSettings(4)
SLOT = 16
RECORDS = 124  # files of the phantoms below


class CountingDecoder:
    """Takes a file's first 16 bytes for a picture, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, file, settings) -> Decoded:
        self.calls += 1
        content = file.read()
        if content.startswith(b"bad"):
            raise UnusableFile("it says so itself")
        values = np.frombuffer(content[:SLOT], np.uint8).reshape(1, 1, 4, 4)
        return Decoded(values, Remark.BLANK if len(set(content)) == 1 else Remark.NONE)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> CountingDecoder:
    counting = CountingDecoder()
    kind = replace(decoding.kind_of(SETTINGS), decode=counting)
    monkeypatch.setattr(decoding, "kind_of", lambda settings: kind)
    return counting


def write_files(folder: Path, count: int = 5, seed: int = 0) -> list[str]:
    folder.mkdir(exist_ok=True)
    contents = np.random.default_rng(seed).integers(0, 255, (count, SLOT), dtype=np.uint8)
    for index, content in enumerate(contents):
        (folder / f"{index}.png").write_bytes(content.tobytes())
    return [f"{index}.png" for index in range(count)]


def values_of(folder: Path, paths: list[str]) -> np.ndarray:
    contents = [np.frombuffer((folder / path).read_bytes()[:SLOT], np.uint8) for path in paths]
    return np.stack(contents).reshape(-1, 1, 4, 4)


def opened(folder: Path, paths: list[str], cache: Cache | None) -> DecodedFiles:
    return DecodedFiles(LocalFiles(folder), paths, SETTINGS, cache)


def read_all(files: DecodedFiles) -> np.ndarray:
    rows = np.arange(len(files.paths))
    return files.read(rows, np.zeros_like(rows))


class TestStore:
    def test_files_are_decoded_once_for_all_readers(self, tmp_path: Path, decoder: CountingDecoder):
        paths = write_files(tmp_path / "a")
        cache = Cache(tmp_path / "cache", 10**6)
        for _ in range(3):
            files = opened(tmp_path / "a", paths, cache)
            assert files.fill(progress=False) == {}
            np.testing.assert_array_equal(read_all(files), values_of(tmp_path / "a", paths))
        assert decoder.calls == len(paths)

    def test_what_is_read_first_needs_no_filling(self, tmp_path: Path, decoder: CountingDecoder):
        paths = write_files(tmp_path / "a")
        files = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10**6))
        np.testing.assert_array_equal(
            files.read(np.array([3, 1, 3]), np.zeros(3, int))[1], values_of(tmp_path / "a", paths)[1]
        )
        assert decoder.calls == 2, "only what is asked for, and each once"

    def test_new_files_are_added_and_the_rest_stays(self, tmp_path: Path, decoder: CountingDecoder):
        cache = Cache(tmp_path / "cache", 10**6)
        opened(tmp_path / "a", write_files(tmp_path / "a", 3), cache).fill(progress=False)
        paths = write_files(tmp_path / "a", 5)[::-1]
        decoder.calls = 0
        for path in paths[2:]:
            os.utime(tmp_path / "a" / path)  # written again: decoded again
        files = opened(tmp_path / "a", paths, cache)
        files.fill(progress=False)
        np.testing.assert_array_equal(read_all(files), values_of(tmp_path / "a", paths))
        again = opened(tmp_path / "a", paths[:2], cache)
        again.fill(progress=False)
        assert decoder.calls == 5

    def test_a_file_that_changed_is_decoded_again_even_with_its_old_size_and_date(
        self, tmp_path: Path, decoder: CountingDecoder
    ):
        paths = write_files(tmp_path / "a")
        cache = Cache(tmp_path / "cache", 10**6)
        opened(tmp_path / "a", paths, cache).fill(progress=False)
        before = (tmp_path / "a" / paths[2]).stat()
        time.sleep(0.02)  # the clock of file systems is coarse
        (tmp_path / "a" / paths[2]).write_bytes(bytes(range(SLOT)))
        os.utime(tmp_path / "a" / paths[2], ns=(before.st_atime_ns, before.st_mtime_ns))
        files = opened(tmp_path / "a", paths, cache)
        files.fill(progress=False)
        assert decoder.calls == len(paths) + 1
        np.testing.assert_array_equal(read_all(files), values_of(tmp_path / "a", paths))

    def test_settings_and_places_do_not_mix(self, tmp_path: Path, decoder: CountingDecoder):
        cache = Cache(tmp_path / "cache", 10**6)
        for place, seed in (("a", 0), ("b", 1)):
            paths = write_files(tmp_path / place, seed=seed)
            files = opened(tmp_path / place, paths, cache)
            files.fill(progress=False)
            np.testing.assert_array_equal(read_all(files), values_of(tmp_path / place, paths))
        DecodedFiles(LocalFiles(tmp_path / "b"), paths, ImageSettings(4, 3), cache)
        assert len(list((tmp_path / "cache").glob("*/about.json"))) == 3

    @pytest.mark.parametrize("damage", ["values", "index record", "index tail", "shorter values"])
    def test_damage_is_noticed_and_mended(self, tmp_path: Path, decoder: CountingDecoder, damage: str):
        paths = write_files(tmp_path / "a")
        cache = Cache(tmp_path / "cache", 10**6)
        opened(tmp_path / "a", paths, cache).fill(progress=False)
        (store,) = (path.parent for path in (tmp_path / "cache").glob("*/about.json"))
        values, index = store / "values.bin", store / "index.bin"
        if damage == "values":
            content = bytearray(values.read_bytes())
            content[20] ^= 1
            values.write_bytes(content)
        elif damage == "index record":
            content = bytearray(index.read_bytes())
            content[10] ^= 1  # in the first record's stamp
            index.write_bytes(content)
        elif damage == "index tail":
            os.truncate(index, index.stat().st_size - 5)
        else:
            os.truncate(values, SLOT + 3)
        decoder.calls = 0
        files = opened(tmp_path / "a", paths, cache)
        np.testing.assert_array_equal(read_all(files), values_of(tmp_path / "a", paths))
        assert 1 <= decoder.calls <= 4

    def test_only_the_owner_can_look_into_it(self, tmp_path: Path, decoder: CountingDecoder):
        opened(tmp_path / "a", write_files(tmp_path / "a"), Cache(tmp_path / "deep" / "cache", 10**6)).fill(False)
        assert stat.S_IMODE((tmp_path / "deep" / "cache").stat().st_mode) == 0o700
        assert (tmp_path / "deep" / "cache" / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f")

    def test_remarks_and_counts_are_kept(self, tmp_path: Path, decoder: CountingDecoder):
        paths = write_files(tmp_path / "a")
        (tmp_path / "a" / paths[1]).write_bytes(b"7" * SLOT)
        for _ in range(2):
            files = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10**6))
            files.fill(progress=False)
            assert files.remarks.tolist() == [0, int(Remark.BLANK), 0, 0, 0]

    def test_bad_files_are_named_each_time(self, tmp_path: Path, decoder: CountingDecoder):
        paths = [*write_files(tmp_path / "a"), "gone.png"]
        (tmp_path / "a" / paths[1]).write_bytes(b"bad")
        for _ in range(2):
            files = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10**6))
            assert files.fill(progress=False) == {1: "it says so itself", 5: "no such file"}
        with pytest.raises(UserError, match=r"1\.png \(it says so itself\); repair or remove it"):
            read_all(files.select(np.array([0, 1])))

    def test_selected_files_keep_what_is_known(self, tmp_path: Path, decoder: CountingDecoder):
        paths = write_files(tmp_path / "a")
        files = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10**6))
        files.fill(progress=False)
        chosen = files.select(np.array([True, False, False, True, True]))
        np.testing.assert_array_equal(read_all(chosen), values_of(tmp_path / "a", paths)[[0, 3, 4]])
        assert decoder.calls == 5


class TestLimit:
    def test_space_is_bounded_and_the_rest_is_decoded_each_time(self, tmp_path: Path, decoder: CountingDecoder):
        paths = write_files(tmp_path / "a", 10)
        cache = Cache(tmp_path / "cache", 4 * SLOT + 5)
        files = opened(tmp_path / "a", paths, cache)
        files.fill(progress=False)
        decoder.calls = 0
        for _ in range(2):
            np.testing.assert_array_equal(read_all(files), values_of(tmp_path / "a", paths))
        assert decoder.calls == 2 * 6
        assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/values.bin")) <= cache.limit

    def test_the_longest_unused_store_gives_way(self, tmp_path: Path, decoder: CountingDecoder):
        limit = 10 * SLOT
        for seed, place in enumerate("abc"):
            paths = write_files(tmp_path / place, 4, seed)
            opened(tmp_path / place, paths, Cache(tmp_path / "cache", limit)).fill(progress=False)
            time.sleep(0.02)
        decoder.calls = 0
        opened(tmp_path / "b", paths, Cache(tmp_path / "cache", limit)).fill(progress=False)
        opened(tmp_path / "c", paths, Cache(tmp_path / "cache", limit)).fill(progress=False)
        assert decoder.calls == 0
        opened(tmp_path / "a", paths, Cache(tmp_path / "cache", limit)).fill(progress=False)
        assert decoder.calls == 4

    def test_a_store_in_use_stays(self, tmp_path: Path, decoder: CountingDecoder):
        paths = write_files(tmp_path / "a", 4)
        write_files(tmp_path / "b", 4, seed=1)
        used = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 6 * SLOT))
        used.fill(progress=False)
        other = opened(tmp_path / "b", paths, Cache(tmp_path / "cache", 6 * SLOT))
        other.fill(progress=False)
        decoder.calls = 0
        np.testing.assert_array_equal(read_all(used), values_of(tmp_path / "a", paths))
        np.testing.assert_array_equal(read_all(other), values_of(tmp_path / "b", paths))
        assert decoder.calls == 2, "two of the second set's files had room"

    def test_a_lower_limit_holds_for_what_is_there(self, tmp_path: Path, decoder: CountingDecoder):
        paths = write_files(tmp_path / "a", 10)
        opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10 * SLOT)).fill(progress=False)
        files = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 4 * SLOT))
        np.testing.assert_array_equal(read_all(files), values_of(tmp_path / "a", paths))
        assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/values.bin")) == 4 * SLOT
        del files
        opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 0))
        assert not list((tmp_path / "cache").glob("*/values.bin")), "a limit of 0 removes what is there"

    def test_files_that_are_gone_make_room(self, tmp_path: Path, decoder: CountingDecoder):
        cache = Cache(tmp_path / "cache", 6 * SLOT)
        opened(tmp_path / "a", write_files(tmp_path / "a", 6), cache).fill(progress=False)
        for number in range(6):
            (tmp_path / "a" / f"{number}.png").rename(tmp_path / "a" / f"new {number}.png")
        paths = [f"new {number}.png" for number in range(6)]
        opened(tmp_path / "a", paths, cache).fill(progress=False)
        decoder.calls = 0
        np.testing.assert_array_equal(read_all(opened(tmp_path / "a", paths, cache)), values_of(tmp_path / "a", paths))
        assert decoder.calls == 0

    def test_what_does_not_fit_is_said(
        self, tmp_path: Path, decoder: CountingDecoder, caplog: pytest.LogCaptureFixture
    ):
        opened(tmp_path / "a", write_files(tmp_path / "a", 10), Cache(tmp_path / "cache", 4 * SLOT))
        assert "6 of 10 files do not fit into --cache-limit" in caplog.text

    def test_a_removal_that_was_cut_off_is_finished(self, tmp_path: Path, decoder: CountingDecoder):
        cache = Cache(tmp_path / "cache", 10 * SLOT)
        opened(tmp_path / "a", write_files(tmp_path / "a", 8), cache).fill(progress=False)
        next((tmp_path / "cache").glob("*/about.json")).unlink()
        paths = write_files(tmp_path / "b", 8, seed=1)
        opened(tmp_path / "b", paths, cache).fill(progress=False)
        assert [path.stat().st_size for path in (tmp_path / "cache").glob("*/values.bin")] == [8 * SLOT]

    def test_no_limit_no_cache(self, tmp_path: Path, decoder: CountingDecoder):
        paths = write_files(tmp_path / "a")
        np.testing.assert_array_equal(
            read_all(opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 0))), values_of(tmp_path / "a", paths)
        )
        assert not (tmp_path / "cache").exists()


class TestFullDisk:
    @pytest.mark.parametrize("writes", [0, 1, 4, 7])
    def test_a_disk_that_fills_up_ends_the_cache_not_the_run(
        self,
        tmp_path: Path,
        decoder: CountingDecoder,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        writes: int,
    ):
        paths = write_files(tmp_path / "a")
        done = iter(range(writes))
        write = os.pwrite

        def full(file: int, data, offset: int) -> int:
            if next(done, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, data, offset)

        monkeypatch.setattr(cache_module.os, "pwrite", full)
        files = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10**6))
        with caplog.at_level(logging.WARNING):
            assert files.fill(progress=False) == {}
        np.testing.assert_array_equal(read_all(files), values_of(tmp_path / "a", paths))
        warned = [record.getMessage() for record in caplog.records]
        assert len(warned) == 1 and "No space left on device" in warned[0] and "--cache" in warned[0]
        monkeypatch.setattr(cache_module.os, "pwrite", write)
        again = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10**6))
        again.fill(progress=False)
        np.testing.assert_array_equal(read_all(again), values_of(tmp_path / "a", paths))

    def test_a_folder_that_cannot_be_used_is_a_warning(
        self, tmp_path: Path, decoder: CountingDecoder, caplog: pytest.LogCaptureFixture
    ):
        paths = write_files(tmp_path / "a")
        (tmp_path / "cache").write_text("a file stands here")
        with caplog.at_level(logging.WARNING):
            files = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10**6))
        np.testing.assert_array_equal(read_all(files), values_of(tmp_path / "a", paths))
        assert "files are decoded each time they are read" in caplog.text


class TestArray:
    @pytest.fixture
    def array(self, tmp_path: Path, decoder: CountingDecoder) -> tuple[DecodedArray, np.ndarray]:
        paths = write_files(tmp_path / "a")
        files = opened(tmp_path / "a", paths, Cache(tmp_path / "cache", 10**6))
        order = np.array([4, 0, 2])
        return DecodedArray(files, order, np.zeros(3, int)), values_of(tmp_path / "a", paths)[order]

    @pytest.mark.parametrize(
        "index", [1, -1, slice(1, 3), slice(None), slice(0, 0), [2, 0], np.array([0, 2]), np.array([True, False, True])]
    )
    def test_indexes_as_numpy_does(self, array: tuple[DecodedArray, np.ndarray], index):
        np.testing.assert_array_equal(array[0][index], array[1][index])
        assert array[0].shape == array[1].shape and array[0].dtype == array[1].dtype and len(array[0]) == 3

    def test_a_selection_of_a_selection(self, array: tuple[DecodedArray, np.ndarray]):
        np.testing.assert_array_equal(array[0].select([2, 1]).select(np.array([True, False]))[:], array[1][[2]])

    def test_what_is_read_may_be_written_to(self, array: tuple[DecodedArray, np.ndarray]):
        array[0][:]  # decoded
        read = array[0][:]  # from the map, which may not be written to
        read += 1
        np.testing.assert_array_equal(array[0][:], array[1])

    def test_a_file_that_became_shorter_in_use_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: CountingDecoder
    ):
        paths = write_files(tmp_path / "b")
        files = opened(tmp_path / "b", paths, None)
        files.fill(progress=False)
        files.counts[3] = 2
        with pytest.raises(UserError, match=r"3\.png has changed while it was in use"):
            files.read(np.array([3]), np.array([1]))


def start(*arguments: Path) -> multiprocessing.Process:
    """:func:`fill_cache.fill` in a process of its own, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmgen.data.samples", "torchaudio.functional", "soundfile", "librosa", "soxr"])
    process = context.Process(target=fill_cache.fill, args=arguments)
    process.start()
    return process


def kill_when_filled(folder: Path, cache: Path, share: float) -> None:
    """Fill a cache, and kill the process when a share of its records is there."""
    process = start(folder, cache)
    wait_until(lambda: filled(cache) >= share * RECORDS or not process.is_alive())
    assert process.is_alive(), "it was to be killed at work"
    process.kill()
    process.join()


def digests_after_filling(folder: Path, cache: Path) -> str:
    """What a process that is left alone reads, at the end."""
    digests = cache.with_suffix(".txt")
    process = start(folder, cache, digests)
    process.join(120)
    return digests.read_text()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.0005)


def filled(cache: Path) -> int:
    """Records of all stores that name a stamp."""
    size = cache_module._RECORD.itemsize
    records = [
        np.fromfile(path, cache_module._RECORD) for path in cache.glob("*/index.bin") if path.stat().st_size % size == 0
    ]
    return sum(int((record["stamp"] != 0).sum()) for record in records)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    write_phantoms(root, subjects_per_class=25, image_size=128)
    return root


class TestKilled:
    def test_a_cache_killed_at_five_moments_equals_an_undisturbed_one(self, tmp_path: Path, folder: Path):
        rng = random.Random(0)
        for share in sorted(rng.uniform(0.0, 0.7) for _ in range(5)):
            kill_when_filled(folder, tmp_path / "killed", share)
        assert 0 < filled(tmp_path / "killed") < RECORDS
        assert digests_after_filling(folder, tmp_path / "killed") == digests_after_filling(folder, tmp_path / "quiet")
        assert filled(tmp_path / "killed") == filled(tmp_path / "quiet") == RECORDS

    def test_two_processes_at_once(self, tmp_path: Path, folder: Path):
        both = [start(folder, tmp_path / "both", tmp_path / f"{name}.txt") for name in "ab"]
        for process in both:
            process.join(120)
        alone = digests_after_filling(folder, tmp_path / "alone")
        assert (tmp_path / "a.txt").read_text() == (tmp_path / "b.txt").read_text() == alone != ""


def test_a_slot_holds_the_most_samples_of_a_file():
    assert (kind_of(SETTINGS).most_samples(SETTINGS), *SETTINGS.shape) == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("20GB", 20 * 10**9), ("1.5 gb", 1_500_000_000), ("500M", 5 * 10**8), ("12", 12), ("2TiB", 2 * 10**12)],
)
def test_sizes(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "1 PB", "GB", "1e9", "1.2.3GB"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(UserError, match="write it like 20GB"):
        parse_size(text)
