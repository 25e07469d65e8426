"""How long `python -m data_specs check` takes on a million rows, beside a bare loop of os.stat over the same paths.

    python bench/check.py                     # a million rows; about two minutes, most of them making the files
    python bench/check.py --rows 100000 --out check.json

The files are hard links to some small ones, a thousand a folder, so every row is a path of its own. The whole command
is measured, with its start and the reading of the manifest; nothing is probed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from data_specs import atomic
from data_specs.manifest import Item, ManifestInfo, write_manifest

CHECKOUT = Path(__file__).parents[1]
A_FOLDER = 1000
LINKS_A_FILE = 30_000  # some file systems allow no more than 65,000


@click.command()
@click.option("--rows", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="The median of so many counts.")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="Where the files are made and removed."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=CHECKOUT / "bench/results/check.json", show_default=True
)
def main(rows: int, rounds: int, folder: Path | None, out: Path) -> None:
    """Measures the check of a synthetic manifest and writes the result as JSON."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-check-") as scratch:
        media, manifest = Path(scratch, "media"), Path(scratch, "m.parquet")
        paths = [f"videos/{number // A_FOLDER:04d}/clip {number:07d}.mp4" for number in range(rows)]
        making, _ = _timed(lambda: _make_files(media, paths))
        click.echo(f"{rows:,} files made in {making:.0f} s", err=True)
        writing, _ = _timed(lambda: write_manifest(manifest, _items(paths), ManifestInfo("synthetic")))
        click.echo(f"manifest of {manifest.stat().st_size / 1e6:.1f} MB written in {writing:.0f} s", err=True)
        bare, checks = [], []
        for _ in range(rounds):
            bare.append(_timed(lambda: _stat_all(media, paths))[0])
            checks.append(_timed(lambda: _check(manifest, media)))
            click.echo(f"os.stat loop {bare[-1]:.2f} s, check {checks[-1][0]:.2f} s", err=True)
    seconds, baseline = _median([taken for taken, _ in checks]), _median(bare)
    result = {
        "command": "python bench/check.py" + (f" --rows {rows}" if rows != 1_000_000 else ""),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "rows": rows,
        "rounds": rounds,
        "check_seconds": round(seconds, 2),
        "check_peak_memory_mb": round(max(peak for _, peak in checks) / 1e6),
        "os_stat_loop_seconds": round(baseline, 2),
        "check_over_os_stat_loop": round(seconds / baseline, 2),
        "manifest_write_seconds": round(writing, 1),
    }
    atomic.write_text(out, json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result, indent=1))


def _make_files(media: Path, paths: list[str]) -> None:
    source = media
    for number, path in enumerate(paths):
        link = media / path
        if number % A_FOLDER == 0:
            link.parent.mkdir(parents=True)
        if number % LINKS_A_FILE == 0:
            link.write_bytes(b"a few bytes")
            source = link
        else:
            os.link(source, link)


def _items(paths: list[str]) -> Iterator[Item]:
    for number, path in enumerate(paths):
        split = "val" if number % 50 == 0 else "train"
        yield Item(Path(path).stem, path, split, captions=("a man in a red shirt walks down the street with a dog",))


def _stat_all(media: Path, paths: list[str]) -> None:
    prefix = f"{media}/"
    for path in paths:
        os.stat(prefix + path)


def _check(manifest: Path, media: Path) -> int:
    """Runs the command; gives its peak memory in bytes."""
    command = [sys.executable, "-m", "data_specs", "check", str(manifest), "--root", str(media)]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise click.ClickException(f"the check ended with {process.returncode}: {' '.join(command)}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _timed(work: Callable[[], int | None]) -> tuple[float, int]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result if isinstance(result, int) else 0


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
