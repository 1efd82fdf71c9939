"""The report: stable numbers, a page that stands alone, sentences that follow from the numbers."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmgen.errors import UserError
from mmgen.evaluation.report import figures
from mmgen.evaluation.report.media import Figure, ReportMedia, Sample
from mmgen.evaluation.report.writing import to_json, write_report

KEYS = ["run", "created", "config", "data", "condensation", "utility", "fidelity", "privacy", "cost"]
HOSTILE = '<script>alert("x")</script> & \' ${{ 7 * 7 }}'


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.answers: list[str] = []
        self._in_answer = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_answer = ("class", "verdict") in attrs or (self._in_answer and tag in ("svg", "use"))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_answer and data.strip():
            self.answers.append(data.strip())
            self._in_answer = False

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def scores(accuracy: float, balanced: float | None = None) -> dict:
    balanced = accuracy if balanced is None else balanced
    return {
        "accuracy": {"mean": accuracy, "std": 0.02},
        "balanced_accuracy": {"mean": balanced, "std": 0.01},
        "auc": {"mean": np.float32(0.7), "std": float("nan")},
        "seeds": 3,
        "n_train": np.int64(1200),
    }


def example() -> dict:
    counts = {"covid": {"train": 70, "val": 8, "test": 30}, "healthy": {"train": 60, "val": 8, "test": 30}}
    return {
        "run": "demo",
        "created": "2026-01-05T12:30:00+00:00",
        "config": {"preset": "tiny", "out": Path("runs/demo"), "lr": 1e-3},
        "data": {
            "image": {"counts": counts, "subjects": 100, "left_out_labels": ["pneumonia"]},
            "audio": {"title": "Coughs", "counts": counts, "subjects": 90, "left_out_labels": []},
        },
        "utility": {
            "image": {"resnet18": {"real": scores(0.8), "synthetic": scores(0.6, 0.51)}},
            "audio": {"resnet18": {"real": scores(0.614), "synthetic": scores(0.62)}},
        },
        "fidelity": {
            "image": {
                "kl_intensity": {"value": 0.42, "real_vs_real": 5e-4, "better": "lower"},
                "masked_patch_error": {"value": 0.3, "baseline": 0.9, "ratio": 1 / 3, "better": "lower"},
                "sample_variance": {"value": 0.4, "real_vs_real": 0.8, "better": "higher"},
            },
            "audio": {"masked_patch_error": {"value": 1.0, "baseline": 0.9, "ratio": 1.11, "better": "lower"}},
        },
        "privacy": {},
        "cost": {"train": {"seconds": 185.0, "device": "cpu", "peak_memory_mb": 1320.4, "samples_per_s": 27.9}},
    }


def example_media(label: str = "covid") -> ReportMedia:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 24, 20), dtype=np.uint8)
    log_mel = rng.normal(size=(10, 16)).astype(np.float32)
    waveform = np.sin(np.arange(1600) / 8).astype(np.float32)
    png = figures.histograms(image, image // 2, "pixel value")
    return ReportMedia(
        figures=[Figure("Histogram", "Pixels.", "Two histograms.", png)],
        samples=[
            Sample(label, "real", image=image),
            Sample(label, "real", log_mel=log_mel, waveform=waveform),
            Sample(label, "synthetic", image=np.repeat(image, 3, axis=0), log_mel=log_mel, waveform=3 * waveform),
        ],
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_report(tmp_path_factory.mktemp("report"), example(), example_media()))


def content(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.verify()
        assert image.format == "PNG"
        return image.size


# report.json


def test_json_has_stable_keys_and_no_nan(tmp_path: Path) -> None:
    write_report(tmp_path, example() | {"extra": (1, np.inf)}, ReportMedia())
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    loaded = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(loaded) == [*KEYS, "extra"]
    assert loaded["utility"]["image"]["resnet18"]["real"]["auc"] == {"mean": pytest.approx(0.7), "std": None}
    assert loaded["utility"]["image"]["resnet18"]["real"]["n_train"] == 1200
    assert loaded["config"]["out"] == str(Path("runs/demo"))
    assert loaded["extra"] == [1, None]


def test_empty_report_is_complete_and_says_so(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path / "new" / "folder", {"privacy": None}, ReportMedia()))
    loaded = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert loaded == {"run": None, "created": None} | {key: {} for key in KEYS[2:]}
    assert "Privacy has not been audited: do not share" in page.text
    assert page.answers == ["Not measured", "Not measured", "Not audited"]
    assert "Utility was not measured." in page.text and not page.all("img")


def test_to_json_of_arrays_and_odd_types() -> None:
    values = {1: np.array([[1.0, np.nan]]), "set": {"b", "a"}, "bool": np.bool_(True), "nothing": None, "zero": 0.0}
    assert to_json(values) == {"1": [[1.0, None]], "set": ["a", "b"], "bool": True, "nothing": None, "zero": 0.0}
    assert to_json(Sample("a", "real"))["label"] == "a"


def test_name_that_is_not_unicode_is_written(tmp_path: Path) -> None:
    counts = {"caf\udce9": {"train": 1}, "日本": {"train": 2}}
    page = Page(write_report(tmp_path, {"data": {"image": {"counts": counts}}}, ReportMedia()))
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["data"]["image"]["counts"] == counts
    assert "日本" in page.text


def test_failed_write_keeps_the_earlier_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(tmp_path, {"run": "first"}, ReportMedia())

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full_disk)
        with pytest.raises(UserError, match="full"):
            write_report(tmp_path, {"run": "second"}, ReportMedia())
    assert json.loads((tmp_path / "report.json").read_text())["run"] == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "index.html", "media.json", "report.json"]


def test_numbers_survive_a_sample_that_cannot_be_drawn(tmp_path: Path) -> None:
    media = ReportMedia(samples=[Sample("covid", "real", image=np.zeros((24, 20), np.float32))])
    with pytest.raises(ValueError, match="uint8"):
        write_report(tmp_path, example(), media)
    assert json.loads((tmp_path / "report.json").read_text())["run"] == "demo"


def test_figure_files_have_safe_distinct_names(tmp_path: Path) -> None:
    png = figures.histograms(np.arange(9), np.arange(9), "x")
    titles = ["../../Évil: title", "Same", "same", "日本"]
    write_report(tmp_path, {}, ReportMedia([Figure(title, "", "", png) for title in titles]))
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["evil-title.png", "figure.png", "same-2.png", "same.png"]


# index.html


def test_page_stands_alone(page: Page) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href", "data", "srcset", "poster", "action"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    styles = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL).group(1)
    assert "url(" not in styles and "@import" not in styles
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_page_can_be_read_without_seeing_it(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    assert all(header.get("scope") in ("row", "col", "rowgroup") for header in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > 0
    assert all(sound["aria-label"] and "controls" in sound for sound in page.all("audio"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes.get("aria-labelledby") for _, attributes in page.tags]
    targets += [link["href"][1:] for link in page.all("a")]
    assert {target for target in targets if target} <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_pictures_and_sounds_are_inside(page: Page) -> None:
    sizes = [size_of(content(image["src"])) for image in page.all("img")]
    assert sizes[1:] == [(20, 24), (16, 10), (20, 24), (16, 10)]
    for sound in page.all("audio"):
        waveform, rate = soundfile.read(io.BytesIO(content(sound["src"])))
        assert rate == 16000 and waveform.shape == (1600,)
        # The synthetic one was three times too loud: scaled as a whole, not cut off.
        np.testing.assert_allclose(waveform, np.sin(np.arange(1600) / 8), atol=1e-3)
    assert [sound["aria-label"] for sound in page.all("audio")] == [
        "Sound: real sample 2 of covid",
        "Sound: synthetic sample 1 of covid",
    ]


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    report = {
        "run": HOSTILE,
        "created": HOSTILE,
        "config": {HOSTILE: HOSTILE},
        "data": {HOSTILE: {"counts": {HOSTILE: {HOSTILE: 3}}, "left_out_labels": [HOSTILE]}},
        "utility": {HOSTILE: {HOSTILE: {HOSTILE: scores(0.5), "synthetic": scores(0.5)}}},
        "fidelity": {HOSTILE: {HOSTILE: {"value": 1, "features": HOSTILE, "note": HOSTILE}}},
        "privacy": {
            HOSTILE: {"auc": 0.6, "threat_model": HOSTILE},
            f"copies/{HOSTILE}": {"exact": 1},
            "refused": HOSTILE,
        },
        "cost": {HOSTILE: {"seconds": 1, "device": HOSTILE}},
    }
    media = example_media(HOSTILE)
    media.figures.append(Figure(HOSTILE, HOSTILE, HOSTILE, media.figures[0].png))
    page = Page(write_report(tmp_path, report, media))
    assert not page.all("script")
    assert page.all("img")[1]["alt"] == HOSTILE
    assert HOSTILE in page.text


def test_samples_without_sound_or_with_broken_sound(tmp_path: Path) -> None:
    samples = [
        Sample("covid", "synthetic", waveform=np.zeros(0, np.float32)),
        Sample("covid", "synthetic", waveform=np.array([np.nan, np.inf, 0.5], np.float32)),
        Sample("covid", "synthetic", log_mel=np.full((4, 4), np.nan)),
    ]
    page = Page(write_report(tmp_path, {}, ReportMedia(samples=samples)))
    assert len(page.all("audio")) == 1
    waveform, _ = soundfile.read(io.BytesIO(content(page.all("audio")[0]["src"])))
    np.testing.assert_allclose(waveform, [0, 0, 0.5], atol=1e-4)
    assert "None shown." in page.text and "records of the real data" not in page.text


def test_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'real' or 'synthetic'"):
        write_report(tmp_path, {}, ReportMedia(samples=[Sample("covid", "fake")]))


def test_template_does_not_need_matplotlib_at_import() -> None:
    code = "import sys, mmgen.evaluation.report; sys.exit('matplotlib' in sys.modules or 'jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# sentences and tables


def test_summary_follows_from_the_numbers(page: Page) -> None:
    for sentence in (
        "Coughs: a ResNet-18 trained on synthetic data reaches 0.62 accuracy on real test data, "
        "0.61 when trained on real data (mean of 3 seeds).",
        "Images: this ResNet-18 is no better than guessing (balanced accuracy 0.51, chance 0.50)",
        "Images: the model fills in hidden patches with 33 % of the error of predicting the mean patch",
        "Coughs: the model fills in hidden patches no better than the mean patch does (1.11 times its error)",
        "Images: the intensities of synthetic and real data are 0.42 apart",
        "The measured phases took 3 min 05 s on cpu.",
        "Images: left out because another modality lacks the label: pneumonia.",
        "Privacy has not been audited: do not share the synthetic data or the model yet.",
        "This page shows records of the real data",
    ):
        assert sentence in page.text
    assert "Coughs: this ResNet-18 is no better" not in page.text


def test_audited_privacy_is_reported_instead_of_the_warning(tmp_path: Path) -> None:
    attack = {"auc": 0.61, "auc_ci": [0.56, 0.66], "tpr_at_1_fpr": 0.02, "threat_model": "W"}
    attack |= {"n_members": 100, "n_non_members": 100}
    page = Page(write_report(tmp_path, {"privacy": {"logan": attack}}, ReportMedia()))
    assert "not been audited" not in page.text and page.answers[2] == "Yes"
    assert "The privacy audit found too much (1 of 1 checks): do not share" in page.text
    assert "0.610 (0.56 to 0.66)" in page.text and "W (white box): the attacker holds the model itself" in page.text


def test_condensed_sets_have_a_section_and_grouped_rows(tmp_path: Path) -> None:
    sets = {"real": scores(0.8), "random_subset@10": scores(0.6), "synthetic@10": scores(0.5)}
    report = {
        "condensation": {"method": "medsynth", "real_images": 845, "ipc": {"10": {"images": 70, "ratio": 0.083}}},
        "utility": {"image": {"resnet18": sets, HOSTILE: sets}},
    }
    page = Page(write_report(tmp_path, report, ReportMedia()))
    assert list(json.loads((tmp_path / "report.json").read_text())) == KEYS
    groups = [header for header in page.all("th") if header["scope"] == "rowgroup"]
    assert len(groups) == 2 and len(page.all("tbody")) == 3
    columns = [header for header in page.all("th") if header["scope"] == "col"]
    assert {int(group["colspan"]) for group in groups} == {len(columns) - 5}
    assert "Condensed, 10 a class" in page.text and "8.3 %" in page.text and HOSTILE in page.text
    assert {"href": "#condensation"} in page.all("a") and not page.all("script")


def test_other_reports_have_no_section_on_condensation(page: Page) -> None:
    assert "Condens" not in page.text
