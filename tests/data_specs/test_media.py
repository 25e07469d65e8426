"""The sandbox of ffmpeg: what a file may make it read, how long it may run, how much it may give."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import ffmpeg
import pytest

from data_specs.failures import MediaError, Reason
from data_specs.media import Completed, Limits, descriptor_url, find_tool, opened, run_tool, tool_version

CLIP = Path(__file__).parents[1] / "fixtures/msrvtt10/videos/all/video0.mp4"


def decode(path: Path) -> Completed:
    """One frame as raw RGB, inside the sandbox."""
    limits = Limits(wall_s=20.0)
    with opened(path) as descriptor:
        source = ffmpeg.input(descriptor_url(descriptor), **limits.input_arguments())
        arguments = source.output("pipe:1", format="rawvideo", pix_fmt="rgb24", vframes=1).global_args("-nostdin")
        return run_tool(arguments.compile(cmd=str(find_tool("ffmpeg"))), limits, descriptors=[descriptor])


def decode_unprotected(path: Path) -> bytes:
    arguments = [str(find_tool("ffmpeg")), "-nostdin", "-i", str(path)]
    arguments += ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    return run_tool(arguments, Limits(wall_s=20.0)).stdout


def test_a_clip_is_decoded() -> None:
    assert len(decode(CLIP).stdout) == 192 * 144 * 3


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    ],
    ids=["ffconcat", "m3u8"],
)
def test_a_text_that_names_another_file_reads_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret.mp4").write_bytes(CLIP.read_bytes())
    evil = tmp_path / "evil.mp4"
    evil.write_text(text)
    completed = decode(evil)
    assert completed.stdout == b""
    assert completed.returncode != 0


def test_without_the_sandbox_the_attack_works(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(CLIP.read_bytes())
    evil = tmp_path / "evil.mp4"
    evil.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert len(decode_unprotected(evil)) == 192 * 144 * 3


def test_a_name_is_never_read_as_an_option_or_a_protocol(tmp_path: Path) -> None:
    for name in ("-i.mp4", "concat:a|b.mp4", "a%03d.mp4", "ü ✓.mp4"):
        path = tmp_path / name
        path.write_bytes(CLIP.read_bytes())
        assert len(decode(path).stdout) == 192 * 144 * 3


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, Reason.MISSING),
        (lambda path: path.write_bytes(b""), Reason.EMPTY),
        (lambda path: path.mkdir(), Reason.NOT_MEDIA),
        (lambda path: os.mkfifo(path), Reason.NOT_MEDIA),
        (lambda path: path.symlink_to("nowhere"), Reason.MISSING),
    ],
    ids=["missing", "empty", "folder", "pipe", "dangling link"],
)
def test_what_is_no_file_has_its_reason(tmp_path: Path, make, reason: Reason) -> None:
    path = tmp_path / "x.mp4"
    make(path)
    with pytest.raises(MediaError) as error, opened(path):
        pass
    assert error.value.reason == reason
    assert str(tmp_path) not in str(error.value)


def test_a_timeout_kills_the_whole_process_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(MediaError) as error:
        run_tool([sys.executable, "-c", program], Limits(wall_s=2.0))
    assert error.value.reason == Reason.TIMEOUT
    child = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


def test_processor_time_is_bounded() -> None:
    with pytest.raises(MediaError) as error:
        run_tool([sys.executable, "-c", "while True: pass"], Limits(wall_s=30.0, cpu_s=1))
    assert error.value.reason == Reason.TIMEOUT


def test_processor_time_of_ffmpeg_is_bounded_though_it_catches_the_signal() -> None:
    endless = [str(find_tool("ffmpeg")), "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1920x1080"]
    with pytest.raises(MediaError) as error:
        run_tool([*endless, "-f", "null", "-"], Limits(wall_s=60.0, cpu_s=1))
    assert error.value.reason == Reason.TIMEOUT
    assert "processor time" in error.value.detail


KILLED_SO_OFTEN = """
import os, pathlib, signal, sys
path, often = pathlib.Path(sys.argv[1]), int(sys.argv[2])
runs = len(path.read_text()) if path.exists() else 0
path.write_text("x" * (runs + 1))
if runs < often:
    os.kill(os.getpid(), signal.SIGKILL)
print("fine")
"""


def test_a_tool_that_is_killed_from_outside_is_run_again(tmp_path: Path) -> None:
    once, always = tmp_path / "once", tmp_path / "always"
    assert run_tool([sys.executable, "-c", KILLED_SO_OFTEN, str(once), "1"], Limits()).stdout == b"fine\n"
    with pytest.raises(MediaError, match="killed from outside"):
        run_tool([sys.executable, "-c", KILLED_SO_OFTEN, str(always), "9"], Limits())
    assert (once.read_text(), always.read_text()) == ("xx", "xx")


def test_output_is_bounded() -> None:
    program = "import sys\nwhile True: sys.stdout.buffer.write(bytes(65536))"
    with pytest.raises(MediaError) as error:
        run_tool([sys.executable, "-c", program], Limits(output_bytes=1 << 20))
    assert error.value.reason == Reason.TOO_LARGE


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux only")
def test_memory_is_bounded() -> None:
    program = "import time; time.sleep(0.5); bytearray(3 << 30)"
    completed = run_tool([sys.executable, "-c", program], Limits(memory_bytes=1 << 30))
    assert completed.returncode == 1
    assert "MemoryError" in completed.stderr


def test_standard_error_keeps_its_tail() -> None:
    completed = run_tool([sys.executable, "-c", "import sys; sys.stderr.write('x' * 9999 + 'end'); exit(3)"], Limits())
    assert completed.returncode == 3
    assert completed.stderr.endswith("end") and len(completed.stderr) == 4096


def test_tools_say_their_version() -> None:
    for name in ("ffmpeg", "ffprobe"):
        assert find_tool(name).name == name
        assert tool_version(name)


def test_tools_get_no_variable_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "a")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    given = run_tool([sys.executable, "-c", "import os; print(sorted(os.environ))"], Limits()).stdout.decode()
    assert "SECRET" not in given and "proxy" not in given and "PATH" in given


def test_tools_have_no_input_and_no_descriptor_but_the_one_given() -> None:
    program = (
        "import json, os, sys; empty = sys.stdin.read() == ''\n"
        "print(json.dumps([empty, sorted(int(name) for name in os.listdir('/proc/self/fd'))[3:]]))"
    )
    with opened(CLIP) as descriptor, opened(CLIP):
        completed = run_tool([sys.executable, "-c", program], Limits(), descriptors=[descriptor])
    empty, inherited = json.loads(completed.stdout)
    assert empty
    assert descriptor in inherited and len(inherited) == 2  # the listing itself is the other


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
