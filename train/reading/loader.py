"""Reading processes: each makes its part of every batch into shared memory, and the trainer takes the parts in order.

A process and the trainer speak through one pipe: an epoch to read, rooms that are free again; parts that are ready.
If either dies the other finds the pipe closed, so neither waits for ever. Not torch's DataLoader: that raises from a
signal handler, in the midst of whatever the trainer does, when one of its processes dies; needs a /dev/shm as large as
its batches; and has each process import torch.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import click

from data_specs.errors import InputError
from train.reading.parts import Part, PartReader, Room
from train.reading.plan import Consumer, Plan
from train.reading.shared_rooms import RoomShape, SharedRooms

ROOMS = 3
"""Parts that a process reads ahead."""
_PATIENCE_S = 1.0
"""How long processes that are no longer wanted have to end by themselves."""
_NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a terminal or a scheduler sends to all of a job: the trainer acts on them and closes the pipes."""


class ReaderDied(click.ClickException):
    """A reading process ended by itself. Exit code 1: nothing that the user gave need be wrong."""

    def __init__(self, number: int, exit_code: int | None) -> None:
        how = f"killed by signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"ended with {exit_code}"
        super().__init__(
            f"reading process {number} was {how}; out of memory? Go on with --resume, with fewer data.workers if so"
        )


class Readers:
    """The processes of one rank. They start at once and read when ``parts`` is asked for an epoch."""

    def __init__(self, plan: Plan, rank: int, ranks: int, count: int) -> None:
        atexit.register(self.close)  # before multiprocessing waits, at its own exit, for processes that wait for us
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in whatever state they are
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._rooms: list[SharedRooms] = []
        try:
            for worker in range(count):
                consumer = Consumer(rank, ranks, worker, count)
                rooms = SharedRooms(room_shape(plan, consumer), ROOMS)
                ours, theirs = context.Pipe()
                self._pipes.append(ours)
                process = context.Process(target=_read_parts, args=(plan, consumer, rooms, theirs), daemon=True)
                with _signals_held_back():
                    process.start()
                    self._processes.append(process)
                theirs.close()
                rooms.close_descriptor()
                self._rooms.append(rooms)
        except BaseException:
            self.close()
            raise

    def parts(self, epoch: int, start: int, batches: int) -> Iterator[list[tuple[Part, Room]]]:
        """The parts of batches ``start`` to ``batches`` of an epoch, in the order of the processes.

        Their rooms are used anew once the next parts are asked for. Not to be given up half-way: close it all then.

        Raises:
            InputError: what a process raised.
            ReaderDied: a process is no more.
        """
        for number in range(len(self._pipes)):
            self._send(number, (epoch, start))
        for _ in range(start, batches):
            ready = [(number, *self._receive(number)) for number in range(len(self._pipes))]
            yield [(part, self._rooms[number][room]) for number, room, part in ready]
            for number, room, _ in ready:
                self._send(number, room)

    def close(self) -> None:
        """Ends the processes, whatever they are at. Once is enough; again does nothing."""
        for pipe in self._pipes:
            pipe.close()
        until = time.monotonic() + _PATIENCE_S
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():  # in a long read or a hash; it has nothing that could be left half done
                process.kill()
                process.join()
        self._pipes, self._processes, self._rooms = [], [], []
        atexit.unregister(self.close)

    def _receive(self, number: int) -> tuple[int, Part]:
        try:
            found = self._pipes[number].recv()
        except (EOFError, OSError):
            raise self._died(number) from None
        if isinstance(found, InputError):
            raise found
        if isinstance(found, str):
            raise RuntimeError(f"reading process {number}: {found}")
        return found

    def _send(self, number: int, message: object) -> None:
        try:
            self._pipes[number].send(message)
        except OSError:
            raise self._died(number) from None

    def _died(self, number: int) -> ReaderDied:
        self._processes[number].join(_PATIENCE_S)  # its pipe is closed a moment before it is gone
        return ReaderDied(number, self._processes[number].exitcode)


def room_shape(plan: Plan, consumer: Consumer) -> RoomShape:
    """How much room a consumer needs for its part of a batch of any source."""
    first_last = [consumer.slots(size) for size in plan.batch_sizes]
    clips = max(last - first for first, last in first_last)
    return RoomShape(clips, plan.config.frames, plan.config.regions, plan.feature_dim, plan.box_dim)


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """A process that starts in here gets none of ``_NOT_OURS`` before it has come so far as to ignore them.

    Its first seconds are imports, in which a signal would end it. Ours wait as long, and come afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_OURS)
    try:
        resource_tracker.ensure_running()  # by itself the first start does this, which unblocks SIGINT and SIGTERM
        signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_OURS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_parts(plan: Plan, consumer: Consumer, rooms: SharedRooms, pipe: Connection) -> None:
    """What a process does until its pipe is closed."""
    for number in _NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_OURS)  # what waited is dropped
    free = list(range(len(rooms)))
    with contextlib.suppress(EOFError, OSError):  # the trainer has closed its end, or is no more
        reader = PartReader(plan, consumer)
        while True:
            message = pipe.recv()
            if isinstance(message, int):
                free.append(message)
                continue
            try:
                _read_epoch(reader, message, rooms, free, pipe)
            except InputError as error:
                pipe.send(error)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return
            except Exception:
                pipe.send(traceback.format_exc())


def _read_epoch(
    reader: PartReader, epoch_start: tuple[int, int], rooms: SharedRooms, free: list[int], pipe: Connection
) -> None:
    taken = -1

    def room(_slots: int) -> Room:
        nonlocal taken
        while not free:
            free.append(pipe.recv())
        taken = free.pop()
        return rooms[taken]

    for part in reader.parts(*epoch_start, room):
        pipe.send((taken, part))
