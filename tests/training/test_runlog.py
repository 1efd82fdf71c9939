from __future__ import annotations

import json
import math

import numpy as np
from PIL import Image

from mmgen.training.runlog import RunLog, read_metrics


def write(folder, epochs, resumed_epoch=0):
    log = RunLog(folder, resumed_epoch)
    for epoch in epochs:
        log.epoch({"epoch": epoch, "loss/image": epoch / 10, "xi": {"image": [0.0, 1.0]}, "note": "x"})
    log.close()


def test_one_json_line_an_epoch(tmp_path):
    write(tmp_path / "run", range(3))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[2]["xi"] == {"image": [0.0, 1.0]}
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_a_resumed_run_replaces_the_epochs_that_it_repeats(tmp_path):
    write(tmp_path, range(4))
    write(tmp_path, range(2, 6), resumed_epoch=2)
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3, 4, 5]
    write(tmp_path, range(1))
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0]


def test_numbers_that_are_not_finite_are_valid_json(tmp_path):
    log = RunLog(tmp_path)
    log.epoch({"epoch": 0, "loss": math.nan, "deep": {"list": [1.0, -math.inf], "numpy": np.float64("nan")}})
    log.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"epoch": 0, "loss": None, "deep": {"list": [1.0, None], "numpy": None}}
    ]


def test_a_line_cut_off_by_a_crash_is_dropped_and_not_continued(tmp_path):
    write(tmp_path, range(2))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lo')
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1]
    write(tmp_path, [2], resumed_epoch=2)
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2]
    assert read_metrics(tmp_path / "nothing.jsonl") == []


def test_tensorboard_holds_every_number(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, range(3))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"epoch", "loss/image", "xi/image/0", "xi/image/1"}
    assert [(event.step, round(event.value, 3)) for event in events.Scalars("loss/image")] == [
        (0, 0),
        (1, 0.1),
        (2, 0.2),
    ]


def test_previews_are_pictures(tmp_path):
    log = RunLog(tmp_path)
    grey, colour = np.arange(12, dtype=np.uint8).reshape(3, 4), np.zeros((2, 5, 3), dtype=np.uint8)
    log.preview("grey", grey)
    log.preview("colour", colour)
    log.close()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "previews" / "grey.png")), grey)
    assert np.asarray(Image.open(tmp_path / "previews" / "colour.png")).shape == (2, 5, 3)
