"""The stream with reading processes: the same batches, the same errors, and nobody left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_specs.errors import InputError
from data_specs.manifest import Question
from tests.signals import hearing
from tests.train.test_stream import damage, joined, seen, settings, spoil, stream
from train.reading.loader import ReaderDied, Readers
from train.reading.plan import Plan
from train.reading.sources import open_sources
from train.stream import RegionStream, ahead

SIZES = (5, 1, 50, 9, 0, 17, 2, 33)


@pytest.fixture(scope="module")
def shards(make_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    def told(number: int) -> dict[str, Any]:
        return {"questions": tuple(Question(f"{number}: {i}?", f"{i}") for i in range(1 + number % 3))}

    return make_shards(tmp_path_factory.mktemp("shards"), SIZES, told=told)


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


CHANGES: dict[str, Any] = {"batch_size": 7, "shuffle_window": 8, "lanes": 5}


def test_any_number_of_processes_gives_the_same_batches(shards: Path) -> None:
    """2 ranks of 2 processes, over shards of 1 to 50 samples, against one that reads alone; and 3 processes, of which
    some have nothing of a batch, in mid-epoch, through several rounds, with questions."""
    alone = stream(shards, **CHANGES)
    epochs = [seen(alone.epoch(epoch)) for epoch in range(2)]
    ranks = [stream(shards, rank, 2, workers=2, **CHANGES) for rank in range(2)]
    for epoch, whole in enumerate(epochs):  # the same processes read both
        assert len(whole) == sum(SIZES) // 7
        assert joined([seen(ahead(rank.epoch(epoch))) for rank in ranks]) == whole
    assert len(multiprocessing.active_children()) == 4
    for rank in ranks:
        rank.close()
    small = {"batch_size": 2, "shuffle_window": 8, "lanes": 5, "subset": 0.1, "rounds": 3, "questions": 2}
    three, alone = stream(shards, workers=3, **small), stream(shards, **small)
    batches = three.epoch(1, 2)
    first = next(batches)
    readers = {child.pid for child in multiprocessing.active_children()}
    assert seen(iter([first, *batches])) == seen(alone.epoch(1, 2)) and alone.batches_per_epoch == 3 * 5
    assert seen(three.epoch(2)) == seen(alone.epoch(2))
    assert {child.pid for child in multiprocessing.active_children()} == readers and len(readers) == 3
    three.close()


def test_given_up_half_way_they_end(shards: Path) -> None:
    source = stream(shards, workers=1, **CHANGES)
    batches = ahead(source.epoch(0))
    first = next(batches)
    assert len(multiprocessing.active_children()) == 1
    batches.close()
    assert multiprocessing.active_children() == []
    assert seen(iter([next(source.epoch(0))])) == seen(iter([first]))  # and start again when they are asked to


def test_what_they_cannot_read_is_counted_and_stops(make_shards: Callable[..., Path], tmp_path: Path) -> None:
    spoil(make_shards(tmp_path, (5, 6, 7)), "train-00002", 2)
    here, there = (stream(tmp_path, workers=workers, batch_size=9, max_corrupt=0.2) for workers in (0, 2))
    assert seen(there.epoch(0)) == seen(here.epoch(0))
    assert there.corrupt == here.corrupt and len(here.corrupt) == 2
    there.close()
    with pytest.raises(InputError, match=r"2 of 18 samples cannot be read, 1 may"):
        list(stream(tmp_path, workers=1, batch_size=9).epoch(0))
    broken = stream(tmp_path, workers=1, batch_size=9)
    damage(tmp_path / "train-00001.tar", lambda data: data[:-1] + b"x")
    with pytest.raises(InputError, match=r"^[^\n]*train-00001\.tar: not the tar that was committed[^\n]*$"):
        list(broken.epoch(0))


def test_one_that_is_killed_is_named(shards: Path) -> None:
    source = stream(shards, workers=2, **CHANGES)
    batches = source.epoch(0)
    next(batches)
    os.kill(max(child.pid for child in multiprocessing.active_children()), signal.SIGKILL)
    with pytest.raises(ReaderDied, match=r"reading process 1 was killed by signal 9"):
        list(batches)


PROGRAM = """
if __name__ == "__main__":
    import multiprocessing, sys, time
    from train.config import DataConfig
    from train.stream import RegionStream, ahead

    batches = ahead(RegionStream(DataConfig(shards=sys.argv[1:2], batch_size=7, workers=2), 7).epoch(0))
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_they_end_with_the_trainer(shards: Path, tmp_path: Path, how: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = Path(__file__).parents[2]
    trainer = subprocess.Popen(
        hearing([sys.executable, str(program), str(shards)]),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    try:
        children = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(children) == 2
        if how == "interrupted":
            os.killpg(trainer.pid, signal.SIGINT)  # as a terminal does it: to all of them
        elif how == "killed":
            trainer.kill()
        code = trainer.wait(30)
        assert code == {"interrupted": -signal.SIGINT, "killed": -signal.SIGKILL}[how]
        deadline = time.monotonic() + 30
        while not all(map(gone, children)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert all(map(gone, children))
    finally:
        trainer.kill()
        trainer.wait()
        trainer.stdout.close()


def test_signals_to_the_whole_job_leave_them_reading(shards: Path) -> None:
    source = stream(shards, workers=1, **CHANGES)
    batches = source.epoch(0)
    first = next(batches)
    (child,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(child.pid, number)
    assert seen(iter([first, *batches])) == seen(stream(shards, **CHANGES).epoch(0))
    source.close()


def test_signals_before_they_have_started_leave_them_reading(shards: Path) -> None:
    """A child imports for a second or more before it can say that a signal is not its own."""
    config = settings(shards, **CHANGES)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    readers = Readers(Plan(config, 7, open_sources(config)), 0, 1, 1)
    try:
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        (child,) = multiprocessing.active_children()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(child.pid, number)
        ((part, _),) = next(readers.parts(0, 0, 1))
        assert len(part) == config.batch_size
    finally:
        readers.close()


def test_a_stream_that_is_dropped_ends_its_processes(shards: Path) -> None:
    source: RegionStream | None = RegionStream(settings(shards, workers=1, **CHANGES), 7)
    assert len(list(source.epoch(0))) == sum(SIZES) // 7
    assert len(multiprocessing.active_children()) == 1
    source = None
    assert multiprocessing.active_children() == []
