"""Anybody's own folder: any nesting of videos and images, with captions or without, whole or cut into clips."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data_specs.annotations.folder_captions import (
    CLIP_MARK,
    SPLIT_NAMES,
    CaptionTable,
    Described,
    Sidecars,
    read_table,
)
from data_specs.annotations.folder_tree import IMAGES, TABLES, VIDEOS, Tree, media_kind, scan, shown
from data_specs.annotations.sources import Annotations, Sources
from data_specs.errors import InputError
from data_specs.failures import MediaError
from data_specs.manifest import Item
from data_specs.media import Limits, opened
from data_specs.probe import probe
from data_specs.spec import DatasetSpec, ProtocolSpec

MIN_CLIP_SECONDS = 0.1
MAX_CLIPS = 1_000_000

Clip = tuple[float, float]


@dataclass(frozen=True)
class FolderOptions:
    """clip_seconds: length of the clips that videos are cut into (None: not cut). split_all: one split for everything.

    threads: videos whose length is measured at a time. progress: told (done, total) while that lasts.

    Raises:
        InputError: clips that are too short to be told apart.
    """

    clip_seconds: float | None = None
    split_all: str | None = None
    threads: int = os.cpu_count() or 1
    progress: Callable[[int, int], None] = lambda done, total: None

    def __post_init__(self) -> None:
        seconds = self.clip_seconds
        if seconds is not None and not (math.isfinite(seconds) and seconds >= MIN_CLIP_SECONDS):
            raise InputError(f"clips of {seconds} s: give a length of at least {MIN_CLIP_SECONDS} s")


def parse(spec: DatasetSpec, protocol: ProtocolSpec, root: Path, options: FolderOptions | None = None) -> Annotations:
    """One row a media file or clip, in the order of their paths. An id is the path below ``root``, of a clip with its
    seconds: ``lectures/one.mp4#t=0-10``.

    Raises:
        InputError: no media, both caption tables, a malformed table or sidecar, or a name that is not valid UTF-8.
    """
    options = options or FolderOptions()
    sources = Sources(spec, root)
    tree = scan(root)
    if len(tree.tables) > 1:
        raise InputError(f"{root}: both {' and '.join(sorted(tree.tables))} are there; keep one")
    _refuse_linked_table(root, tree)
    if not tree.media:
        raise InputError(
            f"{root}: no video or image is in it; their extensions are {', '.join(sorted(VIDEOS | IMAGES))}."
            f" Found: {'; '.join(tree.remarks()) or 'nothing'}"
        )
    table = read_table(sources, root / tree.tables[0], tree) if tree.tables else None
    sidecars = Sidecars(sources, tree)
    absent = {path: media_kind(path) or "" for path in (table.absent if table else ())}
    kinds = dict(sorted({**tree.media, **absent}.items()))
    cuts, remarks = _cut(root, tree, options)
    items = list(_items(kinds, cuts, table, sidecars, options))
    if table is not None:
        _refuse_unknown_clips(table, items)
    read = dict(sources.read)
    if sidecars.used:
        read[f"{len(sidecars.used)} sidecar files"] = sidecars.digest()
    remarks = [*tree.remarks(), *_caption_remarks(table, sidecars), *_split_remarks(kinds, options), *remarks]
    return Annotations(items, read, remarks=tuple(remarks))


def _items(
    kinds: dict[str, str],
    cuts: dict[str, list[Clip]],
    table: CaptionTable | None,
    sidecars: Sidecars,
    options: FolderOptions,
) -> Iterator[Item]:
    for path, kind in kinds.items():
        of_file = table.rows.get(path) if table else None
        for clip in cuts.get(path, [None]):
            identifier = path if clip is None else f"{path}{CLIP_MARK}{_number(clip[0])}-{_number(clip[1])}"
            of_clip = table.rows.get(identifier) if table and clip is not None else None
            described = [entry for entry in (of_file, of_clip) if entry is not None]
            if table is None:
                captions = sidecars.captions(path, clip)
            else:
                captions = tuple(caption for entry in described for caption in entry.captions)
            split = options.split_all or _split(path, described, table)
            start, end = clip or (None, None)
            yield Item(identifier, path, split, kind, captions, start, end)


def _split(path: str, described: Iterable[Described], table: CaptionTable | None) -> str:
    """By the top folder's name, else by the table's column, else ``train``; the first two must agree."""
    top, slash, _ = path.partition("/")
    by_folder = SPLIT_NAMES.get(top) if slash else None
    for entry in described:
        if entry.split is not None and by_folder not in (None, entry.split):
            where = f"{table.file}: row {entry.row}" if table else path
            raise InputError(f"{where}: split: {entry.split}, but {path!r} is in the folder {top}; give one of the two")
    by_column = [entry.split for entry in described if entry.split is not None]
    return by_folder or (by_column[-1] if by_column else "train")


def _cut(root: Path, tree: Tree, options: FolderOptions) -> tuple[dict[str, list[Clip]], list[str]]:
    """The clips of each video whose length can be measured. The others stay whole: extraction says what is wrong."""
    if options.clip_seconds is None:
        return {}, []
    videos = [path for path, kind in tree.media.items() if kind == "video"]
    cuts: dict[str, list[Clip]] = {}
    unmeasured: list[str] = []
    total = 0
    with ThreadPoolExecutor(options.threads, thread_name_prefix="probe") as pool:
        try:
            lengths = pool.map(_measured, [root / path for path in videos])
            for done, (path, length) in enumerate(zip(videos, lengths, strict=True), 1):
                options.progress(done, len(videos))
                if isinstance(length, MediaError):
                    unmeasured.append(f"{path}: {length.reason}")
                    continue
                if length / options.clip_seconds > MAX_CLIPS:
                    unmeasured.append(f"{path}: {length:.0f} s say its timestamps")
                    continue
                cuts[path] = clips_of(length, options.clip_seconds)
                total += len(cuts[path])
        finally:
            pool.shutdown(cancel_futures=True)
    remarks = [f"{len(cuts):,} videos were cut into {total:,} clips"]
    if unmeasured:
        remarks.append(
            f"videos whose length could not be measured: {len(unmeasured):,} kept whole ({shown(unmeasured)})"
        )
    return cuts, remarks


def clips_of(length: float, clip_seconds: float) -> list[Clip]:
    """Start and end, in seconds to the millisecond, of a video's clips; a last piece under half a clip is left out.

    A video shorter than that is one clip all the same.
    """
    whole = math.floor(length / clip_seconds + 1e-6)
    edges = [round(number * clip_seconds, 3) for number in range(whole + 1)]
    end = round(length, 3)
    if end - edges[-1] >= clip_seconds / 2 - 1e-6 or whole == 0:
        edges.append(max(end, edges[-1] + 0.001))
    return list(itertools.pairwise(edges))


def _measured(path: Path) -> float | MediaError:
    """A video's length in seconds, from its first frame on."""
    try:
        with opened(path) as descriptor:
            found = probe(descriptor, Limits())
    except MediaError as error:
        return error
    return found.end - found.shown_at[0]


