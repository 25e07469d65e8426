"""Does pieces of work side by side on a few cores, in processes of their own, and goes on where it was stopped.

What is done is recorded last, with the key of everything that it depends on: a piece whose record has the same key, and
whose result is there, is not done again. What was begun with the same key goes on (each command knows how); what was
made of anything else is removed first. On request what is done counts, whatever code made it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from data_specs import atomic
from data_specs.configuration import Settings
from pipelines.proof.layout import Layout
from pipelines.proof.work import Work
from pipelines.runner import Process, start

_POLL_S, _TAIL = 0.1, 15


class Stamp(Settings):
    """What is recorded of a piece of work. key: of everything that it depends on, empty where results of other code may
    be among that; inputs: the same without the code. seconds: of the clock, over all tries; cores: that it had."""

    key: str
    inputs: str
    done: bool
    seconds: float
    cores: int
    command: str


class WorkFailed(click.ClickException):
    """A piece of work ended badly; the end of what it said is in the message."""


@dataclass
class Scheduler:
    """at: where results and records lie. cores: how many there are. with_code: new code makes results old."""

    at: Layout
    cores: int
    with_code: bool = True
    _running: dict[str, tuple[Work, Process, float, float]] = field(default_factory=dict)

    def run(self, works: Sequence[Work]) -> int:
        """Does all of them; returns how many had to be done.

        Raises:
            WorkFailed: one of them ended badly; those that ran beside it were stopped.
        """
        waiting = {work.name: work for work in works if not self.is_done(work)}
        count, done = len(waiting), len(works) - len(waiting)
        with self._bar(done, len(works)) as (bar, task):
            try:
                while waiting or self._running:
                    self._launch(waiting)
                    finished = self._reap()
                    for name, seconds in finished:
                        done += 1
                        bar.update(task, completed=done)
                        if not bar.console.is_terminal:
                            click.echo(f"{done}/{len(works)} {name} ({seconds:.0f} s)", err=True)
                    bar.update(task, description=", ".join(self._running) or "done")
                    if not finished:
                        time.sleep(_POLL_S)
            finally:
                self._stop()
        return count

    def is_done(self, work: Work) -> bool:
        """Whether its result is there, made of what it would be made of now."""
        stamp = read_stamp(self.at, work)
        return stamp is not None and stamp.done and self._is_of(stamp, work) and work.out.exists()

    def _is_of(self, stamp: Stamp, work: Work) -> bool:
        return stamp.key == work.key() if self.with_code else stamp.inputs == work.key(with_code=False)

    def _launch(self, waiting: dict[str, Work]) -> None:
        for name, work in list(waiting.items()):
            free = self.cores - sum(running.cores for running, *_ in self._running.values())
            ready = all(before.name not in waiting and before.name not in self._running for before in work.after)
            if ready and min(work.cores, self.cores) <= free:
                del waiting[name]
                self._begin(work)

    def _begin(self, work: Work) -> None:
        stamp = read_stamp(self.at, work)
        goes_on = stamp is not None and self._is_of(stamp, work) and (stamp.done or stamp.key in ("", work.key()))
        if not goes_on:
            _remove(work.out)
        before = stamp.seconds if stamp is not None and goes_on and not stamp.done else 0.0
        self._record(work, done=False, seconds=before)
        if work.config_path is not None:
            atomic.write_text(work.config_path, work.config_text)
        threads = str(max(1, work.cores // work.ranks))
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
        log = self.at.log(work.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        process = start(work.command, ranks=work.ranks, log=log, environment=environment)
        self._running[work.name] = (work, process, time.monotonic(), before)

    def _reap(self) -> list[tuple[str, float]]:
        """Names of those that ended well just now, and the seconds that they took, over all tries."""
        finished = []
        for name, (work, process, since, before) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            seconds = before + time.monotonic() - since
            del self._running[name]
            if code != 0 or not work.out.exists():
                self._record(work, done=False, seconds=seconds)
                said = self.at.log(name).read_text(errors="replace").splitlines()[-_TAIL:]
                raise WorkFailed(
                    f"{name} ended with exit code {code}; it was: {work.shown()}\n"
                    + "\n".join(said)
                    + f"\n(all of it: {self.at.log(name)}; the same command goes on from here)"
                )
            self._record(work, done=True, seconds=seconds)
            finished.append((name, seconds))
        return finished

    def _record(self, work: Work, done: bool, seconds: float) -> None:
        stamp = Stamp(
            key=work.key() if self.with_code else "", inputs=work.key(with_code=False), done=done,
            seconds=round(seconds, 2), cores=min(work.cores, self.cores), command=" ".join(work.command),
        )  # fmt: skip
        atomic.write_text(self.at.stamp(work.name), stamp.model_dump_json(indent=1) + "\n")

    def _stop(self) -> None:
        """Asks what still runs to save and end, and records how long it took."""
        for _, process, _, _ in self._running.values():
            process.terminate()
        for work, process, since, before in self._running.values():
            process.wait()
            self._record(work, done=False, seconds=before + time.monotonic() - since)
        self._running.clear()

    @contextmanager
    def _bar(self, done: int, total: int) -> Iterator[tuple[Progress, TaskID]]:
        columns = (MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=Console(stderr=True)) as bar:
            yield bar, bar.add_task("", total=total, completed=done)


def read_stamp(at: Layout, work: Work) -> Stamp | None:
    """What is recorded of a piece of work; None where it was never begun, or the record is not one of ours."""
    path = at.stamp(work.name)
    try:
        return Stamp.model_validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError:
        return None


def core_minutes(at: Layout, works: Sequence[Work]) -> dict[str, float]:
    """What the works took, by the package that did them: minutes of the clock times cores, over all tries."""
    spent: dict[str, float] = {}
    for work in works:
        stamp = read_stamp(at, work)
        if stamp is not None:
            package = work.command[0]
            spent[package] = spent.get(package, 0.0) + stamp.seconds * stamp.cores / 60
    return spent


def _remove(out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink(missing_ok=True)
