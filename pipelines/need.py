"""What a step may be left out for want of: a file or folder, or questions in a manifest that an earlier one made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from data_specs.configuration import Settings
from pipelines.filling import fill

if TYPE_CHECKING:
    from data_specs.manifest import Manifest

Kind = Literal["open-ended", "multiple-choice"]


class Need(Settings):
    """Either a ``path`` that must be there, or questions of a kind that a split of a ``manifest`` must have."""

    path: str | None = None
    manifest: str | None = None
    questions: Kind = "open-ended"
    split: str = "test"

    @model_validator(mode="after")
    def _one_of_both(self) -> Need:
        if (self.path is None) == (self.manifest is None):
            raise ValueError("a need is either a path or a manifest")
        return self

    def lacking(self, values: Mapping[str, Any]) -> str | None:
        """What is not there, in words; None when it is.

        Raises:
            InputError: the manifest cannot be read.
        """
        if self.manifest is None:
            path = Path(fill(str(self.path), values))
            return None if path.exists() else f"{path} is not there"
        from data_specs.manifest import read_manifest  # here, so that the doctor can speak where pyarrow is missing

        place = Path(fill(self.manifest, values))
        return self.lacking_in(read_manifest(place), place, values)

    def lacking_in(self, manifest: Manifest, place: Path, values: Mapping[str, Any]) -> str | None:
        """The same of the manifest that stands, or will stand, at ``place``."""
        split = fill(self.split, values)
        if count_questions(manifest, split)[self.questions]:
            return None
        return f"{place} has no {self.questions} question of split {split}"


def count_questions(manifest: Manifest, split: str) -> dict[Kind, int]:
    """How many questions of each kind the rows of a split have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = manifest.table.filter(pc.equal(manifest.table["split"].cast(pa.string()), split))
    options = pc.struct_field(pc.list_flatten(rows["questions"]), "options")
    many = pc.sum(pc.greater(pc.list_value_length(options), 0)).as_py() or 0
    return {"open-ended": len(options) - many, "multiple-choice": many}
