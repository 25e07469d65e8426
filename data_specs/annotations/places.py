"""Media paths of annotation rows: a template of the spec filled in, and never outside the root."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from string import Formatter

from data_specs.annotations.sources import media_path
from data_specs.errors import InputError, did_you_mean
from data_specs.spec import DatasetSpec


class MediaTemplate:
    """The one of a spec's media paths that is used below a root (see ``media_path``).

    names: the placeholders that the data set's format can fill in.

    Raises:
        InputError: a media path of the spec has another placeholder.
    """

    def __init__(self, spec: DatasetSpec, root: Path, names: tuple[str, ...]) -> None:
        for template in spec.media_paths:
            for _, name, _, _ in Formatter().parse(template):
                if name is not None and name not in names:
                    raise InputError(
                        f"{spec.name}: media_paths: {template!r}: format {spec.format} has no {{{name}}}:"
                        f" {did_you_mean(name, names)}"
                    )
        self.template = media_path(spec, root)

    def fill(self, source: Path, row: int, **values: str) -> str:
        """The path, below the media root, of the row of an annotation file; an empty value drops its folder.

        Raises:
            InputError: the path leaves the root; names file and row.
        """
        return below(source, row, self.template.format(**values))


def below(source: Path, row: int, place: str) -> str:
    """``place``, of a row of an annotation file, with empty parts dropped.

    Raises:
        InputError: it is absolute or has ``..`` among its parts; names file and row.
    """
    if not place.startswith("/") and "//" not in place and ".." not in place and "\0" not in place:
        return place
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts or "\0" in place:
        raise InputError(f"{source}: row {row}: {place!r:.120} is not a path below the media root")
    return path.as_posix()
