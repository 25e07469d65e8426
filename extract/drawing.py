"""A picture of a frame with its regions: numbered boxes, and beside them label and score of each number."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data_specs.regions import corners_from_boxes
from data_specs.samples import Sample

_HEIGHT = 720
_LEGEND = 330
_INK, _PAPER = (240, 240, 240), (24, 24, 27)


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
