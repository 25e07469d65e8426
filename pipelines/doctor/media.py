"""Whether the media files are there: those of all rows, or of so many drawn at random."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from data_specs.check import check_media as look_at_files
from data_specs.manifest import Manifest
from pipelines.doctor.annotations import Listed
from pipelines.doctor.case import Extraction
from pipelines.doctor.finding import Finding, failure, ok

MAX_LOOKED_AT = 20_000
_TITLE = "media"
_COLUMNS = ("id", "path", "split", "clip_start")  # all that is looked at; captions may be large
_NAMED = 3
_THREADS = 16


def check_media(extraction: Extraction, listed: Listed) -> Iterator[Finding]:
    """Looks at the files of the extraction's rows: each must exist and hold something.

    Raises:
        InputError: the root is not a folder, or the manifest has no row of the split.
    """
    root, rows = extraction.settings.root, listed.manifest.rows_of(extraction.split)
    chosen = rows if len(rows) <= MAX_LOOKED_AT else sorted(random.Random(0).sample(rows, MAX_LOOKED_AT))
    some = listed.manifest.table.select(_COLUMNS).take(pa.array(chosen, pa.int64()))
    checked = look_at_files(Manifest(some, listed.manifest.info), root, threads=_THREADS)
    looked_at = f"{len(rows):,} rows" if chosen is rows else f"{len(chosen):,} rows at random of {len(rows):,}"
    if not checked.num_faults:
        yield ok(_TITLE, f"{looked_at}: every file is below {root}, none is empty")
        return
    faults = list(checked.faults())
    counts = ", ".join(f"{n:,} {reason}" for reason, n in sorted(Counter(f.reason for _, _, f in faults).items()))
    named = ", ".join(f"{path} ({fault.reason})" for _, path, fault in faults[:_NAMED])
    more = ", ..." if len(faults) > _NAMED else ""
    if len(faults) == len(chosen):
        way_out = f"are the files below another folder? --set root=...; nothing of the manifest is below {root}"
    else:
        way_out = f"put them there below {root}; without them the extraction ends with exit code 1"
    yield failure(_TITLE, f"{looked_at}: {counts}: {named}{more}", way_out)
