"""Media files by the stem of their names, for data sets whose suffixes vary."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from data_specs.annotations.folder_tree import VIDEOS
from data_specs.spec import DatasetSpec

SUFFIXES = ("mp4", *sorted(VIDEOS - {"mp4"}), "")  # the last: a bare dot, or no suffix at all


def stem_of(name: str) -> str:
    """A file name up to its last dot, which may end it; the whole name if it has none."""
    return name.rpartition(".")[0] or name


class Stems:
    """The media files in the folders of a spec's media paths, by stem.

    Several files of one stem: the one in the folder named first, then the one whose suffix stands first in
    ``SUFFIXES``. A name may end in two suffixes, as after a conversion (``x.mov.mp4``).
    """

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        self._default = spec.media_paths[0]
        self._found: dict[str, tuple[int, int, str]] = {}
        for rank, folder in enumerate(dict.fromkeys(str(PurePosixPath(path).parent) for path in spec.media_paths)):
            for name in _files(root / folder):
                self._add(rank, name, (PurePosixPath(folder) / name).as_posix())

    def place(self, stem: str) -> str:
        """The path below the root of the file of this stem; where it should stand if there is none."""
        found = self._found.get(stem)
        return self._default.format(id=stem) if found is None else found[2]

    def _add(self, rank: int, name: str, place: str) -> None:
        stem, suffix = stem_of(name), name.rpartition(".")[2].lower() if "." in name else ""
        if suffix not in SUFFIXES:
            return
        candidate = (rank, SUFFIXES.index(suffix), place)
        while True:
            self._found[stem] = min(self._found.get(stem, candidate), candidate)
            inner = stem.rpartition(".")
            if not inner[0] or inner[2].lower() not in SUFFIXES:
                return
            stem = inner[0]


def _files(folder: Path) -> list[str]:
    """Names in a folder that UTF-8 can hold; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return [name for name in sorted(os.listdir(folder)) if name.isprintable()]
