"""Phantom X-rays and coughs: the embedded default data, drawn from formulas, with content that depends on the label.

Every subject has an own body (or voice), every file an own exposure (or recording). The label changes only where lungs
are opaque and how a cough sounds: index 0 is "covid", 1 "healthy", and every further index has a pattern of its own.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator, default_rng
from scipy import fft
from scipy.interpolate import PchipInterpolator
from scipy.special import expit

from mmgen.errors import UserError

LABELS = ("covid", "healthy")
SUFFIXES = {"images": "png", "audio": "wav"}  # folder -> suffix
SAMPLE_RATE = 16000  # Hz, of the clips on disk
QUARTER = 0.25  # of a label's subjects is for testing; another quarter, drawn by itself, has two files
GOLDEN = 0.618034  # multiples of it, modulo 1, never come close to one another: spreads the patterns of further labels
RENDER_SIZE = 96  # smaller pictures are drawn at least this large and averaged, or their ribs would alias
FORMANTS = np.array([650.0, 1500.0, 2600.0, 3900.0])  # Hz, of a vocal tract of average length


class Anatomy:
    """A random subject's chest; lengths in half picture widths, y downwards, +x is the patient's left."""

    def __init__(self, rng: Generator) -> None:
        self.chest = rng.uniform(0.62, 0.76)  # lateral lung border
        self.apex = rng.uniform(-0.80, -0.68)  # y of the lung tops
        self.base = rng.uniform(0.55, 0.78)  # y of the costophrenic angles
        self.dome = rng.uniform(0.14, 0.27)  # height of the diaphragm above `base`
        self.lift = rng.uniform(0.02, 0.08)  # how much higher the right dome stands
        self.roundness = rng.uniform(1.9, 2.7)  # exponent of the upper lung border
        self.heart = rng.uniform(0.30, 0.43)  # radius of the long axis
        self.lean = rng.uniform(0.55, 0.95)  # angle of the long axis, radians
        self.mediastinum = rng.uniform(0.10, 0.15)  # half width
        self.rib_spacing = rng.uniform(0.135, 0.17)
        self.rib_slope = rng.uniform(0.18, 0.42)
        self.bones = rng.uniform(0.6, 1.1)  # contrast of all bones
        self.tissue = rng.uniform(0.9, 1.1)  # attenuation of the body
        self.breast = max(0.0, rng.uniform(-0.1, 0.2))  # soft shadows over the lower zones, a little like disease
        self.vessels = rng.uniform(0.6, 1.3)  # contrast of the vessel markings
        self.shoulder = rng.uniform(-0.70, -0.56)  # y of the shoulders
        self.flank = self.chest + rng.uniform(0.14, 0.32)  # half width of the trunk

    def outer(self, y: Array | float) -> Array:
        """Lateral border |x| of the lungs at heights y."""
        depth, top = (y - self.apex) / (self.base - self.apex), 0.42 * self.chest
        crown = np.clip(1 - depth / 0.62, 0, 1) ** self.roundness
        flare = 1 + 0.08 * np.clip(depth - 0.62, 0, 1)
        return (top + (self.chest - top) * (1 - crown) ** (1 / self.roundness)) * flare

    def inner(self, y: Array | float) -> Array:
        """Medial border |x| of the lungs at heights y."""
        crown, top = np.clip(1 - (y - self.apex) / (0.3 * (self.base - self.apex)), 0, 1), 0.42 * self.chest
        return top - (top - self.mediastinum) * np.sqrt(1 - crown**2)


class OpacityPattern(NamedTuple):
    """Where lungs are opaque: ranges of the place across (0 medial, 1 lateral) and along (0 apex, 1 base) a lung."""

    sides: tuple[int, ...] = ()  # -1 the patient's right, +1 the left
    count: tuple[int, int] = (0, 0)  # blobs a lung
    across: tuple[float, float] = (0.0, 1.0)
    along: tuple[float, float] = (0.0, 1.0)
    radius: tuple[float, float] = (0.0, 0.0)
    density: tuple[float, float] = (0.0, 0.0)  # share of the air that is replaced


def opacity_pattern(label_index: int) -> OpacityPattern:
    """Bilateral peripheral ground glass in the lower zones (0), clear lungs (1), one dense focus of its own (2...)."""
    if label_index == 0:
        return OpacityPattern((-1, 1), (2, 5), (0.5, 1.0), (0.45, 0.92), (0.07, 0.17), (0.2, 0.75))
    if label_index == 1:
        return OpacityPattern()
    along, side = 0.15 + 0.6 * (GOLDEN * (label_index - 2) % 1), -1 if label_index % 2 == 0 else 1
    return OpacityPattern((side,), (1, 2), (0.3, 0.7), (along, along + 0.15), (0.14, 0.24), (0.5, 0.95))


@lru_cache(maxsize=32)
def _spread(cells: int, size: int) -> Array:
    """(size, cells): weights that draw `cells` values out to `size` pixels smoothly."""
    centre = (np.arange(size)[:, None] + 0.5) * cells / size - 0.5
    weight = np.exp(-(((centre - np.arange(cells)) / 0.6) ** 2))
    return (weight / np.sqrt((weight**2).sum(axis=1, keepdims=True))).astype(np.float32)  # keeps unit variance


def _texture(rng: Generator, cells: int, size: int) -> Array:
    """(size, size) smooth noise of unit variance. The draw has `cells` values a side whatever the size is."""
    matrix = _spread(cells, size)
    return matrix @ rng.standard_normal((cells, cells), dtype=np.float32) @ matrix.T


def _peak(distance: Array) -> Array:
    """1 at 0, flat-topped, near 0 beyond 1.5. Two squares, because a fourth power takes ten times as long."""
    return np.exp(-np.square(np.square(distance)))


def _ellipse(x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0) -> Array:
    """Squared elliptic distance from the centre: 1 on the border."""
    dx, dy, c, s = x - centre[0], y - centre[1], math.cos(angle), math.sin(angle)
    return ((c * dx + s * dy) / radii[0]) ** 2 + ((c * dy - s * dx) / radii[1]) ** 2


def _lungs(x: Array, y: Array, body: Anatomy) -> tuple[Array, Array]:
    """Masks in [0, 1]: lungs, less what heart and aorta cover, and everything below the diaphragm."""
    side, edge = np.abs(x), 0.011
    across = (side - 0.45 * body.chest) / (0.55 * body.chest)
    diaphragm = body.base - body.dome * (1 - across**2).clip(-0.3) - body.lift * expit(-x / 0.05)
    below = expit((y - diaphragm) / edge)
    lung = expit((body.outer(y) - side) / edge) * expit((side - body.inner(y)) / edge) * (1 - below)
    floor, size = body.base - body.dome, body.heart
    ventricle = _ellipse(x, y, (0.3 * size, floor - 0.4 * size), (1.1 * size, 0.68 * size), body.lean)
    atrium = _ellipse(x, y, (-0.22 * size, floor - 0.5 * size), (0.45 * size, 0.7 * size))
    aorta = _ellipse(x, y, (0.6 * body.mediastinum, body.apex + 0.38 * (body.base - body.apex)), (0.09, 0.15))
    outside = np.prod([expit((border - 1) / 0.1) for border in (ventricle, atrium, aorta)], axis=0)
    return lung * expit((y - body.apex) / edge) * (0.05 + 0.95 * outside), below


def _vessels(x: Array, y: Array, body: Anatomy, rng: Generator) -> Array:
    """Share of the air that vessels take, in [0, 0.4]: wavering rays from the hila, and a haze around these."""
    right, down = np.abs(x) - 0.13, y - 0.5 * (body.apex + body.base) + 0.1
    angle, distance = np.arctan2(down, right), np.hypot(right, 0.8 * down)
    haze, share = np.exp(-((distance / 0.2) ** 2)), 0.0
    for rays, width, reach in ((7, 0.013, 0.35), (17, 0.008, 0.45)):
        waver = 1.3 * _texture(rng, 9, x.shape[-1]) + 0.25 * _texture(rng, 24, x.shape[-1])
        line = np.exp(-((np.sin(rays / 2 * angle + waver) * distance / (rays / 2 * width)) ** 2))
        share = share + 0.26 * line * np.exp(-distance / reach)
    return body.vessels * np.minimum(share * (1 - 0.5 * haze) + 0.16 * haze, 0.3)


def _bones(x: Array, y: Array, body: Anatomy) -> Array:
    """Attenuation of ribs, clavicles, spine and shoulders, about 0 to 0.3."""
    side = np.abs(x)
    cage = expit((body.outer(y) + 0.035 - side) / 0.012) * expit((body.base - 0.4 * body.dome - y) / 0.12)

    def ribs(course: Array, count: int, half_width: float) -> Array:
        level = (y - body.apex - course) / body.rib_spacing
        distance = np.abs(level - np.clip(np.round(level), 0, count)) * body.rib_spacing / half_width
        return _peak(distance) * (0.7 + 0.3 * np.minimum(distance, 1) ** 2)  # the rim is denser than the marrow

    bow = body.rib_slope * side**2 / body.chest
    posterior = ribs(0.02 + bow - 0.10 * np.sin(np.pi * np.clip(side / body.chest, 0, 1)), 9, 0.034)
    anterior = ribs(0.22 + 0.5 * (body.chest - side) + 0.1 * side, 6, 0.04) * expit((side - 0.3) / 0.04)
    along = np.clip((side - 0.06) / 0.75, 0, 1)
    clavicle = body.apex + 0.15 - 0.22 * along + 0.05 * np.sin(2 * np.pi * along)
    clavicles = _peak((y - clavicle) / 0.032) * expit((side - 0.07) / 0.012) * expit((0.85 - side) / 0.02)
    discs = 0.8 + 0.2 * np.tanh(3 * np.sin(2 * np.pi * y / (0.8 * body.rib_spacing)))
    spine = _peak(x / 0.08) * discs * expit((y + 1.1) / 0.2)
    humerus = np.exp(-np.square(_ellipse(side, y, (body.chest + 0.22, body.shoulder + 0.12), (0.12, 0.17))))
    return body.bones * (cage * (0.10 * posterior + 0.05 * anterior) + 0.13 * clavicles + 0.07 * spine + 0.14 * humerus)


def _opacities(x: Array, y: Array, body: Anatomy, pattern: OpacityPattern, rng: Generator) -> Array:
    """Share of the air that disease takes, in [0, 1): blobs with a ragged border."""
    clear, severity = np.ones_like(x), rng.uniform(0.45, 1.0)  # one severity a picture: mild cases are the hard ones
    ragged = (1 + 0.35 * _texture(rng, 20, x.shape[-1])).clip(0.3)
    for side in pattern.sides:
        for _ in range(rng.integers(*pattern.count, endpoint=True)):
            level = body.apex + rng.uniform(*pattern.along) * (body.base - body.apex)
            inner, outer = float(body.inner(level)), float(body.outer(level))
            centre = side * (inner + rng.uniform(*pattern.across) * (outer - inner))
            radius, density = rng.uniform(*pattern.radius), severity * rng.uniform(*pattern.density)
            distance = _ellipse(x, y, (centre, level), (radius, radius * rng.uniform(0.8, 1.6)))
            clear *= 1 - density * np.exp(-distance * ragged)
    return 1 - clear


def _attenuation(x: Array, y: Array, body: Anatomy, pattern: OpacityPattern, rng: Generator) -> Array:
    """What the rays lose on their way, about 0 (beside the body) to 1.4 (spine in the abdomen)."""
    shoulder, flank, levels = body.shoulder, body.flank, np.linspace(-1.4, 1.4, 99)
    heights = [-1.4, shoulder - 0.28, shoulder - 0.1, shoulder + 0.1, shoulder + 0.45, 0.4, 1.4]
    widths = PchipInterpolator(heights, [0.26, 0.3, 0.6, flank + 0.13, flank + 0.06, flank, flank])(levels)
    outline = np.interp(y, levels, widths).astype(np.float32)
    trunk = np.clip(1 - (x / outline) ** 2, 0, 1) ** 0.3
    lung, below = _lungs(x, y, body)
    air = 0.7 * lung * (1 - _vessels(x, y, body, rng)) * (1 - _opacities(x, y, body, pattern, rng))
    trachea = 0.1 * _peak(x / 0.055) * expit((-0.3 - y) / 0.04)
    breast = body.breast * np.exp(-np.square(_ellipse(np.abs(x), y, (0.62 * body.chest, 0.32), (0.42, 0.36))))
    middle = 0.1 * _peak(x / (body.mediastinum + 0.05))
    soft = trunk * (0.86 + 0.12 * below + middle) + 0.03 * _texture(rng, 6, x.shape[-1]) * trunk
    return np.maximum(body.tissue * soft + trunk * (0.6 * breast + _bones(x, y, body) - air - trachea), 0)


def phantom_xray(label_index: int, rng: Generator, size: int, subject_rng: Generator | None = None) -> Array:
    """One frontal chest film, bright where rays are absorbed.

    `label_index` (>= 0) chooses the `opacity_pattern`; `rng` gives exposure, noise and places of the opacities, and
    `subject_rng` (`rng` if None) the anatomy: the same state gives the same body. As much is drawn at every `size`
    (pixels a side, >= 8), so that the same states give the same picture at another resolution.
    Returns uint8 (size, size), 0..255. Raises UserError if label_index or size is out of range.
    """
    if label_index < 0 or size < 8:
        raise UserError(f"a phantom X-ray needs label_index >= 0 and size >= 8, not {label_index} and {size}")
    factor, body = math.ceil(RENDER_SIZE / size), Anatomy(subject_rng or rng)
    pixels = factor * size
    x, y = np.meshgrid(*[((np.arange(pixels) + 0.5) / pixels * 2 - 1).astype(np.float32)] * 2)
    turn, left, up = rng.normal(0, 0.025, 3).tolist()  # radians, half widths
    zoom, gain, gamma, fog, grain = rng.uniform([0.9, 0.6, 0.8, 0, 0.004], [1.04, 0.84, 1.4, 0.08, 0.014]).tolist()
    x, y = zoom * (x - turn * y) + left, zoom * (y + turn * x) + up
    film = fog + gain * _attenuation(x, y, body, opacity_pattern(label_index), rng) ** gamma
    film += grain * _texture(rng, 160, pixels)
    film = np.where(film > 0.75, 0.75 + 0.25 * np.tanh((film - 0.75) / 0.25), film)  # shoulder of the film curve
    film = film.reshape(size, factor, size, factor).mean(axis=(1, 3))
    return (255 * film.clip(0, 1) + 0.5).astype(np.uint8)


class CoughPattern(NamedTuple):
    """How the coughs of a label sound: typical values, from which subjects and coughs deviate."""

    chances: tuple[float, float, float]  # of one, two, three coughs a clip
    seconds: tuple[float, float, float]  # of the explosive, intermediate and voiced phase
    tilt: float  # exponent of the spectrum over frequency; higher is drier
    voicing: float  # amplitude of the voiced phase


def cough_pattern(label_index: int) -> CoughPattern:
    """Dry, short and repeated (0); lower, with a long voiced phase (1); of a tilt and a tempo of their own (2...)."""
    if label_index == 0:
        return CoughPattern((0.2, 0.4, 0.4), (0.045, 0.12, 0.09), -0.35, 0.5)
    if label_index == 1:
        return CoughPattern((0.4, 0.4, 0.2), (0.045, 0.16, 0.19), -0.7, 0.9)
    wet, slow = GOLDEN * label_index % 1, GOLDEN**2 * 3 * label_index % 1
    return CoughPattern((0.33, 0.34, 0.33), (0.04 + 0.03 * slow, 0.1 + 0.12 * slow, 0.08 + 0.1 * wet), -wet, slow)


def phantom_cough(
    label_index: int, rng: Generator, sample_rate: int = SAMPLE_RATE, subject_rng: Generator | None = None
) -> Array:
    """One clip of one to three coughs, each an explosive, an intermediate and a voiced phase, over background noise.

    `label_index` (>= 0) chooses the `cough_pattern`; `rng` gives number, timing, level and noise, and `subject_rng`
    (`rng` if None) the voice: pitch, formants, tilt, tempo. `sample_rate` is in Hz, >= 4000.
    Returns float32 (samples,), |value| < 1, 0.7 to 3 seconds. Raises UserError if an argument is out of range.
    """
    if label_index < 0 or sample_rate < 4000:
        raise UserError(f"a phantom cough needs label_index >= 0 and >= 4000 Hz, not {label_index} and {sample_rate}")
    pattern, voice = cough_pattern(label_index), subject_rng or rng
    formants = FORMANTS * voice.uniform(0.85, 1.2) * voice.uniform(0.93, 1.07, 4)  # Hz
    bandwidths = voice.uniform(0.09, 0.2, 4) * formants
    pitch, tempo, tilt = voice.uniform(110, 320), voice.uniform(0.75, 1.3), pattern.tilt + voice.normal(0, 0.22)
    count = int(rng.choice([1, 2, 3], p=pattern.chances))
    phases = np.array(pattern.seconds)[:, None] * tempo * rng.uniform(0.8, 1.2, (3, count))  # seconds, (phases, coughs)
    starts = rng.uniform(0.04, 0.2) + np.append(0, np.cumsum(phases.sum(axis=0) + rng.uniform(0.08, 0.22, count)))
    samples = round(np.clip(starts[-1] + rng.uniform(0.05, 0.25), 0.7, 3) * sample_rate)
    length = fft.next_fast_len(samples, real=True)  # the clip is cut to `samples` at the end
    time = np.arange(length) / sample_rate
    # Each phase begins within the one before it, rises quickly and falls like a bell: (phases, coughs, 1).
    onsets = starts[:-1] + np.stack([0 * phases[0], 0.5 * phases[0], phases[0] + 0.7 * phases[1]])
    since = (time - onsets[..., None]).clip(0)
    rises, falls = np.reshape([0.003, 0.02, 0.025], (3, 1, 1)), (phases * [[0.6], [0.96], [0.9]])[..., None]
    forces = rng.uniform(0.6, 1, count) * np.array([[1], [0.4], [0.5 * pattern.voicing]])
    envelopes = (forces[..., None] * (since / rises).clip(max=1) * np.exp(-((since / falls) ** 2))).sum(axis=1)
    wobble = np.interp(time, np.linspace(0, 3, 40), rng.normal(1, 0.05, 40))
    cycle = np.cumsum(pitch * wobble * (1 + 0.5 * envelopes[2])) / sample_rate
    source = rng.standard_normal((4, length))
    source[2] = 2.5 * (cycle % 1 - 0.5) + 0.35 * source[2]  # a saw tooth is near the flow through the glottis
    source[:3] *= envelopes
    frequency = fft.rfftfreq(length, 1 / sample_rate)  # Hz
    tract = 0.12 + sum(1 / (1 + ((frequency - f) / b) ** 2) for f, b in zip(formants, bandwidths, strict=True))
    slopes = np.array([tilt + 0.35, tilt, tilt - 0.5, rng.uniform(-0.7, -0.1)])[:, None]
    spectra = (
        fft.rfft(source) * (frequency.clip(70) / 1000) ** slopes
    )  # (4, frequencies): explosive (the brightest), intermediate, voiced, background
    cough, noise = fft.irfft([spectra[:3].sum(axis=0) * tract, spectra[3]], length)[:, :samples]
    clip = cough / np.abs(cough).max() + 10 ** rng.uniform(-3, -1.7) * noise / noise.std()
    return (10 ** rng.uniform(-1, -0.03) * clip / np.abs(clip).max()).astype(np.float32)


def _plan(modality: str, labels: Sequence[str], subjects_per_class: int, seed: int) -> Iterator[tuple[tuple, tuple]]:
    """Every file's manifest row and its seed: (seed, modality, label index, person, number of the file from 1)."""
    stream, chosen = list(SUFFIXES).index(modality), max(1, round(QUARTER * subjects_per_class))
    for index, label in enumerate(labels):
        rng = default_rng([seed, stream, index])
        test, double = (rng.permutation(subjects_per_class)[:chosen].tolist() for _ in range(2))
        for person in range(subjects_per_class):
            subject = f"{modality}-{index * subjects_per_class + person:05d}"
            split = "test" if person in test else "train"
            for number in (1, 2) if person in double else (1,):
                path = f"{split}/{label}/{subject}-{number}.{SUFFIXES[modality]}"
                yield (path, label, subject, split), (seed, stream, index, person, number)


