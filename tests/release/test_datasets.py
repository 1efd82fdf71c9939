from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save
from small import SETTINGS, SOUND, digests
from swollen import KINDS, little_memory, swell

from mmgen.data.mel import mel_to_waveform
from mmgen.data.writing.layout import sha256
from mmgen.data.writing.rejected import reject
from mmgen.data.writing.soft_labels import SOFT_LABELS, encode_soft_labels
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.data.writing.writer import FolderWriter, ShardWriter, SyntheticSample
from mmgen.errors import UserError
from mmgen.release.datasets import copy_dataset, dataset_digest
from mmgen.release.rejected import Rejected

LABELS = ("covid", "ΑΒ c")
MODEL = "0123456789ab"
WRITERS = [FolderWriter, ShardWriter]


def write(
    folder: Path, writer: Callable[..., Any], traces: bool = True, per_class: int = 2, prior: str = "class"
) -> Path:
    """Pictures with sounds; with the traces that a generation leaves, and more."""
    import torch

    def samples() -> Any:
        for index in range(2 * per_class):
            rng = np.random.default_rng(index)
            log_mel = rng.uniform(-9, 1, (40, 40)).astype(np.float32)
            wave = mel_to_waveform(torch.from_numpy(log_mel), SOUND).numpy()
            image = rng.integers(0, 256, (1, 32, 32), dtype=np.uint8)
            yield SyntheticSample(index, {"image": image}, {"audio": (log_mel, wave)})

    def describe(index: int) -> dict[str, Any]:
        row = {
            "label": LABELS[index // per_class],
            "index": index,
            "model": "run of Annika" if traces else "0123456789ab",
        }
        return row | ({"source_audio_id": 9_900_000 + index, "from": "/home/annika/x.wav"} if traces else {})

    about = {"seed": 0, "input_prior": prior} | (
        {"at": "file:///home/annika", "source_image_id": 7, "host": "lab-pc7"} if traces else {}
    )
    folder.mkdir(parents=True, exist_ok=True)
    made = writer(folder, SETTINGS, LABELS, per_class, 3, describe)
    made.write(samples())
    made.finish(about)
    return folder


def relist(folder: Path) -> None:
    """Make a data set's checksums fit its files."""
    about = json.loads((folder / "dataset.json").read_text())
    about["checksums"] |= {name: sha256(folder / name) for name in about["checksums"]}
    (folder / "dataset.json").write_text(json.dumps(about))


def add_soft_labels(folder: Path, content: bytes) -> None:
    (folder / SOFT_LABELS).write_bytes(content)
    about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    about |= {"soft_labels": True, "checksums": about["checksums"] | {SOFT_LABELS: ""}}
    (folder / "dataset.json").write_text(json.dumps(about))
    relist(folder)


def everything_in(folder: Path) -> bytes:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join(str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes() for path in files)


def files_of(left_out: list[str]) -> list[str]:
    return [name for name in left_out if ": " not in name]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_copy_holds_the_same_samples_and_no_traces(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer)
    left_out = copy_dataset(source, tmp_path / "out", "\n## Notes\n")
    assert set(left_out) == {
        *("metadata: source_audio_id", "metadata: from"),
        *("dataset.json: at", "dataset.json: source_image_id", "dataset.json: host"),
    }
    assert len(left_out) == 5
    assert verify_dataset(tmp_path / "out") == []
    before, after = (read_dataset(folder, SETTINGS) for folder in (source, tmp_path / "out"))
    for name in SETTINGS:
        assert np.array_equal(before[name].values, after[name].values)
        assert np.array_equal(before[name].labels, after[name].labels)
        assert after[name].label_names == LABELS
    text = everything_in(tmp_path / "out").lower()
    for trace in (b"annika", b"lab-pc7", b"/home", b"file:", b"source_", b"9900000", b"9900003"):
        assert trace not in text
        assert trace in everything_in(source).lower()
    assert (tmp_path / "out" / "README.md").read_text().endswith("\n## Notes\n")
    about = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert about["seed"] == 0 and not about.keys() & {"at", "host"}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_set_without_traces_is_copied_byte_by_byte(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer, traces=False)
    copy_dataset(source, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(source)


@pytest.mark.parametrize("writer", WRITERS)
def test_only_known_keys_are_kept(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer, traces=False)
    if writer is FolderWriter:
        table = source / "metadata.csv"
        head, *rows = table.read_text(encoding="utf-8").splitlines()
        text = "\n".join([f"{head},patient,source,audio_segments", *(f"{row},Rossi,Maria,Rossi" for row in rows)])
        table.write_text(text + "\n", encoding="utf-8")
    else:
        planted = {"patient": "Rossi", "source": "Maria", "audio_segments": ["Rossi"]}

        def plant(name: str, content: bytes) -> tuple[str, bytes]:
            return name, json.dumps(json.loads(content) | planted).encode() if name.endswith(".json") else content

        for shard in (source / "shards").glob("*.tar"):
            rewrite_shard(shard, plant)
    about = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    about |= {
        "patient": "Rossi",
        "generator": {"model": "0123456789ab", "library": "Rossi", "patient": "Rossi"},
        "licence": ["Rossi"],
    }
    about["preprocessing"]["image"]["patient"] = "Rossi"
    about["patch"] = {"image": [8, 8], "audio": [8, "Rossi"], "Rossi": [8, 8]}
    about["per_class"] = {"Rossi": 1}
    (source / "dataset.json").write_text(json.dumps(about))
    relist(source)
    assert b"Rossi" in everything_in(source)
    left_out = copy_dataset(source, tmp_path / "out")
    keys = ("licence", "patient", "per_class")
    assert left_out == ["metadata: patient", "metadata: source", *(f"dataset.json: {key}" for key in keys)]
    assert all(trace not in everything_in(tmp_path / "out") for trace in (b"Rossi", b"Maria", b"patient"))
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["patch"] == {"image": [8, 8]}
    assert verify_dataset(tmp_path / "out") == [] and dataset_digest(tmp_path / "out") == dataset_digest(source)
    assert read_dataset(tmp_path / "out", SETTINGS)["image"].label_names == LABELS


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("prior", ["class", "real", ""])
def test_the_draw_of_real_samples_is_not_told(writer: Any, prior: str, tmp_path: Path) -> None:
    """With the seed the real sample that each synthetic one was made from can be told."""
    source = write(tmp_path / "set", writer, traces=False, prior=prior)
    left_out = copy_dataset(source, tmp_path / "out")
    told = "seed" in json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert told == (prior == "class")
    assert left_out == ([] if told else ["metadata: index", "dataset.json: seed"])
    assert verify_dataset(tmp_path / "out") == [] and dataset_digest(tmp_path / "out") == dataset_digest(source)


@pytest.mark.parametrize("writer", WRITERS)
def test_the_digest_is_of_the_samples_and_outlasts_a_release(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer)
    digest = dataset_digest(source)
    assert len(digest) == 64
    copy_dataset(source, tmp_path / "out", "notes")
    assert dataset_digest(tmp_path / "out") == digest
    assert dataset_digest(write(tmp_path / "again", writer)) == digest
    assert dataset_digest(write(tmp_path / "more", writer, per_class=3)) != digest


def rewrite_shard(path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None], **about: Any) -> None:
    """Change members of a shard, or add one with the name None."""
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "Annika"}) as tar:
        for name, content in filter(None, (change(*member) for member in members)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.uname, entry.gname, entry.uid, entry.mtime = len(content), "annika", "lab-pc7", 1234, 1e9
            tar.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("what", ["label", "pixels", "name"])
@pytest.mark.parametrize("writer", WRITERS)
def test_any_change_of_a_sample_changes_the_digest(writer: Any, what: str, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer)
    digest = dataset_digest(source)
    other = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(other, "PNG")
    if writer is FolderWriter:
        picture = source / "images" / "covid" / "000000.png"
        table = source / "metadata.csv"
        if what == "pixels":
            picture.write_bytes(other.getvalue())
        elif what == "label":
            table.write_text(table.read_text().replace(",covid,0,", ",ΑΒ c,0,"))
        else:
            table.write_text(table.read_text().replace("covid/000000.png", "covid/000001.png"))
    else:

        def change(name: str, content: bytes) -> tuple[str, bytes]:
            if what == "pixels" and name == "000000.png":
                content = other.getvalue()
            if what == "label" and name == "000000.json":
                content = content.replace(b"covid", "ΑΒ c".encode())
            return (name.replace("000000", "000009") if what == "name" else name), content

        rewrite_shard(source / "shards" / "000000.tar", change)
    assert dataset_digest(source) != digest


def test_notes_in_files_go_and_pixels_stay(tmp_path: Path) -> None:
    source = write(tmp_path / "set", FolderWriter)
    digest = dataset_digest(source)
    path = source / "images" / "covid" / "000000.png"
    before = path.read_bytes()
    info = PngInfo()
    info.add_text("author", "Annika")
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, pnginfo=info)
    relist(source)
    assert path.read_bytes() != before
    assert dataset_digest(source) == digest  # the samples are the same
    copy_dataset(source, tmp_path / "out")
    assert (tmp_path / "out" / "images" / "covid" / "000000.png").read_bytes() == before


