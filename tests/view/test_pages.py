"""The page of a run or data set: samples by label, real ones, draws, and what is rejected."""

from __future__ import annotations

import io
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from small import LABELS, SETTINGS
from viewing import PER_CLASS, write_set

from mmgen.data.loading import load
from mmgen.data.sources import Reading
from mmgen.data.writing.rejected import read_rejected
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.data.writing.writer import FolderWriter, ShardWriter
from mmgen.errors import UserError
from mmgen.evaluation.neighbours import nearest
from mmgen.release.rejected import Rejected
from mmgen.view.opening import open_view


def pixels(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)))


def addresses(page: str, start: str) -> list[str]:
    return re.findall(rf'src="({start}[^"]+)"', page)


def test_samples_are_paged_and_chosen_by_label(browse: Any, run: Path) -> None:
    browser = browse(run)
    page = browser.ask("/")[1].decode()
    assert "a &lt;run&gt;" in page and "<run>" not in page, "names are text"
    assert page.count("<article") == 24 and "Page 1 of 2" in page and "Next page" in page
    second = browser.ask("/?set=0&page=2")[1].decode()
    assert second.count("<article") == 2 * PER_CLASS - 24 and "Next page" not in second
    healthy = browser.ask(f"/?set=0&label={LABELS[1]}")[1].decode()
    assert addresses(healthy, "/sample")[0].startswith(f"/sample/0/{PER_CLASS}/") and "Page 1 of 1" in healthy
    for wrong in ("/?page=3", "/?page=0", "/?page=-1", "/?set=2", "/?label=x", "/?page=x", "/?set=99999999999"):
        assert browser.ask(wrong)[0] == 404


@pytest.mark.parametrize("place", [0, 1])
def test_files_are_those_of_the_data_set(browse: Any, run: Path, place: int) -> None:
    browser, folder = browse(run), run / "synthetic" / ("first", "shards")[place]
    stored = read_dataset(folder, SETTINGS)
    for number in (0, len(stored["image"]) - 1):
        picture, sound, spectrogram = (
            browser.ask(f"/sample/{place}/{number}/{column}")
            for column in ("image_file_name", "audio_file_name", "audio_spectrogram")
        )
        assert np.array_equal(pixels(picture[1]), stored["image"].values[number][0])
        assert sound[2]["Content-Type"] == "audio/flac" and len(soundfile.read(io.BytesIO(sound[1]))[0])
        assert pixels(spectrogram[1]).shape == (40, 40, 3)
    status, part, headers = browser.ask(f"/sample/{place}/0/audio_file_name", headers={"Range": "bytes=4-7"})
    whole = browser.ask(f"/sample/{place}/0/audio_file_name")[1]
    assert (status, part, headers["Content-Range"]) == (206, whole[4:8], f"bytes 4-7/{len(whole)}")


def test_the_page_is_made_for_everyone(browse: Any, run: Path, phantom_files: dict[str, Path]) -> None:
    """Every picture has words, every field a label, every button a name; and nothing comes from elsewhere."""
    real = [f"{name}={path}" for name, path in phantom_files.items()]
    page = browse(run, real).ask("/")[1].decode()
    assert all('alt="' in image for image in re.findall(r"<img[^>]*>", page))
    assert all('aria-label="' in sound for sound in re.findall(r"<audio[^>]*>", page))
    fields = re.findall(r"<(?:input|select)(?![^>]*hidden)[^>]*>", page)
    assert len(fields) == len(re.findall(r"<label>[^<]*<(?:input|select)", page)) == 7
    assert all("aria-describedby" in button for button in re.findall(r"<button[^>]*data-reject[^>]*>", page))
    assert not re.findall(r"(?:src|href|action)=\"(?!/|#)", page) and "<style" not in page and " style=" not in page
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/view.js" defer>']
    assert '<html lang="en">' in page and 'name="viewport"' in page


