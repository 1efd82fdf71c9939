from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from mmgen.cli.config import parse_config
from mmgen.cli.data_flags import CachedDataFlags, parse_size
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import Columns
from mmgen.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Command(CachedDataFlags):
    out: Path


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("20GB", 20 * 10**9), ("1.5 gb", 1_500_000_000), ("500M", 5 * 10**8), ("12", 12), ("2TiB", 2 * 10**12)],
)
def test_sizes(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "1 PB", "GB", "1e9", "1.2.3GB"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(UserError, match="write it like 20GB"):
        parse_size(text)


def test_flags_become_sources_and_preparation(tmp_path: Path):
    arguments = ["--out", "runs/x", "--layout", "csv", "--label-map", "Normal=healthy", "COVID-19=covid"]
    arguments += ["--label-column", "verdict", "--cough-detected", "0.5", "--cache-limit", "3MB", "--skip-bad"]
    options = parse_config(Command, arguments)
    source = options.source(tmp_path, ImageSettings(8))
    assert (source.path, source.settings, source.layouts) == (tmp_path, ImageSettings(8), ("csv",))
    assert source.columns == Columns(label="verdict")
    named = ["--path-column", "a", "--label-column", "b", "--subject-column", "c", "--split-column", "d"]
    options = parse_config(Command, ["--out", "runs/x", *named, "--subset-column", "e"])
    assert options.source(tmp_path, ImageSettings(8)).columns == Columns("a", "b", "c", "d", subset="e")
    options = parse_config(Command, arguments)
    assert source.layout_options.cough_detected == 0.5
    how = options.preparation(options.out, seed=3)
    assert how.label_map == {"Normal": "healthy", "COVID-19": "covid"} and how.skip_bad and how.seed == 3
    assert how.cache is not None
    assert (how.cache.folder, how.cache.limit) == (Path("runs/.mmgen-cache"), 3 * 10**6)


def test_the_cache_can_be_elsewhere():
    options = parse_config(Command, ["--out", "runs/x", "--cache", "/scratch/mine"])
    assert options.decoded_cache(options.out).folder == Path("/scratch/mine")
