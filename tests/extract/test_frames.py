"""Sparse frames equal those of a full decode at the same timestamps, whatever the codec and container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data_specs.errors import InputError
from data_specs.failures import MediaError, Reason
from data_specs.manifest import Item, Manifest
from data_specs.media import Limits, descriptor_url, find_tool, opened, run_tool
from data_specs.probe import probe
from extract import frames as frames_module
from extract.frames import check_tools, decode, sample_frames
from extract.sampling import Sampling
from tests.extract import clips

LIMITS = Limits()
X264 = ("-c:v", "libx264")
SOUGHT = {
    "long.mp4": (*X264, "-g", "250"),
    "short_groups.mp4": (*X264, "-g", "12"),
    "short_groups.mkv": (*X264, "-g", "12"),
    "short_groups.ts": (*X264, "-g", "12"),
    "short_groups.flv": (*X264, "-g", "12"),
    "open_groups.mp4": (*X264, "-x264-params", "open-gop=1:keyint=20:bframes=4"),
    "open_groups.mkv": (*X264, "-x264-params", "open-gop=1:keyint=20:bframes=4"),
    "open_groups.ts": (*X264, "-x264-params", "open-gop=1:keyint=20:bframes=4"),
    "no_keyframes.mp4": (*X264, "-x264-params", "intra-refresh=1:keyint=20"),
    "interlaced.mp4": (*X264, "-flags", "+ilme+ildct", "-x264-params", "tff=1:keyint=20"),
    "pyramid.mp4": (*X264, "-bf", "8", "-refs", "6", "-x264-params", "b-pyramid=strict:keyint=50"),
    "slices.mp4": (*X264, "-x264-params", "slices=4:keyint=50"),
    "padded.mp4": (*X264, "-x264-params", "nal-hrd=cbr:vbv-maxrate=200:vbv-bufsize=200:keyint=50"),
    "fragments.mp4": (*X264, "-g", "20", "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "300000"),
    "negative_offsets.mp4": (*X264, "-g", "20", "-movflags", "negative_cts_offsets"),
    "late.mp4": (*X264, "-g", "20", "-output_ts_offset", "5"),
    "wrapping.ts": (*X264, "-g", "12", "-output_ts_offset", "95440"),  # the clock starts again after 95,443.7 s
    "late.mpg": ("-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-output_ts_offset", "100"),
    "variable.mkv": (*X264, "-g", "20", "-vf", "select='not(mod(n,3))+gt(n,60)'", "-fps_mode", "vfr"),
    "delayed.avi": X264,
    "packed.avi": ("-c:v", "libxvid", "-bf", "2", "-g", "12"),
    "hevc.mp4": ("-c:v", "libx265", "-x265-params", "log-level=error:keyint=20"),
    "hevc.mkv": ("-c:v", "libx265", "-x265-params", "log-level=error:keyint=20"),
    "hidden_frames.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
    "av1.mp4": ("-c:v", "libaom-av1", "-cpu-used", "8", "-g", "30"),
    "mpeg4.mp4": ("-c:v", "mpeg4", "-bf", "2", "-g", "12"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-bf", "2", "-g", "12"),
    "theora.ogv": ("-c:v", "libtheora", "-g", "12"),
    "moving.gif": (),
}


def make_clip(path: Path, arguments: Sequence[str], seconds: float = 2, rate: int = 25) -> Path:
    source = f"testsrc2=size=128x96:rate={rate}:duration={seconds}"
    command = [str(find_tool("ffmpeg")), "-v", "error", "-f", "lavfi", "-i", source, *arguments, str(path)]
    assert run_tool(command, LIMITS).returncode == 0
    return path


def full_decode(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Every frame as viewers see it, (height, width) large, in presentation order, the simple way."""
    with opened(path) as descriptor:
        command = [str(find_tool("ffmpeg")), "-v", "error", "-i", descriptor_url(descriptor), "-map", "0:V:0"]
        command += ["-vf", f"scale={size[1]}:{size[0]}", "-fps_mode", "passthrough"]
        raw = run_tool([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"], LIMITS, descriptors=[descriptor])
    return np.frombuffer(raw.stdout, np.uint8).reshape(-1, *size, 3)


def encoded(name: str, arguments: Sequence[str]) -> Sequence[str]:
    if "-c:v" in arguments and arguments[arguments.index("-c:v") + 1] not in clips.encoders():
        pytest.skip(f"the ffmpeg in use cannot make {name}")
    return arguments


@pytest.mark.parametrize("name", clips.KINDS)
def test_frames_equal_a_full_decode(tmp_path: Path, name: str) -> None:
    kind = clips.KINDS[name]
    encoded(name, kind.arguments)
    path = clips.make_clip(tmp_path / f"clip.{kind.ending}", kind, 0)
    frames = sample_frames(tmp_path, Item("clip", path.name, "train", kind.media), Sampling(7), LIMITS)
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
        alone = [decode(descriptor, found, [index], LIMITS)[0] for index in range(0, len(found.shown_at), 5)]
    every = full_decode(path, found.shown_size)
    assert len(every) == len(found.shown_at)
    np.testing.assert_array_equal(alone, every[::5])
    moments = Sampling(7).times(found.shown_at[0], found.end, "") if kind.media == "video" else [found.shown_at[0]]
    for image, timestamp, wanted in zip(frames.images, frames.timestamps, moments, strict=True):
        on_screen = max(i for i, at in enumerate(found.shown_at) if at <= wanted + 1e-9)
        assert timestamp == found.shown_at[on_screen]
        np.testing.assert_array_equal(image, every[on_screen])


@pytest.mark.parametrize("name", SOUGHT)
def test_frames_are_exact_wherever_the_decoding_begins(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if frames were large: every group of pictures is sought, and everything superfluous left out."""
    monkeypatch.setattr("data_specs.seeking._WORTH_A_SEEK", 0)
    monkeypatch.setattr("extract.skipping._is_worth_it", lambda pixels, size: True)
    path = make_clip(tmp_path / name, encoded(name, SOUGHT[name]), seconds=6)
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
        every = full_decode(path, found.shown_size)
        assert len(every) == len(found.shown_at)
        for seed in range(5):
            sampling = Sampling(2 * seed + 1, "segment-random", seed)
            times = sampling.times(found.shown_at[0], found.end, name)
            wanted = sorted({found.frame_at(time) for time in times})
            np.testing.assert_array_equal(decode(descriptor, found, wanted, LIMITS), every[wanted])


def test_every_single_frame_can_be_had(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", ["-c:v", "libx264", "-g", "250", "-bf", "3"], seconds=24)
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
        images = decode(descriptor, found, list(range(len(found.shown_at))), LIMITS)
    assert len(images) == 600  # more than one command has room for
    np.testing.assert_array_equal(images, full_decode(path, (96, 128)))


def test_an_index_that_lies_costs_a_full_decode_and_no_frame(tmp_path: Path) -> None:
    """Every frame is marked as a keyframe: what comes out after a seek is not to be had, or not to be trusted."""
    path = make_clip(tmp_path / "clip.mp4", ["-c:v", "libx264", "-x264-params", "intra-refresh=1:keyint=20"], seconds=4)
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
        lying = replace(found, packets=replace(found.packets, keys=np.ones_like(found.packets.keys)))
        images = decode(descriptor, lying, [60, 90], LIMITS)
    np.testing.assert_array_equal(images, full_decode(path, (96, 128))[[60, 90]])


def test_output_is_refused_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "clip.mp4", ["-c:v", "libx264"])
    monkeypatch.setattr("extract.frames._run", None)  # which would start the decoder
    with pytest.raises(MediaError) as caught:
        sample_frames(tmp_path, Item("c", "clip.mp4", "train"), Sampling(8), Limits(output_bytes=8 * 128 * 96 * 3 - 1))
    assert caught.value.reason is Reason.TOO_LARGE
    assert caught.value.detail == "8 frames of 128 x 96 pixels take 294912 bytes, at most 294911 are allowed"


def test_frames_that_change_their_size_are_brought_to_one(tmp_path: Path) -> None:
    for name, size in (("one.ts", "128:96"), ("two.ts", "64:48")):
        make_clip(tmp_path / name, ["-vf", f"scale={size}", "-c:v", "mpeg2video", "-bf", "0"], seconds=1)
    offset = make_clip(tmp_path / "next.ts", ["-vf", "scale=64:48", "-c:v", "mpeg2video", "-output_ts_offset", "1"], 1)
    (tmp_path / "both.ts").write_bytes((tmp_path / "one.ts").read_bytes() + offset.read_bytes())
    frames = sample_frames(tmp_path, Item("both", "both.ts", "train"), Sampling(4), LIMITS)
    assert frames.images.shape == (4, 96, 128, 3)


def test_many_large_frames_take_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_specs.seeking._WORTH_A_SEEK", 0)
    counted: list[int] = []
    real = frames_module._run
    monkeypatch.setattr("extract.frames._run", lambda *a: counted.append(len(a[2])) or real(*a))
    path = make_clip(tmp_path / "clip.mp4", ["-c:v", "libx264", "-g", "5"], seconds=2)
    little = Limits(memory_bytes=128 * 96 * 3 // 2 * 20 * 4 * 3)  # decoders for three spans; no tool starts in it
    monkeypatch.setattr("data_specs.media._limit", lambda pid, limits: None)
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
        images = decode(descriptor, found, list(range(2, 50, 5)), little)
    assert counted == [3, 3, 3, 1]
    np.testing.assert_array_equal(images, full_decode(path, (96, 128))[2::5])


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


@pytest.mark.parametrize(("degrees", "turns"), [(90, 3), (180, 2), (270, 1)])
def test_rotation_is_applied(tmp_path: Path, degrees: int, turns: int) -> None:
    upright = make_clip(tmp_path / "upright.mp4", ["-c:v", "libx264"])
    (tmp_path / "turned.mp4").write_bytes(upright.read_bytes())
    clips.rotated(degrees)(tmp_path / "turned.mp4")
    frames = sample_frames(tmp_path, Item("t", "turned.mp4", "train"), Sampling(3), LIMITS)
    straight = sample_frames(tmp_path, Item("u", "upright.mp4", "train"), Sampling(3), LIMITS)
    np.testing.assert_array_equal(frames.images, np.rot90(straight.images, turns, axes=(1, 2)))


def test_pixels_become_square(tmp_path: Path) -> None:
    """A circle on the screen is a circle in the frame."""
    circle = "geq=lum='255*lt(hypot((X-64)*4/3,Y-48),40)':cb=128:cr=128"
    make_clip(tmp_path / "wide.mp4", ["-vf", f"{circle},setsar=4/3", "-c:v", "libx264"], seconds=0.2)
    (image,) = sample_frames(tmp_path, Item("w", "wide.mp4", "train"), Sampling(1), LIMITS).images
    assert image.shape == (96, 171, 3)
    rows, columns = (np.flatnonzero((image[..., 0] > 128).any(axis=axis)) for axis in (1, 0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 2


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
    assert caught.value.reason is Reason.TRUNCATED


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


def test_a_decode_that_gives_too_little_is_an_error(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", ["-c:v", "mpeg4", "-g", "1"])
    with opened(path) as descriptor:
        found = probe(descriptor, LIMITS)
        further = replace(found, shown_at=np.append(found.shown_at, 9.0))
        further = replace(further, packets=replace(found.packets, times=np.append(found.packets.times[:-1], 9.0)))
        with pytest.raises(MediaError) as caught:
            decode(descriptor, further, [3, 50], LIMITS)
    assert caught.value.reason is Reason.DECODE_ERROR
    assert caught.value.detail.startswith("1 of 2 frames came out")


def test_the_check_of_the_tools_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    check_tools(LIMITS)
    assert list(tmp_path.iterdir()) == []


def test_broken_tools_are_not_taken_for_broken_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tools(LIMITS)
    broken = tmp_path / "ffprobe"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    tools = {"ffmpeg": find_tool("ffmpeg"), "ffprobe": broken}
    monkeypatch.setattr("data_specs.probe.find_tool", tools.__getitem__)
    with pytest.raises(InputError, match="cannot be used"):
        check_tools(LIMITS)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), OverflowError("int too big"), ValueError("no")])
def test_what_nobody_foresaw_costs_its_own_row(
    ten_videos: Path, ten_manifest: Manifest, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("extract.frames.probe", fail)
    with pytest.raises(MediaError) as caught:
        sample_frames(ten_videos, next(iter(ten_manifest)), Sampling(2), LIMITS)
    assert caught.value.reason is Reason.DECODE_ERROR
    assert type(error).__name__ in caught.value.detail
