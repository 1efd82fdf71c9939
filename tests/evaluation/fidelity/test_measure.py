from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from small import LABELS

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.phantoms import phantom_xray
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.comparison import matched_rows
from mmgen.evaluation.fidelity.features import Extractor, make_extractor
from mmgen.evaluation.fidelity.frechet import frechet_distance
from mmgen.evaluation.fidelity.intensities import intensity_kl
from mmgen.evaluation.fidelity.manifold import manifold_measures
from mmgen.evaluation.fidelity.measure import measure_fidelity
from mmgen.evaluation.fidelity.measures import MEASURES
from mmgen.evaluation.fidelity.result import FidelityResult
from mmgen.evaluation.fidelity.spectrum import SHARPNESS
from mmgen.evaluation.fidelity.variance import sample_variance
from mmgen.models.modality import Modality

SIDE = 32


def as_samples(values: np.ndarray, labels: np.ndarray | None = None) -> Samples:
    labels = np.arange(len(values)) % 2 if labels is None else labels
    return Samples(values, labels, LABELS, np.arange(len(values)))


@pytest.fixture(scope="module")
def bodies() -> np.ndarray:
    """uint8 (360, 1, 32, 32), both labels in turn."""
    return np.stack([phantom_xray(i % 2, np.random.default_rng([3, i]), SIDE)[None] for i in range(360)])


@pytest.fixture(scope="module")
def modality(bodies: np.ndarray) -> Modality:
    mean, std = (float(bodies.mean()),), (float(bodies.std()),)
    return Modality("image", (1, SIDE, SIDE), (8, 8), mean, std, value_range=(0.0, 255.0))


@pytest.fixture(scope="module")
def pixels(modality: Modality) -> Extractor:
    return make_extractor("pixels", modality)


@pytest.fixture(scope="module")
def real(bodies: np.ndarray) -> Samples:
    return as_samples(bodies[:240])


@pytest.fixture(scope="module")
def fresh(bodies: np.ndarray) -> np.ndarray:
    """What a perfect generator would make: (120, 1, 32, 32)."""
    return bodies[240:]


@pytest.fixture(scope="module")
def of_fresh(modality: Modality, real: Samples, fresh: np.ndarray, pixels: Extractor) -> dict[str, FidelityResult]:
    return measure_fidelity(modality, real, as_samples(fresh), pixels, patch=modality.patch)


def test_entries_have_what_reports_need(of_fresh: dict[str, FidelityResult]) -> None:
    assert list(of_fresh) == [name for name in MEASURES if name != "waveform_round_trip_db"]
    for name, entry in of_fresh.items():
        low, high = entry.range
        assert isinstance(entry.value, float) and isinstance(entry.real_vs_real, float), name
        assert (-np.inf if low is None else low) <= entry.value <= (np.inf if high is None else high), name
        assert (low is None) == ("kernel" in name)  # unbiased
        assert entry.better in ("lower", "higher", None) and entry.samples == 120
        assert entry.features == ("pixels" if MEASURES[name].of_features else None)
    assert {name for name, entry in of_fresh.items() if "Biased" in (entry.note or "")} == {
        "frechet",  # 120 samples in 256 dimensions
        "frechet_within_class",
    }


def test_real_as_synthetic_is_as_good_as_real(of_fresh: dict[str, FidelityResult]) -> None:
    for name, entry in of_fresh.items():
        slack = {"kl_intensity": 0.02, "kernel_distance": 0.03, "kernel_distance_within_class": 0.03}.get(
            name, 0.15 * entry.real_vs_real
        )
        assert entry.value == pytest.approx(entry.real_vs_real, abs=slack), name
    assert abs(of_fresh["kernel_distance"].value) < 0.03 and of_fresh["kl_intensity"].value < 0.02


def test_distances_are_from_one_real_half_to_the_other_and_to_the_synthetic(
    modality: Modality, real: Samples, fresh: np.ndarray, pixels: Extractor, of_fresh: dict[str, FidelityResult]
) -> None:
    half, other, made = matched_rows(real, as_samples(fresh))
    for key, samples in (("value", fresh[made]), ("real_vs_real", real.values[other])):
        assert getattr(of_fresh["kl_intensity"], key) == intensity_kl(real.values[half], samples)  # in this direction
        assert getattr(of_fresh["frechet"], key) == frechet_distance(pixels(real.values[half]), pixels(samples))
        assert (
            getattr(of_fresh["recall"], key) == manifold_measures(pixels(real.values[half]), pixels(samples))["recall"]
        )
        assert getattr(of_fresh["sample_variance"], key) == sample_variance(modality, samples)