def _write_modality(folder: Path, files: Sequence[tuple[tuple, tuple]], image_size: int) -> None:
    import soundfile
    from PIL import Image

    if folder.exists():
        shutil.rmtree(folder)
    for (path, *_), seed in files:
        target, label_index = folder / path, seed[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        subject_rng, rng = default_rng([*seed[:-1], 0]), default_rng(seed)  # files count from 1: 0 is the subject's
        if target.suffix == ".png":
            Image.fromarray(phantom_xray(label_index, rng, image_size, subject_rng)).save(target)
        else:
            soundfile.write(target, phantom_cough(label_index, rng, SAMPLE_RATE, subject_rng), SAMPLE_RATE, "PCM_16")
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "subject", "split"), *(row for row, _ in files)])


def write_phantoms(
    root: Path, subjects_per_class: int = 60, seed: int = 0, image_size: int = 128, labels: Sequence[str] = LABELS
) -> tuple[Path, Path]:
    """Write a phantom data set as ordinary files: root/{images,audio}/{train,test}/LABEL/NAME, a manifest.csv in each.

    The manifests have the columns path, label, subject, split. A quarter of a label's subjects has two files and a
    quarter is for testing; no subject is in two splits or in both modalities. The same arguments give the same bytes.
    A complete set made with the same arguments is left as it is; another or unfinished set of phantoms is replaced.
    `root/phantoms.json` says which set it is and, written last, that it is complete.
    Needs `subjects_per_class` >= 2 (per label and modality), `seed` >= 0, `image_size` >= 8 (pixels a side); `labels`
    become folder names, and the one at position i has the content of label index i. Returns root/images and root/audio.
    Raises UserError if an argument is out of range, or root holds images or audio that are not phantoms.
    """
    root, labels = Path(root), [str(label) for label in labels]
    if subjects_per_class < 2 or seed < 0 or image_size < 8:
        raise UserError("phantoms need subjects_per_class >= 2, seed >= 0 and image_size >= 8")
    names = {label.strip().casefold() for label in labels if label == Path(label).name and label not in ("", "..")}
    if not labels or len(names) < len(labels):
        raise UserError(f"labels of phantoms must be folder names that differ by more than case, not {labels}")
    settings = dict(version=1, subjects_per_class=subjects_per_class, seed=seed, image_size=image_size, labels=labels)
    plans = {root / name: list(_plan(name, labels, subjects_per_class, seed)) for name in SUFFIXES}
    marker, done = root / "phantoms.json", json.dumps({**settings, "complete": True}, indent=2)
    if marker.exists():
        wanted = [folder / row[0] for folder, files in plans.items() for row, _ in files]
        wanted += [folder / "manifest.csv" for folder in plans]
        if marker.read_text(encoding="utf-8") == done and all(path.is_file() for path in wanted):
            return root / "images", root / "audio"
    elif any(folder.exists() for folder in plans):
        raise UserError(f"{root} holds images or audio but no phantoms.json: choose another folder for phantoms")
    root.mkdir(parents=True, exist_ok=True)
    # First, so that the remains of a killed run are known as phantoms and replaced by the next one.
    marker.write_text(json.dumps({**settings, "complete": False}, indent=2), encoding="utf-8")
    for folder, files in plans.items():
        _write_modality(folder, files, image_size)
    marker.write_text(done, encoding="utf-8")
    return root / "images", root / "audio"
