"""Public data sets as they are published, filled with phantoms: small trees of files for tests."""

from __future__ import annotations

import csv
import importlib.util
import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mmgen.data.phantoms import SAMPLE_RATE, phantom_cough, phantom_xray

# Position: the label index whose phantoms a label gets, the same in pictures and sounds.
CONTENT = ("covid", "healthy", "pneumonia", "symptomatic")
TEST_FRACTION = 0.25
SECRETS = ("47.3769", "8.5417", "Wolkenkuckucksheim")  # latitude, longitude and town that no message may show


def write_coronahack(
    folder: Path,
    per_class: int = 6,
    image_size: int = 32,
    seed: int = 0,
    covid_in_test: bool = True,
    nested: bool = True,
) -> Path:
    """CoronaHack with ``per_class`` pictures of covid, healthy and pneumonia; returns its folder.

    A quarter of each label, at least one, is TEST; ``covid_in_test`` False leaves that of covid out, as published.
    ``nested`` False has the pictures one folder less deep.
    """
    rng, rows = np.random.default_rng(seed), []
    pictures = folder / "Coronahack-Chest-XRay-Dataset" / ("Coronahack-Chest-XRay-Dataset" if nested else "")
    tests = max(1, round(TEST_FRACTION * per_class))
    for label in ("covid", "healthy", "pneumonia"):
        for number in range(per_class):
            part = "TEST" if number >= per_class - tests and (covid_in_test or label != "covid") else "TRAIN"
            name = {
                "covid": f"1-s2.0-S168411822030{seed:03}{number:02}-main.pdf-002-a1.png",
                "healthy": f"IM-{100 * seed + number:04}-0001.jpeg",
                "pneumonia": f"person{number // 2 + 1}_{part.lower()}virus_{number + 1}.jpeg",
            }[label]
            on_disk = name.replace(".jpeg", ".JPEG") if number % 3 == 1 else name
            _write_picture(pictures / part.lower() / on_disk, label, image_size, rng)
            cause = {"covid": ("COVID-19", "Virus"), "healthy": ("", "")}.get(
                label, ("", ("Virus", "bacteria")[number % 2])
            )
            rows.append((len(rows), name, "Normal" if label == "healthy" else "Pnemonia", part, *cause))
    header = ("", "X_ray_image_name", "Label", "Dataset_type", "Label_2_Virus_category", "Label_1_Virus_category")
    _write_csv(folder / "Chest_xray_Corona_Metadata.csv", header, rows)
    _write_csv(
        folder / "Chest_xray_Corona_dataset_Summary.csv", ("", "Label", "Image_Count"), [(0, "Normal", per_class)]
    )
    return folder


def write_coughvid(folder: Path, per_class: int = 6, seed: int = 0, table: bool = True, nested: bool = False) -> Path:
    """COUGHVID with ``per_class`` coughs of covid, healthy and symptomatic; returns its folder.

    Beside these there are two recordings in which no cough was detected and two without a status. Recordings are ogg,
    wav and, if they can be written, webm. ``table`` False has only a JSON file beside each recording; ``nested`` has
    the recordings in ``public_dataset``.
    """
    rng = np.random.default_rng(seed)
    stated = [("COVID-19", 0.95), ("healthy", 0.8), ("symptomatic", 0.99)] * per_class
    endings = (".ogg", ".wav", ".OGG", *([".webm"] if importlib.util.find_spec("av") else []))
    rows = []
    for number, (status, detected) in enumerate(
        [*stated, ("healthy", 0.79), ("COVID-19", 0.02), ("", 0.9), ("", 0.99)]
    ):
        name = str(uuid.UUID(bytes=rng.bytes(16)))
        rows.append(
            {
                "uuid": name,
                "datetime": "2020-04-13T21:30:59.801831+00:00",
                "cough_detected": f"{detected:.4f}",
                "latitude": SECRETS[0],
                "longitude": SECRETS[1],
                "age": "47.0",
                "gender": "other",
                "status": status,
                "status_SSL": "healthy",
            }
        )
        label = {"COVID-19": "covid"}.get(status, status or "healthy")
        target = folder / ("public_dataset" if nested else "") / f"{name}{endings[number // 3 % len(endings)]}"
        _write_cough(target, label, rng)
        if not table:
            known = {key: value for key, value in rows[-1].items() if value and key not in ("uuid", "status_SSL")}
            target.with_suffix(".json").write_text(json.dumps(known), encoding="utf-8")
    if table:
        _write_csv(folder / "metadata_compiled.csv", ("", *rows[0]), [(i, *row.values()) for i, row in enumerate(rows)])
    return folder


