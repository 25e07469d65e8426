"""Files that give no sample, one of each kind, with the reason that an extraction must record for it."""

from __future__ import annotations

import itertools
import os
import random
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_specs.failures import Reason
from data_specs.manifest import Item
from data_specs.media import Limits, find_tool, run_tool
from tests.extract.clips import SOURCES

SCENE = SOURCES / "video0.mp4"
BOMB = 16_384  # pixels a side
_LIMITS = Limits()


@dataclass(frozen=True)
class BadFile:
    """An item that must fail, and why."""

    item: Item
    reason: Reason


def make_bad_files(folder: Path, http_port: int) -> list[BadFile]:
    """Makes the files below ``folder``; paths are relative to it.

    Some would have a tool fetch ``/clip.mp4`` from 127.0.0.1:``http_port``, or read the good ``bait.mp4`` beside
    them. What nobody may read is left out for root, who may.
    """
    bait = folder / "bait.mp4"
    bait.write_bytes(SCENE.read_bytes())
    made: list[BadFile] = []
    for group in (_nothing, _no_media, _cut, _flipped, _without_video, _bombs, _not_files, _odd_headers):
        made += _listed(group(folder))
    return made + _listed(_lures(folder, bait, f"http://127.0.0.1:{http_port}/clip.mp4"))


Named = Iterator[tuple[str, Reason]]


def _listed(named: Named) -> list[BadFile]:
    return [
        BadFile(Item(f"bad: {name}", name, "train", "image" if name.endswith((".png", ".jpg")) else "video"), reason)
        for name, reason in named
    ]


def _ffmpeg(path: Path, *arguments: str) -> bytes:
    """What ffmpeg makes of the scene."""
    command = [str(find_tool("ffmpeg")), "-v", "error", "-y", "-i", str(SCENE), *arguments, "-threads", "1"]
    done = run_tool([*command, "-flags", "+bitexact", "-fflags", "+bitexact", str(path)], _LIMITS)
    assert done.returncode == 0, done.stderr
    return path.read_bytes()


def _nothing(folder: Path) -> Named:
    (folder / "empty.mp4").touch()
    yield "empty.mp4", Reason.EMPTY
    yield "absent.mp4", Reason.MISSING
    yield "bait.mp4/below-a-file.mp4", Reason.MISSING
    yield "x" * 300 + ".mp4", Reason.MISSING


