"""Others' npz files: the regions that come out, the layouts that are found, and files that mean harm."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data_specs.errors import InputError
from data_specs.failures import MediaError
from data_specs.manifest import Item, ManifestInfo, read_manifest, write_manifest
from data_specs.shard_index import read_index
from data_specs.shards import iterate_shard, records
from extract.__main__ import main
from extract.coverage import measure_coverage
from extract.npz.frame import read_npz_frame
from extract.npz.layout import NpzLayout
from extract.safety.folder_lock import alone_in
from extract.verify import verify
from tests.extract.runs import bytes_of
from train.config import DataConfig
from train.stream import RegionStream

HEIGHT, WIDTH, BOXES, FEATURES = 120, 160, 5, 16


def fields(seed: int = 0, boxes: int = BOXES, attributes: bool = True) -> dict[str, Any]:
    """What bottom-up-attention.pytorch writes of one image."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, HEIGHT - 1, (boxes, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
    info = {
        "image_id": "a",
        "image_h": HEIGHT,
        "image_w": WIDTH,
        "num_boxes": boxes,
        "objects_id": rng.integers(0, 1601, boxes),
        "objects_conf": rng.uniform(size=boxes).astype(np.float32),
    }
    if attributes:
        info |= {"attrs_id": rng.integers(0, 401, boxes), "attrs_conf": rng.uniform(size=boxes).astype(np.float32)}
    features = rng.standard_normal((boxes, FEATURES)).astype(np.float32)
    return {"x": features, "bbox": corners, "num_bbox": boxes, "image_h": HEIGHT, "image_w": WIDTH, "info": info}


def write(path: Path, told: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **told)
    return path