def test_the_report_and_pairs_of_the_audit_are_shown(browse: Any, run: Path) -> None:
    browser = browse(run)
    page = browser.ask("/")[1].decode()
    assert "Does it leak?" in page and "Is it useful?" in page and "do not pass it on" in page
    assert pixels(browser.ask("/figure/0")[1]).shape == (4, 4) and browser.ask("/figure/1")[0] == 404
    (run / "report" / "report.json").write_text("{")
    assert "Does it leak?" not in browse(run).ask("/")[1].decode()


def test_a_data_set_alone_is_enough(browse: Any, run: Path) -> None:
    page = browse(run / "synthetic" / "first").ask("/")[1].decode()
    assert page.count("<article") == 24 and "Draw from the model" not in page and "Nearest" not in page


def test_real_samples_are_beside_synthetic_ones_and_the_nearest_is_found(
    browse: Any, run: Path, phantom_files: dict[str, Path]
) -> None:
    browser = browse(run, [f"{name}={path}" for name, path in phantom_files.items()])
    known = load(Reading().sources(phantom_files, SETTINGS), split="train")
    stored = read_dataset(run / "synthetic" / "first", SETTINGS)
    page = browser.ask("/")[1].decode()
    rows = [int(row) for row in re.findall(r"/real/image/(\d+)\.png", page)]
    labels = known["image"].labels[rows]
    assert [known["image"].label_names[label] for label in labels] == [LABELS[i // PER_CLASS] for i in range(24)]
    found = browser.json("/nearest?set=0&label=&page=1")
    assert len(found) == 24
    distances, places = nearest(stored["image"].values[:24], known["image"].values, mirrored=True)
    for number, parts in found.items():
        image, audio = parts
        assert image["row"] == places[int(number), 0]
        assert image["distance"] == f"{distances[int(number), 0]:.3g} grey levels"
        assert audio["modality"] == "audio" and audio["sound"].endswith(".flac")
    shown = pixels(browser.ask(found["0"][0]["picture"])[1])
    assert np.array_equal(shown, known["image"].values[found["0"][0]["row"]][0])
    assert len(soundfile.read(io.BytesIO(browser.ask(found["0"][1]["sound"])[1]))[0])
    for wrong in ("/real/image/99999.png", "/real/image/0.flac", "/real/smell/0.png", "/nearest?page=9"):
        assert browser.ask(wrong)[0] == 404


def test_the_model_draws(browse: Any, run: Path) -> None:
    browser = browse(run)
    wanted = {"label": LABELS[1], "number": 2, "seed": 3, "steps": 2, "guidance": 1.5}
    first, again = (browser.json("/draw", wanted)["samples"] for _ in range(2))
    assert len(first) == 2 and [part["modality"] for part in first[0]] == ["image", "audio"]
    pictures = [[browser.ask(sample[0]["picture"])[1] for sample in samples] for samples in (first, again)]
    assert pictures[0] == pictures[1] and pictures[0][0] != pictures[0][1], "a draw is a function of its seed"
    other = browser.json("/draw", wanted | {"seed": 4})["samples"]
    assert browser.ask(other[0][0]["picture"])[1] != pictures[0][0]
    assert len(soundfile.read(io.BytesIO(browser.ask(first[0][1]["sound"])[1]))[0])
    for wrong, words in (
        ({"label": "x"}, "knows covid, healthy, not x"),
        ({"number": 17}, "1 to 16"),
        ({"number": True}, "whole number"),
        ({"steps": 5000}, "1 to 1000 steps"),
        ({"guidance": -1}, "from 0 to 100"),
        ({"guidance": "1"}, "number for guidance"),
    ):
        assert words in browser.error("/draw", wanted | wrong)
    for _ in range(4):
        browser.json("/draw", wanted | {"number": 1})
    assert browser.ask(first[0][0]["picture"])[0] == 404, "only the last few draws are kept"


@pytest.mark.parametrize("writer", [FolderWriter, ShardWriter])
def test_a_rejected_sample_is_written_down(browse: Any, tmp_path: Path, writer: Any) -> None:
    folder = write_set(tmp_path / "set", writer, per_class=5)
    browser = browse(folder)
    assert browser.json("/reject", {"set": 0, "number": 9, "rejected": True}) == {"count": 1}
    assert browser.json("/reject", {"set": 0, "number": 2, "rejected": True}) == {"count": 2}
    names = ["images/healthy/000004.png", "images/covid/000002.png"]
    if writer is ShardWriter:
        names = ["shards/000001.tar/000009.png", "shards/000000.tar/000002.png"]
    times = read_rejected(folder)
    assert list(times) == names and all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00", t) for t in times.values())
    assert verify_dataset(folder) == [] and dict(Rejected.of(folder).labels) == {"covid": 1, "healthy": 1}
    page = browse(folder).ask("/")[1].decode()
    assert page.count('aria-pressed="true"') == 2 and '<span id="rejected-count">2</span>' in page
    assert browser.json("/reject", {"set": 0, "number": 9, "rejected": False}) == {"count": 1}
    assert list(read_rejected(folder)) == names[1:]
    for wrong in ({"number": 10}, {"set": 1}):
        assert browser.ask("/reject", {"set": 0, "number": 0, "rejected": True} | wrong)[0] == 404
    for wrong in ({"number": -1}, {"set": "0"}, {"rejected": 1}):
        browser.error("/reject", {"set": 0, "number": 0, "rejected": True} | wrong)
    (folder / "rejected.csv").write_bytes(b"\xff")
    assert "repair or remove it" in browser.error("/reject", {"set": 0, "number": 0, "rejected": True})


@pytest.mark.parametrize("writer", [FolderWriter, ShardWriter])
def test_a_data_set_with_soft_labels_is_shown(browse: Any, tmp_path: Path, writer: Any) -> None:
    soft = np.full((6, 2), 0.5, np.float32)
    browser = browse(write_set(tmp_path / "set", partial(writer, soft_labels=soft), per_class=3))
    assert browser.ask("/")[1].decode().count("<article") == 6
    assert pixels(browser.ask("/sample/0/5/image_file_name")[1]).shape == (32, 32)


def test_what_a_data_set_names_outside_of_itself_is_not_shown(browse: Any, tmp_path: Path) -> None:
    folder, secret = write_set(tmp_path / "set", per_class=3), tmp_path / "secret.png"
    secret.write_bytes((folder / "images/covid/000000.png").read_bytes())
    table = folder / "metadata.csv"
    text = table.read_text().replace("images/covid/000000.png", "../secret.png")
    table.write_text(text.replace("images/covid/000001.png", "dataset.json"))
    link = folder / "images/covid/000002.png"
    link.unlink()
    link.symlink_to(secret)
    browser = browse(folder)
    for number in range(3):
        status, body, _ = browser.ask(f"/sample/0/{number}/image_file_name")
        assert status == 404 and b"PNG" not in body and b"secret" not in body
    assert browser.ask("/sample/0/3/image_file_name")[0] == 200
    assert browser.ask("/sample/0/3/label")[0] == 404


def test_what_cannot_be_shown_is_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set and no model"):
        open_view(tmp_path / "nothing")
    folder = run / "synthetic" / "first"
    table = (folder / "metadata.csv").read_bytes()
    for content in (b"\xff", b"x" * 3_000_000, b"file\na\n"):
        (folder / "metadata.csv").write_bytes(content)
        with pytest.raises(UserError, match="cannot be listed"):
            open_view(folder)
    (folder / "metadata.csv").write_bytes(table)
    (folder / "INCOMPLETE").write_text(json.dumps({}))
    with pytest.raises(UserError, match="not finished"):
        open_view(folder)


def test_only_so_many_samples_are_listed(browse: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgen.view.contents.MOST_SAMPLES", 10)
    page = browse(run / "synthetic" / "first").ask("/")[1].decode()
    assert page.count("<article") == 10 and f"the first 10 of {2 * PER_CLASS} are listed" in page
