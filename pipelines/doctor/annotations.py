"""The annotation files: built into manifests, in a temporary folder, and counted against the data set's spec."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_specs.build import Built, build_manifest
from data_specs.manifest import Manifest
from pipelines.doctor.case import Building, Case, same
from pipelines.doctor.finding import Finding, ok, warning
from pipelines.filling import fill

_TITLE = "annotations"
_COUNTED = ("rows", "captions", "questions")


@dataclass(frozen=True, eq=False)
class Survey:
    """A manifest that a step will write, built now in the temporary ``file``."""

    building: Building
    built: Built
    file: Path


@dataclass(frozen=True, eq=False)
class Listed:
    """A manifest that steps read at ``place``; ``file`` is where it stands now."""

    place: Path
    file: Path
    manifest: Manifest


@dataclass(frozen=True, eq=False)
class Manifests:
    """The manifests that there are now, built or found."""

    listed: tuple[Listed, ...]

    def of(self, place: Path) -> Listed | None:
        """What the steps will read at ``place``; None where that cannot be said."""
        return next((listed for listed in self.listed if same(listed.place, place)), None)


def survey(building: Building, scratch: Path) -> Survey:
    """Builds a manifest in the folder ``scratch``.

    Raises:
        InputError: an annotation file is missing or malformed.
    """
    file = scratch / f"{building.step}.parquet"
    return Survey(
        building, build_manifest(building.spec, building.root, file, building.protocol, building.folder), file
    )


def check_counts(survey: Survey) -> Iterator[Finding]:
    """Rows, captions and questions of each split, beside what the spec says the full data set has."""
    built = survey.built
    counted = _count(built.manifest)
    parts: list[str] = []
    other = False
    for name, split in built.protocol.splits.items():
        expected = (split.videos, split.caption_count, split.question_count)
        for what, number, wanted in zip(_COUNTED, counted.get(name, (0, 0, 0)), expected, strict=True):
            other |= wanted not in (None, number)
            of = f" of {wanted:,}" if wanted not in (None, number) else ""
            parts += [f"{name} {number:,}{of} {what}"] if number or wanted else []
    if built.absent:
        parts.append(f"optional files that are not there: {', '.join(built.absent)}")
    found = "; ".join([f"{built.manifest.info.protocol}: {', '.join(parts)}", *built.remarks])
    if other:
        yield warning(
            _TITLE,
            f"{found}; these are not the counts of the full data set, so figures on it are no published protocol's",
            f"go on if that is meant; else compare the files with: python -m data_specs show {survey.building.name}",
        )
    else:
        yield ok(_TITLE, found)


def not_asked(case: Case, manifests: Manifests) -> dict[str, str]:
    """The steps that will be left out for want of questions in a manifest, and why."""
    found: dict[str, str] = {}
    for step in case.pipeline.steps:
        for need in step.needs if step.name not in case.left_out and step.is_automatic(case.values) else ():
            listed = manifests.of(Path(fill(need.manifest, case.values))) if need.manifest is not None else None
            lack = listed and need.lacking_in(listed.manifest, listed.place, case.values)
            if lack:
                found.setdefault(step.name, lack)
    return found


def way_out(building: Building) -> str:
    """What to do when the annotation files cannot be read."""
    return f"lay out {building.root} as this says: python -m data_specs show {building.name}"


def _count(manifest: Manifest) -> dict[str, tuple[int, int, int]]:
    """Rows, captions and questions a split."""
    table = manifest.table
    lengths = {name: pc.list_value_length(table[name]) for name in ("captions", "questions")}
    grouped = pa.table({"split": table["split"].cast(pa.string()), **lengths}).group_by("split")
    sums = grouped.aggregate([("split", "count"), ("captions", "sum"), ("questions", "sum")])
    columns = ("split", "split_count", "captions_sum", "questions_sum")
    return {row[0]: tuple(n or 0 for n in row[1:]) for row in zip(*(sums[c].to_pylist() for c in columns), strict=True)}
