"""The media of the fault drill: good clips, files that look like trouble, and files that are."""

from __future__ import annotations

import http.server
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.manifest import Item, ManifestInfo, write_manifest
from tests.extract.bad_files import make_bad_files
from tests.extract.clips import make_clips
from tests.extract.odd_files import make_odd_files


@dataclass(frozen=True)
class Drill:
    """A media root, its manifest, ids that must give a sample, and the reason of each that must not."""

    root: Path
    manifest: Path
    good: frozenset[str]
    bad: dict[str, str]


@dataclass
class LoopbackServer:
    """Counts who asks for anything."""

    port: int = 0
    asked: list[str] = field(default_factory=list)


@contextmanager
def loopback_server() -> Iterator[LoopbackServer]:
    """A web server on 127.0.0.1 that nobody may ask; it would serve an empty page."""
    found = LoopbackServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle(self) -> None:  # a connection is enough, whatever it says
            found.asked.append(str(self.client_address))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def make_drill(root: Path, clips: int, port: int, seed: int = 0) -> Drill:
    """Makes the files below ``root`` and a manifest of all, in an order that ``seed`` shuffles."""
    root.mkdir(parents=True)
    good = [*make_clips(root, clips, seed), *make_odd_files(root)]
    bad = make_bad_files(root, port)
    items: list[Item] = [*good, *(file.item for file in bad)]
    random.Random(seed).shuffle(items)
    manifest = root.parent / "drill.parquet"
    write_manifest(manifest, items, ManifestInfo("drill"))
    return Drill(root, manifest, frozenset(item.id for item in good), {file.item.id: file.reason.value for file in bad})
