"""Costs: exact bytes, closed forms, and a page measured on the ten videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data_specs.manifest import Manifest
from data_specs.shards import iterate_shard, records
from extract.__main__ import main
from extract.cost import Measured, estimate, mean, measure, predict, spread_rows, stored_bytes
from tests.extract.runs import settings_for

TAR_END, TAR_RECORD = 1024, 10240


def test_the_sample_is_spread() -> None:
    assert spread_rows(range(100), 4) == [12, 37, 62, 87]
    assert spread_rows([5, 7], 20) == [5, 7]
    assert spread_rows([3], 1) == [3]


def test_bytes_are_those_of_the_tars(ten_shards: Path) -> None:
    for record in records(ten_shards):
        held = sum(stored_bytes(sample) for sample in iterate_shard(ten_shards / record.shard))
        assert record.bytes == -(-(held + TAR_END) // TAR_RECORD) * TAR_RECORD


def test_closed_forms() -> None:
    each = mean([Measured(1.0, 2.0, 0.5, 100), Measured(3.0, 4.0, 1.5, 300)])
    assert each == Measured(2.0, 3.0, 1.0, 200)
    assert predict(each, 10, workers=1, cores=64, device="cpu") == pytest.approx(30)  # the detector is the slower
    assert predict(Measured(6.0, 1.0, 6.0, 0), 10, 1, 64, "cuda", decoders=3) == pytest.approx(20)  # three at a time
    assert predict(each, 10, workers=1, cores=1, device="cpu") == pytest.approx(40)  # 4 s of work on one core
    assert predict(Measured(2.0, 0.5, 6.0, 0), 10, workers=1, cores=2, device="cuda") == pytest.approx(30)
    found = estimate(each, 3600, workers=4, cores_each=2, device="cpu", price_per_hour=2.0)
    assert (found.hours, found.bytes) == (pytest.approx(0.75), 720_000)
    assert found.price == pytest.approx(0.75 * 4 * 2.0)
    assert estimate(each, 3600, 4, 2, "cpu", None).price is None


def test_measured_on_real_videos(ten_videos: Path, ten_manifest: Manifest, ten_shards: Path) -> None:
    items = ten_manifest.take([0, 6])
    seen: list[None] = []
    measured, broken = measure(settings_for(ten_videos, Path()), items, report=lambda: seen.append(None))
    assert (len(measured), broken, len(seen)) == (2, [], 2)
    stored = {s.id: stored_bytes(s) for r in records(ten_shards) for s in iterate_shard(ten_shards / r.shard)}
    assert [one.bytes for one in measured] == [stored[item.id] for item in items]
    assert all(min(one.decoding_s, one.detecting_s, one.decoding_cpu_s) > 0 for one in measured)
    assert len(measure(settings_for(ten_videos, Path()), items, enough_s=0.0)[0]) == 1


def cost(manifest: Path, root: Path, *more: object) -> Result:
    arguments = ["cost", "--manifest", manifest, "--root", root, "--frames", 1, *more]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_page(ten_manifest_path: Path, ten_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "cost.json"
    options = ["--sample", 2, "--videos", 1_000_000, "--workers", 8, "--price-per-hour", 3, "--json", out]
    result = cost(ten_manifest_path, ten_videos, *options)
    assert result.exit_code == 0, result.output
    for text in ("1,000,000 items", "8 workers of 2 cores", "TB", "price", "measured on 2 items"):
        assert text in result.output
    found = json.loads(out.read_text())
    assert (found["measured_items"], found["broken"], found["cost"]["items"]) == (2, [], 1_000_000)
    assert found["cost"]["bytes"] == found["an_item"]["bytes"] * 1_000_000
    assert found["cost"]["price"] == pytest.approx(found["cost"]["hours"] * 8 * 3)


def test_broken_media_and_wrong_options(hostile: tuple[Path, Path], ten_manifest_path: Path, tmp_path: Path) -> None:
    root, manifest = hostile
    result = cost(manifest, root, "--sample", 15)
    assert (result.exit_code, "measured on 10 items" in result.output) == (1, True)
    assert "gives no frames: no_video_stream" in result.output
    result = cost(ten_manifest_path, tmp_path)
    assert (result.exit_code, "none of the 10 items of the sample gave frames" in result.output) == (2, True)
    result = cost(ten_manifest_path, tmp_path / "absent")
    assert (result.exit_code, "no such folder" in result.output) == (2, True)
    assert cost(ten_manifest_path, root, "--detector", "shap").exit_code == 2