def test_owners_and_strangers_in_shards_go(tmp_path: Path) -> None:
    source = write(tmp_path / "set", ShardWriter)
    shard = min((source / "shards").glob("*.tar"))
    digest = dataset_digest(source)

    def add(name: str, content: bytes) -> tuple[str, bytes]:
        return (name, content) if not name.endswith(".json") else (name, content + b"   ")

    rewrite_shard(shard, add)
    with tarfile.open(shard, "a") as tar:
        entry = tarfile.TarInfo("000002.critic.pt")
        entry.size = 6
        tar.addfile(entry, io.BytesIO(b"annika"))
        link = tarfile.TarInfo("000002.png.lnk")
        link.type, link.linkname = tarfile.SYMTYPE, "/home/annika"
        tar.addfile(link)
    relist(source)
    left_out = copy_dataset(source, tmp_path / "out")
    assert files_of(left_out) == [f"shards/{shard.name}/000002.critic.pt", f"shards/{shard.name}/000002.png.lnk"]
    assert b"annika" not in everything_in(tmp_path / "out").lower()
    assert dataset_digest(tmp_path / "out") == digest
    with tarfile.open(tmp_path / "out" / "shards" / shard.name) as tar:
        assert {(m.uname, m.gname, m.uid, m.gid, m.mtime, m.mode) for m in tar} == {("", "", 0, 0, 0, 0o644)}
        assert not tar.pax_headers


