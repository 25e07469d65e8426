"""Is every row's media there? Looked at file by file, in parallel; and opened in ffprobe when that is asked for.

ffprobe reads what a container says of itself and decodes nothing: damage behind an intact index is found by extraction.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_specs import atomic
from data_specs.errors import InputError
from data_specs.failures import Failure, MediaError, Reason
from data_specs.manifest import Manifest
from data_specs.manifest_rows import plain_texts
from data_specs.media import Limits, opened
from data_specs.probe import probe
from data_specs.spec import load_spec, spec_names

_REASONS = tuple(Reason)  # a file's code is 0 where nothing is wrong, else 1 + its reason's place here
_FILES_A_TASK, _PROBES_A_TASK = 4096, 4
_THREADS = 2
_NO_FILE = "no such file"
_DETAILS = {Reason.MISSING: _NO_FILE, Reason.EMPTY: "0 bytes", Reason.NOT_MEDIA: "not a regular file"}
_GONE = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True)
class SplitCheck:
    """Counts of one split. expected: by the data set's spec (None: any number). rows: in the manifest.

    missing: no file. empty: a file of 0 bytes. unreadable: no regular file, or ffprobe finds no video in it, or the
    row's clip starts past its end.
    """

    expected: int | None
    rows: int
    missing: int
    empty: int
    unreadable: int

    @property
    def on_disk(self) -> int:
        """Rows whose file is there and holds something."""
        return self.rows - self.missing - self.empty


class Checked:
    """The counts of every split, and the rows whose media cannot be used."""

    def __init__(self, manifest: Manifest, codes: NDArray[np.uint8], details: dict[int, str]) -> None:
        self._manifest = manifest
        self._codes = codes
        self._details = details
        self.splits = _count(manifest, codes)

    @property
    def num_faults(self) -> int:
        return int(np.count_nonzero(self._codes))

    def faults(self) -> Iterator[tuple[str, str, Failure]]:
        """Split, path and failure of each row whose media cannot be used, in the manifest's order."""
        rows = np.flatnonzero(self._codes)
        columns = ("id", "split", "path")
        for start in range(0, len(rows), _FILES_A_TASK):
            chunk = rows[start : start + _FILES_A_TASK]
            texts = [self._manifest.table[name].take(pa.array(chunk)).to_pylist() for name in columns]
            for row, identifier, split, path in zip(chunk.tolist(), *texts, strict=True):
                reason = _REASONS[self._codes[row] - 1]
                detail = self._details.get(row, _DETAILS.get(reason, ""))
                yield split, path, Failure(id=identifier, reason=reason, detail=detail)

    def write(self, out: Path) -> None:
        """Writes one JSON object a fault (``id``, ``split``, ``path``, ``reason``, ``detail``), whole or not at all."""
        with atomic.replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
            for split, path, failure in self.faults():
                fields = {"id": failure.id, "split": split, "path": path}
                fields |= {"reason": failure.reason.value, "detail": failure.detail}
                file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def check_media(
    manifest: Manifest,
    root: Path,
    *,
    probing: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Checked:
    """Looks for each row's file below ``root``; each file is looked at once, however many clips are cut out of it.

    probing: also open it in ffprobe, in the sandbox. threads: files at a time; None: one a core when probing, else
    2, since more pay only where files are far away. progress: told after some files how many of how many are done.

    Raises:
        InputError: the root is not a folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; it is where the media of {manifest.info.dataset} should be")
    paths = pc.unique(manifest.table["path"])
    size, look = (_PROBES_A_TASK, _probe_files) if probing else (_FILES_A_TASK, _look_at_files)
    codes = np.zeros(len(paths), np.uint8)
    lengths = np.full(len(paths), math.inf)
    details: dict[int, str] = {}
    chunks = [(root, paths.slice(start, size)) for start in range(0, len(paths), size)]
    threads = threads or ((os.cpu_count() or 1) if probing else _THREADS)
    with ThreadPoolExecutor(threads, thread_name_prefix="check") as pool:
        try:
            start = 0
            for found in pool.map(look, chunks):
                codes[start : start + len(found.codes)] = found.codes
                lengths[start : start + len(found.codes)] = found.lengths
                details |= {start + place: text for place, text in found.details.items()}
                start += len(found.codes)
                progress(start, len(paths))
        finally:
            pool.shutdown(cancel_futures=True)
    files = pc.index_in(manifest.table["path"], value_set=paths).to_numpy()
    return _by_row(manifest, files, codes, lengths, details)


def expected_counts(manifest: Manifest) -> dict[str, int | None]:
    """Rows a split that the spec of the manifest's data set and protocol expects; nothing where it has no spec here."""
    info = manifest.info
    if info.dataset not in spec_names():
        return {}
    spec = load_spec(info.dataset)
    protocol = spec.protocols.get(info.protocol.removeprefix(f"{spec.name}/"))
    return {name: split.videos for name, split in protocol.splits.items()} if protocol is not None else {}


@dataclass(frozen=True)
class _Found:
    """Of some files: codes, lengths in seconds (infinite where not measured) and details that a code does not say."""

    codes: Iterable[int]
    lengths: Iterable[float]
    details: dict[int, str]


def _look_at_files(task: tuple[Path, pa.Array]) -> _Found:
    root, paths = task
    prefix = os.path.join(root, "")
    codes = bytearray(len(paths))
    details = {}
    for place, path in enumerate(paths.to_pylist()):
        try:
            status = os.stat(prefix + path)
        except OSError as error:
            codes[place] = _code(Reason.MISSING)
            if not isinstance(error, _GONE):
                details[place] = error.strerror or str(error)
            continue
        if not stat.S_ISREG(status.st_mode):
            codes[place] = _code(Reason.NOT_MEDIA)
        elif status.st_size == 0:
            codes[place] = _code(Reason.EMPTY)
    return _Found(np.frombuffer(codes, np.uint8), np.full(len(paths), math.inf), details)


def _probe_files(task: tuple[Path, pa.Array]) -> _Found:
    root, paths = task
    codes = np.zeros(len(paths), np.uint8)
    lengths = np.full(len(paths), math.inf)
    details = {}
    for place, path in enumerate(paths.to_pylist()):
        try:
            with opened(root / path) as descriptor:
                found = probe(descriptor, Limits())
        except MediaError as error:
            codes[place], details[place] = _code(error.reason), error.detail
        else:
            lengths[place] = found.end - found.shown_at[0]
    return _Found(codes, lengths, details)


def _by_row(
    manifest: Manifest,
    files: NDArray[np.int32],
    codes: NDArray[np.uint8],
    lengths: NDArray[np.float64],
    details: dict[int, str],
) -> Checked:
    """What is known of each file, said of each row that names it."""
    row_codes = codes[files]
    starts = pc.fill_null(manifest.table["clip_start"], 0.0).to_numpy()
    past_the_end = (row_codes == 0) & (starts > lengths[files])
    row_codes[past_the_end] = _code(Reason.TRUNCATED)
    said: dict[int, str] = {}
    if details:
        with_details = np.flatnonzero(np.isin(files, np.fromiter(details, np.int64)))
        said = {int(row): details[int(files[row])] for row in with_details}
    for row in np.flatnonzero(past_the_end):
        said[int(row)] = f"the clip starts at {starts[row]:g} s, past the end, {lengths[files[row]]:.3f} s"
    return Checked(manifest, row_codes, said)


def _count(manifest: Manifest, codes: NDArray[np.uint8]) -> dict[str, SplitCheck]:
    expected = expected_counts(manifest)
    splits = plain_texts(manifest.table["split"])
    counted: dict[str, SplitCheck] = {}
    for name in dict.fromkeys([*expected, *manifest.counts()]):
        of_split = codes[pc.equal(splits, name).to_numpy()]
        counts = np.bincount(of_split, minlength=len(_REASONS) + 1)
        missing, empty = (int(counts[_code(reason)]) for reason in (Reason.MISSING, Reason.EMPTY))
        unreadable = int(counts[1:].sum()) - missing - empty
        counted[name] = SplitCheck(expected.get(name), len(of_split), missing, empty, unreadable)
    return counted


def _code(reason: Reason) -> int:
    return 1 + _REASONS.index(reason)
