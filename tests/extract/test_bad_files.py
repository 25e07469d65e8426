"""Every bad file has its reason, the same words each time, and reaches nothing but itself."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_specs.failures import MediaError, Reason
from data_specs.manifest import Item
from data_specs.media import Limits, descriptor_url, find_tool, opened, run_tool
from data_specs.stills import still
from extract.frames import sample_frames
from extract.sampling import Sampling
from tests.extract.bad_files import BadFile, make_bad_files
from tests.extract.odd_files import SCENE, make_odd_files

LIMITS = Limits(wall_s=30.0)


class Server:
    """A loopback server that only counts who connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.contacts = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.contacts += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    counting = Server()
    yield counting
    counting.close()


@pytest.fixture(scope="module")
def bad_files(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[BadFile]]:
    folder = tmp_path_factory.mktemp("bad")
    return folder, make_bad_files(folder, server.port)


def outcome(folder: Path, item: Item, frames: int) -> tuple[Reason | None, str]:
    try:
        sample_frames(folder, item, Sampling(frames), LIMITS)
    except MediaError as error:
        return error.reason, error.detail
    return None, ""


def test_there_are_many_kinds(bad_files: tuple[Path, list[BadFile]]) -> None:
    _, bad = bad_files
    assert len({file.item.id for file in bad}) == len(bad) >= 25
    assert {file.reason for file in bad} == set(Reason) - {Reason.TIMEOUT, Reason.KILLED_WORKER, Reason.NO_REGIONS}


@pytest.mark.parametrize("frames", [1, 8])
def test_each_has_its_reason(bad_files: tuple[Path, list[BadFile]], server: Server, frames: int) -> None:
    folder, bad = bad_files
    found = {file.item.path: outcome(folder, file.item, frames)[0] for file in bad}
    assert found == {file.item.path: file.reason for file in bad}
    assert server.contacts == 0


def test_two_runs_say_the_same_and_name_no_place(bad_files: tuple[Path, list[BadFile]], tmp_path: Path) -> None:
    folder, bad = bad_files
    make_bad_files(tmp_path, 9)  # another folder and another port
    for file in bad:
        said = outcome(folder, file.item, 8)
        with open(os.devnull), open(os.devnull):  # other numbers for the descriptors that follow
            assert outcome(tmp_path, file.item, 8) == said
        for place in (str(folder), str(tmp_path), "/tmp", "/dev", "0x", "127.0.0.1"):
            assert place not in said[1]


def test_no_lure_is_followed(bad_files: tuple[Path, list[BadFile]], server: Server) -> None:
    """By ffprobe, by ffmpeg in every mode it has, and by the stills of the reports."""
    folder, bad = bad_files
    lures = [file for file in bad if file.reason is Reason.UNSUPPORTED_FORMAT]
    assert len(lures) >= 20
    for file in lures:
        with opened(folder / file.item.path) as descriptor:
            command = [str(find_tool("ffmpeg")), "-v", "error", "-nostdin"]
            for name, value in LIMITS.input_arguments().items():
                command += [f"-{name}", str(value)]
            command += ["-i", descriptor_url(descriptor), "-f", "rawvideo", "pipe:1"]
            assert run_tool(command, LIMITS, descriptors=[descriptor]).stdout == b""
        with pytest.raises(MediaError):
            still(folder / file.item.path, 0.0)
    assert server.contacts == 0


def test_without_the_sandbox_the_lures_work(bad_files: tuple[Path, list[BadFile]], tmp_path: Path) -> None:
    folder, _ = bad_files
    counting = Server()
    (tmp_path / "lure.mp4").write_text(f"ffconcat version 1.0\nfile http://127.0.0.1:{counting.port}/clip.mp4\n")
    whitelist = ["-protocol_whitelist", "file,http,tcp", "-safe", "0", "-f", "concat"]
    command = [str(find_tool("ffmpeg")), "-v", "error", "-nostdin", *whitelist]
    run_tool([*command, "-i", str(tmp_path / "lure.mp4"), "-f", "null", "-"], LIMITS)
    assert counting.contacts > 0
    counting.close()
    near = [str(find_tool("ffmpeg")), "-v", "error", "-nostdin", "-i", str(folder / "concat-near.mp4")]
    assert run_tool([*near, "-f", "rawvideo", "pipe:1"], LIMITS).stdout


def test_nothing_is_written_beside_them(bad_files: tuple[Path, list[BadFile]]) -> None:
    folder, bad = bad_files
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    for file in bad:
        outcome(folder, file.item, 2)
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before


def test_odd_files_are_good(tmp_path: Path) -> None:
    items = make_odd_files(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    named = sample_frames(SCENE.parent, Item("scene", SCENE.name, "train"), Sampling(3), LIMITS)
    for item in items:
        frames = sample_frames(tmp_path, item, Sampling(3), LIMITS)
        assert len(frames.images) == len(frames.timestamps) == 3
        if (tmp_path / item.path).read_bytes() == SCENE.read_bytes():
            np.testing.assert_array_equal(frames.images, named.images)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_one_frame_is_repeated(tmp_path: Path) -> None:
    make_odd_files(tmp_path)
    frames = sample_frames(tmp_path, Item("one", "one-frame.mp4", "train"), Sampling(8), LIMITS)
    assert set(frames.timestamps) == {0.0}
    assert (frames.images == frames.images[0]).all()


def test_hours_of_one_picture_take_two_frames(tmp_path: Path) -> None:
    make_odd_files(tmp_path)
    for name in ("ten-hours.mp4", "ten-hours.mkv"):
        frames = sample_frames(tmp_path, Item("still", name, "train"), Sampling(4), Limits(wall_s=30.0, cpu_s=5))
        assert frames.timestamps == (0.0, 0.0, 18000.0, 18000.0)
