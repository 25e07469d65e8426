"""From a data set's annotation files to its manifest."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_specs.annotations import answers
from data_specs.annotations.answers import Coverage
from data_specs.annotations.folder import FolderOptions
from data_specs.annotations.folder import parse as parse_folder
from data_specs.annotations.registry import parser_of
from data_specs.annotations.sources import Sources, find_media
from data_specs.errors import InputError
from data_specs.manifest import Item, Manifest, ManifestInfo, write_manifest
from data_specs.spec import DatasetSpec, ProtocolSpec, load_spec


@dataclass(frozen=True)
class Built:
    """A manifest that was written, the protocol it follows, and what of the annotations is not in it.

    absent:      roles of optional annotation files that are not there.
    left_out:    role to the number of its questions about videos that the protocol's split does not hold.
    spec:        the data set.
    layout:      the media path template that the rows follow, and whether a file stands at it.
    forms:       role to the form of its file, for data sets that are published in several.
    coverage:    split to how many of its questions the answer vocabulary covers, for protocols that have one.
    remarks:     what else the parser says of what it found and left out, a line each.
    """

    manifest: Manifest
    protocol: ProtocolSpec
    absent: tuple[str, ...]
    left_out: dict[str, int]
    spec: DatasetSpec
    layout: tuple[str, bool]
    forms: Mapping[str, str] = field(default_factory=dict)
    coverage: Mapping[str, Coverage] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def build_manifest(
    dataset: str | DatasetSpec,
    root: Path,
    out: Path,
    protocol: str | None = None,
    folder: FolderOptions | None = None,
) -> Built:
    """Reads the annotation files below ``root`` and writes the manifest to ``out``.

    Media are not looked at, but for their lengths where ``folder`` says that they are cut into clips.

    Raises:
        InputError: an unknown data set or protocol, a missing or malformed annotation file, or options of a folder for
            another data set.
    """
    spec = load_spec(dataset) if isinstance(dataset, str) else dataset
    full_name, chosen = spec.protocol(protocol)
    parse = parser_of(spec)
    if folder is not None:
        if spec.format != "folder":
            raise InputError(f"{spec.name}: clips and one split for all are for the data set 'folder' alone")
        parse = functools.partial(parse_folder, options=folder)
    found = parse(spec, chosen, root)
    items, read = found.items, found.sources
    known: tuple[str, ...] = ()
    if chosen.joined_by is not None:
        items = joined(items, chosen.joined_by)
    if chosen.answers is not None:
        items, sources = list(items), Sources(spec, root)
        known = answers.vocabulary(chosen.answers, items, sources)
        items, read = answers.labelled(items, known), {**found.sources, **sources.read}
    info = ManifestInfo(spec.name, full_name, spec.version, read, rules(chosen), known)
    return Built(
        manifest=write_manifest(out, items, info),
        protocol=chosen,
        absent=found.absent,
        left_out=found.left_out,
        spec=spec,
        layout=find_media(spec, root),
        forms=found.forms,
        remarks=found.remarks,
        coverage=answers.coverage(items) if chosen.answers is not None else {},
    )


def joined(items: Iterable[Item], separator: str) -> Iterator[Item]:
    """The items, several captions of one made into one: the caption texts in order, ``separator`` between them."""
    for item in items:
        yield replace(item, captions=(separator.join(item.captions),)) if len(item.captions) > 1 else item


def rules(protocol: ProtocolSpec) -> dict[str, str]:
    """How a protocol is scored, as the manifest keeps it."""
    names = ("task", "queries", "candidates", "ties")
    return {name: str(getattr(protocol, name)) for name in names}
