"""Pixels of a scene at a time, with the true box of every thing.

Letters: H height, W width, n things of the scene, in the scene's order.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_specs.shapes.scene import COLOURS, HEIGHT, WIDTH, Purpose, Scene, Thing, class_index, generator_of

_FINER = 4  # a mask is drawn this many times finer than the frame, then averaged
_NOISE_SIGMA = 2.5


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """One frame and what is in it.

    image:   uint8 [H, W, 3], RGB.
    boxes:   float32 [n, 4], corners x1, y1, x2, y2 in pixels, of the whole thing (hidden parts too), inside the frame.
    labels:  int32 [n], indices of ``CLASS_NAMES``.
    visible: float32 [n], share of the thing's area that no later thing hides, 0 to 1.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]
    visible: NDArray[np.float32]


def render_frame(scene: Scene, time_s: float) -> FrameTruth:
    """Draws a scene at ``time_s`` seconds. Deterministic: noise depends on the scene and the millisecond alone."""
    pixels = _background(scene).copy()
    covers, boxes = [], []
    for thing in scene.things:
        cover, box, window = _cover(thing, time_s)
        colour = np.array(COLOURS[thing.colour], np.float32)
        pixels[window] += cover[window][:, :, None] * (colour - pixels[window])
        covers.append(cover)
        boxes.append(box)
    noise = generator_of(scene.seed, scene.split, scene.index, Purpose.NOISE, round(1000 * time_s))
    pixels += noise.normal(0.0, _NOISE_SIGMA, pixels.shape).astype(np.float32)
    return FrameTruth(
        image=np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array([class_index(t.shape, t.colour) for t in scene.things], np.int32),
        visible=_visible(covers),
    )


def _visible(covers: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    shown = []
    free = np.ones((HEIGHT, WIDTH), np.float32)
    for cover in reversed(covers):
        shown.append(float((cover * free).sum() / cover.sum()))
        free = free * (1 - cover)
    return np.array(shown[::-1], np.float32)


@functools.lru_cache(maxsize=2)
def _background(scene: Scene) -> NDArray[np.float32]:
    """float32 [H, W, 3]: dull clouds of several sizes, stripes and a fixed grain, the same in all frames of a clip."""
    rng = generator_of(scene.seed, scene.split, scene.index, Purpose.BACKGROUND)
    base = rng.uniform(62, 104) + rng.uniform(-12, 12, 3)
    pixels = np.broadcast_to(base, (HEIGHT, WIDTH, 3)).astype(np.float32)
    for cells, strength in ((3, 18.0), (7, 10.0), (16, 6.0)):
        grid = rng.uniform(-1, 1, (cells, cells + cells // 3)).astype(np.float32)
        clouds = Image.fromarray(grid).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        pixels += strength * np.asarray(clouds)[:, :, None] * rng.uniform(0.7, 1.3, 3).astype(np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(14, 40)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    stripes = np.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period)
    pixels += (rng.uniform(0, 7) * stripes)[:, :, None].astype(np.float32)
    pixels += rng.normal(0.0, 3.0, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return np.clip(pixels, 16, 150)


def _cover(
    thing: Thing, time_s: float
) -> tuple[NDArray[np.float32], tuple[float, float, float, float], tuple[slice, slice]]:
    """How much of each pixel a thing covers, float32 [H, W], its box, and the window outside which it covers none."""
    x, y = thing.centre(time_s)
    radius = thing.width_at(time_s) / 2
    left, top = math.floor(x - 1.3 * radius) - 1, math.floor(y - 1.3 * radius) - 1
    side = math.ceil(2.6 * radius) + 3
    fine = Image.new("L", (side * _FINER, side * _FINER))
    centre = np.array([x - left, y - top]) * _FINER
    _draw(ImageDraw.Draw(fine), thing.shape, centre, radius * _FINER, math.radians(thing.angle_degrees))
    inside = np.asarray(fine) > 0
    rows, columns = inside.any(axis=1).nonzero()[0], inside.any(axis=0).nonzero()[0]
    box = (
        float(np.clip(left + columns[0] / _FINER, 0, WIDTH)),
        float(np.clip(top + rows[0] / _FINER, 0, HEIGHT)),
        float(np.clip(left + (columns[-1] + 1) / _FINER, 0, WIDTH)),
        float(np.clip(top + (rows[-1] + 1) / _FINER, 0, HEIGHT)),
    )
    patch = np.asarray(fine.reduce(_FINER), np.float32) / 255
    cover = np.zeros((HEIGHT, WIDTH), np.float32)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + side, HEIGHT), min(left + side, WIDTH)
    window = (slice(y0, y1), slice(x0, x1))
    cover[window] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    return cover, box, window


def _draw(draw: ImageDraw.ImageDraw, shape: str, centre: NDArray, radius: float, angle: float) -> None:
    if shape in ("circle", "ring"):
        draw.ellipse([*(centre - radius), *(centre + radius)], fill=255)
        if shape == "ring":
            draw.ellipse([*(centre - 0.55 * radius), *(centre + 0.55 * radius)], fill=0)
        return
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    outline = np.array(_OUTLINES[shape]) @ turn * radius + centre
    draw.polygon([(float(x), float(y)) for x, y in outline], fill=255)


def _star() -> list[tuple[float, float]]:
    points = []
    for corner in range(10):
        reach, angle = (1.08 if corner % 2 == 0 else 0.46), math.pi * corner / 5
        points.append((reach * math.sin(angle), -reach * math.cos(angle)))
    return points


_ARM = 0.34
_OUTLINES = {
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)],
    "star": _star(),
    "cross": [
        *[(-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM)],
        *[(_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM)],
    ],
}
