"""Memory of this process and of this machine, as Linux tells it."""

from __future__ import annotations

from pathlib import Path


def restart_peak() -> None:
    """Lets the peak start again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_kib() -> int:
    """The most that was resident at once since the start, or since ``restart_peak``."""
    return _kib(Path("/proc/self/status"), "VmHWM")


def available_bytes() -> int:
    """What the machine can still give."""
    return _kib(Path("/proc/meminfo"), "MemAvailable") * 1024


def _kib(table: Path, name: str) -> int:
    line = next(line for line in table.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
