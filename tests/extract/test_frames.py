"""Sparse frames equal those of a full decode at the same timestamps, whatever the codec and container."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.failures import MediaError, Reason
from data_specs.manifest import Item, Manifest
from data_specs.media import Limits, descriptor_url, find_tool, opened, run_tool
from data_specs.probe import probe
from extract.frames import check_tools, decode, sample_frames
from extract.sampling import segment_middles

LIMITS = Limits()
CLIPS = {
    "long_gop_b_frames.mp4": ["-c:v", "libx264", "-g", "250", "-bf", "3"],
    "variable_rate.mp4": ["-vf", "select='not(mod(n,3))+gt(n,30)'", "-fps_mode", "vfr", "-c:v", "libx264"],
    "b_frames.avi": ["-c:v", "mpeg4", "-bf", "2"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    "odd_size.mkv": ["-vf", "scale=101:75", "-c:v", "libx264", "-pix_fmt", "yuv444p"],
    "ten_bit.mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p10le"],
    "late_start.mkv": ["-c:v", "libx264", "-output_ts_offset", "7"],
    "moving.gif": [],
}


def make_clip(path: Path, arguments: list[str], seconds: float = 2, rate: int = 25) -> Path:
    source = f"testsrc2=size=128x96:rate={rate}:duration={seconds}"
    command = [str(find_tool("ffmpeg")), "-v", "error", "-f", "lavfi", "-i", source, *arguments, str(path)]
    assert run_tool(command, LIMITS).returncode == 0
    return path


def full_decode(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Every frame, in presentation order, the simple way."""
    with opened(path) as descriptor:
        command = [str(find_tool("ffmpeg")), "-v", "error", "-i", descriptor_url(descriptor)]
        command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
        raw = run_tool(command, LIMITS, descriptors=[descriptor]).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, *size, 3)


@pytest.mark.parametrize("name", CLIPS)
def test_frames_equal_a_full_decode(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / name, CLIPS[name])
    frames = sample_frames(tmp_path, Item("clip", name, "train"), Sampling(7), LIMITS)
    with opened(tmp_path / name) as descriptor:
        found = probe(descriptor, LIMITS)
    every = full_decode(tmp_path / name, frames.images.shape[1:3])
    assert len(every) == len(found.shown_at)
    for image, timestamp, wanted in zip(
        frames.images, frames.timestamps, segment_middles(found.shown_at[0], found.end, 7), strict=True
    ):
        on_screen = max(i for i, at in enumerate(found.shown_at) if at <= wanted + 1e-9)
        assert timestamp == found.shown_at[on_screen]
        np.testing.assert_array_equal(image, every[on_screen])