def _number(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _refuse_linked_table(root: Path, tree: Tree) -> None:
    refused = {path for paths in tree.refused.values() for path in paths}
    for table in TABLES:
        if table in refused:
            raise InputError(f"{root / table}: a link that leads out of the folder; put the file itself there")


def _refuse_unknown_clips(table: CaptionTable, items: list[Item]) -> None:
    known = {item.id for item in items} | {item.path for item in items}
    for name, entry in table.rows.items():
        if name not in known:
            raise InputError(
                f"{table.file}: row {entry.row}: {name!r} is no clip of its video, as cut here; clips are cut with"
                " --clip-seconds and named like one.mp4#t=0-10"
            )


def _caption_remarks(table: CaptionTable | None, sidecars: Sidecars) -> Iterator[str]:
    if table is not None:
        if table.absent:
            names = shown(list(table.absent))
            yield f"files of {table.file.name} that are not there: {len(table.absent):,} kept as rows ({names})"
        if sidecars.owned:
            yield f"sidecar files: not read, since {table.file.name} is there"
    unused = sidecars.unused()
    if unused:
        yield f"text files that belong to no video or image: {len(unused):,} left out ({shown(unused)})"


def _split_remarks(kinds: dict[str, str], options: FolderOptions) -> Iterator[str]:
    """Says so where some files stand in folders that are splits and others do not."""
    outside = [path for path in kinds if "/" not in path or path.partition("/")[0] not in SPLIT_NAMES]
    if outside and len(outside) < len(kinds) and options.split_all is None:
        yield (
            f"files outside the folders named after splits: {len(outside):,} are train where no table says otherwise"
            f" ({shown(outside)})"
        )
