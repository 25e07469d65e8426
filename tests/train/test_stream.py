"""The stream over small tars made on the fly."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from data_specs.errors import InputError
from data_specs.location import Location, location
from data_specs.shard_index import build_index
from data_specs.shards import INDEX_NAME, file_sha256, iterate_shard, read_record, record_path, records
from train.batch import collate_regions
from train.config import DataConfig
from train.stream import Batch, RegionStream, ahead, open_shards, sequential

SIZES = (5, 1, 7, 0, 4)


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), SIZES)


def settings(folder: Location, **changes: Any) -> DataConfig:
    small = {"shards": [folder], "frames": 2, "regions": 4, "batch_size": 3, "shuffle_window": 4, "seed": 1}
    return DataConfig.model_validate(small | changes)


def stream(folder: Location, rank: int = 0, world: int = 1, **changes: Any) -> RegionStream:
    return RegionStream(settings(folder, **changes), 7, rank, world)


def seen(batches: Iterator[Batch]) -> list[tuple[Any, ...]]:
    """All that a batch holds, comparable, a row a clip."""
    return [
        (b.source, *zip(b.keys, texts(b), *(rows(t) for t in vars(b.video).values()), strict=True)) for b in batches
    ]


def texts(batch: Batch) -> list[Any]:
    """Each clip's caption, or its questions."""
    if not batch.questions:
        return [*batch.captions]
    assert batch.captions == () and list(batch.questions) == sorted(batch.questions, key=lambda asked: asked.clip)
    return [tuple((a.question, a.answer) for a in batch.questions if a.clip == row) for row in range(len(batch.keys))]


def rows(tensor: torch.Tensor) -> list[bytes]:
    return [row.tobytes() for row in tensor.numpy()]