def write_coswara(
    folder: Path,
    per_class: int = 6,
    seed: int = 0,
    recordings: Sequence[str] = ("cough-heavy", "cough-shallow"),
    place: str = "Extracted_data/20200413",
) -> Path:
    """Coswara with ``per_class`` participants of covid (three kinds of positive) and healthy; returns its folder.

    Two participants have recovered; the last but one of these lacks all ``recordings`` and has only breathing.
    """
    rng, rows = np.random.default_rng(seed), []
    positive = ("positive_mild", "positive_moderate", "positive_asymp")
    statuses = [status for i in range(per_class) for status in ("healthy", positive[i % 3])]
    for number, status in enumerate([*statuses, "recovered_full", "recovered_full"]):
        name = f"vK2bLRNzllXNeyOMud{seed:02}{number:04}"
        rows.append((name, "India", "24", status, "y", "male", SECRETS[2]))
        for recording in ("breathing-deep",) if number == len(statuses) else (*recordings, "breathing-deep"):
            ending = ".WAV" if number % 4 == 3 else ".wav"
            _write_cough(
                folder / place / name / f"{recording}{ending}", "covid" if status in positive else "healthy", rng
            )
    _write_csv(folder / "combined_data.csv", ("id", "l_c", "a", "covid_status", "ep", "g", "l_l"), rows)
    return folder


def write_isic2019(
    folder: Path, per_class: int = 6, image_size: int = 32, seed: int = 0, metadata: bool = True, nested: bool = False
) -> Path:
    """ISIC 2019 with ``per_class`` pictures of MEL, NV and BCC and none of the other labels; returns its folder.

    Two successive pictures show one lesion, the first two of a label unknown ones. ``metadata`` False leaves the table
    of lesions out; ``nested`` has the folder of pictures twice.
    """
    rng, labels = np.random.default_rng(seed), ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    pictures = folder / "ISIC_2019_Training_Input" / ("ISIC_2019_Training_Input" if nested else "")
    truth, about = [], []
    for index, label in enumerate(labels[:3]):
        for number in range(per_class):
            name = f"ISIC_{1000 * seed + 100 * index + number:07}" + ("_downsampled" if number % 3 == 2 else "")
            ending = ".JPG" if number % 3 == 1 else ".jpg"
            _write_picture(pictures / f"{name}{ending}", CONTENT[index], image_size, rng, "RGB")
            truth.append((name, *(float(other == label) for other in labels)))
            about.append((name, "85", "palms/soles", "" if number < 2 else f"BCN_{index}{number // 2:03}", "female"))
    _write_csv(folder / "ISIC_2019_Training_GroundTruth.csv", ("image", *labels), truth)
    if metadata:
        header = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")
        _write_csv(folder / "ISIC_2019_Training_Metadata.csv", header, about)
    return folder


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _write_picture(path: Path, label: str, size: int, rng: np.random.Generator, mode: str = "L") -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(phantom_xray(CONTENT.index(label), rng, size)).convert(mode).save(path)


def _write_cough(path: Path, label: str, rng: np.random.Generator) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    wave = phantom_cough(CONTENT.index(label), rng, SAMPLE_RATE)
    if path.suffix == ".webm":
        _write_webm(path, wave)
    else:
        soundfile.write(path, wave, SAMPLE_RATE, format=path.suffix[1:].upper())


def _write_webm(path: Path, wave: np.ndarray) -> None:
    """Opus in webm, as browsers record; ``wave`` float32 (samples,) at 16 kHz."""
    import av

    with av.open(str(path), "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