def _no_media(folder: Path) -> Named:
    draw = random.Random(0)
    texts = {
        "text.mp4": b"This is a text, and no video at all.\n" * 20,
        "page.mp4": b"<!DOCTYPE html><html><head><title>403</title></head><body>Forbidden</body></html>\n" * 9,
        "drawing.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\n' * 9,
        "paper.mp4": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n" * 20,
        "random.mp4": draw.randbytes(20_000),
        "zeros.mp4": bytes(20_000),
        "one-byte.mp4": b"\0",
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
        yield name, Reason.NOT_MEDIA
    with zipfile.ZipFile(folder / "packed.mp4", "w") as packed:
        packed.writestr(zipfile.ZipInfo("video0.mp4"), SCENE.read_bytes())
    yield "packed.mp4", Reason.NOT_MEDIA


def _cut(folder: Path) -> Named:
    ways = {
        "end.mp4": ("-c", "copy"),
        "front.mp4": ("-c", "copy", "-movflags", "faststart"),
        "whole.mkv": ("-c", "copy"),
    }
    for name, arguments in ways.items():
        whole = _ffmpeg(folder / name, *arguments)
        for percent in (10, 50, 90):
            cut = f"cut-{percent}-{name}"
            (folder / cut).write_bytes(whole[: len(whole) * percent // 100])
            yield cut, Reason.TRUNCATED
        (folder / name).unlink()


def _flipped(folder: Path) -> Named:
    """The first bytes; a box's name; and so much of the middle that no frame can be made of what is left."""
    scene = bytearray(SCENE.read_bytes())
    matroska = bytearray(_ffmpeg(folder / "flipped-header.mkv", "-c", "copy"))
    picture = bytearray(_ffmpeg(folder / "flipped-middle.png", "-frames:v", "1"))
    media = scene.index(b"mdat")
    for name, data, begin, end, reason in (
        ("flipped-header.mp4", scene, 0, 48, Reason.NOT_MEDIA),
        ("flipped-header.mkv", matroska, 0, 48, Reason.NOT_MEDIA),
        ("flipped-index.mp4", scene, scene.index(b"stbl"), scene.index(b"stbl") + 4, Reason.UNSUPPORTED_FORMAT),
        ("flipped-middle.mp4", scene, media + 4, len(scene) - 2000, Reason.DECODE_ERROR),
        ("flipped-middle.png", picture, len(picture) // 4, len(picture) // 2, Reason.DECODE_ERROR),
    ):
        flipped = bytearray(data)
        flipped[begin:end] = bytes(byte ^ 0xFF for byte in flipped[begin:end])
        (folder / name).write_bytes(flipped)
        yield name, reason


def _without_video(folder: Path) -> Named:
    tone = ("-f", "lavfi", "-i", "sine=duration=1")
    _ffmpeg(folder / "cover.png", "-frames:v", "1")
    cover = (
        "-i",
        str(folder / "cover.png"),
        "-map",
        "1",
        "-map",
        "2",
        "-c:v",
        "copy",
        "-disposition:v",
        "attached_pic",
    )
    _ffmpeg(folder / "audio-only.mp4", *tone, "-map", "1", "-c:a", "aac")
    yield "audio-only.mp4", Reason.NO_VIDEO_STREAM
    _ffmpeg(folder / "cover-only.mp4", *tone, *cover, "-c:a", "aac")
    yield "cover-only.mp4", Reason.NO_VIDEO_STREAM
    (folder / "cover.png").unlink()
    _ffmpeg(folder / "wave.mp4", *tone, "-map", "1", "-f", "wav")
    yield "wave.mp4", Reason.UNSUPPORTED_FORMAT
    (folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nhello\n")
    _ffmpeg(folder / "words-only.mkv", "-i", str(folder / "words.srt"), "-map", "1", "-c:s", "srt")
    (folder / "words.srt").rename(folder / "words.mp4")
    yield "words.mp4", Reason.UNSUPPORTED_FORMAT
    yield "words-only.mkv", Reason.NO_VIDEO_STREAM


def _bombs(folder: Path) -> Named:
    row = b"\0" + bytes(BOMB // 8)  # one bit a pixel, all black
    squeezed = zlib.compressobj(9)
    black = b"".join(squeezed.compress(row) for _ in range(BOMB)) + squeezed.flush()
    header = struct.pack(">IIBBBBB", BOMB, BOMB, 1, 0, 0, 0, 0)
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", black) + _chunk(b"IEND", b"")
    )
    yield "bomb.png", Reason.TOO_LARGE
    moving = bytearray(_ffmpeg(folder / "bomb.gif", "-vf", "scale=32:24", "-frames:v", "3"))
    struct.pack_into("<HH", moving, 6, BOMB, BOMB)
    (folder / "bomb.gif").write_bytes(moving)
    yield "bomb.gif", Reason.TOO_LARGE
    bitmap = bytearray(_ffmpeg(folder / "bomb.jpg", "-vf", "scale=32:24", "-frames:v", "1", "-c:v", "mjpeg"))
    struct.pack_into(">HH", bitmap, bitmap.index(b"\xff\xc0") + 5, BOMB, BOMB)
    (folder / "bomb.jpg").write_bytes(bitmap)
    yield "bomb.jpg", Reason.TOO_LARGE


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _not_files(folder: Path) -> Named:
    (folder / "folder.mp4").mkdir()
    yield "folder.mp4", Reason.NOT_MEDIA
    os.mkfifo(folder / "pipe.mp4")
    yield "pipe.mp4", Reason.NOT_MEDIA
    (folder / "loop.mp4").symlink_to("pool.mp4")
    (folder / "pool.mp4").symlink_to("loop.mp4")
    yield "loop.mp4", Reason.MISSING
    (folder / "nowhere.mp4").symlink_to("nothing/here.mp4")
    yield "nowhere.mp4", Reason.MISSING
    (folder / "device.mp4").symlink_to("/dev/zero")
    yield "device.mp4", Reason.NOT_MEDIA
    with socket.socket(socket.AF_UNIX) as plug:
        here = os.open(folder, os.O_PATH)
        plug.bind(f"/proc/self/fd/{here}/plug.mp4")  # a socket's address may have 107 characters at most
        os.close(here)
    yield "plug.mp4", Reason.MISSING
    if os.geteuid() != 0:
        (folder / "forbidden.mp4").write_bytes(SCENE.read_bytes())
        (folder / "forbidden.mp4").chmod(0)
        yield "forbidden.mp4", Reason.MISSING


def _odd_headers(folder: Path) -> Named:
    scene = SCENE.read_bytes()
    claimed = struct.pack(">I4s", 0xFFFFFFF0, b"moov")
    ways: dict[str, tuple[bytes, Reason]] = {
        "no-such-codec.mp4": (scene.replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC"), Reason.UNSUPPORTED_FORMAT),
        "no-such-brand.mp4": (b"\0\0\0\x18ftypqt  \0\0\0\0" + bytes(8) + b"\0\0\0\x08moov", Reason.NO_VIDEO_STREAM),
        "huge-moov.mp4": (scene[: scene.index(b"moov") - 4] + claimed + scene[:5000], Reason.TRUNCATED),
        "no-frames.mp4": (_without_samples(scene), Reason.TRUNCATED),
        "header-only.gif": (b"GIF89a\x20\0\x18\0\0\0\0;", Reason.TRUNCATED),
    }
    for name, (content, reason) in ways.items():
        (folder / name).write_bytes(content)
        yield name, reason


def _without_samples(scene: bytes) -> bytes:
    """The MP4 with a sample table of no entries: a video of zero duration."""
    data = bytearray(scene)
    for box, count_at in ((b"stsz", 8), (b"stts", 4), (b"stsc", 4), (b"stco", 4), (b"ctts", 4), (b"stss", 4)):
        if box in data:
            struct.pack_into(">I", data, data.index(box) + 4 + count_at, 0)
    return bytes(data)


def _lures(folder: Path, bait: Path, address: str) -> Named:
    """Texts that name other media, under names that promise this format or that; and names that are addresses."""
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"
    texts: dict[str, str] = {
        "concat": "ffconcat version 1.0\nfile {}\n",
        "playlist": playlist,
        "keyed": playlist.replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="{}"\n#EXTINF'),
        "manifest": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' mediaPresentationDuration="PT3S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet'
        ' mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL><SegmentBase'
        ' indexRange="0-99"/></Representation></AdaptationSet></Period></MPD>\n',
        "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\na=control:{}\n",
    }
    places = {"near": bait.name, "disk": f"file:{bait}", "http": address, "part": f"subfile,,start,0,end,0,,:{bait}"}
    endings = itertools.cycle(("mp4", "m3u8", "jpg"))
    for name, text in texts.items():
        for where, target in places.items():
            lure = f"{name}-{where}.{next(endings)}"
            (folder / lure).write_text(text.replace("{}", target))
            yield lure, Reason.UNSUPPORTED_FORMAT
    for name in (f"file:{bait.name}", f"concat:{bait.name}|{bait.name}", "data:video/mp4;base64,AAAA", "http:x.mp4"):
        yield name, Reason.MISSING
