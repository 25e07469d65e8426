"""The model card: what a model folder says about itself to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from train.config import LossConfig, ModelConfig
from train.history import Learnt

_TAGS = "---\nlibrary_name: regionvlp\ntags:\n- video-text-retrieval\n- region-features\n---\n"
_SCORES = {
    "slides": "cosine of both [CLS] vectors, plus the mean over regions of the cosine of a region with what it finds in"
    " the sentence: the words, weighted by a softmax of `{sharpness:g} × cosine`",
    "release": "cosine of both [CLS] vectors, plus the region-to-word and word-to-region similarities of the authors'"
    " published code{focal}",
}


def model_card(
    model: ModelConfig,
    loss: LossConfig,
    parameters: Mapping[str, int],
    facts: Mapping[str, object],
    history: Sequence[Learnt] = (),
    answers: int = 0,
) -> str:
    """Markdown with a header that the Hugging Face hub reads.

    parameters: how many each part has. facts: how the model came about, as ``{"data": "...", "steps": 1000}``; a value
    may be anything that prints. history: the runs that made it. answers: how many it knows; 0 where it has no head.
    """
    sizes = {
        "preset": model.preset,
        "video transformer": f"{model.depth} layers, width {model.width}, {model.heads} heads"
        + (", attention across frames" if model.time_attention else ""),
        "text encoder": model.text_encoder,
        "joint space": f"{model.joint_dim} dimensions",
        "reads": f"up to {model.frames} frames of {model.regions} regions: features of {model.feature_dim} numbers and"
        f" boxes of {model.box_dim}; up to {model.max_words} word pieces",
        **{f"parameters, {name}": f"{count:,}" for name, count in parameters.items()},
    }
    objective = {
        "weights": f"{loss.global_weight:g} global + {loss.local_weight:g} region-word",
        "region-word form": loss.local_form,
        "temperature": f"{loss.temperature:g}, {'learned' if loss.learn_temperature else 'fixed'}"
        if loss.local_form == "slides" or loss.global_weight
        else "the release's own",
        "negatives": "the whole batch of all ranks" if loss.gather else "the batch of a rank",
    }
    learnt = {f"run {number}": _told(run) for number, run in enumerate(history, start=1)}
    return "\n".join([_TAGS, _introduction(loss), *([_ANSWERS.format(answers=answers)] if answers else []),
                      _table("Sizes", sizes), _table("Objective", objective), _table("Training", facts),
                      _table("History", learnt), _USE, *([_USE_OF_ANSWERS] if answers else [])])  # fmt: skip


def _introduction(loss: LossConfig) -> str:
    focal = ", where only attention above its row's mean counts" if loss.focal else ""
    score = _SCORES[loss.local_form].format(sharpness=loss.sharpness, focal=focal)
    return (
        "# A RegionVLP model\n\nEmbeds videos, given as detector regions of a few frames, and sentences in one space"
        f" (the method of arXiv 2203.07720).\n\nHow alike a video and a sentence are: {score}.\n"
    )


def _told(run: Learnt) -> str:
    sources = ", ".join(f"{source.dataset} ({' and '.join(source.splits)})" for source in run.sources)
    return (
        f"{run.objective}, on {sources}: {run.steps:,} steps of {run.batch_size} clips of {run.frames} frames with"
        f" {run.regions} regions"
    )


def _table(title: str, rows: Mapping[str, object]) -> str:
    if not rows:
        return f"## {title}\n\nNothing is known.\n"
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join([f"## {title}\n", "| | |", "|---|---|", *lines, ""])


def _cell(value: object) -> str:
    """One line that cannot end its cell."""
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|")


_USE = """## Use

```python
from pathlib import Path

from train.model import RegionTextModel

model = RegionTextModel.from_pretrained(Path("FOLDER"))
text = model.encode_text(model.tokenizer(["a dog runs on the beach"]))
```

```
python -m evaluate retrieval --model FOLDER --shards SHARDS --manifest MANIFEST --out OUT
```

`config.json` describes the model, `model.safetensors` holds its weights, and the other files are the tokenizer's. The
regions must come from the detector that the model was trained with.
"""

_ANSWERS = "It also answers open-ended questions about a video: {answers:,} answers stand in `answers.json`.\n"

_USE_OF_ANSWERS = """The head that answers questions has its weights in `answers.safetensors`;
`AnsweringModel.from_pretrained(Path("FOLDER"))` of `train.answering` reads both:

```
python -m evaluate question-answering --model FOLDER --shards SHARDS --manifest MANIFEST --out OUT
```
"""