def test_only_what_is_listed_and_known_is_copied(tmp_path: Path) -> None:
    source = write(tmp_path / "set", FolderWriter)
    (source / "images" / "covid" / "real.png").write_bytes(b"a real picture")
    (source / "critic.safetensors").write_bytes(b"weights")
    (source / "link").symlink_to("/etc")
    about = json.loads((source / "dataset.json").read_text())
    (source / "notes.html").write_text("listed, but of no known kind")
    about["checksums"]["notes.html"] = sha256(source / "notes.html")
    (source / "dataset.json").write_text(json.dumps(about))
    left_out = copy_dataset(source, tmp_path / "out")
    assert files_of(left_out) == ["critic.safetensors", "images/covid/real.png", "link", "notes.html"]
    assert verify_dataset(tmp_path / "out") == []
    copied = set(digests(tmp_path / "out"))
    assert copied == set(digests(source)) - set(left_out)


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_no_memory_holds_are_not_read(kind: str, tmp_path: Path) -> None:
    source = write(tmp_path / "set", ShardWriter)
    swell(source / "shards" / "000000.tar", "000000.png", kind)
    relist(source)
    words = r"000000\.tar cannot be read \((it holds sparse files|000000.png is larger than 64 MiB)"
    for action in (lambda: copy_dataset(source, tmp_path / "out"), lambda: dataset_digest(source)):
        with little_memory(), pytest.raises(UserError, match=words):
            action()


@pytest.mark.parametrize("name", ["images/covid/000000.png", "metadata.csv", "dataset.json"])
def test_files_that_no_memory_holds_are_not_read(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "set", FolderWriter)
    with (source / name).open("r+b") as file:
        file.truncate(1 << 40)
    for action in (lambda: copy_dataset(source, tmp_path / "out"), lambda: dataset_digest(source)):
        with pytest.raises(UserError, match=f"{Path(name).name}.*larger than"):
            action()


