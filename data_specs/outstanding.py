"""Which failures still stand once later rounds of retries are taken into account."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from data_specs.failures import Failure
from data_specs.series import parse_shard_name
from data_specs.shards import CommitRecord


def outstanding_failures(
    records: Iterable[CommitRecord], extracted: Callable[[CommitRecord], Iterable[str]]
) -> dict[str, Failure]:
    """The failures that no later round has made good, by id, in the order in which they first came.

    records: in series order (``data_specs.series``): the run's, then those of round 1, 2 and so on.
    extracted: the ids of a shard's samples. It is asked for the shards of retries alone, which are few.

    An id that failed and stands in a shard of a later round is no failure any more; one that failed again counts with
    the latest reason.
    """
    standing: dict[str, Failure] = {}
    for record in records:
        name = parse_shard_name(record.name)
        if name is not None and name.round:
            for identifier in extracted(record):
                standing.pop(identifier, None)
        for failure in record.failures:
            standing[failure.id] = failure
    return standing
