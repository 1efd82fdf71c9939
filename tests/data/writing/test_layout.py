from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from awkward import AWKWARD

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.settings import settings_to_dict
from mmgen.data.writing.layout import is_inside, patches_of, read_document, safe_names, sample_files, sha256

SOUND = AudioSettings()
ABOUT = {
    "synthetic": True, "format": "folder", "counts": {"covid": 2, "healthy": 2},
    "preprocessing": {"image": settings_to_dict(ImageSettings(32, 1)), "breath": settings_to_dict(SOUND)},
}  # fmt: skip

# -- labels as folders


def check_names(labels: list[str]) -> None:
    names = safe_names(labels)
    assert len(names) == len(labels)
    folded = {unicodedata.normalize("NFC", name).casefold() for name in names}
    assert len(folded) == len(names)  # distinct where folders ignore case, too
    for name in names:
        assert name and name == name.strip() and not name.startswith(".") and not name.endswith(".")
        assert Path(name).name == name and not set(name) & set('/\\:*?"<>|\0\n\t')


def test_labels_become_safe_and_different_folders() -> None:
    check_names(AWKWARD)
    rng = random.Random(0)
    for _ in range(200):
        check_names(["".join(rng.choices("aA_./\\ é肺:\n", k=rng.randrange(4))) for _ in range(rng.randrange(1, 12))])


def test_plain_labels_keep_their_names() -> None:
    plain = ["covid", "COVID-19", "no finding", "v1.2", "肺炎", "naïve"]
    assert safe_names(plain) == plain


def test_sha256_of_a_known_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_files_of_a_sample_are_told_apart_in_every_form() -> None:
    settings = {"image": ImageSettings(32, 1), "lateral": ImageSettings(32, 1), "audio": SOUND, "breath": SOUND}
    files = sample_files(settings)
    assert {column: tuple(file) for column, file in files.items()} == {
        "image_file_name": ("images", "png", "png"),
        "lateral_file_name": ("lateral", "png", "lateral.png"),
        "audio_file_name": ("audio", "flac", "flac"),
        "audio_spectrogram": ("spectrograms", "npy", "spectrogram.npy"),
        "breath_file_name": ("breath", "flac", "breath.flac"),
        "breath_spectrogram": ("breath_spectrograms", "npy", "breath.spectrogram.npy"),
    }


def test_only_whole_patches_are_read() -> None:
    odd = [[14], [0, 8], [True, 8], [8.0, 8], ["8", 8], [8, 8, 8], 8, None, [[8], 8], [2**40, 8]]
    patches = {"image": [14, 16], **{str(place): patch for place, patch in enumerate(odd)}}
    assert patches_of(ABOUT | {"patch": patches}) == {"image": (14, 16)}
    assert patches_of(ABOUT) == patches_of({"patch": [8, 8]}) == patches_of({"patch": None}) == {}


@pytest.mark.parametrize("name", ["", "a//b", "/a", "../a", "a/./b", "a\\b", "c:a", "a\0"])
def test_names_that_lead_out_are_not_inside(name: str) -> None:
    assert not is_inside(name) and is_inside("images/covid/000000.png")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"synthetic": 1}, "synthetic"),
        ({"format": "zip"}, "format"),
        ({"counts": {"covid": "2"}}, "counts"),
        ({"checksums": {"README.md": "abc"}}, "checksums"),
        ({"preprocessing": {"\ud800": {}}}, "encode"),
    ],
)
def test_a_description_of_another_form_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    about = ABOUT | {"checksums": {"README.md": "0" * 64}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    assert read_document(tmp_path) == about
    (tmp_path / "dataset.json").write_text(json.dumps(about | change))
    with pytest.raises(ValueError, match=words):
        read_document(tmp_path)
