"""Tools end with the process that started them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from data_specs import guard
from data_specs.media import Limits, run_tool
from tests.signals import hearing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")

WORKER = """
import sys
from data_specs.media import Limits, find_tool, run_tool
endless = ["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=32x32", "-f", "null", "-"]
run_tool([str(find_tool("ffmpeg")), *endless], Limits(wall_s=600.0))
"""
IDLE = "import time; time.sleep(600)"


def marked(token: str) -> set[int]:
    """Live processes that bear the token, and the guard that is told it."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[0]
            text = Path(f"/proc/{name}/environ").read_bytes() + Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if state != "Z" and token.encode() in text:
            found.add(int(name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def children(pid: int) -> dict[str, int]:
    """The children of a process: the guard, and the tool by its name."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            name = "guard" if any(word.endswith(b"guard.py") for word in words) else os.path.basename(words[0].decode())
            found[name] = int(child)
    return found


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    command = hearing([sys.executable, "-c", WORKER])
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            wait_until(lambda: {"guard", "ffmpeg"} <= set(children(process.pid)))
            yield process
        finally:
            tools = children(process.pid).values() if process.poll() is None else ()
            process.kill()
            for pid in tools:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def token_of(pid: int) -> str:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(pair.split(b"=", 1)[1].decode() for pair in pairs if pair.startswith(guard.VARIABLE.encode()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_no_tool(worker: subprocess.Popen, number: int) -> None:
    token = token_of(children(worker.pid)["ffmpeg"])
    assert marked(token) == set(children(worker.pid).values())
    worker.send_signal(number)
    worker.wait(30)
    wait_until(lambda: not marked(token))


def test_interrupting_the_foreground_group_leaves_no_tool(worker: subprocess.Popen) -> None:
    token = token_of(children(worker.pid)["ffmpeg"])
    os.killpg(worker.pid, signal.SIGINT)
    worker.wait(30)
    assert b"KeyboardInterrupt" in worker.stderr.read()
    wait_until(lambda: not marked(token))


def test_a_killed_guard_is_replaced(tmp_path: Path) -> None:
    run_tool([sys.executable, "-c", "pass"], Limits())
    first = children(os.getpid())["guard"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: Path(f"/proc/{first}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z")
    run_tool([sys.executable, "-c", "pass"], Limits())
    second = children(os.getpid())["guard"]
    assert second != first
    run_tool([sys.executable, "-c", "pass"], Limits())
    assert children(os.getpid())["guard"] == second


def test_a_forked_child_has_a_guard_of_its_own() -> None:
    say = [sys.executable, "-c", f"import os; print(os.environ[{guard.VARIABLE!r}])"]
    program = f"""
import os, threading
from data_specs.media import Limits, run_tool
say = {say!r}
first = run_tool(say, Limits()).stdout
if os.fork() == 0:
    os.write(1, first + run_tool(say, Limits()).stdout)
    os._exit(0)
os.wait()
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    assert len(said.stdout.split()) == len(set(said.stdout.split())) == 2


def test_threads_share_one_guard() -> None:
    say = [sys.executable, "-c", f"import os; print(os.environ[{guard.VARIABLE!r}])"]
    tokens: list[bytes] = []
    threads = [threading.Thread(target=lambda: tokens.append(run_tool(say, Limits()).stdout)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8 and len(set(tokens)) == 1


def test_only_what_bears_the_token_is_killed() -> None:
    environments = {"mine": {guard.VARIABLE: "a-token"}, "longer": {guard.VARIABLE: "a-token-and-more"}, "none": {}}
    processes = {
        name: subprocess.Popen([sys.executable, "-c", IDLE], env=environment)
        for name, environment in environments.items()
    }
    try:
        wait_until(lambda: guard.kill_marked("a-token") or processes["mine"].poll() is not None)
        assert processes["mine"].wait(30) == -signal.SIGKILL
        assert processes["longer"].poll() is None and processes["none"].poll() is None
        assert guard.kill_marked("a-token") == 0
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
