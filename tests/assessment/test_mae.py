from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator
from small import LABELS, PRESET, SETTINGS, noise_samples, small_model

from mmgen.assessment.mae import RATIOS, MAERun, fidelity_section, measure_utility, report_media
from mmgen.data.files import LocalFiles
from mmgen.data.loading import PairedData
from mmgen.data.manifest import Manifest
from mmgen.data.samples import Samples
from mmgen.evaluation.fidelity.spectrum import SHARPNESS
from mmgen.evaluation.report.writing import write_report
from mmgen.evaluation.utility import UtilityConfig
from mmgen.presets import build_mae

HISTORY = [
    {"epoch": 0, "validation/error/image": 1.2, "validation/error/audio": 1.1},
    {"epoch": 1},  # an epoch without validation
    {"epoch": 2, "validation/error/image": 0.9, "validation/error/audio": None},
]


@pytest.fixture(scope="module")
def data() -> PairedData:
    splits = {split: noise_samples((12, 10), (9, 14), seed=seed) for seed, split in enumerate(("train", "val", "test"))}
    manifests = {name: Manifest(LocalFiles(Path()), [], np.zeros(0, dtype=np.int64), LABELS) for name in SETTINGS}
    return PairedData(manifests, splits, {})


@pytest.fixture(scope="module")
def trained(data: PairedData) -> MAERun:
    single = {
        name: build_mae(PRESET, {name: SETTINGS[name]}, {name: data.splits["train"][name]}).eval() for name in SETTINGS
    }
    synthetic = {
        name: Samples(samples.values.astype(SETTINGS_TYPES[name]), samples.labels, LABELS, samples.rows)
        for name, samples in noise_samples((8, 8), (8, 8), seed=9).items()
    }
    return MAERun(small_model(), single, data, synthetic, SETTINGS, seed=1)


SETTINGS_TYPES = {"image": np.uint8, "audio": np.float32}  # as read back from a data set


@pytest.fixture(scope="module")
def fidelity(trained: MAERun) -> dict[str, Any]:
    return fidelity_section(trained)


def test_every_measure_stands_beside_its_reference(fidelity: dict[str, Any]) -> None:
    assert list(fidelity) == ["image", "audio"]
    for name, section in fidelity.items():
        error = section["masked_patch_error"]
        assert error.ratio == pytest.approx(error.value / error.baseline)
        assert error.mean_sample_baseline > 0 and error.single_modal > 0
        measures = ["kl_intensity", "sample_variance", *(["waveform_round_trip_db"] if name == "audio" else [])]
        for measure in measures:
            assert np.isfinite([section[measure].value, section[measure].real_vs_real]).all()
            assert section[measure].better in ("lower", "higher")
        curves = section["variance_by_mask_ratio"]
        assert curves.keys() == {"mask_ratios", "cross-modal", "single-modal"}
        assert all(len(curve) == len(RATIOS) for curve in curves.values())
    assert "waveform_round_trip_db" not in fidelity["image"]


def test_noise_has_known_errors(fidelity: dict[str, Any]) -> None:
    for section in fidelity.values():
        # White noise has variance 1 around any mean that knows no sample, and real halves are alike.
        assert section["masked_patch_error"].baseline == pytest.approx(1.0, abs=0.05)
        assert section["sample_variance"].real_vs_real == pytest.approx(1.0, abs=0.1)
        for measure in (*SHARPNESS, "seams"):
            assert section[measure].real_vs_real == pytest.approx(1.0, abs=0.3) and section[measure].better is None
        assert section["kl_intensity"].real_vs_real < 0.05 and section["kl_intensity"].value < 0.05


def test_without_single_modal_models_their_columns_are_left_out(trained: MAERun, data: PairedData) -> None:
    alone = MAERun(trained.model, {}, data, trained.synthetic, SETTINGS, seed=1)
    section = fidelity_section(alone)["image"]
    assert section["masked_patch_error"].single_modal is None
    assert section["variance_by_mask_ratio"].keys() == {"mask_ratios", "cross-modal"}


def test_measuring_again_gives_the_same(trained: MAERun, fidelity: dict[str, Any]) -> None:
    assert fidelity_section(trained) == fidelity


def test_utility_is_measured_on_the_test_split(trained: MAERun, accelerator: Accelerator) -> None:
    section = measure_utility(trained, UtilityConfig(updates=1, seeds=1, max_side=32), accelerator)
    assert list(section) == ["image", "audio"]
    for name, by_classifier in section.items():
        ((classifier, sets),) = by_classifier.items()
        assert classifier == {"image": "resnet18", "audio": "mfcc"}[name]
        assert list(sets) == ["real", "synthetic", "real+synthetic", "random_subset"]
        assert sets["real"].n_train == len(trained.data.splits["train"][name])
        assert sets["synthetic"].n_train == 16


def test_pictures_and_samples_make_a_report(trained: MAERun, fidelity: dict[str, Any], tmp_path: Path) -> None:
    media = report_media(trained, fidelity, HISTORY)
    titles = [figure.title for figure in media.figures]
    assert titles == [
        "Reconstruction of unseen samples", "Learning", "Variance against masking ratio", "Intensities: image",
        "Sharpness: image", "Intensities: audio", "Sharpness: audio",
    ]  # fmt: skip
    assert [figure.shows_real for figure in media.figures] == [True] + 6 * [False]
    assert all(figure.png.startswith(b"\x89PNG") and figure.alt and figure.caption for figure in media.figures)
    counts = {(sample.source, sample.label) for sample in media.samples}
    assert counts == {(source, label) for source in ("real", "synthetic") for label in LABELS}
    for sample in media.samples:
        assert sample.image.shape == PRESET.image.shape and sample.image.dtype == np.uint8
        assert sample.log_mel.shape == PRESET.audio.shape[1:]
        assert sample.waveform.shape == (PRESET.audio.segment_samples,)
    page = write_report(tmp_path, {"run": "r", "fidelity": fidelity}, media)
    assert json.loads((tmp_path / "report.json").read_text())["fidelity"].keys() == {"image", "audio"}
    assert page.is_file() and len(list((tmp_path / "figures").iterdir())) == 7


def test_one_sample_of_a_label_is_enough(trained: MAERun, data: PairedData) -> None:
    few = {split: noise_samples((1, 1), (1, 1), seed=3) for split in ("train", "val", "test")}
    little = MAERun(trained.model, {}, PairedData(data.manifests, few, {}), few["test"], SETTINGS)
    media = report_media(little, fidelity_section(little), [])
    assert media.samples and media.figures
