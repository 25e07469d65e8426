"""Saving beside the training: the bytes of the step, one at a time, and no failure lost."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from torch import Tensor

from train import checkpoint
from train.checkpoint import Checkpoint, Position, Standing
from train.keeping import checkpoint_writer
from train.keeping.checkpoint_folder import Search, latest, search
from train.keeping.checkpoint_writer import CheckpointWriter, SaveError
from train.keeping.random_states import RandomStates
from train.keeping.snapshot import Snapshot

ROOT = Path(__file__).parents[3]


def state(step: int, weights: Tensor) -> Checkpoint:
    standing = Standing(position=Position(step), data="shards")
    random = (RandomStates.seeded(0, 0, step),)
    return Checkpoint(standing, {"w": weights}, {"exp_avg/w": weights.T}, random, {"w": weights * 2})


class Gate:
    """Stands before ``checkpoint.write``, so that a test says when the disk goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        write = checkpoint.write

        def gated(folder: Path, state: Checkpoint, keep: int, broken: Collection[Path]) -> Path:
            self.reached.set()
            assert self.open.wait(30)
            return write(folder, state, keep, broken)

        monkeypatch.setattr(checkpoint_writer.checkpoint, "write", gated)


def test_the_bytes_are_those_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, weights = Gate(monkeypatch), torch.arange(6.0).view(2, 3)
    with CheckpointWriter(tmp_path, keep=2) as writer:
        writer.save(state(1, weights))
        assert gate.reached.wait(30)
        assert latest(tmp_path) is None, "save returned before the disk had it"
        weights.fill_(-1)  # the next step
        gate.open.set()
        writer.wait()
        saved = checkpoint.read(latest(tmp_path))
        assert torch.equal(saved.model["w"], torch.arange(6.0).view(2, 3))
        assert torch.equal(saved.optimiser["exp_avg/w"], torch.arange(6.0).view(2, 3).T)
        writer.save(state(2, weights))
        writer.save(state(3, weights + 1))  # waits for the second, whose buffers it takes
    assert checkpoint.read(tmp_path / "step-00000002").model["w"].eq(-1).all()
    assert checkpoint.read(tmp_path / "step-00000003").model["w"].eq(0).all()
    assert not search(tmp_path).passed_over


def test_buffers_are_used_again() -> None:
    snapshot, tensors = Snapshot(), {"a": torch.zeros(5), "b": torch.zeros(3)}
    first = snapshot.take("model", tensors)
    second = snapshot.take("model", {"a": torch.ones(5), "b": torch.ones(4)})
    assert second["a"].data_ptr() == first["a"].data_ptr() != tensors["a"].data_ptr()
    assert second["a"].eq(1).all() and second["b"].shape == (4,)
    other = snapshot.take("optimiser", tensors)
    assert other["a"].data_ptr() != second["a"].data_ptr() and second["a"].eq(1).all()


@pytest.mark.parametrize("then", ["save", "close", "leave"])
def test_a_disk_that_refuses_is_told_by_the_next_call(tmp_path: Path, then: str) -> None:
    folder = tmp_path / "checkpoints"
    folder.write_text("a file where a folder should be")
    writer = CheckpointWriter(folder, keep=1)
    writer.save(state(1, torch.zeros(2, 2)))
    with pytest.raises(SaveError, match=r"checkpoints: a checkpoint could not be written: ") as caught:
        if then == "save":
            writer.save(state(2, torch.zeros(2, 2)))
        elif then == "close":
            writer.close()
        else:
            with writer:
                pass
    assert caught.value.exit_code == 1 and "\n" not in caught.value.message
    folder.unlink()
    writer.save(state(3, torch.zeros(2, 2)))  # told once; a disk that has room again is used
    writer.close()
    assert latest(folder) == folder / "step-00000003"


def test_another_error_goes_on_and_the_failure_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoints"
    folder.write_text("")
    with pytest.raises(ZeroDivisionError), CheckpointWriter(folder, keep=1) as writer:
        writer.save(state(1, torch.zeros(2, 2)))
        raise ZeroDivisionError
    assert "a checkpoint could not be written" in capsys.readouterr().err


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from train.checkpoint import Checkpoint, Position, Standing
from train.keeping.checkpoint_writer import CheckpointWriter, SaveError
from train.keeping.random_states import RandomStates

folder = Path(sys.argv[1])
def state(step, size):
    standing = Standing(position=Position(step), data="")
    return Checkpoint(standing, {"w": torch.ones(size)}, {}, (RandomStates.capture(),))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with CheckpointWriter(folder, 3) as writer:
    writer.save(state(1, 10))
    writer.wait()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # a write beyond fails as on a full disk
    writer.save(state(2, 1 << 20))
    try:
        writer.wait()
    except SaveError as error:
        print(error.message)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    writer.save(state(3, 10))
"""


def test_no_room_leaves_the_ones_before_and_takes_none(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{tmp_path}: a checkpoint could not be written: ") and done.stdout.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]
    assert search(tmp_path) == Search(tmp_path / "step-00000003", ())
