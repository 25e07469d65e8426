"""Commands in processes of their own, forked from a server that has torch loaded: quick to start, free to kill."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["train.trainer", "tensorboard", "torch.utils.tensorboard"])


@dataclass(frozen=True)
class Child:
    """A process that runs ``python -m PACKAGE ARGUMENTS``, and the file with all that it says."""

    process: BaseProcess
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def ended(self, timeout: float = 120) -> int:
        """Its exit code, once it has one."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"still running after {timeout} s; it said: {self.said()}")
        return self.process.exitcode


def start(arguments: list[str], log: Path, environment: Mapping[str, str] = {}, package: str = "train") -> Child:
    """Starts one."""
    process = _CONTEXT.Process(target=_main, args=(package, arguments, str(log), dict(environment)))
    process.start()
    return Child(process, log)


def start_ranks(
    arguments: list[str], folder: Path, size: int, own: Sequence[list[str]] | None = None, package: str = "train"
) -> list[Child]:
    """Starts as many as torchrun would, each knowing its rank; ``own`` are further arguments of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    further = own or [[]] * size
    return [
        start(
            arguments + further[rank],
            folder / f"rank-{rank}.log",
            shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            package,
        )
        for rank in range(size)
    ]


def _main(package: str, arguments: list[str], log: str, environment: dict[str, str]) -> None:
    os.environ.update(environment, HF_HUB_OFFLINE="1")
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    import torch

    torch.set_num_threads(1)
    sys.argv = [package]
    importlib.import_module(f"{package}.__main__").main(arguments, prog_name=f"python -m {package}")
