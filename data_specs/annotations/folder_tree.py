"""What a folder of somebody's own holds: media, sidecars and the rest, told apart by name alone."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.errors import InputError

# fmt: off
VIDEOS = frozenset({
    "mp4", "m4v", "mov", "qt", "mkv", "webm", "avi", "divx", "flv", "f4v", "wmv", "asf", "mpg", "mpeg", "m2v", "vob",
    "ts", "mts", "m2ts", "3gp", "3g2", "ogv", "gif",
})
# fmt: on
IMAGES = frozenset({"jpg", "jpeg", "jpe", "png", "webp", "bmp", "tif", "tiff"})
TEXTS, SUBTITLES = ("txt", "json"), ("srt", "vtt")
SIDECARS = (*TEXTS, *SUBTITLES)
TABLES = ("captions.csv", "captions.jsonl")
_PARTIAL = frozenset({"part", "partial", "crdownload", "download", "filepart", "tmp", "temp", "ytdl", "aria2"})
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]+)*")
_SHOWN, _KINDS_SHOWN = 3, 20


@dataclass
class Tree:
    """Paths below the root, with ``/`` between parts. media: path to ``video`` or ``image``, in the order of the text.

    sidecars: path of a file without its extension to extension to path. tagged: the same of subtitles that have a
    language before their extension. refused: what is no media and why, ``{why: [paths]}``. unknown: files that are
    neither media nor anything else known, by extension.
    """

    media: dict[str, str] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    sidecars: dict[str, dict[str, str]] = field(default_factory=dict)
    tagged: dict[str, list[str]] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)

    def sidecar(self, media: str) -> str | None:
        """The one sidecar of ``a.mp4``: the first of ``a.txt`` (.json, .srt, .vtt), ``a.mp4.txt`` ..., ``a.en.srt``."""
        for name in (os.path.splitext(media)[0], media):
            found = self.sidecars.get(name, {})
            path = next((found[extension] for extension in SIDECARS if extension in found), None)
            if path is not None:
                return path
        tagged = self.tagged.get(os.path.splitext(media)[0], ())
        return min(tagged, key=lambda path: (os.path.splitext(path[:-4])[1][1:3].lower() != "en", path), default=None)

    def remarks(self) -> list[str]:
        """One line for each kind of file that is not in the manifest, with the first names."""
        lines = [f"{why}: {len(paths):,} left out ({shown(paths)})" for why, paths in self.refused.items()]
        if self.unknown:
            ranked = sorted(self.unknown.items(), key=lambda entry: (-entry[1], entry[0]))
            kinds = ", ".join(f"{extension} {count:,}" for extension, count in ranked[:_KINDS_SHOWN])
            kinds += ", ..." if len(ranked) > _KINDS_SHOWN else ""
            lines.append(f"not media by their extension: {self.unknown.total():,} left out ({kinds})")
        return lines


def scan(root: Path) -> Tree:
    """Looks at every name below ``root``; no file is opened, and no link to a folder is followed.

    Raises:
        InputError: a folder cannot be read, or a media file's name is not valid UTF-8.
    """
    base = os.path.realpath(root)
    tree = Tree()
    media: list[tuple[str, str]] = []
    sidecars: list[str] = []
    for path, refusal in _walk(base):
        extension = os.path.splitext(path)[1][1:].lower()
        if refusal is not None:
            tree.refused.setdefault(refusal, []).append(path)
        elif extension in VIDEOS:
            media.append((path, "video"))
        elif extension in IMAGES:
            media.append((path, "image"))
        elif path.lower() in TABLES:
            tree.tables.append(path)
        elif extension in SIDECARS:
            sidecars.append(path)
        elif extension in _PARTIAL:
            tree.refused.setdefault("partial downloads", []).append(path)
        else:
            tree.unknown[f".{extension}" if extension else "no extension"] += 1
    _refuse_undecodable(root, [path for path, _ in media])
    tree.media = dict(sorted(media))
    for path in sorted(sidecars):
        stem, extension = os.path.splitext(path)
        tree.sidecars.setdefault(stem, {}).setdefault(extension[1:].lower(), path)
        name, language = os.path.splitext(stem)
        if extension[1:].lower() in SUBTITLES and _LANGUAGE.fullmatch(language[1:]):
            tree.tagged.setdefault(name, []).append(path)
    tree.refused = {why: sorted(paths) for why, paths in sorted(tree.refused.items())}
    return tree


def media_kind(path: str) -> str | None:
    """``video`` or ``image`` by a path's extension, None if it is neither's."""
    extension = os.path.splitext(path)[1][1:].lower()
    return "video" if extension in VIDEOS else "image" if extension in IMAGES else None


def shown(paths: list[str]) -> str:
    """The first few of some names, fit for a terminal: control characters and broken letters are escaped."""
    names = [ascii(path) if not path.isprintable() else path for path in paths[:_SHOWN]]
    return ", ".join(names) + (", ..." if len(paths) > _SHOWN else "")


def _walk(base: str) -> Iterator[tuple[str, str | None]]:
    """Path of each file below ``base``, and why it is not to be used."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(base, folder)) as entries:
                for entry in entries:
                    path = folder + entry.name
                    if entry.name.startswith("."):
                        yield path, "hidden files and folders"
                    elif entry.is_symlink():
                        yield path, _link_refusal(base, entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(path + "/")
                    else:
                        yield path, None if entry.is_file(follow_symlinks=False) else "pipes, sockets and devices"
        except OSError as error:
            raise InputError(f"{shown([os.path.join(base, folder)])}: cannot be read: {error.strerror}") from None


def _link_refusal(base: str, link: str) -> str | None:
    target = os.path.realpath(link)
    if target != base and not target.startswith(os.path.join(base, "")):
        return "links that lead out of the folder"
    if os.path.isdir(target):
        return "links to folders (what is in them is found where it is)"
    return None if os.path.isfile(target) else "links that lead nowhere"


def _refuse_undecodable(root: Path, paths: list[str]) -> None:
    broken = sorted(path for path in paths if any("\ud800" <= letter <= "\udfff" for letter in path))
    if broken:
        raise InputError(
            f"{root}: {len(broken):,} names of media files or of their folders are not valid UTF-8 ({shown(broken)});"
            " an id cannot hold them: rename them, or move them out of the folder"
        )