@pytest.mark.parametrize("writer", WRITERS)
def test_labels_that_look_like_formulas_outlast_a_release(writer: Any, tmp_path: Path) -> None:
    labels = ("=cmd()", "+1", "-x", "@SUM", "'=y", "plain")
    made = writer(tmp_path / "set", {"image": SETTINGS["image"]}, labels, 1, 3, lambda index: {"label": labels[index]})
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 32, 32), dtype=np.uint8)
    made.write(SyntheticSample(index, {"image": pixels[index]}, {}) for index in range(6))
    made.finish({})
    assert verify_dataset(tmp_path / "set") == []
    assert copy_dataset(tmp_path / "set", tmp_path / "out") == []
    assert verify_dataset(tmp_path / "out") == [] and digests(tmp_path / "out") == digests(tmp_path / "set")
    samples = read_dataset(tmp_path / "out", {"image": SETTINGS["image"]})["image"]
    assert samples.label_names == labels and samples.labels.tolist() == list(range(6))
    if writer is FolderWriter:
        with (tmp_path / "out" / "metadata.csv").open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert "'=cmd()" in cells and not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]


@pytest.mark.parametrize("writer", WRITERS)
def test_numbers_are_too_short_for_a_name(writer: Any, tmp_path: Path) -> None:
    """A whole number of any length would hold any text."""
    source = write(tmp_path / "set", writer, traces=False)
    name = str(int.from_bytes(b"Annika Schmidt", "big"))
    about = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    (source / "dataset.json").write_text(json.dumps(about | {"seed": int(name)}))
    if writer is FolderWriter:
        table = source / "metadata.csv"
        table.write_text(table.read_text(encoding="utf-8").replace("covid,0,", f"covid,{name},"), encoding="utf-8")
    else:
        rewrite_shard(
            source / "shards" / "000000.tar",
            lambda member, content: (member, content.replace(b'"index": 0', f'"index": {name}'.encode())),
        )
    relist(source)
    assert name.encode() in everything_in(source)
    copy_dataset(source, tmp_path / "out")
    assert name.encode() not in everything_in(tmp_path / "out")


def spoil_link(folder: Path) -> None:
    path = folder / "images" / "covid" / "000000.png"
    path.rename(folder.parent / "elsewhere.png")
    path.symlink_to(folder.parent / "elsewhere.png")


def spoil_outside(folder: Path) -> None:
    about = json.loads((folder / "dataset.json").read_text())
    about["checksums"]["../../secret.png"] = "0" * 64
    (folder / "dataset.json").write_text(json.dumps(about))


def describe_as(folder: Path, preprocessing: Any) -> None:
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | {"preprocessing": preprocessing}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_link, "000000.png is a link, which is not followed"),
        (spoil_outside, "outside of it"),
        (lambda folder: (folder / "INCOMPLETE").touch(), "is not finished"),
        (lambda folder: (folder / "dataset.json").unlink(), "no finished synthetic data set"),
        (lambda folder: (folder / "dataset.json").write_text("[]"), "no finished synthetic data set"),
        (lambda folder: describe_as(folder, [["image", {"kind": "image"}]]), "no finished synthetic data set"),
        (lambda folder: describe_as(folder, {"image": {"kind": "smell"}}), "no finished synthetic data set"),
        (lambda folder: (folder / "images" / "covid" / "000001.png").unlink(), "000001.png"),
        (lambda folder: (folder / "images" / "covid" / "000001.png").write_bytes(b"GIF89a"), "it is no PNG"),
    ],
)
def test_what_cannot_be_trusted_is_refused(spoil: Any, words: str, tmp_path: Path) -> None:
    source = write(tmp_path / "set", FolderWriter)
    spoil(source)
    for action in (lambda: copy_dataset(source, tmp_path / "out"), lambda: dataset_digest(source)):
        with pytest.raises(UserError, match=words):
            action()


def test_a_table_that_names_other_files_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "set", FolderWriter)
    table = source / "metadata.csv"
    table.write_text(table.read_text().replace("images/covid/000000.png", "../../real.png"))
    with pytest.raises(UserError, match="cannot be released as it is"):
        copy_dataset(source, tmp_path / "out")


