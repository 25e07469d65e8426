"""One worker: the items of a shard -> frames -> regions -> a committed tar. Knows no Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from data_specs.failures import Failure, MediaError, Reason
from data_specs.manifest import Item
from data_specs.samples import Sample
from data_specs.shards import CommitRecord, Provenance, write_shard
from extract.detector import Detector
from extract.frames import Frames, sample_frames
from extract.plan import ShardPlan
from extract.settings import ExtractionSettings

Report = Callable[[int], None]


class Worker:
    """Holds a detector and makes shards with it, one after the other."""

    def __init__(self, settings: ExtractionSettings, detector: Detector | None = None) -> None:
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self.detector = detector or Detector(settings.detector, settings.device)

    def extract(self, plan: ShardPlan, provenance: Provenance, report: Report | None = None) -> CommitRecord:
        """Makes and commits one shard; ``report`` is told after each item how many frames it had (0: it failed)."""
        results = self._results(plan.items, report or (lambda frames: None))
        return write_shard(self.settings.out, plan.name, results, plan.hash, provenance)

    def _results(self, items: Sequence[Item], report: Report) -> Iterator[Sample | Failure]:
        for item, decoded in _decoded_ahead(items, self.settings):
            result = self._sample(item, decoded)
            report(len(result.timestamps) if isinstance(result, Sample) else 0)
            yield result

    def _sample(self, item: Item, decoded: Frames | MediaError) -> Sample | Failure:
        if isinstance(decoded, MediaError):
            return Failure(id=item.id, reason=decoded.reason, detail=decoded.detail)
        regions = self.detector.detect(decoded.images, self.settings.regions)
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


def _decoded_ahead(items: Sequence[Item], settings: ExtractionSettings) -> Iterator[tuple[Item, Frames | MediaError]]:
    """Frames of each item in order, the next ones being decoded meanwhile; at most ``decode_ahead`` wait in memory."""
    waiting: deque[tuple[Item, Future[Frames | MediaError]]] = deque()
    upcoming = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(waiting) < settings.decode_ahead and (item := next(upcoming, None)) is not None:
                    waiting.append((item, pool.submit(_decode, item, settings)))
                if not waiting:
                    return
                item, future = waiting.popleft()
                yield item, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(item: Item, settings: ExtractionSettings) -> Frames | MediaError:
    try:
        return sample_frames(settings.root, item, settings.sampler, settings.limits.limits())
    except MediaError as error:
        return error
