"""What an extraction costs: a few of the manifest's own items taken through decoder and detector, then scaled.

``hours = N * max(max(d / D, t) / W, (c + t) / (W * K)) / 3600`` for N items on W workers of K cores, D decoders each,
with the means of d seconds of decoding, c seconds of processor time in it, and t seconds of the detector; on a CUDA
device t takes no core's time. A worker decodes while its detector works, so the slower of the two counts.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

from data_specs.errors import InputError
from data_specs.failures import MediaError
from data_specs.manifest import Item
from data_specs.samples import Sample, encode_sample
from extract.settings import ExtractionSettings

_TAR_BLOCK = 512


@dataclass(frozen=True)
class Measured:
    """One item, or the mean of several.

    decoding_s: wall-clock seconds until its frames are there. detecting_s: of the detector on them.
    decoding_cpu_s: seconds of processor time of the decoding. bytes: that its sample takes in a tar.
    """

    decoding_s: float
    detecting_s: float
    decoding_cpu_s: float
    bytes: float


@dataclass(frozen=True)
class Cost:
    """What ``items`` items will take. price: of all workers, None where no price was given."""

    items: int
    workers: int
    hours: float
    bytes: float
    price: float | None


def spread_rows(rows: Sequence[int], sample: int) -> list[int]:
    """At most ``sample`` of the rows, spread evenly over them."""
    wanted = [rows[(2 * i + 1) * len(rows) // (2 * sample)] for i in range(sample)]
    return list(dict.fromkeys(wanted))


def measure(
    settings: ExtractionSettings,
    items: Iterable[Item],
    enough_s: float = float("inf"),
    report: Callable[[], None] = lambda: None,
) -> tuple[list[Measured], list[tuple[str, MediaError]]]:
    """Times and bytes of the items, as a worker takes them, and those that gave no frames (path and why).

    enough_s: no further item is begun once so many seconds are spent. report: called after each item. The detector
    takes the first item twice: its first call is slow and not counted. On a CPU it is taken to keep one core busy.

    Raises:
        InputError: no such device, ffmpeg is absent, the detector cannot be built, or the frames do not fit into it.
        ImportError: torch or detectron2 cannot be imported.
    """
    import torch

    from extract.detector import Detector
    from extract.frames import sample_frames

    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"not measured: there is no {settings.device}")
    torch.set_num_threads(settings.threads)
    detector = Detector(settings.detector, settings.device)
    measured: list[Measured] = []
    broken: list[tuple[str, MediaError]] = []
    began = time.perf_counter()
    for item in items:
        start, cpu = time.perf_counter(), _processor_s()
        try:
            frames = sample_frames(settings.root, item, settings.sampler, settings.limits.limits())
        except MediaError as error:
            broken.append((item.path, error))
            report()
            continue
        decoding = time.perf_counter() - start, _processor_s() - cpu
        try:
            if not measured:
                detector.detect(frames.images, settings.regions)
            start = time.perf_counter()
            regions = detector.detect(frames.images, settings.regions)
        except torch.OutOfMemoryError:
            raise InputError(
                f"{settings.frames} frames do not fit into the memory of {settings.device};"
                " fewer at a time: detector.batch, a key of the detector's YAML"
            ) from None
        detecting_s = time.perf_counter() - start
        told = (item.id, item.split, item.media, item.captions, item.questions, frames.timestamps)
        size = stored_bytes(Sample(*told, frames.images.shape[1:3], regions))
        measured.append(Measured(decoding[0], detecting_s, decoding[1], size))
        report()
        if time.perf_counter() - began > enough_s:
            break
    return measured, broken


def stored_bytes(sample: Sample) -> int:
    """Bytes that a sample takes in a tar, its headers included."""
    return sum(_TAR_BLOCK * (1 + -(-len(data) // _TAR_BLOCK)) for data in encode_sample(sample).values())


def mean(measured: Sequence[Measured]) -> Measured:
    """The mean of each figure."""
    return Measured(*(sum(getattr(m, f.name) for m in measured) / len(measured) for f in fields(Measured)))


def predict(each: Measured, items: int, workers: int, cores: int, device: str, decoders: int = 1) -> float:
    """Seconds for all items: a worker decodes the next while it detects, and all workers share ``cores`` cores.

    decoders: clips that a worker decodes at a time.

    On a CUDA device the detector takes none of the cores' time.
    """
    slower = max(each.decoding_s / decoders, each.detecting_s) / workers
    on_cores = each.decoding_cpu_s + (0.0 if device.startswith("cuda") else each.detecting_s)
    return items * max(slower, on_cores / cores)


def estimate(
    each: Measured,
    items: int,
    workers: int,
    cores_each: int,
    device: str,
    price_per_hour: float | None,
    decoders: int = 1,
) -> Cost:
    """The cost of ``items`` items on ``workers`` workers of ``cores_each`` cores; price: of one worker for an hour."""
    hours = predict(each, items, workers, workers * cores_each, device, decoders) / 3600
    price = None if price_per_hour is None else hours * workers * price_per_hour
    return Cost(items, workers, hours, each.bytes * items, price)


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def _processor_s() -> float:
    """Processor time of this process and of the tools that it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))
