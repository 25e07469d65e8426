"""The Ray Train launch: one rank a worker, restarted from the last checkpoint when something dies. The only Ray import.

Workers run what a process alone runs, ``train.trainer.train``, and everything that must outlive them is in the run
folder. So the driver needs no channel to them but two files there: ``.stop``, which ends a run after a save, and the
journal, which says when an epoch is over. A restart is a new group of workers that resumes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from types import FrameType
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import click
import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.config import LoggingConfig
from ray.train.v2.api.exceptions import PreemptionError, TrainingFailedError, WorkerGroupError
from transformers.utils.logging import disable_progress_bar

from data_specs.errors import InputError
from train.config import TrainConfig
from train.keeping.checkpoint_folder import latest
from train.run.finiteness import NonFiniteError
from train.run.interruption import STOP_NAME
from train.run.journal import METRICS_NAME
from train.run.run_folder import CHECKPOINTS, CONFIG_NAME, check_run
from train.trainer import Outcome, train

MAX_FAILURES = 3
_OBJECT_STORE_BYTES = 256 << 20  # workers read their shards themselves; only figures travel
_POLL_S = 0.5
_TAIL_BYTES = 1 << 16
_LONGEST_CAUSE = 200
_SETTLING_S = 10.0
_TIMEOUT_S = 1800  # the longest that ranks wait for one another, as while one validates

log = logging.getLogger(__name__)


class RefusedError(Exception):
    """What a worker found wrong in a way that another try does not mend: a line for the user and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, exit_code)  # all of it, so that it crosses processes whole
        self.message, self.exit_code = message, exit_code