def test_every_single_frame_can_be_had(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", CLIPS["long_gop_b_frames.mp4"], seconds=1)
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
        images = decode(descriptor, found, list(range(len(found.shown_at))), LIMITS)
    np.testing.assert_array_equal(images, full_decode(path, (96, 128)))


def test_fixture_frames_equal_a_full_decode(ten_videos: Path, ten_manifest: Manifest) -> None:
    item = next(iter(ten_manifest))
    frames = sample_frames(ten_videos, item, Sampling(8), LIMITS)
    every = full_decode(ten_videos / item.path, (144, 192))
    np.testing.assert_array_equal(frames.images, every[[round(10 * t) for t in frames.timestamps]])


def test_clip_borders(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", ["-c:v", "libx264"], seconds=4, rate=10)
    item = Item("clip", "clip.mp4", "train", clip_start=1.0, clip_end=3.0)
    assert sample_frames(tmp_path, item, Sampling(2), LIMITS).timestamps == pytest.approx((1.5, 2.5))
    beyond = Item("clip", "clip.mp4", "train", clip_start=9.0, clip_end=10.0)
    with pytest.raises(MediaError) as caught:
        sample_frames(tmp_path, beyond, Sampling(2), LIMITS)
    assert caught.value.reason is Reason.TRUNCATED


def test_short_clip_repeats_its_frames(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", ["-frames:v", "3", "-c:v", "libx264"])
    frames = sample_frames(tmp_path, Item("clip", "clip.mp4", "train"), Sampling(8), LIMITS)
    assert len(frames.images) == 8
    assert len(set(frames.timestamps)) == 3
    assert list(frames.timestamps) == sorted(frames.timestamps)


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_an_image_is_one_frame(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / name, ["-frames:v", "1"])
    frames = sample_frames(tmp_path, Item("i", name, "train", media="image"), Sampling(8), LIMITS)
    assert frames.images.shape == (1, 96, 128, 3)


def test_rotation_is_applied(tmp_path: Path) -> None:
    upright = make_clip(tmp_path / "upright.mp4", ["-c:v", "libx264"])
    turned = tmp_path / "turned.mp4"
    command = [str(find_tool("ffmpeg")), "-v", "error", "-display_rotation", "90", "-i", str(upright)]
    assert run_tool([*command, "-c", "copy", str(turned)], LIMITS).returncode == 0
    frames = sample_frames(tmp_path, Item("t", "turned.mp4", "train"), Sampling(3), LIMITS)
    straight = sample_frames(tmp_path, Item("u", "upright.mp4", "train"), Sampling(3), LIMITS)
    np.testing.assert_array_equal(frames.images, np.rot90(straight.images, axes=(1, 2)))


def test_pixel_bomb_is_refused(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", ["-c:v", "libx264"])
    with pytest.raises(MediaError) as caught:
        sample_frames(tmp_path, Item("c", "clip.mp4", "train"), Sampling(2), Limits(pixels=1000))
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ("name", "arguments"), [("end.mp4", []), ("front.mp4", ["-movflags", "faststart"]), ("a.mkv", [])]
)
@pytest.mark.parametrize("frames", [1, 8])
def test_a_cut_file_is_truncated(tmp_path: Path, share: float, name: str, arguments: list[str], frames: int) -> None:
    path = make_clip(tmp_path / name, ["-c:v", "libx264", "-g", "10", *arguments], seconds=8)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaError) as caught:
        sample_frames(tmp_path, Item("cut", name, "train"), Sampling(frames), LIMITS)
    assert caught.value.reason in (Reason.TRUNCATED, Reason.NOT_MEDIA)


def test_of_two_video_streams_the_first_is_taken(tmp_path: Path) -> None:
    other = ["-f", "lavfi", "-i", "testsrc=size=128x96:rate=5:duration=3", "-map", "1", "-map", "0"]
    make_clip(tmp_path / "two.mkv", [*other, "-c:v", "libx264"])
    make_clip(tmp_path / "one.mkv", ["-f", "lavfi", "-i", "testsrc=size=128x96:rate=5:duration=3", "-map", "1"])
    two, one = (sample_frames(tmp_path, Item("c", f"{n}.mkv", "train"), Sampling(4), LIMITS) for n in ("two", "one"))
    assert two.timestamps == one.timestamps
    assert np.abs(two.images.astype(int) - one.images.astype(int)).mean() < 2


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    cover = make_clip(tmp_path / "cover.png", ["-frames:v", "1"])
    audio = [str(find_tool("ffmpeg")), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-i", str(cover)]
    audio += ["-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "copy", "-disposition:v:0", "attached_pic"]
    assert run_tool([*audio, str(tmp_path / "song.m4a")], LIMITS).returncode == 0
    with pytest.raises(MediaError) as caught:
        sample_frames(tmp_path, Item("s", "song.m4a", "train"), Sampling(2), LIMITS)
    assert caught.value.reason is Reason.NO_VIDEO_STREAM


def test_broken_tools_are_not_taken_for_broken_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tools(LIMITS)
    broken = tmp_path / "ffprobe"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    tools = {"ffmpeg": find_tool("ffmpeg"), "ffprobe": broken}
    monkeypatch.setattr("data_specs.probe.find_tool", tools.__getitem__)
    with pytest.raises(InputError, match="cannot be used"):
        check_tools(LIMITS)
