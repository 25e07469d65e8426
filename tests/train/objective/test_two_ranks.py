"""Two processes of different sizes against one big batch, with gloo: both losses, both forms, chunks and dropout."""

from __future__ import annotations

from pathlib import Path

from torch import multiprocessing

from tests.train.objective import two_ranks


def test_two_ranks_learn_what_one_big_batch_teaches(tmp_path: Path) -> None:
    multiprocessing.spawn(two_ranks.work, (f"file://{tmp_path / 'rendezvous'}",), nprocs=len(two_ranks.SIZES))
