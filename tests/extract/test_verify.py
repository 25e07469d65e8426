"""Every fault of a folder is found and named; nothing is believed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from data_specs.errors import InputError
from data_specs.samples import encode_sample
from data_specs.shards import Provenance, file_sha256, read_record, record_path
from extract import shard_check
from extract import verify as module
from extract.shard_check import Problem, check_shard
from extract.verify import Verified, verify
from tests.extract import made
from tests.signals import hearing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "shards"
    made.shard(out, "train-00000", ["a", "b", "c"], [("d", "timeout")])
    made.shard(out, "train-00001", ["e"])
    made.shard(out, "test-00000", ["f"])
    made.shard(out, "train-r1-00000", ["d"])
    made.index(out)
    return out


def look(folder: Path) -> Verified:
    return verify(folder, 2, lambda: None)


def only(folder: Path) -> Problem:
    (problem,) = look(folder).problems
    return problem


def rewrite(folder: Path, name: str, members: list[tuple[str, bytes]], **recorded: object) -> None:
    """A tar with these members and a record that fits it, as one who means harm would write them."""
    import io
    import tarfile

    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        for member, data in members:
            header = tarfile.TarInfo(member)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    path = folder / f"{name}.tar"
    told = read_record(record_path(folder, name)).model_dump(mode="json")
    told |= {"sha256": file_sha256(path), "bytes": path.stat().st_size, **recorded}
    record_path(folder, name).write_text(json.dumps(told))


def test_a_whole_folder(folder: Path) -> None:
    counted: list[None] = []
    found = verify(folder, 2, lambda: counted.append(None))
    assert (found.shards, found.samples, found.failures, found.problems) == (4, 6, 1, ())
    assert found.regions == 6 * made.FRAMES * made.REGIONS
    assert len(counted) == 4
    with pytest.raises(InputError, match="no commit record"):
        look(folder / "nothing")


def test_processes_find_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "train-00001.tar").write_bytes(b"x" * 10240)
    here = look(folder)
    monkeypatch.setattr(module, "_HERE_BELOW_BYTES", 0)
    assert look(folder) == here
    assert "train-00001.tar: SHA-256 is not the recorded one" in map(str, here.problems)


def test_record_without_tar_and_tar_without_record(folder: Path) -> None:
    (folder / "test-00000.tar").unlink()
    assert "test-00000.tar: is absent, its commit record is there" in map(str, look(folder).problems)
    (folder / "train-00001.json").unlink()
    said = [str(problem) for problem in look(folder).problems]
    assert "train-00001.tar: has no valid commit record" in said
    assert any("does not list" in line for line in said)


def test_leftovers_and_broken_records(folder: Path) -> None:
    (folder / ".train-00002.tar.0123456789ab.partial").write_bytes(b"half")
    assert "left over" in only(folder).problem
    (folder / ".train-00002.tar.0123456789ab.partial").unlink()
    (folder / "val-00000.json").write_text("{")
    assert (only(folder).file, "not a commit record" in only(folder).problem) == ("val-00000.json", True)


def test_a_record_too_large_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_check, "MAX_RECORD_BYTES", 10_000)
    with (folder / "val-00000.json").open("wb") as stream:
        stream.truncate(20_000)
    assert only(folder) == Problem("val-00000.json", "more than 10000 bytes")


def test_bytes_that_changed(folder: Path) -> None:
    tar = folder / "train-00000.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    assert "train-00000.tar: SHA-256 is not the recorded one" in map(str, look(folder).problems)
    tar.write_bytes(data[:-512])
    assert "are recorded" in only(folder).problem


def test_a_bad_sample_is_named_and_hides_no_other(folder: Path) -> None:
    members = [encode_sample(made.sample(name)) for name in "abc"]
    first, _, last = (list(sample.items()) for sample in members)
    arrays = made.sample("b").regions.arrays()
    arrays["boxes"] = arrays["boxes"] + np.float32(2)
    broken = [("b.regions.safetensors", save(arrays)), ("b.json", members[1]["b.json"])]
    wrong = [(first[0]), ("a.json", first[1][1].replace(b'"train"', b'"trian"'))]
    rewrite(folder, "train-00000", [*wrong, *broken, *last])
    made.index(folder)
    found = [(p.file, p.sample, p.field) for p in look(folder).problems if p.sample]
    assert found == [("train-00000.tar", "a", "split"), ("train-00000.tar", "b", "boxes")]
    assert "train-00000.tar: 1 samples, 3 are recorded" in map(str, look(folder).problems)


def test_another_shape_than_asked_for(folder: Path) -> None:
    told = made.provenance(regions=4).model_dump()
    rewrite(folder, "test-00000", list(encode_sample(made.sample("f", "test")).items()), provenance=told)
    found = {p.field: p.problem for p in look(folder).problems}
    assert "[2, 3, 8] are not the [2, 4, 8]" in found["features"]
    assert any("made differently from" in p.problem for p in look(folder).problems)


def test_a_member_that_claims_much_takes_no_memory(folder: Path) -> None:
    size = 64 << 20
    rewrite(folder, "test-00000", [("f.regions.safetensors", bytes(size)), ("f.json", b"{}")])
    tracemalloc.start()
    try:
        checked = check_shard(record_path(folder, "test-00000"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"{size} bytes, at most" in checked.problems[0].problem
    assert peak < size / 8


def test_ids_that_stand_twice(folder: Path) -> None:
    made.shard(folder, "train-00002", ["x", "b"])
    made.shard(folder, "val-00000", ["b"])
    made.index(folder)
    problem = only(folder)
    assert problem.problem == "id 'b' stands more than once: train-00000.tar, train-00002.tar, val-00000.tar"


def test_mixed_provenance_and_an_old_index(folder: Path) -> None:
    made.shard(folder, "val-00000", ["v"], detector="another")
    said = [str(problem) for problem in look(folder).problems]
    assert "val-00000.tar: made differently from test-00000.tar: detector: 'made' and 'another'" in said
    assert "index.json: does not list the committed shards (val-00000.tar); run extract again to remake it" in said
    (folder / "index.json").unlink()
    assert any("no index" in str(problem) for problem in look(folder).problems)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGKILL of the parent"])
def test_stopping_leaves_no_process(how: str, tmp_path: Path) -> None:
    """Links to one shard keep two processes at work for long; they are gone at once, and Ctrl-C says one line."""
    folder = tmp_path / "shards"
    made.shard(folder, "train-00000", [f"v{n}" for n in range(200)])
    text = record_path(folder, "train-00000").read_text()
    for number in range(1, 4000):
        (folder / f"train-{number:05d}.json").write_text(text.replace("train-00000", f"train-{number:05d}"))
        os.link(folder / "train-00000.tar", folder / f"train-{number:05d}.tar")
    mark = f"REGIONVLP_TEST={tmp_path}"
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        hearing([sys.executable, "-m", "extract", "verify", str(folder), "--workers", "2"]),
        env={**os.environ, name: value},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(marked(mark)) == 4 or process.poll() is not None)  # with Python's resource tracker
    assert process.poll() is None
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all of them
    else:
        process.kill()
    _, stderr = process.communicate(timeout=60)
    if how == "Ctrl-C":
        assert process.returncode == 1
        assert stderr.strip().splitlines()[-1] == f"Error: verify of {folder} was stopped; nothing was changed"
        assert "Traceback" not in stderr
    wait_until(lambda: not marked(mark))
    assert marked(mark) == []


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)


def marked(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found


def test_provenance_bounds_what_is_read() -> None:
    made_with: Provenance = made.provenance(regions=10**9, frames=4096)
    assert shard_check._most_bytes(made_with) == shard_check.MAX_MEMBER_BYTES
