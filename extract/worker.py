"""One worker: the items of a shard -> frames -> regions -> a committed tar. Knows no Ray."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from data_specs.errors import InputError
from data_specs.failures import Failure, MediaError, Reason
from data_specs.manifest import Item
from data_specs.media import stop_tools, tool_version
from data_specs.samples import Sample
from data_specs.shards import CommitRecord, Provenance, write_shard
from extract.ahead import ahead
from extract.detector import Detector
from extract.frames import Frames, sample_frames
from extract.plan import ShardPlan
from extract.safety.attempts import Mark, begun
from extract.safety.disk import full_disk_said
from extract.safety.isolation import each_alone
from extract.settings import ExtractionSettings

Report = Callable[[int], None]


def _silent(*_: object) -> None:
    """Nobody is told."""


class Worker:
    """Makes shards, one after the other, with a detector that is loaded when it is first needed."""

    def __init__(self, settings: ExtractionSettings) -> None:
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self._detector: Detector | None = None

    def load(self) -> Detector:
        """The detector, loaded.

        Raises:
            InputError: see ``Detector``.
        """
        if self._detector is None:
            self._detector = Detector(self.settings.detector, self.settings.device)
        return self._detector

    def extract(
        self, plan: ShardPlan, provenance: Provenance, report: Report = _silent, alive: Callable[[], None] = _silent
    ) -> CommitRecord:
        """Makes and commits one shard.

        A shard on which an earlier worker died is done item by item in a child process.
        report: told after each item how many frames it had (0: it failed). alive: called in long waits between items.

        Raises:
            OSError, ShardError: the output cannot be written; nothing half written is left.
            InputError: the detector cannot be loaded or run.
        """
        out = self.settings.out
        with full_disk_said(out), begun(out, plan.name) as mark, self._memory_said():
            results = self._alone(plan.items, mark, alive) if mark.died else self._together(plan.items)
            told = _told(results, report)
            return write_shard(out, plan.name, told, plan.hash, provenance)

    def check(self, provenance: Provenance) -> None:
        """Whether this machine can make what the provenance says, with the detector loaded.

        Raises:
            InputError: the media root is not there, or ffmpeg or the weights are others.
        """
        here = f"on {socket.gethostname()}"
        if not self.settings.root.is_dir():
            raise InputError(f"--root {self.settings.root}: no such folder {here}; is it mounted there?")
        if (found := tool_version("ffmpeg")) != provenance.ffmpeg:
            raise InputError(f"ffmpeg {here} is {found}, not {provenance.ffmpeg}: frames might differ")
        if (digest := self.load().weights_sha256) != provenance.weights_sha256:
            raise InputError(f"the detector's weights {here} have SHA-256 {digest}, not {provenance.weights_sha256}")

    def result(self, item: Item) -> Sample | Failure:
        """One item by itself."""
        return self._sample(item, self._decode(item))

    def _alone(
        self, items: Iterable[Item], mark: Mark, alive: Callable[[], None]
    ) -> Iterator[tuple[Item, Sample | Failure]]:
        """Each item with its result, done in a child process, which gets the GPU's memory for itself."""
        if self.settings.device.startswith("cuda"):
            self._detector = None
            torch.cuda.empty_cache()
        prepare = partial(_work_of, self.settings.model_dump())
        return each_alone(items, prepare, self.settings.patience_s, mark, alive)

    @contextmanager
    def _memory_said(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise InputError(
                f"a clip's frames do not fit into the memory of {self.settings.device}; fewer workers a GPU"
                " (--gpus-per-worker), or fewer frames or regions at a time (--set detector.batch, --set"
                " detector.rois_per_pass; both are in the provenance, so that wants another --out)"
            ) from None

    def _together(self, items: Iterable[Item]) -> Iterator[tuple[Item, Sample | Failure]]:
        """Each item with its result; the next ones are decoded while the detector is busy."""
        chosen = self.settings
        threads, most = chosen.decoders, chosen.decode_ahead
        for item, decoded in ahead(items, self._decode, threads=threads, most=most, stop=stop_tools):
            yield item, self._sample(item, decoded)

    def _decode(self, item: Item) -> Frames | MediaError:
        chosen = self.settings
        try:
            return sample_frames(chosen.root, item, chosen.sampler, chosen.limits.limits())
        except MediaError as error:
            return error

    def _sample(self, item: Item, decoded: Frames | MediaError) -> Sample | Failure:
        if isinstance(decoded, MediaError):
            if decoded.reason is Reason.MISSING and not self.settings.root.is_dir():
                raise InputError(f"--root {self.settings.root}: is gone from {socket.gethostname()}")
            return Failure(id=item.id, reason=decoded.reason, detail=decoded.detail)
        regions = self.load().detect(decoded.images, self.settings.regions)
        if not regions.count.any():
            return Failure(id=item.id, reason=Reason.NO_REGIONS, detail="the detector found nothing in any frame")
        height, width = decoded.images.shape[1:3]
        return Sample(
            id=item.id,
            split=item.split,
            media=item.media,
            captions=item.captions,
            questions=item.questions,
            timestamps=decoded.timestamps,
            frame_size=(height, width),
            regions=regions,
        )


def _work_of(settings: dict[str, Any]) -> Callable[[Item], Sample | Failure]:
    worker = Worker(ExtractionSettings.model_validate(settings))
    worker.load()
    return worker.result


def _told(results: Iterable[tuple[Item, Sample | Failure]], report: Report) -> Iterator[Sample | Failure]:
    for _, result in results:
        yield result
        report(len(result.timestamps) if isinstance(result, Sample) else 0)
