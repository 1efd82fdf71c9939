from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmgen.cli.config import parse_config
from mmgen.cli.data_flags import CachedDataFlags
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import Columns
from mmgen.data.sources import reading_of


@dataclass(frozen=True, kw_only=True)
class Command(CachedDataFlags):
    out: Path


def test_flags_become_a_reading(tmp_path: Path):
    arguments = ["--out", "runs/x", "--layout", "csv", "--label-map", "Normal=healthy", "COVID-19=covid"]
    arguments += ["--label-column", "verdict", "--cough-detected", "0.5", "--cache-limit", "3MB", "--skip-bad"]
    options = parse_config(Command, arguments)
    reading = reading_of(options, options.out, seed=3)
    assert reading.label_map == {"Normal": "healthy", "COVID-19": "covid"} and reading.skip_bad and reading.seed == 3
    assert reading.cache is not None
    assert (reading.cache.folder, reading.cache.limit) == (Path("runs/.mmgen-cache"), 3 * 10**6)
    (source,) = reading.sources({"image": tmp_path}, {"image": ImageSettings(8)}).values()
    assert (source.path, source.settings, source.layouts) == (tmp_path, ImageSettings(8), ("csv",))
    assert source.columns == Columns(label="verdict") and source.layout_options.cough_detected == 0.5
    named = ["--path-column", "a", "--label-column", "b", "--subject-column", "c", "--split-column", "d"]
    options = parse_config(Command, ["--out", "runs/x", *named, "--subset-column", "e"])
    assert reading_of(options).columns == Columns("a", "b", "c", "d", subset="e")


def test_the_cache_can_be_elsewhere():
    options = parse_config(Command, ["--out", "runs/x", "--cache", "/scratch/mine"])
    assert reading_of(options, options.out).cache.folder == Path("/scratch/mine")


def test_nothing_is_kept_where_nothing_is_written():
    assert reading_of(parse_config(Command, ["--out", "runs/x"])).cache is None
