"""What a protocol asks for: which videos, which sentences are queries, and what of it is missing."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, TypeVar, cast, get_args

import click
import numpy as np
from numpy.typing import NDArray

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.failures import Failure
from data_specs.manifest import Item, Manifest, ManifestInfo
from data_specs.spec import load_spec, spec_names

Queries = Literal["first", "all"]
DEFAULT_SPLITS = ("test",)


@dataclass(frozen=True)
class Plan:
    """What a protocol asks for, in the manifest's order: the videos ``items`` of its splits."""

    name: str
    splits: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def task(self) -> str:
        """What is evaluated, as the command is named."""
        raise NotImplementedError

    @property
    def missing_name(self) -> str:
        """The list of missing videos: one a task, so that tasks that write to one folder leave each other's alone."""
        return f"{self.task.replace('-', '_')}.missing.jsonl"

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the videos."""
        return tuple(item.id for item in self.items)

    def keep(self, kept_B: NDArray[np.bool_]) -> Self:
        """The plan with some of its videos, and what is asked about them."""
        return replace(self, items=tuple(item for item, kept in zip(self.items, kept_B, strict=True) if kept))


PlanT = TypeVar("PlanT", bound=Plan)


@dataclass(frozen=True)
class RetrievalPlan(Plan):
    """Every candidate and every query. B videos, C sentences.

    sentences: the C queries. owner_C: int64 [C], the row in ``items`` of each query's video.
    """

    queries: Queries
    sentences: tuple[str, ...]
    owner_C: NDArray[np.int64]

    @property
    def task(self) -> str:
        """Retrieval."""
        return "retrieval"

    def keep(self, kept_B: NDArray[np.bool_]) -> Self:
        """The plan with some of its videos, and the queries that ask for them.

        Raises:
            InputError: no query is left.
        """
        kept_C = kept_B[self.owner_C]
        if not kept_C.any():
            raise InputError(f"{self.name}: none of the videos that a query asks for is in these shards")
        return replace(
            super().keep(kept_B),
            sentences=tuple(s for s, kept in zip(self.sentences, kept_C, strict=True) if kept),
            owner_C=(np.cumsum(kept_B) - 1)[self.owner_C[kept_C]],
        )


class MissingItemsError(click.ClickException):
    """Items of the protocol are not in the shards: a result without them would be of another protocol."""

    exit_code = 1


def plan_retrieval(
    manifest: Manifest, splits: Sequence[str] = DEFAULT_SPLITS, queries: Queries | None = None
) -> RetrievalPlan:
    """The candidates and queries of the chosen splits. ``queries=None`` takes the rule of the data set's protocol.

    Raises:
        InputError: a split has no rows, or none of its rows has a caption.
    """
    rows = sorted({row for split in splits for row in manifest.rows_of(split)})
    items = tuple(manifest.take(rows))
    rule = queries or protocol_queries(manifest.info)
    pairs = [
        (row, caption)
        for row, item in enumerate(items)
        for caption in (item.captions[:1] if rule == "first" else item.captions)
    ]
    if not pairs:
        where = f"{protocol_name(manifest.info)}, split {'+'.join(splits)}"
        raise InputError(f"{where}: none of the {len(items)} rows has a caption to search with")
    owners, sentences = zip(*pairs, strict=True)
    return RetrievalPlan(
        protocol_name(manifest.info), tuple(splits), items, rule, tuple(sentences), np.array(owners, np.int64)
    )


def protocol_name(info: ManifestInfo) -> str:
    """``dataset/protocol``, for example ``msrvtt/1k-A``."""
    if not info.protocol or info.protocol.startswith(f"{info.dataset}/"):
        return info.protocol or info.dataset
    return f"{info.dataset}/{info.protocol}"


def protocol_queries(info: ManifestInfo) -> Queries:
    """The query rule of the manifest's protocol; every caption for a data set of the user's own, which has none."""
    if info.rules.get("queries") in get_args(Queries):
        return cast(Queries, info.rules["queries"])
    if info.dataset not in spec_names():
        return "all"
    return load_spec(info.dataset).protocol(info.protocol or None)[1].queries


def splits_alike(dataset: str, protocol: str) -> tuple[str, ...]:
    """The data set's protocols in which the names of splits mean the same clips as in this one, itself left out."""
    known = load_spec(dataset).protocols if dataset in spec_names() else {}
    return known[protocol].splits_as if protocol in known else ()


def without(plan: PlanT, absent: Collection[str]) -> PlanT:
    """The plan with the videos named by ``absent``, and what is asked about them, left out.

    Raises:
        InputError: nothing is left.
    """
    kept_B = np.array([item.id not in absent for item in plan.items], bool)
    if not kept_B.any():
        raise InputError(f"{plan.name}: none of the {len(plan.items)} videos of the protocol is in these shards")
    return plan.keep(kept_B)


def write_missing(path: Path, plan: Plan, absent: Collection[str], failures: Mapping[str, Failure]) -> None:
    """Lists the missing items, one JSON object a line, each with the reason that the extraction recorded (if any)."""
    lines = []
    for item in plan.items:
        if item.id in absent:
            failure = failures.get(item.id)
            why = (failure.reason.value, failure.detail) if failure else ("not_extracted", "no shard has tried it")
            lines.append({"id": item.id, "split": item.split, "path": item.path, "reason": why[0], "detail": why[1]})
    atomic.write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def refusal(plan: Plan, absent: Collection[str], listed: Path) -> MissingItemsError:
    """The one line that names how many are missing, the list, and the two ways out."""
    return MissingItemsError(
        f"{len(absent)} of {len(plan.items)} videos of {plan.name} are missing from the shards, listed in {listed};"
        " extract them (python -m extract run), or go on without them: --allow-missing"
    )