@dataclass(frozen=True)
class Size:
    """How many workers: at most ``most``, and when the cluster has less room, no fewer than ``least``."""

    most: int
    least: int
    cpus: int
    gpus: int

    @property
    def elastic(self) -> bool:
        return self.least < self.most

    def scaling(self, workers: int) -> ScalingConfig:
        """A group of so many. The size is chosen here: Ray's elasticity resizes a healthy group at any moment, which
        loses what it learnt since its checkpoint, and counts as free what other work holds."""
        return ScalingConfig(
            num_workers=workers,
            use_gpu=bool(self.gpus),
            resources_per_worker={"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {}),
        )

    def room(self) -> int:
        """How many more workers the cluster has room for now."""
        free = ray.available_resources()
        wanted = [("CPU", self.cpus), ("GPU", self.gpus)]
        return min(int(free.get(kind, 0) // each) for kind, each in wanted if each)


def train_on_cluster(
    config: TrainConfig,
    resume: bool,
    workers: int,
    address: str | None,
    least: int | None = None,
    max_failures: int = MAX_FAILURES,
) -> Outcome:
    """Trains with ``workers`` ranks on a local Ray cluster, or on the one at ``address``; see ``trainer.train``.

    least: with fewer places than ``workers`` the run starts, or goes on after a failure, with at least so many, and
    takes what the cluster has more at the end of an epoch; None: always with ``workers``.
    max_failures: restarts between which the run came to no new checkpoint.

    Raises:
        InputError: the cluster cannot be reached or has no room, or what ``trainer.train`` refuses.
        click.ClickException: the run diverged, or failed more often than ``max_failures``.
    """
    if least is not None and not 1 <= least <= workers:
        raise InputError(f"--min-workers {least}: choose from 1 to --workers, which is {workers}")
    if not resume:
        check_run(config, resume)  # of a run that stands, its workers know more: their devices
    with _cluster(config, workers, address):
        size = _size(config, workers, least or workers, address)
        with _storage(config.out) as storage, _Stop(config.out) as stop:
            return _Run(config, size, storage, stop).to_its_end(resume, max_failures)


class _Run:
    """One run, over as many groups of workers as it takes."""

    def __init__(self, config: TrainConfig, size: Size, storage: Path, stop: _Stop) -> None:
        self._config, self._size, self._storage, self._stop = config, size, storage, stop
        self._grew = False

    def to_its_end(self, resume: bool, max_failures: int) -> Outcome:
        """Until it is done, told to stop, or has failed too often; see ``train_on_cluster``."""
        failures, reached = 0, self._reached()
        while True:
            try:
                outcome = self._attempt(resume)
            except (TrainingFailedError, ray.exceptions.RayError) as error:
                _raise_refusal(error)
                if self._stop.asked:
                    raise click.ClickException(f"workers failed while stopping: {_cause(error)}") from None
                before, reached = reached, self._reached()
                failures = 1 if reached != before else failures + (not isinstance(error, PreemptionError))
                if failures > max_failures:
                    log.error("%s", error)
                    raise click.ClickException(
                        f"workers failed {failures} times since the last checkpoint, last of: {_cause(error)};"
                        " go on with the same command and --resume"
                    ) from None
                log.warning("workers failed and start again from %s: %s", reached or "the beginning", _cause(error))
            else:
                if outcome.model is not None or self._stop.asked or not self._grew:
                    return replace(outcome, interrupted=self._stop.interrupted)
                log.warning("the cluster has room for more workers; going on from step %d", outcome.steps)
            resume = True

    def _attempt(self, resume: bool) -> Outcome:
        """One group of workers, from its start to its end. Signals are heard meanwhile, so it has a thread."""
        workers = self._places()
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "config": self._config.model_dump_json(),
                "resume": resume,
                "folder": str(Path.cwd()),
            },
            torch_config=TorchConfig("nccl" if self._size.gpus else "gloo", timeout_s=_TIMEOUT_S),
            scaling_config=self._size.scaling(workers),
            run_config=RunConfig(
                name="run",
                storage_path=str(self._storage),
                failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),  # the next group is ours
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )
        fit = _Fit(trainer)
        self._grew, epoch = False, None
        while fit.is_alive():
            fit.join(_POLL_S)
            now = _epoch(self._config.out)
            if workers < self._size.most and None not in (epoch, now) and epoch != now and self._size.room():
                self._grew = True
            epoch = epoch if now is None else now
            if self._stop.asked or self._grew:
                self._stop.tell()
        return fit.outcome()

    def _places(self) -> int:
        """As many workers as there is room for; those that have just ended may take a while to make it."""
        if not self._size.elastic:
            return self._size.most
        deadline = time.monotonic() + _SETTLING_S
        while (room := self._size.room()) < self._size.most and time.monotonic() < deadline and not self._stop.asked:
            time.sleep(_POLL_S)
        return min(max(room, self._size.least), self._size.most)

    def _reached(self) -> Path | None:
        return latest(self._config.out / CHECKPOINTS)


class _Fit(threading.Thread):
    """Ray Train at work, in a thread: in the main one it would put its own handler of Ctrl-C, which saves nothing."""

    def __init__(self, trainer: TorchTrainer) -> None:
        super().__init__(name="ray-train", daemon=True)
        self._trainer = trainer
        self._error: BaseException | None = None
        self._outcome: Outcome | None = None
        self.start()

    def run(self) -> None:
        try:
            self._outcome = self._trainer.fit().return_value
        except BaseException as error:  # raised again by who waits
            self._error = error

    def outcome(self) -> Outcome:
        """What the first rank returned."""
        if self._error is not None:
            raise self._error
        assert self._outcome is not None
        return self._outcome


class _Stop:
    """Ctrl-C and SIGTERM, while used as a context; Ctrl-C pressed again stops at once, without a save."""

    def __init__(self, run: Path) -> None:
        self.asked = self.interrupted = False
        self._run = run
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():  # only that one may handle signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        (self._run / STOP_NAME).unlink(missing_ok=True)

    def tell(self) -> None:
        """Tells the ranks, as soon as there is a run: one that begins removes what an earlier one was told."""
        if (self._run / CONFIG_NAME).exists():
            (self._run / STOP_NAME).touch()

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        self.interrupted |= number == signal.SIGINT


def _work(given: dict[str, Any]) -> Outcome:
    """One rank, in a Ray worker."""
    disable_progress_bar()
    try:
        os.chdir(given["folder"])  # paths mean what they mean to the driver
    except OSError as error:
        raise RefusedError(
            f"{given['folder']}: not on node {os.uname().nodename} ({error.strerror}); start from a folder that all"
            " nodes share",
            InputError.exit_code,
        ) from None
    try:
        return train(TrainConfig.model_validate_json(given["config"]), given["resume"])
    except (InputError, NonFiniteError) as error:  # others, as of a full disk or a killed reader, may pass
        raise RefusedError(error.message, error.exit_code) from None


def _raise_refusal(error: Exception) -> None:
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    for failure in failures:
        refusal = getattr(failure, "_base_exc", failure)
        if isinstance(refusal, RefusedError):
            if refusal.exit_code == InputError.exit_code:
                raise InputError(refusal.message) from None
            raise click.ClickException(refusal.message) from None


def _epoch(run: Path) -> int | None:
    """The epoch of the journal's last whole line, if it is one of a step."""
    try:
        with (run / METRICS_NAME).open("rb") as lines:
            lines.seek(max(lines.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            return int(json.loads(lines.read().rpartition(b"\n")[0].rpartition(b"\n")[2])["epoch"])
    except (OSError, ValueError, KeyError, TypeError):  # not begun, or not yet whole
        return None


def _cause(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[-1], _LONGEST_CAUSE, placeholder=" ...") if lines else type(error).__name__


def _size(config: TrainConfig, workers: int, least: int, address: str | None) -> Size:
    """What each worker wants.

    Raises:
        InputError: a cluster of our own has no room for that many, so that they would wait for ever.
    """
    there = ray.cluster_resources()
    on_gpus = config.device.startswith("cuda") or (config.device == "auto" and there.get("GPU", 0) > 0)
    size = Size(workers, least, _cpus(config), int(on_gpus))
    for kind, each in (("CPU", size.cpus), ("GPU", size.gpus)):
        has = there.get(kind, 0)
        if least * each <= has:
            continue
        said = f"{least} workers of {each} {kind} each want more than the {has:g} {kind} that Ray has"
        if address is None:
            raise InputError(f"{said}; use fewer --workers")
        log.warning("%s now; the run waits for them", said)
    return size


def _cpus(config: TrainConfig) -> int:
    return (config.threads or 1) + config.data.workers


@contextmanager
def _storage(run: Path) -> Iterator[Path]:
    """Ray's own notes, on the disk that all nodes share, and not in the run folder."""
    folder = run.absolute().parent / f".{run.name}.ray"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}; choose another with --set out=FOLDER") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cluster(config: TrainConfig, workers: int, address: str | None) -> Iterator[None]:
    """Ray for the length of the block: what runs in this process, the cluster at ``address``, else one of our own."""
    if ray.is_initialized():
        yield
        return
    own = {
        "address": "local",  # said, because RAY_ADDRESS would stand in for nothing
        "num_cpus": workers * _cpus(config),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
    }
    if config.device == "cpu":
        own["num_gpus"] = 0  # else Ray counts them
    try:
        ray.init(**({"address": address} if address else own), logging_level=logging.ERROR, log_to_driver=True)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"no Ray cluster at {address or 'this machine'}: {_cause(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()
