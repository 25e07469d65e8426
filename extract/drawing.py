"""A picture of a frame with its regions: numbered boxes, and beside them label and score of each number."""

from __future__ import annotations

import colorsys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data_specs.errors import InputError
from data_specs.failures import MediaError
from data_specs.location import Location
from data_specs.manifest import read_manifest
from data_specs.media import Limits, opened
from data_specs.probe import probe
from data_specs.regions import corners_from_boxes
from data_specs.samples import Sample, SampleError
from data_specs.shards import Provenance, ShardError, iterate_keys, iterate_shard, records
from extract.frames import decode
from extract.sampling import IMPORTED

_HEIGHT = 720
_LEGEND = 330
_INK, _PAPER = (240, 240, 240), (24, 24, 27)


def find_sample(folder: Location, identifier: str) -> tuple[Sample, Provenance]:
    """The sample of an id, wherever in the folder it stands, and how it was made.

    Raises:
        InputError: it is in no shard; where it failed, the latest reason is said.
        click.ClickException: a shard is broken.
    """
    failed = None
    try:
        for record in records(folder):
            path = folder / record.shard
            if identifier in set(iterate_keys(path)):
                found = next(sample for sample in iterate_shard(path) if sample.id == identifier)
                return found, record.provenance
            failed = next((failure for failure in record.failures if failure.id == identifier), failed)
    except (ShardError, SampleError) as error:
        raise click.ClickException(str(error)) from None
    if failed is not None:
        raise InputError(f"{identifier!r} gave no sample: {failed.reason}: {failed.detail}")
    raise InputError(f"{identifier!r} is in no shard of {folder}")


def frame_image(manifest: Path, root: Path, sample: Sample, made_with: Provenance, frame: int) -> NDArray[np.uint8]:
    """Frame number ``frame`` of a sample, uint8 [H, W, 3] RGB, decoded from its media file.

    Raises:
        InputError: the manifest has no such row, the file does not give the frame, or the sample was imported, so that
            nobody knows when its frames are.
    """
    if made_with.sampling == IMPORTED:
        raise InputError(
            f"{sample.id!r} was imported: at which second its frames were taken is not known; draw over grey"
        )
    item = next((item for item in read_manifest(manifest) if item.id == sample.id), None)
    if item is None:
        raise InputError(f"{manifest}: has no row with id {sample.id!r}")
    try:
        with opened(root / item.path) as descriptor:
            found = probe(descriptor, Limits())
            return decode(descriptor, found, [found.frame_at(sample.timestamps[frame])], Limits())[0]
    except MediaError as error:
        raise InputError(f"{root / item.path}: {error}") from None


def draw_regions(sample: Sample, frame: int, image: NDArray[np.uint8] | None, labels: tuple[str, ...]) -> Image.Image:
    """Draws frame number ``frame`` of a sample; without ``image`` uint8 [H, W, 3] the boxes stand on plain grey.

    labels: class names, in the order of ``Regions.labels``; a missing one is shown as its number.
    """
    height, width = sample.frame_size
    scale = _HEIGHT / height
    size = (round(width * scale), _HEIGHT)
    if image is None:
        picture = Image.new("RGB", size, (70, 70, 74))
    else:
        picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    count = int(sample.regions.count[frame])
    rows = max(count + 2, 1)
    sheet = Image.new("RGB", (size[0] + _LEGEND, max(_HEIGHT, 22 * rows + 16)), _PAPER)
    canvas = ImageDraw.Draw(picture)
    corners = corners_from_boxes(sample.regions.boxes[frame, :count], size[::-1])
    for number in reversed(range(count)):  # the most confident on top
        _draw_box(canvas, number, corners[number], float(sample.regions.scores[frame, number]))
    sheet.paste(picture, (0, 0))
    _draw_legend(ImageDraw.Draw(sheet), size[0] + 12, sample, frame, labels)
    return sheet


def _draw_box(canvas: ImageDraw.ImageDraw, number: int, corners: NDArray, score: float) -> None:
    x1, y1, x2, y2 = (float(c) for c in corners)
    colour = _colour(number)
    canvas.rectangle([x1, y1, x2, y2], outline=colour, width=4 if score >= 0.5 else 1)
    font = ImageFont.load_default(15)
    text = str(number + 1)
    left, top, right, bottom = canvas.textbbox((x1, y1), text, font=font)
    canvas.rectangle([x1, y1, x1 + right - left + 6, y1 + bottom - top + 8], fill=colour)
    canvas.text((x1 + 3, y1), text, fill=(0, 0, 0), font=font)


def _draw_legend(canvas: ImageDraw.ImageDraw, x: int, sample: Sample, frame: int, labels: tuple[str, ...]) -> None:
    font = ImageFont.load_default(15)
    seconds = sample.timestamps[frame]
    canvas.text((x, 8), f"{sample.id}  frame {frame + 1} at {seconds:.2f} s"[:44], fill=_INK, font=font)
    for number in range(int(sample.regions.count[frame])):
        label = int(sample.regions.labels[frame, number])
        name = labels[label] if 0 <= label < len(labels) else f"class {label}"
        y = 8 + 22 * (number + 1)
        canvas.rectangle([x, y + 3, x + 12, y + 15], fill=_colour(number))
        text = f"{number + 1:2d}  {name}  {float(sample.regions.scores[frame, number]):.3f}"
        canvas.text((x + 20, y), text[:40], fill=_INK, font=font)


def _colour(number: int) -> tuple[int, int, int]:
    """Well separated hues: each is a golden angle from the one before."""
    red, green, blue = colorsys.hsv_to_rgb((number * 0.618034) % 1.0, 0.55 + 0.25 * (number % 2), 1.0)
    return int(255 * red), int(255 * green), int(255 * blue)