@pytest.mark.parametrize("writer", WRITERS)
def test_the_readme_is_written_anew(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer, traces=False)
    readme = source / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(text.replace("Synthetic data set", "Lesions of Maria Rossi, 1954, from /srv/lesions"))
    relist(source)
    copy_dataset(source, tmp_path / "out", "\n## Notes\n")
    assert (tmp_path / "out" / "README.md").read_text(encoding="utf-8") == f"{text}\n## Notes\n"
    assert "| covid | 2 |" in text


def test_texts_of_the_description_are_known_ones(tmp_path: Path) -> None:
    source = write(tmp_path / "set", FolderWriter, traces=False)
    about = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    for licence, kept in (("CC-BY-4.0", "CC-BY-4.0"), ("by Maria Rossi", None)):
        generator = {"library": "mmgen 0.1.0", "method": "dcgan", "model": "run of Annika"}
        text = json.dumps(about | {"licence": licence, "generator": generator, "input_prior": "class"})
        (source / "dataset.json").write_text(text)
        left_out = copy_dataset(source, tmp_path / licence)
        shared = json.loads((tmp_path / licence / "dataset.json").read_text(encoding="utf-8"))
        assert shared["licence"] == kept and ("dataset.json: licence" in left_out) == (kept is None)
        assert shared["generator"] == {"library": "mmgen 0.1.0", "method": "dcgan"}


@pytest.mark.parametrize("writer", WRITERS)
def test_names_of_files_say_nothing(writer: Any, tmp_path: Path) -> None:
    """A file that somebody named after a patient is not one of ours, so the set is not released as it is."""
    source = write(tmp_path / "set", writer, traces=False)
    text = (source / "dataset.json").read_text(encoding="utf-8")
    if writer is FolderWriter:
        (source / "images" / "covid" / "000000.png").rename(source / "images" / "covid" / "rossi_1954.png")
        table = source / "metadata.csv"
        table.write_text(table.read_text(encoding="utf-8").replace("covid/000000.png", "covid/rossi_1954.png"))
        text = text.replace("covid/000000.png", "covid/rossi_1954.png")
    else:
        (source / "shards" / "000000.tar").rename(source / "shards" / "rossi_1954.tar")
        text = text.replace("shards/000000.tar", "shards/rossi_1954.tar")
    (source / "dataset.json").write_text(text, encoding="utf-8")
    relist(source)
    assert verify_dataset(source) == []
    with pytest.raises(UserError, match="cannot be released as it is"):
        copy_dataset(source, tmp_path / "out")


@pytest.mark.parametrize("writer", WRITERS)
def test_soft_labels_are_copied_and_nothing_else_in_their_file(writer: Any, tmp_path: Path) -> None:
    source, soft = write(tmp_path / "set", writer, traces=False), np.array([[1, 0], [0.5, 0.5]] * 2, dtype=np.float32)
    plain = dataset_digest(source)
    planted = {"classes": json.dumps(LABELS[::-1]), "patient": "Rossi"}
    add_soft_labels(source, save({"probabilities": soft}, planted))
    assert copy_dataset(source, tmp_path / "out") == []
    assert (tmp_path / "out" / SOFT_LABELS).read_bytes() == encode_soft_labels(soft[:, ::-1], LABELS)
    assert b"Rossi" in everything_in(source) and b"Rossi" not in everything_in(tmp_path / "out")
    digest = dataset_digest(tmp_path / "out")
    assert digest == dataset_digest(source) != plain
    (source / SOFT_LABELS).write_bytes(encode_soft_labels(soft, LABELS))
    relist(source)
    assert dataset_digest(source) not in (digest, plain)
    (source / SOFT_LABELS).write_bytes(b"nonsense")
    relist(source)
    with pytest.raises(UserError, match=r"The soft labels .* cannot be used"):
        copy_dataset(source, tmp_path / "again")


# -- samples that a person rejected


def names(writer: Any, *indices: int, per_class: int = 2) -> list[str]:
    """As ``rejected.csv`` calls samples by their position; shards hold three."""
    if writer is FolderWriter:
        folders = ("covid", "ΑΒ c")
        return [f"images/{folders[i // per_class]}/{i % per_class:06d}.png" for i in indices]
    return [f"shards/{i // 3:06d}.tar/{i:06d}.png" for i in indices]


