"""Scenes and their pixels: same seed same clip, true boxes, no scene in two splits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import ffmpeg
import numpy as np
import pytest

from data_specs.errors import InputError
from data_specs.media import Limits, find_tool, run_tool
from data_specs.shapes.generate import encode_clip
from data_specs.shapes.render import render_frame
from data_specs.shapes.scene import (
    CLASS_NAMES,
    COLOURS,
    DURATION_S,
    FRAME_COUNT,
    FRAMES_PER_SECOND,
    HEIGHT,
    SHAPES,
    WIDTH,
    Scene,
    class_index,
    make_scene,
)

SCENES = [make_scene(5, split, index) for split in ("train", "val", "test") for index in range(20)]
TIMES = (0.0, 1.5, 2.9)


def coloured(image: np.ndarray, colour: str) -> np.ndarray:
    """bool [H, W]: pixels near a colour."""
    return np.abs(image.astype(int) - np.array(COLOURS[colour])).max(axis=2) < 50


def test_the_same_seed_gives_the_same_scene_and_pixels() -> None:
    assert make_scene(5, "val", 3) == make_scene(5, "val", 3)
    assert make_scene(5, "val", 3) != make_scene(6, "val", 3)
    one, two = render_frame(SCENES[0], 1.2), render_frame(SCENES[0], 1.2)
    assert (one.image == two.image).all() and (one.boxes == two.boxes).all()
    assert (one.image != render_frame(SCENES[0], 1.3).image).any()


def test_classes_are_shape_by_colour() -> None:
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == len(SHAPES) * len(COLOURS)
    for shape in SHAPES:
        for colour in COLOURS:
            assert CLASS_NAMES[class_index(shape, colour)] == f"{colour} {shape}"


def test_things_of_a_scene_differ_and_stay_inside() -> None:
    for scene in SCENES:
        assert 2 <= len(scene.things) <= 5
        assert len({thing.name for thing in scene.things}) == len(scene.things)
        for time_s in np.linspace(0, DURATION_S, 7):
            for thing in scene.things:
                (x, y), half = thing.centre(time_s), thing.width_at(time_s) / 2
                assert half <= x <= WIDTH - half and half <= y <= HEIGHT - half


def test_splits_share_no_scene_whatever_the_seeds() -> None:
    content = {split: set() for split in ("train", "val", "test")}
    for split, signatures in content.items():
        for seed in range(3):
            signatures.update(make_scene(seed, split, index).signature for index in range(100))
    assert not content["train"] & content["val"]
    assert not content["train"] & content["test"]
    assert not content["val"] & content["test"]


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(InputError, match="split 'valid' is unknown: did you mean val"):
        make_scene(0, "valid", 0)


def test_frame_truth_has_the_promised_types() -> None:
    for scene in SCENES[:10]:
        truth, n = render_frame(scene, 0.7), len(scene.things)
        assert truth.image.shape == (HEIGHT, WIDTH, 3) and truth.image.dtype == np.uint8
        assert truth.boxes.shape == (n, 4) and truth.boxes.dtype == np.float32
        assert truth.labels.tolist() == [CLASS_NAMES.index(thing.name) for thing in scene.things]
        assert truth.visible.shape == (n,) and (truth.visible > 0.05).all() and (truth.visible <= 1).all()
        assert (truth.boxes[:, :2] < truth.boxes[:, 2:]).all() and (truth.boxes >= 0).all()


@pytest.mark.parametrize("time_s", TIMES)
def test_boxes_agree_with_pixels(time_s: float) -> None:
    checked = 0
    for scene in SCENES[::3]:
        for place, thing in enumerate(scene.things):
            truth = render_frame(replace(scene, things=(thing,)), time_s)
            x1, y1, x2, y2 = truth.boxes[0]
            rows, columns = coloured(truth.image, thing.colour).nonzero()
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(np.array(found) - [x1, y1, x2, y2]).max() <= 2.0, (scene.signature, thing.name)
            assert (render_frame(scene, time_s).boxes[place] == truth.boxes[0]).all()
            checked += 1
    assert checked > 40


def test_visible_share_agrees_with_pixels() -> None:
    hidden = 0
    for scene in SCENES:
        truth = render_frame(scene, 0.0)
        for place, thing in enumerate(scene.things):
            if sum(other.colour == thing.colour for other in scene.things) > 1:
                continue
            alone = coloured(render_frame(replace(scene, things=(thing,)), 0.0).image, thing.colour).sum()
            shown = coloured(truth.image, thing.colour).sum()
            assert abs(shown / alone - truth.visible[place]) < 0.12, (scene.signature, thing.name)
            hidden += truth.visible[place] < 0.9
    assert hidden >= 3  # things do hide each other


def test_a_clip_has_the_same_bytes_each_time_and_shows_its_scene(tmp_path: Path) -> None:
    scene = SCENES[1]
    frames = [render_frame(scene, number / FRAMES_PER_SECOND) for number in range(FRAME_COUNT)]
    for name in ("one.mp4", "two.mp4"):
        encode_clip(frames, tmp_path / name)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mp4", "two.mp4"]
    decoded = _decode(tmp_path / "one.mp4")
    assert decoded.shape == (FRAME_COUNT, HEIGHT, WIDTH, 3)
    for number, frame in enumerate(frames):
        assert np.abs(decoded[number].astype(int) - frame.image).mean() < 5


def test_every_shape_looks_different() -> None:
    thing = Scene(0, "train", 0, SCENES[0].things[:1]).things[0]
    areas = {}
    for shape in SHAPES:
        placed = replace(thing, shape=shape, width=(40.0, 40.0), start=(96.0, 72.0), end=(96.0, 72.0), colour="red")
        areas[shape] = int(coloured(render_frame(Scene(0, "train", 0, (placed,)), 0.0).image, "red").sum())
    ordered = sorted(areas.values())
    assert all(b - a > 20 for a, b in pairwise(ordered)), areas


def _decode(path: Path) -> np.ndarray:
    arguments = ffmpeg.input(str(path)).output("pipe:1", format="rawvideo", pix_fmt="rgb24")
    raw = run_tool(arguments.compile(cmd=str(find_tool("ffmpeg"))), Limits()).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
