"""Ranks: the processes that train one model together, started by torchrun, by Ray Train, or one alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import click
import torch
from torch import distributed

from data_specs.errors import InputError
from train.device import choose_device

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=30)  # the longest that ranks wait for one another, as while one validates


@dataclass(frozen=True)
class Ranks:
    """This process among ``size``; ``local`` is its number on its machine, and so its device's. Alone: 0 of 1."""

    rank: int = 0
    size: int = 1
    local: int = 0
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes the run folder and talks to people."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Every rank's ``value`` (anything that JSON holds), in order of rank, on each of them."""
        if self.size == 1:
            return [value]
        data = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        distributed.all_gather(sizes, torch.tensor([len(data)]), group=self.group)
        most = max(int(size) for size in sizes)
        found = [torch.zeros(most, dtype=torch.uint8) for _ in range(self.size)]
        padded = torch.nn.functional.pad(data, (0, most - len(data)))
        distributed.all_gather(found, padded, group=self.group)
        return [json.loads(bytes(row[: int(size)].tolist())) for row, size in zip(found, sizes, strict=True)]

    def gather_numbers(self, numbers: Sequence[float]) -> list[list[float]]:
        """As ``gather`` does, for as many numbers on every rank: one small message, fit for every step."""
        own = torch.tensor(numbers, dtype=torch.float64)
        if self.size == 1:
            return [own.tolist()]
        found = [torch.zeros_like(own) for _ in range(self.size)]
        distributed.all_gather(found, own, group=self.group)
        return [row.tolist() for row in found]

    def to_first(self, own: torch.Tensor) -> list[torch.Tensor]:
        """Every rank's tensor (CPU), in order of rank, on the first rank; elsewhere none. They have one type, and one
        shape but for the first dimension."""
        if self.size == 1:
            return [own]
        lengths = [int(length) for (length,) in self.gather_numbers([len(own)])]
        if not self.is_first:
            if own.numel():
                distributed.send(own.contiguous(), 0, group=self.group)
            return []
        found = [own] + [own.new_empty((length, *own.shape[1:])) for length in lengths[1:]]
        for rank, tensor in enumerate(found):
            if rank and tensor.numel():
                distributed.recv(tensor, rank, group=self.group)
        return found

    def agree(self, work: Callable[[], T]) -> T:
        """What ``work``, in which ranks exchange nothing, gives; on all ranks, or an error on all.

        Raises:
            click.ClickException: it was refused here (the same error), or on another rank (with that one's exit code).
        """
        refusal, done = None, None
        try:
            done = work()
        except click.ClickException as error:
            refusal = error
        found = self.gather(None if refusal is None else [refusal.message, refusal.exit_code])
        if refusal is not None:
            raise refusal
        for rank, message, code in ((rank, *said) for rank, said in enumerate(found) if said is not None):
            elsewhere = click.ClickException(f"rank {rank}: {message}")
            elsewhere.exit_code = code
            raise elsewhere
        return done  # type: ignore[return-value]

    def any(self, flag: bool) -> bool:
        """Whether it is true on any rank; the same answer on each."""
        if self.size == 1:
            return flag
        found = torch.tensor([int(flag)])
        distributed.all_reduce(found, distributed.ReduceOp.MAX, group=self.group)
        return bool(found)


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Joins the others that the environment names (``torchrun``), or the group that stands already (Ray Train), to
    learn on ``device`` as the configuration names it.

    Raises:
        InputError: a device that this rank does not have, or one that all ranks would share.
    """
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if not distributed.is_initialized() and alone:
        yield Ranks()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    own = choose_device(device, local)
    if device.startswith("cuda:"):
        raise InputError(f"device: {device!r} would be that of every rank; write cuda: each takes its own")
    ours = not distributed.is_initialized()
    if ours:
        if own.type == "cuda":
            torch.cuda.set_device(own)
        distributed.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=_TIMEOUT)
    beside = None if distributed.get_backend() == "gloo" else distributed.new_group(backend="gloo")
    yield Ranks(distributed.get_rank(), distributed.get_world_size(), local, beside)
    if ours:  # after an error the others may be in the middle of an exchange, for which this would wait
        distributed.destroy_process_group()
