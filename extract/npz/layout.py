"""Where the npz files of an item's frames lie: one a frame, named by a template.

A template is a path below the folder in which ``{id}``, ``{path}`` (the media path without its extension), ``{name}``
(its last part), ``{split}`` and ``{page}`` (the release's folders of images: the first four of seven digits before the
name's first underscore) stand for what an item has, and ``{n}``, right before ``.npz``, for the number of a frame.
"""

from __future__ import annotations

import errno
import os
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath

from data_specs.errors import InputError
from data_specs.failures import MediaError, Reason
from data_specs.manifest import Item

RELEASE_TEMPLATES = (
    "{split}/{path}/{n}.npz",
    "{path}/{n}.npz",
    "{id}/{n}.npz",
    "{name}/{n}.npz",
    "{split}/{page}/{name}_{n}.npz",
    "{name}_{n}.npz",
    "{id}.npz",
    "{path}.npz",
    "{name}.npz",
)
_PLACES = ("id", "path", "name", "split", "page", "n")
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d{1,9})\.npz", re.DOTALL)
_LISTED_FOLDERS = 16


class NpzLayout:
    """Finds the files of an item by the first template that has some.

    Raises:
        InputError: no such folder, or a template is wrong.
    """

    def __init__(self, folder: Path, templates: tuple[str, ...] = RELEASE_TEMPLATES) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of npz files")
        for template in templates:
            unknown = set(re.findall(r"\{(.*?)\}", template)) - set(_PLACES)
            wrong_number = template.count("{n}") > 1 or ("{n}" in template and not template.endswith("{n}.npz"))
            if unknown or wrong_number or not template.endswith(".npz"):
                known = ", ".join(f"{{{name}}}" for name in _PLACES)
                raise InputError(
                    f"--frames-from-name {template!r}: it ends in .npz, {{n}} stands at most once and right before"
                    f" that, and the places are {known}"
                )
        self._folder = folder
        self._templates = templates

    def frames(self, item: Item) -> list[tuple[int, Path]]:
        """Number and file of each frame, by number; a template without ``{n}`` gives one, with the number 0."""
        path = PurePosixPath(item.path).with_suffix("")
        values = {"id": item.id, "path": str(path), "name": path.name, "split": item.split}
        values["page"] = path.name.split("_")[0].zfill(7)[:4]
        for template in self._templates:
            relative = template
            for name, value in values.items():
                relative = relative.replace(f"{{{name}}}", value)
            if not _stays_below(relative):
                continue
            if found := self._numbered(relative) if template.endswith("{n}.npz") else self._single(relative):
                return found
        return []

    def _single(self, relative: str) -> list[tuple[int, Path]]:
        path = self._folder / relative
        return [(0, path)] if os.path.lexists(path) else []

    def _numbered(self, relative: str) -> list[tuple[int, Path]]:
        folder, _, name = relative.removesuffix("{n}.npz").rpartition("/")
        numbers = _numbers(self._folder / folder).get(name, ())
        return [(number, self._folder / folder / file) for number, file in numbers]


@lru_cache(maxsize=_LISTED_FOLDERS)
def _numbers(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Of a folder's files: what stands before their numbers, to numbers and names."""
    found: dict[str, list[tuple[int, str]]] = {}
    try:
        names = os.listdir(folder)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise MediaError(Reason.DECODE_ERROR, f"{folder.name}: {error.strerror}") from None
        return found
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is not None:
            found.setdefault(match["before"], []).append((int(match["number"]), name))
    return {before: sorted(numbers) for before, numbers in found.items()}


def _stays_below(relative: str) -> bool:
    return not relative.startswith("/") and ".." not in relative.split("/") and "\0" not in relative