@pytest.mark.parametrize("writer", WRITERS)
def test_rejected_samples_are_left_out(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer, traces=False)
    whole = dataset_digest(source)
    for name in names(writer, 0, 3):  # 3 is alone in its shard
        reject(source, name, True)
    assert verify_dataset(source) == [] and dataset_digest(source) == whole, "an audit of the set stays valid"
    rejected = Rejected.of(source)
    assert rejected.count == 2 and dict(rejected.labels) == dict.fromkeys(LABELS, 1)
    assert copy_dataset(source, tmp_path / "out", rejected=rejected) == []
    assert verify_dataset(tmp_path / "out") == []
    assert dataset_digest(tmp_path / "out") == dataset_digest(source, rejected) != whole
    before, after = (read_dataset(folder, SETTINGS) for folder in (source, tmp_path / "out"))
    for name in SETTINGS:
        assert np.array_equal(after[name].values, before[name].values[1:3])
        assert after[name].labels.tolist() == [0, 1]
    about = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert about["counts"] == dict.fromkeys(LABELS, 1) and about["rejected"] == 2
    kept = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert "rejected.csv" not in kept and "000001.tar" not in kept


@pytest.mark.parametrize("writer", WRITERS)
def test_soft_labels_of_rejected_samples_are_left_out(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer, traces=False, per_class=4)
    soft = np.linspace([1, 0], [0, 1], 8, dtype=np.float32)
    add_soft_labels(source, encode_soft_labels(soft, LABELS))
    whole = dataset_digest(source)
    left = [0, 3, 4, 5, 6]  # 3, 4 and 5 are a shard of their own
    for name in names(writer, *reversed(left), per_class=4):
        reject(source, name, True)
    rejected = Rejected.of(source)
    assert dataset_digest(source) == whole and rejected.count == len(left)
    assert copy_dataset(source, tmp_path / "out", rejected=rejected) == []
    assert verify_dataset(tmp_path / "out") == []
    before, after = (read_dataset(folder, SETTINGS, soft_labels=True)["image"] for folder in (source, tmp_path / "out"))
    for one in ("values", "labels", "probabilities"):
        assert np.array_equal(getattr(after, one), np.delete(getattr(before, one), left, axis=0)), one
    assert np.array_equal(after.probabilities, soft[[1, 2, 7]])
    digest = dataset_digest(tmp_path / "out")
    assert digest == dataset_digest(source, rejected) != whole
    soft[0] = 0.25, 0.75
    (source / SOFT_LABELS).write_bytes(encode_soft_labels(soft, LABELS))
    assert dataset_digest(source, rejected) == digest, "those of rejected samples do not count"
    soft[7] = 0.25, 0.75
    (source / SOFT_LABELS).write_bytes(encode_soft_labels(soft, LABELS))
    assert dataset_digest(source, rejected) != digest


def test_soft_labels_are_in_the_order_of_shards_and_not_of_their_list(tmp_path: Path) -> None:
    source, soft = write(tmp_path / "set", ShardWriter, traces=False), np.linspace([1, 0], [0, 1], 4, dtype=np.float32)
    add_soft_labels(source, encode_soft_labels(soft, LABELS))
    about = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    about["checksums"] = dict(reversed(about["checksums"].items()))
    (source / "dataset.json").write_text(json.dumps(about))
    reject(source, names(ShardWriter, 3)[0], True)
    copy_dataset(source, tmp_path / "out", rejected=Rejected.of(source))
    read = read_dataset(tmp_path / "out", SETTINGS, soft_labels=True)["image"]
    assert np.array_equal(read.probabilities, soft[:3])


@pytest.mark.parametrize("writer", WRITERS)
def test_a_sample_that_is_taken_back_goes_along(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer, traces=False)
    for rejected in (True, False):
        reject(source, names(writer, 1)[0], rejected)
    copy_dataset(source, tmp_path / "out", rejected=Rejected.of(source))
    copied = digests(source)
    del copied["rejected.csv"]
    assert digests(tmp_path / "out") == copied


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_no_sample_cannot_be_rejected(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer)
    reject(source, "images/covid/999999.png", True)
    with pytest.raises(UserError, match=r"names images/covid/999999.png, no sample of it"):
        Rejected.of(source)


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_is_left(writer: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "set", writer)
    for name in names(writer, *range(4)):
        reject(source, name, True)
    with pytest.raises(UserError, match="nothing to release"):
        Rejected.of(source)
