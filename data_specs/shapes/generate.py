"""Writes a shapes data set: clips, words and true boxes, in its own layout or in MSR-VTT's."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from data_specs import atomic
from data_specs.errors import InputError, did_you_mean
from data_specs.manifest import SPLITS
from data_specs.media import Limits, find_tool, run_tool
from data_specs.shapes import msrvtt_layout, native_layout
from data_specs.shapes.render import FrameTruth, render_frame
from data_specs.shapes.scene import CLASS_NAMES, FRAME_COUNT, FRAMES_PER_SECOND, HEIGHT, WIDTH, Scene, make_scene

LAYOUTS = ("native", "msrvtt")
RECORD = "shapes.json"
BOXES = {split: f"boxes/{split}.json" for split in SPLITS}
_CRF, _PRESET = 23, "slow"
_LIMITS = Limits(wall_s=120.0, cpu_s=120)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clip:
    """A scene and the id its clip has in the data set."""

    id: str
    scene: Scene


def split_counts(videos: int) -> dict[str, int]:
    """How many of ``videos`` clips each split gets: 60 % train, the rest halved between val and test.

    Raises:
        InputError: fewer than 3.
    """
    if videos < 3:
        raise InputError(f"--videos {videos}: at least 3, one a split")
    val = max(1, round(0.2 * videos))
    return {"train": videos - 2 * val, "val": val, "test": val}


def generate(
    out: Path,
    videos: int,
    seed: int = 0,
    layout: str = "native",
    splits: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> list[Clip]:
    """Writes ``videos`` clips with their annotations below ``out``; returns what it wrote.

    ``splits`` says how many clips each split gets (default: ``split_counts``; MSR-VTT's jsfusion split has no val, so
    with that layout test gets val's share). ``progress`` is called with (clips done, clips in all).
    Files are whole or absent; ``shapes.json``, which says what was asked for, comes first and annotations come last,
    so that they never stand beside clips of another run. Files of an earlier run are written anew.

    Raises:
        InputError: an unknown layout or split, counts that do not add up, or a folder that holds something else.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is unknown: {did_you_mean(layout, LAYOUTS)}")
    clips = plan_clips(videos, seed, layout, splits)
    writer = native_layout if layout == "native" else msrvtt_layout
    words = writer.annotation_files([(clip.id, clip.scene) for clip in clips])
    _claim(out, {"layout": layout, "seed": seed, "videos": videos}, [*words, *BOXES.values()])
    atomic.remove_leftovers((out / writer.MEDIA_PATH).parent)
    truth: dict[str, list[list[FrameTruth]]] = {}
    for done, clip in enumerate(clips, start=1):
        frames = [render_frame(clip.scene, number / FRAMES_PER_SECOND) for number in range(FRAME_COUNT)]
        encode_clip(frames, out / writer.MEDIA_PATH.format(id=clip.id))
        truth.setdefault(clip.scene.split, []).append([_without_image(frame) for frame in frames])
        if progress is not None:
            progress(done, len(clips))
    for split, frames_of_clips in truth.items():
        members = [clip for clip in clips if clip.scene.split == split]
        atomic.write_text(out / BOXES[split], _dumps(coco(members, frames_of_clips)) + "\n")
    for path, text in words.items():
        atomic.write_text(out / path, text)
    return clips


def plan_clips(videos: int, seed: int, layout: str, splits: Mapping[str, int] | None = None) -> list[Clip]:
    """Which scenes a data set holds and what their ids are; see ``generate``."""
    if splits is None:
        splits = split_counts(videos)
        if layout == "msrvtt":
            splits = {"train": splits["train"], "test": splits["val"] + splits["test"]}
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise InputError(f"split {unknown[0]!r} is unknown: {did_you_mean(unknown[0], SPLITS)}")
    if sum(splits.values()) != videos or min(splits.values()) < 0:
        raise InputError(f"splits {dict(splits)} do not add up to {videos} videos")
    if layout == "msrvtt" and splits.get("val"):
        raise InputError("the msrvtt layout follows the jsfusion split, which has train and test, no val")
    scenes = [make_scene(seed, split, index) for split in SPLITS for index in range(splits.get(split, 0))]
    if layout == "msrvtt":
        return [Clip(f"video{number}", scene) for number, scene in enumerate(scenes)]
    return [Clip(f"{scene.split}-{scene.index:06d}", scene) for scene in scenes]


def encode_clip(frames: Sequence[FrameTruth], path: Path) -> None:
    """Encodes frames as H.264 in mp4. The same ffmpeg gives the same bytes.

    Raises:
        InputError: ffmpeg cannot encode, with what it said.
    """
    with atomic.replacing(path) as temporary, tempfile.TemporaryFile() as raw:
        for frame in frames:
            raw.write(frame.image.tobytes())
        raw.seek(0)
        source = ffmpeg.input(
            "pipe:0", format="rawvideo", pix_fmt="rgb24", s=f"{WIDTH}x{HEIGHT}", framerate=FRAMES_PER_SECOND
        )
        encoded = source.output(
            str(temporary),
            format="mp4",
            vcodec="libx264",
            pix_fmt="yuv420p",
            preset=_PRESET,
            crf=_CRF,
            threads=1,
            map_metadata=-1,
            fflags="+bitexact",
            movflags="+faststart",
            **{"flags:v": "+bitexact"},
        )
        arguments = encoded.global_args("-nostdin", "-loglevel", "error", "-y").compile(cmd=str(find_tool("ffmpeg")))
        completed = run_tool(arguments, _LIMITS, stdin=raw)
        if completed.returncode != 0 or temporary.stat().st_size == 0:
            raise InputError(f"{path}: ffmpeg could not encode it: {completed.stderr or completed.returncode}")


def coco(clips: Sequence[Clip], frames_of_clips: Sequence[Sequence[FrameTruth]]) -> dict[str, Any]:
    """True boxes as COCO: one image a frame (``video_id``, ``timestamp`` in seconds), bbox x, y, w, h in pixels.

    Category ids are indices of ``CLASS_NAMES``, from 0. ``visible`` is the share of a box's thing that is not hidden.
    """
    images, annotations = [], []
    for clip, frames in zip(clips, frames_of_clips, strict=True):
        for number, frame in enumerate(frames):
            image = {"id": len(images), "file_name": f"{clip.id}/{number:04d}", "video_id": clip.id}
            image |= {"timestamp": number / FRAMES_PER_SECOND, "width": WIDTH, "height": HEIGHT}
            for box, label, visible in zip(frame.boxes.tolist(), frame.labels.tolist(), frame.visible, strict=True):
                x1, y1, x2, y2 = box
                bbox = [x1, y1, x2 - x1, y2 - y1]
                annotation = {"id": len(annotations), "image_id": image["id"], "category_id": label, "bbox": bbox}
                annotation |= {"area": bbox[2] * bbox[3], "iscrowd": 0, "visible": round(float(visible), 4)}
                annotations.append(annotation)
            images.append(image)
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _claim(out: Path, asked: dict[str, Any], annotations: Sequence[str]) -> None:
    """Makes the folder this data set's own, and takes an earlier run's annotations away before its clips change."""
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise InputError(f"{out}: is not empty and holds no shapes data set; give another folder with --out")
    for path in annotations:
        (out / path).unlink(missing_ok=True)
    atomic.write_text(out / RECORD, json.dumps(asked) + "\n")


def _without_image(frame: FrameTruth) -> FrameTruth:
    return FrameTruth(frame.image[:0], frame.boxes, frame.labels, frame.visible)


def _dumps(tree: Any) -> str:
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False)