def damaged(fresh: np.ndarray, kind: str) -> list[Samples]:
    """Samples with more and more of a fault."""
    rng = np.random.default_rng(0)
    if kind == "blur":
        return [as_samples(gaussian_filter(fresh, (0, 0, sigma, sigma))) for sigma in (1, 2, 4)]
    if kind == "noise":
        noise = rng.normal(size=fresh.shape)
        return [as_samples(np.clip(fresh + level * noise, 0, 255).astype(np.uint8)) for level in (15, 40, 90)]
    if kind == "patches":
        offsets = np.kron(rng.normal(size=(len(fresh), 1, 4, 4)), np.ones((8, 8)))
        return [as_samples(np.clip(fresh + level * offsets, 0, 255).astype(np.uint8)) for level in (10, 25, 60)]
    if kind == "modes":
        return [as_samples(np.resize(fresh[:modes], fresh.shape)) for modes in (40, 12, 2)]
    order, labels = rng.permutation(len(fresh)), np.arange(len(fresh)) % 2
    flipped = [np.where(np.isin(np.arange(len(fresh)), order[:count]), 1 - labels, labels) for count in (40, 80, 120)]
    return [as_samples(fresh, labels) for labels in flipped]


@pytest.mark.parametrize(
    ("kind", "grows", "falls"),
    [
        (
            "blur",
            "kl_intensity ms_ssim frechet kernel_distance",
            "sample_variance patch_variance spectrum_coarse spectrum_middle spectrum_fine spectrum_finest recall",
        ),
        ("noise", "kl_intensity patch_variance spectrum_finest frechet kernel_distance", "ms_ssim density coverage"),
        ("modes", "ms_ssim frechet kernel_distance", "recall coverage"),
        ("patches", "seams spectrum_finest", ""),
        ("labels", "frechet_within_class kernel_distance_within_class", ""),
    ],
)
def test_faults_are_seen_and_more_of_them_more(
    kind: str,
    grows: str,
    falls: str,
    modality: Modality,
    real: Samples,
    fresh: np.ndarray,
    pixels: Extractor,
    of_fresh: dict[str, FidelityResult],
) -> None:
    found = [of_fresh] + [measure_fidelity(modality, real, made, pixels, patch=(8, 8)) for made in damaged(fresh, kind)]
    for names, sign in ((grows, 1), (falls, -1)):
        for name in names.split():
            values = [sign * entries[name].value for entries in found]
            assert all(a <= b for a, b in pairwise(values)) and values[0] < values[-1], (name, values)
            # It is not the real reference that moves.
            assert found[-1][name].real_vs_real == pytest.approx(found[0][name].real_vs_real, rel=0.2, abs=0.02)


def test_measures_over_all_classes_cannot_see_flipped_labels(
    modality: Modality, real: Samples, fresh: np.ndarray, pixels: Extractor, of_fresh: dict[str, FidelityResult]
) -> None:
    swapped = measure_fidelity(modality, real, as_samples(fresh, 1 - np.arange(len(fresh)) % 2), pixels)
    for name in ("kl_intensity", "frechet", "kernel_distance"):
        assert swapped[name].value == pytest.approx(of_fresh[name].value, rel=1e-6)
    wrong, right = (entries["kernel_distance_within_class"] for entries in (swapped, of_fresh))
    assert wrong.value > right.value + 3 * abs(right.real_vs_real)


def test_a_small_set_is_compared_with_as_few_real_samples(
    modality: Modality, real: Samples, fresh: np.ndarray, pixels: Extractor
) -> None:
    found = measure_fidelity(modality, real, as_samples(fresh[:20]), pixels)
    assert {entry.samples for entry in found.values()} == {20}
    assert "20 samples in 256 dimensions; prefer kernel_distance." in found["frechet"].note
    assert "10 samples in 256" in found["frechet_within_class"].note


def test_too_few_samples_leave_measures_out(
    modality: Modality, real: Samples, fresh: np.ndarray, pixels: Extractor
) -> None:
    found = measure_fidelity(modality, real, as_samples(fresh[:2]), pixels)  # one of each class
    left_out = {name for name, entry in found.items() if entry.value is None}
    assert left_out == {
        "ms_ssim",
        "frechet_within_class",
        "kernel_distance_within_class",
        "precision",
        "recall",
        "density",
        "coverage",
    }
    for name in left_out:
        assert found[name].real_vs_real is None and "at least" in found[name].note
    assert "at least 6 samples" in found["recall"].note
    assert found["frechet"].value > 0