@pytest.fixture
def release(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of npz files as DemoVLP has them, and the manifest of what they are of."""
    folder = tmp_path / "region_features_all"
    for number in range(1, 5):
        write(folder / "train" / "000001_000050" / "77" / f"{number}.npz", fields(number))
    for number in range(12):
        write(folder / "clip" / f"{number}.npz", fields(20 + number))
    write(folder / "val" / "0000" / "0_159_1.npz", fields(40))
    write(folder / "few" / "3.npz", fields(50, boxes=1))
    items = [
        Item("77", "000001_000050/77.mp4", "train", captions=("one",)),
        Item("clip", "videos/all/clip.mp4", "train", captions=("two",)),
        Item("0", "images/0_159.jpg", "val", "image", captions=("three",)),
        Item("few", "few.mp4", "train", captions=("four",)),
        Item("absent", "absent.mp4", "train", captions=("five",)),
    ]
    write_manifest(tmp_path / "m.parquet", items, ManifestInfo("made"))
    return folder, tmp_path / "m.parquet"


def call(folder: Path, manifest: Path, out: Path, *more: object) -> Result:
    arguments = ["import-npz", folder, "--manifest", manifest, "--out", out, "--workers", 1]
    given = [*arguments, "--frames", 4, "--regions", 3, "--videos-per-shard", 2, *more]
    return CliRunner().invoke(main, [str(argument) for argument in given])


def test_shards_of_the_release(release: tuple[Path, Path], tmp_path: Path) -> None:
    folder, manifest = release
    out = tmp_path / "shards"
    result = call(folder, manifest, out)
    assert result.exit_code == 1, result.output
    assert "4 samples" in result.output and "1 items failed" in result.output
    assert verify(out, 1, lambda: None).problems == ()
    found = measure_coverage(out, read_manifest(manifest))
    assert [(f.id, f.reason.value) for f in found.failures] == [("absent", "missing")]
    samples = {s.id: s for r in records(out) for s in iterate_shard(out / r.shard)}
    assert samples["77"].timestamps == (1.0, 2.0, 3.0, 4.0)
    assert samples["clip"].timestamps == (1.0, 4.0, 7.0, 10.0)
    assert samples["0"].timestamps == (1.0,) and samples["0"].regions.features.shape == (1, 3, FEATURES)
    assert samples["few"].timestamps == (3.0,) * 4 and samples["few"].regions.count.tolist() == [1] * 4
    made = read_index(out).provenance
    assert (made.detector, made.weights_sha256, made.feature_dim) == ("imported:bottom-up-attention", "unknown", 16)
    stream = RegionStream(DataConfig(shards=(out,), splits=("train",), batch_size=2, frames=2, regions=3), 7)
    assert stream.num_samples == 3 and len(list(stream.epoch(0))) == 1


def test_the_most_confident_regions_by_a_slow_version(release: tuple[Path, Path], tmp_path: Path) -> None:
    folder, manifest = release
    call(folder, manifest, tmp_path / "shards")
    samples = {s.id: s for r in records(tmp_path / "shards") for s in iterate_shard(tmp_path / "shards" / r.shard)}
    regions = samples["77"].regions
    for frame in range(4):
        told = fields(frame + 1)
        info = told["info"]
        best = sorted(range(BOXES), key=lambda box: -info["objects_conf"][box])[:3]
        for place, box in enumerate(best):
            x1, y1, x2, y2 = (float(c) for c in told["bbox"][box])
            expected = [x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT]
            assert regions.boxes[frame, place, :4] == pytest.approx(expected, abs=1e-6)
            assert regions.features[frame, place].tolist() == told["x"][box].astype(np.float16).tolist()
            assert regions.scores[frame, place] == info["objects_conf"][box]
            assert regions.labels[frame, place] == info["objects_id"][box]
            assert regions.attribute_labels is not None and regions.attribute_scores is not None
            assert regions.attribute_labels[frame, place] == info["attrs_id"][box]
            assert regions.attribute_scores[frame, place] == info["attrs_conf"][box]


def test_background_where_the_models_have_it(tmp_path: Path) -> None:
    told = fields(attributes=False)
    told["info"]["objects_id"] = np.array([0, 1, 1599, 1600, 7])
    told["info"]["objects_conf"] = np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32)
    write(tmp_path / "npz" / "a" / "0.npz", told)
    write_manifest(tmp_path / "m.parquet", [Item("a", "a.mp4", "train")], ManifestInfo("made"))
    for background, expected in ((0, [-1, 0, 1598]), (1600, [0, 1, 1599]), (-1, [0, 1, 1599])):
        out = tmp_path / f"shards{background}"
        assert call(tmp_path / "npz", tmp_path / "m.parquet", out, "--background", background).exit_code == 0
        (sample,) = iterate_shard(out / "train-00000.tar")
        assert sample.regions.labels[0].tolist() == expected
        assert sample.regions.attribute_labels is None


def test_again_processes_and_other_options(release: tuple[Path, Path], tmp_path: Path) -> None:
    folder, manifest = release
    out = tmp_path / "shards"
    call(folder, manifest, out)
    before = bytes_of(out)
    (out / "train-00001.json").unlink()
    result = call(folder, manifest, out, "--workers", 2)
    assert "1 shards made, 2 were there" in result.output
    assert bytes_of(out) == before
    result = call(folder, manifest, out, "--regions", 2)
    assert (result.exit_code, "made differently (regions: 3 and 2)" in result.output) == (2, True)
    result = call(folder, manifest, out, "--videos-per-shard", 1)
    assert (result.exit_code, "another plan" in result.output) == (2, True)
    assert bytes_of(out) == before


def test_one_writer_a_folder(release: tuple[Path, Path], tmp_path: Path) -> None:
    folder, manifest = release
    (tmp_path / "shards").mkdir()
    with alone_in(tmp_path / "shards"):
        result = call(folder, manifest, tmp_path / "shards")
    assert (result.exit_code, "another extraction is at work" in result.output) == (2, True)
    assert not list((tmp_path / "shards").glob("*.tar"))


def test_layouts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of npz files"):
        NpzLayout(tmp_path / "absent")
    for wrong in ("{id}/{frame}.npz", "{n}/{id}.npz", "{id}/{n}.npy", "{n}{n}.npz"):
        with pytest.raises(InputError, match="--frames-from-name"):
            NpzLayout(tmp_path, (wrong,))
    for name in ("v_0010.npz", "v_2.npz", "w_1.npz", "v_x.npz", "v_3.txt"):
        (tmp_path / name).touch()
    found = NpzLayout(tmp_path, ("{name}_{n}.npz",)).frames(Item("?", "a/v.mp4", "train"))
    assert [(number, path.name) for number, path in found] == [(2, "v_2.npz"), (10, "v_0010.npz")]


def test_an_id_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "1.npz", fields())
    (tmp_path / "npz").mkdir()
    layout = NpzLayout(tmp_path / "npz")
    for identifier in ("../secret", str(tmp_path / "secret"), "a/../../secret"):
        assert layout.frames(Item(identifier, "x.mp4", "train")) == []


class Attack:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("attacked",)


def changed(**other: Any) -> Callable[[Path], object]:
    def writes(path: Path) -> None:
        told = fields()
        info = other.pop("info_fields", {})
        told |= other
        if info:
            told["info"] = told["info"] | info
        write(path, told)

    return writes


def one(value: float) -> np.ndarray:
    features = fields()["x"]
    features[2, 3] = value
    return features


def shifted(by: float) -> np.ndarray:
    return fields()["bbox"] + np.float32(by)


def without(name: str) -> Callable[[Path], object]:
    return lambda path: write(path, {key: value for key, value in fields().items() if key != name})


def bomb(path: Path) -> None:
    """400 MB of zeros in 400 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as stream:
        for _ in range(400):
            stream.write(bytes(1 << 20))


def lying(path: Path) -> None:
    """An npy header that claims a terabyte."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "<f4", "fortran_order": False, "shape": (1 << 30, 256)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", data.getvalue() + b"\0" * 64)


def cut(path: Path) -> None:
    write(path, fields())
    path.write_bytes(path.read_bytes()[:-100])


def bit_flipped(path: Path) -> None:
    write(path, fields())
    data = bytearray(path.read_bytes())
    data[200] ^= 16
    path.write_bytes(data)


def two_of_one_name(path: Path) -> None:
    write(path, fields())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", b"")


def claims_little(path: Path) -> None:
    """The bomb again, with a directory that says it holds a thousandth."""
    bomb(path)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 400 << 10)
    path.write_bytes(data)


EVIL: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle that calls": (changed(info=np.array({"x": Attack()}, dtype=object)), "unsupported_format"),
    "a bomb": (bomb, "too_large"),
    "a bomb that lies": (claims_little, "decode_error"),
    "a header of a terabyte": (lying, "decode_error"),
    "cut": (cut, "truncated"),
    "a flipped bit": (bit_flipped, "decode_error"),
    "a text": (lambda path: path.write_text("no zip at all\n" * 9), "not_media"),
    "nothing": (lambda path: path.touch(), "empty"),
    "a folder": (lambda path: path.mkdir(), "not_media"),
    "a pipe": (lambda path: os.mkfifo(path), "not_media"),
    "two of one name": (two_of_one_name, "unsupported_format"),
    "no features": (without("x"), "unsupported_format"),
    "no info": (without("info"), "unsupported_format"),
    "an info that is a list": (changed(info=np.array([1, 2], dtype=object)), "unsupported_format"),
    "no confidence": (lambda p: write(p, fields() | {"info": {"objects_id": np.arange(5)}}), "unsupported_format"),
    "NaN": (changed(x=one(np.nan)), "decode_error"),
    "infinite": (changed(x=one(np.inf)), "decode_error"),
    "features in three dimensions": (changed(x=np.zeros((5, 4, 4), np.float32)), "decode_error"),
    "features that are objects": (changed(x=np.array([None, 1], dtype=object)), "decode_error"),
    "fewer boxes than features": (changed(bbox=fields()["bbox"][:4]), "decode_error"),
    "boxes outside": (changed(bbox=shifted(100)), "decode_error"),
    "boxes before the edge": (changed(bbox=shifted(-60)), "decode_error"),
    "boxes turned over": (changed(bbox=fields()["bbox"][:, [2, 3, 0, 1]]), "decode_error"),
    "boxes that are NaN": (changed(bbox=shifted(np.nan)), "decode_error"),
    "no size": (changed(image_h=0), "decode_error"),
    "a size that is a text": (changed(image_w="wide"), "decode_error"),
    "sure beyond measure": (changed(info_fields={"objects_conf": np.full(5, 1.5, np.float32)}), "decode_error"),
    "a class less": (changed(info_fields={"objects_id": np.arange(4)}), "decode_error"),
    "a negative class": (changed(info_fields={"objects_id": np.arange(5) - 3}), "decode_error"),
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_files_are_failures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    makes, reason = EVIL[name]
    (tmp_path / "npz" / "evil").mkdir(parents=True)
    makes(tmp_path / "npz" / "evil" / "0.npz")
    write(tmp_path / "npz" / "good" / "0.npz", fields())
    items = [Item("evil", "evil.mp4", "train"), Item("good", "good.mp4", "train")]
    write_manifest(tmp_path / "m.parquet", items, ManifestInfo("made"))
    tracemalloc.start()
    try:
        result = call(tmp_path / "npz", tmp_path / "m.parquet", tmp_path / "shards")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.exit_code == 1, result.output
    (record,) = records(tmp_path / "shards")
    assert [(f.id, f.reason.value) for f in record.failures] == [("evil", reason)], record.failures
    assert record.failures[0].detail.startswith(("0.npz: ", "a class id"))
    assert [sample.id for sample in iterate_shard(tmp_path / "shards" / record.shard)] == ["good"]
    assert not (tmp_path / "attacked").exists()
    assert peak < 16 << 20


def test_no_file_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "npz" / "a").mkdir(parents=True)
    (tmp_path / "npz" / "a" / "0.npz").write_text("text")
    write_manifest(tmp_path / "m.parquet", [Item("a", "a.mp4", "train")], ManifestInfo("made"))
    result = call(tmp_path / "npz", tmp_path / "m.parquet", tmp_path / "shards")
    assert (result.exit_code, "the first error: not_media" in result.output) == (2, True), result.output
    result = call(tmp_path / "npz", tmp_path / "m.parquet", tmp_path / "shards", "--frames-from-name", "x/{n}.npz")
    assert (result.exit_code, "looked for x/{n}.npz" in result.output) == (2, True), result.output


def test_a_frame_without_boxes_and_widths_that_differ(tmp_path: Path) -> None:
    folder = tmp_path / "npz"
    write(folder / "good" / "0.npz", fields())
    write(folder / "bare" / "0.npz", fields(boxes=0))
    write(folder / "wide" / "0.npz", fields() | {"x": np.zeros((BOXES, 9), np.float32)})
    write(folder / "sizes" / "0.npz", fields())
    write(folder / "sizes" / "1.npz", fields() | {"image_h": HEIGHT + 1})
    items = [Item(name, f"{name}.mp4", "train") for name in ("good", "bare", "wide", "sizes")]
    write_manifest(tmp_path / "m.parquet", items, ManifestInfo("made"))
    assert call(folder, tmp_path / "m.parquet", tmp_path / "out").exit_code == 1
    said = {f.id: f.reason.value for r in records(tmp_path / "out") for f in r.failures}
    assert said == {"bare": "no_regions", "wide": "decode_error", "sizes": "decode_error"}
    with pytest.raises(MediaError, match="missing"):
        read_npz_frame(tmp_path / "none.npz")
