"""CUDA: what is there, and whether it is what the steps ask for."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from pipelines.doctor.case import Case
from pipelines.doctor.finding import Finding, failure, ok, warning

_TITLE = "devices"
_BF16_SINCE = (8, 0)


def check_devices(case: Case) -> Iterator[Finding]:
    """Every CUDA device, then each step whose device is not there or cannot do what is asked.

    Raises:
        ImportError: torch cannot be imported.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        yield _device(torch, index)
    if not count:
        yield ok(_TITLE, f"no CUDA device that torch {torch.__version__} can use")
    for step, device in _asked(case):
        yield from _step(case, step, device, count)
    for extraction in case.extractions:
        workers = extraction.workers
        if extraction.settings.device.startswith("cuda") and 0 < count < workers:
            yield failure(
                _TITLE,
                f"step {extraction.step!r}: {workers} workers take a CUDA device each, there are {count};"
                " it would wait for the others for ever",
                f"--set {extraction.prefix}workers={count}",
            )
    for training in case.trainings:
        if training.config.precision == "bf16" and count and torch.cuda.get_device_capability() < _BF16_SINCE:
            yield warning(
                _TITLE,
                f"step {training.step!r}: precision bf16, which this device only emulates",
                f"--set {training.step}.precision=auto",
            )


def _device(torch: ModuleType, index: int) -> Finding:
    properties = torch.cuda.get_device_properties(index)
    capability = (properties.major, properties.minor)
    bf16 = "bf16" if capability >= _BF16_SINCE else "no bf16"
    found = (
        f"cuda:{index}: {properties.name}, {properties.total_memory / 1e9:.0f} GB,"
        f" compute capability {properties.major}.{properties.minor}, {bf16}"
    )
    compiled = [name for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    oldest = min((int(name.removeprefix("sm_").rstrip("af")) for name in compiled), default=0)
    if properties.major * 10 + properties.minor < oldest:
        return failure(
            _TITLE,
            f"{found}; torch {torch.__version__} has no code for it ({', '.join(compiled)})",
            "use the CPU (device=cpu), or a torch built for this device",
        )
    return ok(_TITLE, found)


def _asked(case: Case) -> Iterator[tuple[str, str]]:
    """Each step that computes, and the device it asks for."""
    yield from ((e.step, e.settings.device) for e in case.extractions)
    yield from ((t.step, t.config.device) for t in case.trainings)
    yield from ((e.step, e.device) for e in case.evaluations)


def _step(case: Case, step: str, device: str, count: int) -> Iterator[Finding]:
    kind, _, number = device.partition(":")
    choose = _way_to_choose(case, step)
    if kind == "cuda" and (int(number) if number.isdigit() else 0) >= count:
        yield failure(
            _TITLE,
            f"step {step!r} asks for {device}, and torch finds {count} CUDA devices",
            f"{choose}=cpu, or install the driver and a torch with CUDA",
        )
    elif kind not in ("cpu", "cuda", "auto"):
        yield failure(_TITLE, f"step {step!r} asks for {device!r}, which is no device", f"{choose}=cpu or cuda")
    elif device == "auto" and not count:
        yield warning(
            _TITLE,
            f"step {step!r} takes what is there, and will run on the CPU",
            f"go on if that is meant ({choose}=cpu says so); else install the driver and a torch with CUDA",
        )
    elif device == "cpu" and count and choose:
        yield warning(_TITLE, f"step {step!r} runs on the CPU, though there is a CUDA device", f"{choose}=cuda")


def _way_to_choose(case: Case, step: str) -> str:
    """The option that sets a step's device, without its value; empty where the pipeline fixes it."""
    if any(step == training.step for training in case.trainings):
        return f"--set {step}.device"
    prefix = next((extraction.prefix for extraction in case.extractions if step == extraction.step), "")
    return f"--set {prefix}device" if f"{prefix}device" in case.values else ""