def test_people_are_not_in_both_halves(modality: Modality, fresh: np.ndarray, pixels: Extractor) -> None:
    # Twelve pictures of each of ten people, who differ much more than their pictures do.
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(10), 12)
    values = np.clip(fresh[people] + rng.normal(0, 2, fresh.shape), 0, 255).astype(np.uint8)
    labels = people % 2
    real, made = as_samples(values, labels), as_samples(fresh)
    by_file = measure_fidelity(modality, real, made, pixels)
    by_person = measure_fidelity(modality, real, made, pixels, subjects=people)
    assert by_file["kernel_distance"].real_vs_real < 0.1 < by_person["kernel_distance"].real_vs_real
    assert by_file["coverage"].real_vs_real > 0.8 > by_person["coverage"].real_vs_real


def test_a_label_of_one_person_is_noted(modality: Modality, fresh: np.ndarray, pixels: Extractor) -> None:
    people = np.where(np.arange(60) % 2, 0, np.arange(60))  # whoever is healthy is the same
    found = measure_fidelity(modality, as_samples(fresh[:60]), as_samples(fresh[60:]), pixels, subjects=people)
    assert all("Without healthy, whose real samples are not of two people." in e.note for e in found.values())
    assert found["frechet"].samples == 15


def test_the_seed_decides(modality: Modality, real: Samples, fresh: np.ndarray, pixels: Extractor) -> None:
    made = as_samples(fresh[:60])
    found = [measure_fidelity(modality, real, made, pixels, seed=seed) for seed in (4, 4, 5)]
    assert found[0] == found[1] != found[2]


def test_sounds_are_also_heard(coughs: np.ndarray) -> None:
    settings = AudioSettings(frames=40, segment_frames=40)
    modality = Modality("audio", settings.shape, (10, 10), (float(coughs.mean()),), (float(coughs.std()),))
    sounds = as_samples(coughs[..., :40].astype(np.float16))
    found = measure_fidelity(modality, sounds, sounds, make_extractor("pixels", modality), settings)
    assert list(found) == [name for name in MEASURES if name != "seams"]  # whose patches nobody named
    trip = found["waveform_round_trip_db"]
    assert 0 < trip.value < 3 and 0 < trip.real_vs_real < 3 and trip.samples == 8


def test_what_is_too_small_for_a_spectrum_has_the_other_measures(fresh: np.ndarray) -> None:
    modality, small = Modality("image", (1, 8, 8), (8, 8)), as_samples(fresh[..., :8, :8])
    found = measure_fidelity(modality, small, small, make_extractor("pixels", modality), patch=(8, 8))
    for name in (*SHARPNESS, "seams"):
        assert found[name].value is found[name].real_vs_real is found[name].closeness is None
    assert "side of at least 11" in found["spectrum_fine"].note and "several patches" in found["seams"].note
    assert found["kl_intensity"].value is not None


# -- what may be wrong


def test_what_cannot_be_compared_is_named(
    modality: Modality, real: Samples, fresh: np.ndarray, pixels: Extractor
) -> None:
    made = as_samples(fresh[:10])
    for wrong, message in (
        ((real, made.select([])), "no synthetic samples of 'image'"),
        ((real.select([]), made), "no real samples of 'image'"),
        ((real, as_samples(fresh[:10, :, :16])), r"synthetic samples of 'image' have shape \(1, 16, 32\)"),
        ((real, made.select(made.labels == 0)), "no synthetic samples of healthy in 'image'"),
        ((real.select(real.labels == 1), made), "no real samples of covid in 'image'"),
        ((real, replace(made, label_names=("covid", "well"))), "labels .*'well'.* differ"),
        ((real.select([0, 1]), made), "cannot be split in two, as every label is that of a single file"),
    ):
        with pytest.raises(UserError, match=message):
            measure_fidelity(modality, *wrong, pixels)


@pytest.mark.parametrize("origin", ["real", "synthetic"])
def test_values_that_are_no_numbers_are_refused(origin: str, coughs: np.ndarray) -> None:
    modality = Modality("audio", (1, 100, 100), (10, 10))
    sets = {name: as_samples(coughs.copy()) for name in ("real", "synthetic")}
    sets[origin].values[:, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match=f"8 of 8 {origin} samples of 'audio' hold values that are NaN"):
        measure_fidelity(modality, **sets, extractor=make_extractor("pixels", modality))
