from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small import SETTINGS, SOUND, run

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.cells import to_cell
from mmgen.data.images import ImageSettings
from mmgen.data.settings import Settings, settings_to_dict
from mmgen.data.writing.readme import readme
from mmgen.data.writing.unfinished import prepare_folder
from mmgen.data.writing.writer import DatasetWriter, FolderWriter, ShardWriter, SyntheticSample

# Labels that YAML would read as something else, that a table spells otherwise, and that are no folder's name.
LABELS = ("=no", "肺炎: a/b", "1")
ABOUT = {
    "synthetic": True, "format": "folder", "counts": {"covid": 2, "healthy": 2},
    "preprocessing": {"image": settings_to_dict(ImageSettings(32, 1)), "breath": settings_to_dict(AudioSettings())},
}  # fmt: skip


def sample(index: int, settings: dict[str, Settings]) -> SyntheticSample:
    rng = np.random.default_rng(index)
    log_mel = rng.uniform(-9, 1, SOUND.shape[1:]).astype(np.float32)
    wave = rng.uniform(-1, 1, SOUND.segment_samples).astype(np.float32)
    pixels = rng.integers(0, 256, SETTINGS["image"].shape, dtype=np.uint8)
    images, sounds = {"image": pixels}, {"audio": (log_mel, wave)}
    return SyntheticSample(index, images if "image" in settings else {}, sounds if "audio" in settings else {})


