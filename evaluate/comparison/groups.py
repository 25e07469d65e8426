"""Runs that may be compared: of one task and protocol, on the same splits, with the same things missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.comparison.runs import AnyResult, Run
from evaluate.result import RetrievalResult, counted


@dataclass(frozen=True)
class Key:
    """What must be the same. counts: what, how many took part, how many were planned. absent: ids of missing videos."""

    task: str
    protocol: str
    splits: tuple[str, ...]
    queries: str
    counts: tuple[tuple[str, int, int], ...]
    absent: frozenset[str]

    @property
    def title(self) -> str:
        return f"{self.task.replace('-', ' ')} on {self.protocol}"

    @property
    def counted(self) -> str:
        """``1000 queries, 992/1000 videos``."""
        return ", ".join(f"{counted(number, planned)} {what}" for what, number, planned in self.counts)


@dataclass(frozen=True, eq=False)
class Group:
    """Runs with one key, in the order that they were given in."""

    key: Key
    runs: tuple[Run, ...]

    @property
    def complete(self) -> bool:
        return not self.key.absent


def grouped(runs: Sequence[Run]) -> tuple[Group, ...]:
    """The runs by what they measured, groups and runs in the order of first appearance."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(_key(run), []).append(run)
    return tuple(Group(key, tuple(members)) for key, members in groups.items())


def apart(key: Key, other: Key) -> list[str]:
    """Why runs of ``key`` are not compared with those of ``other``, in words."""
    if key.task != other.task:
        return [f"another task than {other.title}"]
    reasons = []
    if key.protocol != other.protocol:
        reasons.append(f"protocol {key.protocol}, not {other.protocol}")
    if key.splits != other.splits:
        reasons.append(f"split {'+'.join(key.splits)}, not {'+'.join(other.splits)}")
    if key.queries != other.queries:
        reasons.append(f"{key.queries} captions ask, not {other.queries}")
    if reasons:
        return reasons
    if key.absent != other.absent:
        return [f"{key.counted}, not {other.counted}" if key.counts != other.counts else "other videos are missing"]
    return [f"{key.counted}, not {other.counted}"]


def differences(runs: Sequence[Run]) -> list[str]:
    """Everything but frames and regions that the results state and that is not the same in all of the runs."""
    return [what for what, of in _FACTS.items() if len({json.dumps(of(run.result)) for run in runs}) > 1]


def _key(run: Run) -> Key:
    result = run.result
    counts = [("videos", result.videos, result.videos_planned)]
    if isinstance(result, RetrievalResult):
        forth, back = result.text_to_video, result.video_to_text
        counts = [("queries", forth.queries, forth.queries_planned), *counts]
        if (forth.candidates, back.queries) != (result.videos, result.videos):
            counts.append(("videos that ask", back.queries, back.queries_planned))
    else:
        counts = [("questions", result.questions, result.questions_planned), *counts]
    queries = result.queries_rule if isinstance(result, RetrievalResult) else ""
    return Key(result.task, result.protocol, result.splits, queries, tuple(counts), _absent(run))


def _absent(run: Run) -> frozenset[str]:
    """Ids of the missing videos, from the list beside the result; if that is not there, it is like no other run."""
    if not run.result.missing:
        return frozenset()
    if run.result.missing_list is None:
        return frozenset({f"not listed by {run.path}"})
    listed = run.path.with_name(run.result.missing_list)
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
        ids = frozenset(str(json.loads(line)["id"]) for line in lines)
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset({f"not known: {listed}"})
    return ids if len(ids) == run.result.missing else frozenset({f"not those of {listed}"})


_FACTS: dict[str, Callable[[AnyResult], Any]] = {
    "the model": lambda result: result.model_sha256,
    "what is known of its training data (setting)": lambda result: result.setting,
    "the score": lambda result: result.score,
    "the manifest file": lambda result: result.manifest_sha256,
    "the detector": lambda result: [result.shards.detector, result.shards.weights_sha256],
    "the detector's settings": lambda result: result.shards.detector_settings,
    "the frames' sampling": lambda result: [result.shards.sampling, result.shards.frames],
    "the answer vocabulary": lambda result: getattr(result, "vocabulary", 0),
    "the bootstrap": lambda result: result.bootstrap,
}