def keys(batches: Iterator[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def test_every_sample_exactly_once_an_epoch(shards: Path) -> None:
    everything = [f"clip%20{i:03d}%2Emp4" for i in range(sum(SIZES))]
    whole = stream(shards, batch_size=17)
    assert sorted(keys(whole.epoch(0))) == everything
    smaller = stream(shards, batch_size=4)
    drawn = keys(smaller.epoch(0))
    assert len(drawn) == len(set(drawn)) == 16 == smaller.batches_per_epoch * 4  # the remainder of one is left out
    assert set(everything) == {key for epoch in range(9) for key in keys(smaller.epoch(epoch))}


def test_the_order_is_a_function_of_seed_and_epoch(shards: Path) -> None:
    first = seen(stream(shards).epoch(3))
    other = stream(shards)
    list(other.epoch(2))  # what was read before does not matter
    assert seen(other.epoch(3)) == first
    assert seen(other.epoch(4)) != first
    assert seen(stream(shards, seed=2).epoch(3)) != first


@pytest.mark.parametrize("window", [1, 4, 100])
def test_any_start_gives_the_tail_of_the_same_epoch(shards: Path, window: int) -> None:
    whole = seen(stream(shards, shuffle_window=window).epoch(5))
    assert len(whole) == 5
    for start in range(6):
        assert seen(stream(shards, shuffle_window=window).epoch(5, start)) == whole[start:]


def test_shards_before_the_start_are_not_read(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, (3, 3, 3))
    one_lane = {"batch_size": 3, "shuffle_window": 1, "lanes": 1}
    first = next(stream(folder, **one_lane).epoch(0))
    rest = stream(folder, **one_lane)
    number = int(first.keys[0][len("clip%20") :][:3]) // 3
    damage(folder / f"train-{number:05d}.tar", lambda data: bytes(len(data)))
    assert len(list(rest.epoch(0, 1))) == 2
    with pytest.raises(InputError):
        list(rest.epoch(0))


def test_only_the_first_captions_where_so_many_are_wanted(shards: Path) -> None:
    stored = [sample for shard in open_shards(settings(shards))[1] for sample in iterate_shard(shard.path)]
    assert min(len(sample.captions) for sample in stored) == 2
    for most in (1, 2):
        source = stream(shards, captions=most, rounds=4, batch_size=17)
        taken = Counter(caption for batch in source.epoch(0) for caption in batch.captions)
        assert taken == Counter(caption for sample in stored for caption in 4 // most * sample.captions[:most])


def test_captions_and_frames_vary_between_epochs(shards: Path) -> None:
    source = stream(shards, batch_size=17)
    captions = [{c for b in source.epoch(e) for c in b.captions} for e in range(2)]
    assert captions[0] != captions[1]
    assert all(any("moves" in c for c in found) and any("moves" not in c for c in found) for found in captions)


def test_a_data_set_smaller_than_the_batch_is_one_batch(shards: Path) -> None:
    source = stream(shards, batch_size=100)
    assert (source.batch_size, source.batches_per_epoch) == (17, 1)


def test_thread_ahead_gives_the_same_and_passes_errors_on(shards: Path) -> None:
    assert seen(ahead(stream(shards).epoch(0))) == seen(stream(shards).epoch(0))

    def broken() -> Iterator[int]:
        yield 1
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        list(ahead(broken()))


def damage(tar: Path, change: Callable[[bytes], bytes]) -> None:
    tar.chmod(0o644)
    tar.write_bytes(change(tar.read_bytes()))


def recommit(folder: Path, name: str, **changes: Any) -> None:
    """Makes the record and the index of a changed tar agree with it, as a forger or a bug would."""
    tar = folder / f"{name}.tar"
    record = read_record(record_path(folder, name))
    changes = {"sha256": file_sha256(tar), "bytes": tar.stat().st_size} | changes
    record_path(folder, name).write_text(record.model_copy(update=changes).model_dump_json())
    build_index(folder, records(folder))


def spoil(folder: Path, name: str, spoiled: int) -> None:
    """Overwrites the metadata of the first ``spoiled`` samples of a shard, and commits the result."""
    tar, out, left = folder / f"{name}.tar", io.BytesIO(), spoiled
    with tarfile.open(tar) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            data = source.extractfile(member).read()
            if member.name.endswith(".json") and left:
                data, left = b"{" + data[1:-1] + b"!", left - 1
            target.addfile(member, io.BytesIO(data))
    damage(tar, lambda _: out.getvalue())
    recommit(folder, name)


def test_a_corrupt_sample_is_named_counted_and_skipped(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, SIZES)
    whole = [batch.keys for batch in stream(folder).epoch(0)]
    spoil(folder, "train-00002", 1)
    source = stream(folder)
    batches = [batch.keys for batch in source.epoch(0)]
    bad = "clip%20006%2Emp4"
    assert batches == [tuple(key for key in batch if key != bad) for batch in whole]  # no other batch is touched
    list(source.epoch(1))
    assert len(source.corrupt) == 1
    (line,) = source.corrupt
    assert "train-00002.tar" in line and bad in line and "Invalid JSON" in line


def test_too_many_corrupt_samples_stop_the_run(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, SIZES)
    spoil(folder, "train-00002", 3)
    with pytest.raises(InputError, match=r"2 of 17 samples cannot be read, 1 may .*extract verify"):
        list(stream(folder, batch_size=17).epoch(0))
    source = stream(folder, batch_size=17, max_corrupt=0.2)
    assert len(keys(source.epoch(0))) == 14 and len(source.corrupt) == 3


def test_a_hundred_in_a_row_stop_the_run(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    spoil(make_shards(tmp_path, (101,)), "train-00000", 101)
    source = stream(tmp_path, batch_size=101, max_corrupt=1.0)
    with pytest.raises(InputError, match=r"100 of 101 samples cannot be read, 101 may"):
        list(source.epoch(0))


@pytest.mark.parametrize("suffix", ["json", "regions.safetensors"])
def test_half_a_sample_is_a_corrupt_one(make_shards: Callable[..., Path], tmp_path: Path, suffix: str) -> None:
    tar, out = make_shards(tmp_path, SIZES) / "train-00002.tar", io.BytesIO()
    with tarfile.open(tar) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            if member.name != f"clip%20008%2Emp4.{suffix}":
                target.addfile(member, source.extractfile(member))
    damage(tar, lambda _: out.getvalue())
    recommit(tmp_path, "train-00002")
    halved = stream(tmp_path, batch_size=17)
    assert len(keys(halved.epoch(0))) == 16
    assert list(halved.corrupt) == [f"train-00002.tar: sample clip%20008%2Emp4: {suffix}: absent"]


def test_a_cut_tar_stops(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, SIZES)
    source, trusting = stream(folder), stream(folder, verify_hashes=False)
    damage(folder / "train-00002.tar", lambda data: data[: len(data) // 2 - 300])
    with pytest.raises(InputError, match=r"train-00002\.tar: not the tar that was committed.*extract verify"):
        list(source.epoch(0))
    with pytest.raises(InputError, match=r"train-00002\.tar: not a whole tar"):
        list(trusting.epoch(0))
    with pytest.raises(InputError, match="cut, changed or not committed"):
        stream(folder)


@pytest.mark.parametrize(("claimed", "message"), [(8, "7 samples where 8"), (6, "7 samples where 6")])
def test_a_wrong_count_stops(make_shards: Callable[..., Path], tmp_path: Path, claimed: int, message: str) -> None:
    folder = make_shards(tmp_path, SIZES)
    recommit(folder, "train-00002", num_samples=claimed)
    with pytest.raises(InputError, match=message):
        list(stream(folder, batch_size=2).epoch(0))


def test_folders_and_splits_that_do_not_fit(make_shards: Callable[..., Path], tmp_path: Path, shards: Path) -> None:
    with pytest.raises(InputError, match=r"no shard of split 'trian'.*did you mean train"):
        stream(shards, splits=["trian"])
    with pytest.raises(InputError, match=r"index\.json: no index"):
        stream(tmp_path / "absent")
    wider = make_shards(tmp_path / "wider", (3,), width=13)
    with pytest.raises(InputError, match="differ in width"):
        stream(shards, shards=[shards, wider])
    silent = make_shards(tmp_path / "silent", (3,), captions=0)
    with pytest.raises(InputError, match="has no caption"):
        list(stream(silent).epoch(0))
    single = make_shards(tmp_path / "single", (1,))
    with pytest.raises(InputError, match="at least 2"):
        stream(single)
    uncommitted = make_shards(tmp_path / "uncommitted", (3, 3))
    record_path(uncommitted, "train-00001").unlink()
    with pytest.raises(InputError, match="not committed"):
        stream(uncommitted)
    (wider / INDEX_NAME).write_text("{}")
    with pytest.raises(InputError, match="not a shard index"):
        stream(wider)


def test_folders_take_turns_batch_by_batch(make_shards: Callable[..., Path], tmp_path: Path, shards: Path) -> None:
    other = make_shards(tmp_path, (3, 4), split="val", dataset="pictures")
    both = stream(shards, shards=[shards, other], splits=["train", "val"])
    batches = list(both.epoch(0))
    assert [batch.source for batch in batches] == ["made-up", "pictures"] * 2 + ["made-up"] * 3
    assert (both.batches_per_epoch, both.samples_per_epoch, both.num_samples) == (7, 21, 24)
    assert seen(batch for batch in batches if batch.source == "made-up") == seen(stream(shards).epoch(0))
    assert both.fingerprint != stream(shards).fingerprint
    capped = stream(shards, shards=[shards, other], splits=["train", "val"], epoch_samples=11)
    assert seen(capped.epoch(0)) == seen(iter(batches[:3])) and capped.samples_per_epoch == 9
    with pytest.raises(InputError, match=r"data\.epoch_samples: 2 is less than one batch of 3"):
        stream(shards, epoch_samples=2)


def test_folders_that_were_made_differently(make_shards: Callable[..., Path], tmp_path: Path, shards: Path) -> None:
    other = make_shards(tmp_path / "other", (3,), detector="another", manifest_sha256="1", sampling="middle")
    with pytest.raises(InputError, match=r"made differently \(detector: 'none' and 'another'\)"):
        stream(shards, shards=[shards, other])
    with pytest.raises(InputError, match="named twice"):
        stream(shards, shards=[shards, shards / "." / ""])
    forged = make_shards(tmp_path / "forged", (3,))
    record = read_record(record_path(forged, "train-00000"))
    made = record.provenance.model_copy(update={"detector": "another"})
    record_path(forged, "train-00000").write_text(record.model_copy(update={"provenance": made}).model_dump_json())
    with pytest.raises(InputError, match=r"train-00000\.tar: made differently from what .*index\.json says"):
        stream(forged)


def joined(parts: list[list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """Batches of which each rank has some rows."""
    return [(row[0][0], *(clip for part in row for clip in part[1:])) for row in zip(*parts, strict=True)]


@pytest.mark.parametrize("seed", range(4))
def test_ranks_share_the_batches_of_one(make_shards: Callable[..., Path], tmp_path: Path, seed: int) -> None:
    """Shards of 1 to 50 samples; from batch 3 on there is one rank more, and the batches go on as they were."""
    sizes = np.random.default_rng(seed).integers(1, 51, 6).tolist()
    folder = make_shards(tmp_path, sizes)
    changes = {"batch_size": 7, "shuffle_window": 8, "lanes": 5, "seed": seed, "verify_hashes": False}
    whole = seen(stream(folder, **changes).epoch(0))
    assert len(whole) == sum(sizes) // 7
    two = [seen(stream(folder, rank, 2, **changes).epoch(0)) for rank in range(2)]
    assert joined(two) == whole
    three = [seen(stream(folder, rank, 3, **changes).epoch(0, 3)) for rank in range(3)]
    assert joined(three) == whole[3:]
    assert stream(folder, 1, 2, **changes).fingerprint == stream(folder, **changes).fingerprint
    drawn = [clip[0] for batch in whole for clip in batch[1:]]
    assert len(drawn) == len(set(drawn)) == len(whole) * 7


def test_more_ranks_than_samples(shards: Path) -> None:
    with pytest.raises(InputError, match=r"data\.batch_size: 3 samples a batch, fewer than the 4 ranks"):
        stream(shards, 0, 4)
    with pytest.raises(InputError, match=r"shards\d+: 17 samples a batch, fewer than the 20 ranks"):
        stream(shards, 0, 20, batch_size=64)


def test_subsets_are_nested(shards: Path) -> None:
    drawn = [{*keys(stream(shards, subset=s, batch_size=20).epoch(e))} for s in (0.2, 0.5, 1.0) for e in range(2)]
    assert [len(found) for found in drawn] == [3, 3, 8, 8, 17, 17]
    assert drawn[0] == drawn[1] < drawn[2] == drawn[3] < drawn[4]


def test_in_order_with_centred_frames_and_first_captions(shards: Path) -> None:
    config = settings(shards, frames=2, regions=3)
    batches = list(sequential(config, 6, most=11, batch_size=4))
    stored = [sample for shard in open_shards(config)[1] for sample in iterate_shard(shard.path)][:11]
    assert [len(batch.keys) for batch in batches] == [4, 4, 3]
    assert keys(iter(batches)) == [sample.key for sample in stored]
    assert [c for batch in batches for c in batch.captions] == [sample.captions[0] for sample in stored]
    expected = collate_regions([sample.regions for sample in stored], 2, 3, 6)
    for name, tensor in vars(expected).items():
        assert torch.equal(torch.cat([getattr(batch.video, name) for batch in batches]), tensor)
    assert sum(len(batch.keys) for batch in sequential(config, 7, most=99, batch_size=4)) == 17


def test_in_order_nothing_is_skipped(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    spoil(make_shards(tmp_path, SIZES), "train-00002", 1)
    with pytest.raises(InputError, match=r"train-00002\.tar.*nothing is skipped"):
        list(sequential(settings(tmp_path), 7, most=99, batch_size=4))


def test_a_batch_is_what_is_stored(shards: Path) -> None:
    """Frames, regions, boxes and padding of every clip against the samples read whole."""
    stored = {sample.key: sample for path in shards.glob("*.tar") for sample in iterate_shard(path)}
    taken = set()
    for batch in stream(shards, frames=2, regions=6, draw_frames=True).epoch(0):
        assert batch.video.mask_BFR.shape == (3, 2, 6) and batch.video.features_BFRV.dtype == torch.float16
        for row, key in enumerate(batch.keys):
            regions = stored[key].regions
            frames = [f for f in range(3) if (regions.boxes[f] == batch.video.boxes_BFRK[row, 0, :4].numpy()).all()]
            taken |= {*frames}
            assert (batch.video.features_BFRV[row, 0, :4].numpy() == regions.features[frames[0]]).all()
            assert batch.video.mask_BFR[row].tolist() == [[True] * 4 + [False] * 2] * 2
            assert not batch.video.features_BFRV[row, :, 4:].any() and not batch.video.boxes_BFRK[row, :, 4:].any()
    assert taken == {0}  # of three frames the first segment is one, the second two
    few = next(stream(shards, frames=5).epoch(0)).video
    assert few.mask_BFR.any(2).tolist() == [[True] * 3 + [False] * 2] * 3 and not few.features_BFRV[:, 3:].any()


def test_shards_behind_a_url(shards: Path, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/shards"
    memory = fsspec.filesystem("memory")
    memory.put(f"{shards}/", f"{tmp_path.name}/shards/", recursive=True)
    config = settings(location(url))
    assert config.shards[0].protocol == "memory"
    assert seen(RegionStream(config, 7).epoch(0)) == seen(stream(shards).epoch(0))
    remote = RegionStream(config, 7)
    memory.pipe(f"{tmp_path.name}/shards/train-00002.tar", b"another")
    with pytest.raises(InputError, match=r"train-00002\.tar: not the tar that was committed"):
        list(remote.epoch(0))
    memory.rm(f"{tmp_path.name}/shards/train-00002.tar")
    with pytest.raises(InputError, match=r"train-00002\.tar: gone since the run began"):
        list(remote.epoch(0))


def test_a_shard_that_vanishes_or_changes_in_mid_run(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_shards(tmp_path, SIZES)
    source = stream(folder)
    assert len(list(source.epoch(0))) == 5
    damage(folder / "train-00002.tar", lambda data: data[:-1] + b"x")
    with pytest.raises(InputError, match=r"train-00002\.tar: not the tar that was committed"):
        list(source.epoch(1))  # it was compared in epoch 0, but as another file
    (folder / "train-00002.tar").unlink()
    with pytest.raises(InputError, match=r"train-00002\.tar: gone since the run began"):
        list(source.epoch(1))
