from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from small import SETTINGS, SOUND, digests, run

from mmgen.data.images import ImageSettings
from mmgen.data.settings import Settings
from mmgen.data.writing.unfinished import prepare_folder
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample

LABELS = ("covid", "肺炎")


def sample(index: int) -> SyntheticSample:
    rng = np.random.default_rng(index)
    log_mel = rng.uniform(-9, 1, SOUND.shape[1:]).astype(np.float32)
    wave = rng.uniform(-1, 1, SOUND.segment_samples).astype(np.float32)
    pixels = rng.integers(0, 256, SETTINGS["image"].shape, dtype=np.uint8)
    return SyntheticSample(index, {"image": pixels}, {"audio": (log_mel, wave)})


def describe(index: int) -> dict[str, Any]:
    return {"label": LABELS[index // 5], "index": index, "source_image_id": index % 3, "source_audio_id": None}


def write_set(folder: Path, kind: type[ShardWriter] | type[FolderWriter] = ShardWriter) -> Any:
    """Ten samples, four a piece."""
    prepare_folder(folder, False, {})
    writer = kind(folder, SETTINGS, LABELS, 5, 4, describe)
    writer.write(map(sample, range(len(writer))))
    writer.finish({"generator": "a test"})
    return writer


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard, "r:") as tar:
        return {about.name: tar.extractfile(about).read() for about in tar}  # type: ignore[union-attr]


def test_shards_hold_a_fixed_number_of_samples(tmp_path: Path) -> None:
    write_set(tmp_path)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["README.md", "dataset.json", *(f"shards/{number:06d}.tar" for number in range(3))]
    keys = [sorted({name[:6] for name in members(tmp_path / name)}) for name in names[2:]]
    assert keys == [[f"{index:06d}" for index in indices] for indices in (range(4), range(4, 8), range(8, 10))]


def test_members_are_what_the_folder_form_writes(tmp_path: Path) -> None:
    write_set(tmp_path / "shards")
    folder = write_set(tmp_path / "folder", FolderWriter)
    found = members(tmp_path / "shards" / "shards" / "000001.tar")
    columns = {"image_file_name": "png", "audio_file_name": "flac", "audio_spectrogram": "spectrogram.npy"}
    for index in range(4, 8):
        for column, name in folder.files(index).items():
            assert found[f"{index:06d}.{columns[column]}"] == (tmp_path / "folder" / name).read_bytes()
        assert json.loads(found[f"{index:06d}.json"]) == describe(index)
    assert len(found) == 4 * 4
    heard, rate = soundfile.read(io.BytesIO(found["000004.flac"]))
    assert rate == SOUND.sample_rate and len(heard) == SOUND.segment_samples
    with Image.open(io.BytesIO(found["000004.png"])) as picture:
        assert np.array_equal(np.asarray(picture), sample(4).images["image"][0])


def test_a_shard_says_nothing_of_the_machine_and_the_time(tmp_path: Path) -> None:
    write_set(tmp_path / "a")
    write_set(tmp_path / "b б")
    assert digests(tmp_path / "a") == digests(tmp_path / "b б")
    with tarfile.open(tmp_path / "a" / "shards" / "000000.tar") as tar:
        for about in tar:
            assert (about.mtime, about.uid, about.gid, about.uname, about.gname, about.mode) == (0, 0, 0, "", "", 0o644)
            assert about.isreg() and not about.pax_headers


def test_further_modalities_carry_their_name(tmp_path: Path) -> None:
    settings: dict[str, Settings] = {
        "image": ImageSettings(8),
        "skin": ImageSettings(8),
        "audio": SOUND,
        "breath": SOUND,
    }
    made = sample(0)
    pixels, sound = np.zeros((1, 8, 8), dtype=np.uint8), made.sounds["audio"]
    writer = ShardWriter(tmp_path, settings, LABELS, 1, 1, lambda index: {"label": "covid"})
    writer.write([SyntheticSample(0, {"image": pixels, "skin": pixels}, {"audio": sound, "breath": sound})])
    suffixes = ["png", "skin.png", "flac", "spectrogram.npy", "breath.flac", "breath.spectrogram.npy", "json"]
    assert list(members(tmp_path / "shards" / "000000.tar")) == [f"000000.{suffix}" for suffix in suffixes]


def test_keys_of_more_than_a_million_samples_sort(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, SETTINGS, LABELS, 1_000_000, 1000, lambda index: {"label": "covid"})
    writer.write([sample(12)])
    assert next(iter(members(tmp_path / "shards" / "000000.tar"))) == "0000012.png"


def test_a_shard_is_there_or_not(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, SETTINGS, LABELS, 5, 4, describe)
    first, second, last = writer.pieces()
    writer.write(map(sample, [*first, *last]))
    assert [writer.present(piece) for piece in (first, second, last)] == [4, 0, 2]
    (tmp_path / "shards" / "000000.tar").write_bytes(b"")
    assert writer.present(first) == 0

    def broken() -> Any:
        yield from map(sample, list(second)[:3])
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        writer.write(broken())
    assert writer.present(second) == 0
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["000000.tar", "000002.tar"]


def test_the_readme_says_how_to_open_it(tmp_path: Path) -> None:
    write_set(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert 'load_dataset("webdataset", data_files="this folder/shards/*.tar")' in text
    assert "| 肺炎 | 5 |" in text and "up to 4 samples a file" in text and "metadata.csv" not in text


# -- as its receivers open it

OPEN = """
import datasets, io, json, numpy, soundfile, sys, types
try:
    import torchcodec.encoders
except Exception:
    # The library wants it to be installed, though it stores sounds as they are. It needs ffmpeg, which not every
    # machine has.
    for name in ("torchcodec", "torchcodec.encoders", "torchcodec.decoders"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchcodec.encoders"].AudioEncoder = None
    sys.modules["torchcodec.decoders"].AudioDecoder = type("No", (), {})
found = datasets.load_dataset("webdataset", data_files=sys.argv[1] + "/shards/*.tar")["train"]
columns = {name: type(kind).__name__ for name, kind in found.features.items()}
found = found.cast_column("flac", datasets.Audio(decode=False))
print(json.dumps({
    "columns": columns,
    "labels": [row["label"] for row in found["json"]],
    "pictures": [numpy.asarray(row).tolist() for row in found["png"]],
    "sounds": [soundfile.read(io.BytesIO(row["bytes"]))[0].tolist() for row in found["flac"]],
    "spectrograms": found["spectrogram.npy"][:],
}))
"""


def test_the_datasets_library_opens_the_shards(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the package datasets (extra dev) is not installed")
    write_set(tmp_path / "a set")
    script = tmp_path / "open.py"
    script.write_text(OPEN)
    done = run(script, tmp_path / "a set", HF_HOME=str(tmp_path / "cache"), HF_DATASETS_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["columns"]["png"] == "Image" and found["columns"]["flac"] == "Audio"
    assert found["labels"] == [LABELS[0]] * 5 + [LABELS[1]] * 5
    for index in range(10):
        made = sample(index)
        assert np.array_equal(found["pictures"][index], made.images["image"][0])
        assert np.array_equal(np.float32(found["spectrograms"][index]), made.sounds["audio"][0])
        np.testing.assert_allclose(found["sounds"][index], made.sounds["audio"][1], atol=2 / 2**15)