def describe(index: int) -> dict[str, Any]:
    source = None if index == 4 else index
    about = {"label": LABELS[index // 2], "index": index, "seed": 7, "model": "012345678901", "copies_real_data": False}
    return about | {"audio_mask_ratio": 0.75, "source_image_id": source}


def write_set(folder: Path, kind: type[DatasetWriter], names: tuple[str, ...] = ("image", "audio")) -> Path:
    """Six samples of three labels."""
    settings = {name: SETTINGS[name] for name in names}
    prepare_folder(folder, False, {})
    writer = kind(folder, settings, LABELS, 2, 4, describe)
    writer.write(sample(index, settings) for index in range(len(writer)))
    writer.finish({"generator": {"library": "mmgen 1.0", "model": "0123456789ab"}})
    return folder


def front_of(text: str) -> dict[str, Any]:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


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

def heard(found, column):
    rows = found.cast_column(column, datasets.Audio(decode=False))[column]
    return [soundfile.read(row["bytes"] and io.BytesIO(row["bytes"]) or row["path"])[0].tolist() for row in rows]

def types_of(features):
    return {name: types_of(kind) if isinstance(kind, dict) else type(kind).__name__ for name, kind in features.items()}

def told(found, image=None, audio=None, label=lambda found: (found.features["label"], found["label"])):
    feature, labels = label(found)
    result = {"types": types_of(found.features), "names": feature.names, "labels": [int(label) for label in labels]}
    if image:
        result["pictures"] = [numpy.asarray(row).tolist() for row in found[image]]
    if audio:
        result["sounds"] = heard(found, audio)
    return result

def open(name):
    return datasets.load_dataset(sys.argv[1] + "/" + name, split="train")

pair, shards = open("a set"), open("shards")
shown = open("images")
json_label = lambda found: (found.features["json"]["label"], [row["label"] for row in found["json"]])
print(json.dumps({
    "pair": told(pair, "image", "audio") | {"path": pair[0]["audio"]["path"]},
    "cast": types_of(pair.cast_column("audio", datasets.Audio()).features),
    "images": told(shown, "image"),
    "rows": shown.remove_columns("image").to_list(),
    "sounds": told(open("sounds"), None, "audio"),
    "shards": told(shards, "png", "flac", json_label) | {"spectrograms": shards["spectrogram.npy"][:]},
    "json": [{key: value for key, value in row.items() if key != "label"} for row in shards["json"]],
    "imagefolder": types_of(datasets.load_dataset("imagefolder", data_dir=sys.argv[1] + "/images")["train"].features),
}))
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the package ``datasets`` makes of folders and shards."""
    pytest.importorskip("datasets", reason="the package datasets (extra dev) is not installed")
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder / "a set", FolderWriter)
    write_set(folder / "images", FolderWriter, ("image",))
    write_set(folder / "sounds", FolderWriter, ("audio",))
    write_set(folder / "shards", ShardWriter)
    script = folder / "open.py"
    script.write_text(OPEN)
    done = run(script, folder, HF_HOME=str(folder / "cache"), HF_DATASETS_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def holds_the_samples(found: dict[str, Any], names: list[str], image: bool = True, audio: bool = True) -> None:
    assert (found["names"], found["labels"]) == (names, [0, 0, 1, 1, 2, 2])
    for index in range(6):
        made = sample(index, SETTINGS)
        if image:
            assert np.array_equal(found["pictures"][index], made.images["image"][0])
        if audio:
            np.testing.assert_allclose(found["sounds"][index], made.sounds["audio"][1], atol=2 / 2**15)


def test_images_and_labels_of_a_folder_are_typed(opened: dict[str, Any]) -> None:
    types = opened["images"]["types"]
    assert (types["image"], types["label"]) == ("Image", "ClassLabel")
    holds_the_samples(opened["images"], ["'=no", *LABELS[1:]], audio=False)  # as the table spells them
    about = [describe(index) for index in range(6)]
    assert [{**row, "label": LABELS[row["label"]]} for row in opened["rows"]] == about
    assert opened["imagefolder"]["image"] == "Image"  # without the card, as before


def test_sounds_of_a_folder_are_typed(opened: dict[str, Any]) -> None:
    assert opened["sounds"]["types"]["audio"] == "Audio"
    holds_the_samples(opened["sounds"], ["'=no", *LABELS[1:]], image=False)


def test_pairs_in_a_folder_are_typed_but_for_the_sound_which_is_a_path(opened: dict[str, Any]) -> None:
    types = opened["pair"]["types"]
    assert (types["image"], types["audio"], types["label"]) == ("Image", "Image", "ClassLabel")
    assert Path(opened["pair"]["path"]).is_absolute() and opened["pair"]["path"].endswith("audio/_no/000000.flac")
    assert opened["cast"]["audio"] == "Audio"
    holds_the_samples(opened["pair"], ["'=no", *LABELS[1:]])


def test_pairs_in_shards_are_typed(opened: dict[str, Any]) -> None:
    types = opened["shards"]["types"]
    assert (types["png"], types["flac"], types["json"]["label"]) == ("Image", "Audio", "ClassLabel")
    holds_the_samples(opened["shards"], list(LABELS))
    expected = [sample(index, SETTINGS).sounds["audio"][0] for index in range(6)]
    assert np.array_equal(np.float32(opened["shards"]["spectrograms"]), expected)
    assert opened["json"] == [{k: v for k, v in describe(index).items() if k != "label"} for index in range(6)]


# -- as people read it


def test_the_card_is_a_function_of_the_description() -> None:
    folder, shards = readme(ABOUT, 0, ["label"]), readme(ABOUT | {"format": "webdataset"}, 4, ["label"])
    assert "\n# Synthetic data set\n" in folder and "| covid | 2 |" in folder
    assert '.cast_column("breath", Audio())' in folder and "up to 4 samples a file" in shards
    assert "cast_column" not in shards and "metadata.csv" not in shards
    assert "no file in it is a recording or picture of a person" in folder
    pasted = readme(ABOUT | {"copies_real_data": True}, 0, ["label"])
    assert "as real data" in pasted and "no file in it" not in pasted
    labels = {"<script>": 1, "a|b\n": 2}
    assert "| \\<script\\> | 1 |\n| a\\|b | 2 |\n\n" in readme(ABOUT | {"counts": labels}, 0, ["label"])
    odd = readme(
        ABOUT | {"preprocessing": ABOUT["preprocessing"] | {'a", print)\n```\n<b>': settings_to_dict(SOUND)}}, 0, []
    )
    assert r'.cast_column("a\", print)\n```\n<b>", Audio())' in odd
    assert "\n# Subset of a real data set\n" in readme(ABOUT | {"generator": {"method": "subset"}}, 0, [])
    for part in ("## Intended use", "## Files", "## Limits", "privacy audit", "## Cite"):
        assert part in folder and part in shards


def test_the_front_matter_has_licence_tags_size_and_tasks() -> None:
    front = front_of(readme(ABOUT | {"licence": "CC-BY-4.0", "counts": {"a": 600, "b": 400}}, 0, ["label"]))
    assert front["license"] == "cc-by-4.0" and front["size_categories"] == ["1K<n<10K"]
    assert front["task_categories"] == ["audio-classification", "image-classification"]
    assert {"synthetic", "medical"} <= set(front["tags"])
    assert front_of(readme(ABOUT, 0, []))["license"] == "unknown"


@pytest.mark.parametrize(
    "label", ["no", "---", "a\n---\nb", "1e3", "\u2028", "é😀", '"', "'", "# a", "x: [", "*a", "\x85"]
)
def test_no_label_gets_out_of_the_front_matter(label: str) -> None:
    for form in ("folder", "webdataset"):
        text = readme(ABOUT | {"format": form, "counts": {label: 1, "b": 2}}, 1, ["label"])
        block = text.split("\n---\n", 1)[0].removeprefix("---\n")
        front = yaml.safe_load(block)
        features = front["configs"][0].get("features") or front["dataset_info"]["features"][-2]["struct"]
        names = next(feature for feature in features if feature["name"] == "label")["dtype"]["class_label"]["names"]
        assert names == {"0": to_cell(label) if form == "folder" else label, "1": "b"}
