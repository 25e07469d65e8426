"""Fewer regions a frame, chosen at random: of the contract, evenly chosen, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data_specs.regions import Regions
from data_specs.shard_index import read_index, read_labels, write_labels
from data_specs.shards import iterate_shard, records
from extract.__main__ import main
from extract.thinning import thin
from extract.verify import verify
from tests.extract import made


def padded(count: list[int], regions: int = 6) -> Regions:
    """Frames with so many regions; a region's feature is its rank, from 1."""
    mask = np.arange(regions) < np.array(count)[:, None]
    ranks = np.arange(1, regions + 1)[None, :] * mask
    return Regions(
        features=ranks[:, :, None].astype(np.float16),
        boxes=np.zeros((*mask.shape, 7), np.float32),
        scores=(np.linspace(0.9, 0.1, regions) * mask).astype(np.float32),
        labels=np.where(mask, ranks, -1).astype(np.int32),
        count=np.array(count, np.int32),
    )


def test_every_set_of_regions_is_as_likely_and_keeps_its_order() -> None:
    generator, often = np.random.default_rng(0), np.zeros(7, int)
    for _ in range(600):
        found = thin(padded([6, 2, 0]), 3, generator)  # checks the contract itself
        assert found.count.tolist() == [3, 2, 0]
        chosen = found.features[0, :, 0].astype(int).tolist()
        assert chosen == sorted(set(chosen)) and (found.labels[0] == chosen).all()
        assert found.features[1, :, 0].tolist() == [1, 2, 0]
        often[chosen] += 1
    assert (abs(often[1:] - 300) < 60).all()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    made.shard(folder, "train-00000", ["a", "b"], failed=[("x", "timeout")])
    made.shard(folder, "test-00000", ["c"])
    made.index(folder)
    write_labels(folder, ("red circle", "star"))
    return folder


def run(shards: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["thin", str(shards), "--out", str(out), *more])


def test_shards_become_shards(shards: Path, tmp_path: Path) -> None:
    result = run(shards, tmp_path / "thin", "--regions", "2")
    assert result.exit_code == 0 and "3 samples, 12 regions" in result.output
    assert not verify(tmp_path / "thin", 1, lambda: None).problems
    before, after = ({r.name: r for r in records(folder)} for folder in (shards, tmp_path / "thin"))
    assert after["train-00000"].failures == before["train-00000"].failures
    made_with = read_index(tmp_path / "thin").provenance
    assert made_with.regions == 2 and made_with.detector_settings["thinned"] == "2 of 3 at random, seed 0"
    assert read_labels(tmp_path / "thin") == ("red circle", "star")
    for one, other in zip(*(iterate_shard(f / "train-00000.tar") for f in (shards, tmp_path / "thin")), strict=True):
        assert (one.id, one.captions, one.timestamps) == (other.id, other.captions, other.timestamps)
        rows = {row.tobytes() for row in one.regions.features.reshape(-1, made.WIDTH)}
        assert all(row.tobytes() in rows for row in other.regions.features.reshape(-1, made.WIDTH))


def test_the_same_seed_gives_the_same_bytes_and_what_is_there_stays(shards: Path, tmp_path: Path) -> None:
    for name, seed in (("one", "1"), ("same", "1"), ("other", "2")):
        assert run(shards, tmp_path / name, "--regions", "1", "--seed", seed).exit_code == 0
    one, same, other = ((tmp_path / name / "train-00000.tar").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other
    (tmp_path / "one/test-00000.json").unlink()
    kept = (tmp_path / "one/train-00000.tar").stat().st_mtime_ns
    assert run(shards, tmp_path / "one", "--regions", "1", "--seed", "1").exit_code == 0
    assert (tmp_path / "one/train-00000.tar").stat().st_mtime_ns == kept
    assert run(shards, tmp_path / "one", "--regions", "2").exit_code == 0  # of another kind: made again
    assert read_index(tmp_path / "one").provenance.regions == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--regions", "3"], "has 3 a frame; ask for fewer"),
        (["--regions", "1", "--out", "shards"], "shards themselves"),
    ],
)
def test_what_cannot_be_is_one_line(shards: Path, more: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards.parent)
    result = run(shards, shards.parent / "thin", *more)
    assert result.exit_code == 2 and said in result.output
