"""Saves checkpoints beside the training: a copy in memory at once, the disk in a thread."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from train import checkpoint
from train.checkpoint import Checkpoint
from train.keeping.save_error import SaveError
from train.keeping.snapshot import Snapshot


class CheckpointWriter:
    """Writes checkpoints into ``folder``, the newest ``keep`` stay; those that are ``broken`` are none of
    them. Use as a context manager, or call ``close``.

    One is written at a time, and one snapshot is held: the next save waits for the last. What went wrong meanwhile is
    raised by the next ``save`` or ``close``. The thread is no daemon: a process that ends lets it finish, and one that
    is killed leaves a folder without a record, which counts for nothing.
    """

    def __init__(self, folder: Path, keep: int, broken: Collection[Path] = ()) -> None:
        self.folder, self.keep, self.broken = folder, keep, broken
        self._snapshot = Snapshot()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except SaveError as failure:
            if error is None:
                raise
            failure.show()  # the other error goes on, this one is not lost

    def save(self, state: Checkpoint) -> None:
        """Takes ``state`` as it is now and returns; its tensors may change at once.

        Raises:
            SaveError: the checkpoint before could not be written.
        """
        self.wait()
        take = self._snapshot.take
        copied = replace(
            state,
            model=take("model", state.model),
            optimiser=take("optimiser", state.optimiser),
            ema=take("ema", state.ema),
        )
        self._thread = threading.Thread(target=self._write, args=(copied,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until the last save is on disk.

        Raises:
            SaveError: it could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if isinstance(failure, OSError):
            raise SaveError(
                f"{self.folder}: a checkpoint could not be written: {failure.strerror or failure}; the ones before are"
                " whole. Make room, then go on with the same command and --resume"
            ) from failure
        if failure is not None:
            raise failure

    def close(self) -> None:
        """The same; to be called at the end."""
        self.wait()

    def _write(self, state: Checkpoint) -> None:
        try:
            self._snapshot.wait()
            checkpoint.write(self.folder, state, self.keep, self.broken)
        except BaseException as error:  # raised by the thread that saves next
            self._failure = error
