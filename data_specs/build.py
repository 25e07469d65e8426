"""From a data set's annotation files to its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_specs.annotations.registry import parser_of
from data_specs.manifest import Manifest, ManifestInfo, write_manifest
from data_specs.spec import DatasetSpec, ProtocolSpec, load_spec


@dataclass(frozen=True)
class Built:
    """A manifest that was written, the protocol it follows, and what of the annotations is not in it.

    absent:   roles of optional annotation files that are not there.
    left_out: role to the number of its questions about videos that the protocol's split does not hold.
    """

    manifest: Manifest
    protocol: ProtocolSpec
    absent: tuple[str, ...]
    left_out: dict[str, int]


def build_manifest(dataset: str | DatasetSpec, root: Path, out: Path, protocol: str | None = None) -> Built:
    """Reads the annotation files below ``root`` and writes the manifest to ``out``. Media are not looked at.

    Raises:
        InputError: an unknown data set or protocol, or a missing or malformed annotation file.
    """
    spec = load_spec(dataset) if isinstance(dataset, str) else dataset
    full_name, chosen = spec.protocol(protocol)
    found = parser_of(spec)(spec, chosen, root)
    info = ManifestInfo(spec.name, full_name, spec.version, found.sources)
    return Built(write_manifest(out, found.items, info), chosen, found.absent, found.left_out)
