"""Weights: the detector's, the text encoder's, the ViT's, and finished models."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_specs.errors import InputError
from data_specs.shards import file_sha256
from extract.presets import WEIGHTS_VARIABLE, find_weights
from pipelines.doctor.case import Case, Evaluation, Extraction, Training
from pipelines.doctor.finding import Finding, failure, ok

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_CONFIG = "config.json"
_TEXT_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
_MODEL_FILES = (_CONFIG, "model.safetensors")
_ANSWERING, ANSWER_FILES = "question-answering", ("answers.json", "answers.safetensors")


def check_detector(extraction: Extraction) -> Iterator[Finding]:
    """The detector's weights file, its size and hash; a stated hash must be its own."""
    settings = extraction.settings.detector
    try:
        path = find_weights(settings)
    except InputError as error:
        origin = " ".join(settings.weights_from.split())  # the message ends with it
        way_out = origin or f"put the file into weights/ or into ${WEIGHTS_VARIABLE}"
        yield failure("detector weights", error.message.removesuffix(origin).strip(), way_out)
        return
    stated = "as stated" if settings.sha256 else "none is stated"
    yield ok(
        "detector weights",
        f"{settings.name}: {path}, {path.stat().st_size / 1e6:.1f} MB, SHA-256 {file_sha256(path)[:16]} ({stated})",
    )


def _text_encoder(name: str, way: str) -> Finding:
    """A text encoder of which every file is there."""
    try:
        config = read_text_config(name)
    except InputError as error:
        return failure("text encoder", error.message, f"{way}=FOLDER of a BERT-like encoder, or {way}=minilm")
    return ok("text encoder", f"{name}: {config.model_type} in {TextEncoderFiles(name).first((_CONFIG,)).parent}")


def check_text_encoder(training: Training) -> Iterator[Finding]:
    """The pretrained text encoder: packaged, a folder, or in the Hugging Face cache; and the ViT, if one is named.

    Raises:
        ImportError: torch or transformers cannot be imported.
    """
    name = training.config.model.text_encoder
    way = f"--set {training.step}.model.text_encoder"
    files = TextEncoderFiles(name)
    wanted = ((_CONFIG,), _TEXT_WEIGHTS, _TOKENIZER)
    missing = [" or ".join(names) for names in wanted if files.first(names) is None]
    if missing:
        yield failure(
            "text encoder",
            f"{name}: not packaged, and no folder or Hugging Face cache has its {', '.join(missing)}",
            f"hf download {name} (fills the cache), or {way}=FOLDER with these files, or {way}=minilm,"
            " which the installation carries",
        )
    else:
        yield _text_encoder(name, way)
    vit = training.config.model.vit_weights
    if vit is not None and not vit.is_file():
        yield failure(
            "ViT weights", f"{vit}: no such file", f"put it there, or --set {training.step}.model.vit_weights=FILE"
        )
    elif vit is not None:
        yield ok("ViT weights", f"{vit}, {vit.stat().st_size / 1e6:.1f} MB")


def read_text_config(name: str) -> PretrainedConfig:
    """The configuration of a text encoder that is there.

    Raises:
        InputError: it is not there, or describes no encoder that transformers knows.
        ImportError: torch or transformers cannot be imported.
    """
    from transformers import AutoConfig

    path = TextEncoderFiles(name).first((_CONFIG,))
    if path is None:
        raise InputError(f"text encoder {name!r} is not there, so its size is not known")
    try:
        return AutoConfig.from_pretrained(path.parent, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: describes no text encoder: {str(error).splitlines()[0]}") from None


def check_start(case: Case, training: Training) -> Iterator[Finding]:
    """The model that a training starts from: made by a step before, or one of its architecture; the trainer is asked.

    Raises:
        ImportError: torch or transformers cannot be imported.
    """
    from train.start import start_from

    start = training.config.start
    if case.training_of(start.model) is not None:
        yield ok("start", f"{start.model}: step {case.training_of(start.model).step!r} makes it")
        return
    try:
        start_from(start, training.config.model, training.config.loss)
    except InputError as error:
        step = training.step
        yield failure(
            "start", error.message, f"--set {step}.model.KEY=..., or --set {step}.start.model=FOLDER for another"
        )
        return
    yield ok("start", f"{start.model}: whole, and of the architecture of step {training.step!r}")


def check_model(case: Case, evaluation: Evaluation) -> Iterator[Finding]:
    """The model that is evaluated: made by a step before, or a whole folder now, as wide as the shards."""
    training = case.training_of(evaluation.model)
    if training is not None:
        yield ok("model", f"{evaluation.model}: step {training.step!r} makes it")
        return
    way_out = f"make pretrain and make finetune-... make one; another: --set {evaluation.variable}=FOLDER"
    answers = ANSWER_FILES if evaluation.task == _ANSWERING else ()
    absent = [name for name in (*_MODEL_FILES, *answers) if not (evaluation.model / name).is_file()]
    if absent:
        yield failure("model", f"{evaluation.model} has no {' and no '.join(absent)}", way_out)
        return
    try:
        described = json.loads((evaluation.model / _CONFIG).read_bytes())["model"]
        width = described["feature_dim"]
    except (ValueError, KeyError, TypeError) as error:
        yield failure("model", f"{evaluation.model / _CONFIG}: not a model's: {error!r}", way_out)
        return
    extraction = case.extraction_into(evaluation.shards)
    yield from _more_than_there_is(evaluation, described, extraction)
    made = extraction.settings.detector.feature_dim if extraction is not None else width
    if made != width:
        yield failure(
            "model",
            f"{evaluation.model} reads features {width} wide, step {extraction.step!r} makes them {made} wide",
            "--set detector=NAME, the one that the model was trained with",
        )
    else:
        yield ok("model", f"{evaluation.model}: whole, features {width} wide")


def _more_than_there_is(
    evaluation: Evaluation, described: dict[str, Any], extraction: Extraction | None
) -> Iterator[Finding]:
    for what in ("frames", "regions"):
        asked, most = getattr(evaluation, what), described.get(what)
        stored = getattr(extraction.settings, what) if extraction is not None else asked
        if asked is None:
            continue
        if isinstance(most, int) and asked > most:
            found = f"the model was made for {most}"
        elif asked > stored:
            found = f"the shards hold {stored}"
        else:
            continue
        yield failure("model", f"step {evaluation.step!r} wants {asked} {what}, {found}", f"a smaller --set {what}=N")


class TextEncoderFiles:
    """Where a text encoder's files are: in the installation, in a folder, or in the Hugging Face cache."""

    def __init__(self, name: str) -> None:
        from train.networks.text_encoder import PACKAGED

        self._name = name
        self._folder: Path | None = Path(name) if Path(name).is_dir() else None
        if name in PACKAGED:
            spec = importlib.util.find_spec(PACKAGED[name][0])
            self._folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else Path(name)

    def first(self, names: tuple[str, ...]) -> Path | None:
        """The first of these files that is there."""
        return next((path for name in names if (path := self._find(name)) is not None), None)

    def _find(self, name: str) -> Path | None:
        if self._folder is not None:
            return self._folder / name if (self._folder / name).is_file() else None
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            found = try_to_load_from_cache(self._name, name)
        except HFValidationError:  # neither a folder nor a name that the hub could have
            return None
        return Path(found) if isinstance(found, str) else None
