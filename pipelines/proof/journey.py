"""The commands of a proof, tied by what each needs of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_specs.configuration import override
from data_specs.shapes.families import FAMILY
from pipelines.proof.experiments import MAIN, ONE_FRAME, VARIANTS, Variant
from pipelines.proof.layout import Layout
from pipelines.proof.scale import Scale, Training
from pipelines.proof.work import Work

FEATURE_DIM = 512  # of the shapes detector
JOURNEY = (MAIN, ONE_FRAME)
"""Variants without which there is no proof: their tuned models go on to learn answers, of all frames and of one."""


@dataclass
class Journey:
    """Makes the pieces of work of a proof, each once."""

    scale: Scale
    at: Layout
    cores: int
    made: dict[str, Work] = field(default_factory=dict)

    def works(self) -> list[Work]:
        """Everything, each after what it needs; the main journey comes first."""
        self._baselines()
        for seed in self.scale.seeds:
            for variant in VARIANTS:
                if self.scale.curves or variant.name in JOURNEY:
                    self._variant(variant, seed)
        return list(self.made.values())

    def _variant(self, variant: Variant, seed: int) -> None:
        pretrained = self._pretrain(variant, seed)
        if variant.pretrained == variant.name:
            self._judge("pretrain", variant, seed, pretrained)
        if not variant.tuned:
            return
        tuned = self._tune(variant, seed)
        self._judge("tune", variant, seed, tuned)
        if variant.name == MAIN:
            self._evaluate("multiple-choice", "tune", variant, seed, tuned, self._manifest("mc", self.at.choices))
        if variant.name in JOURNEY:
            answering = self._answer(variant, seed, tuned)
            self._evaluate("question-answering", "answer", variant, seed, answering, self._answers())

    # ---- data

    def _data(self) -> Work:
        sizes = [f"--split={name}={getattr(self.scale, name)}" for name in ("train", "val", "test")]
        command = ("data_specs", "make-shapes", *sizes, "--families", "--workers", str(self.cores), "--out")
        return self._work("data", (*command, str(self.at.data)), self.at.data, cores=self.cores)

    def _manifest(self, protocol: str, path: Path) -> Work:
        command = ("data_specs", "build", "shapes", "--root", str(self.at.data), "--protocol", protocol)
        return self._work(f"manifest-{protocol}", (*command, "--out", str(path)), path, [self._data()])

    def _captions(self) -> Work:
        return self._manifest("first-caption", self.at.manifest)

    def _answers(self) -> Work:
        return self._manifest("qa", self.at.answers)

    def _shards(self) -> Work:
        command = (
            "extract", "run", "--manifest", str(self.at.manifest), "--root", str(self.at.data),
            "--out", str(self.at.shards()), "--frames", str(self.scale.frames), "--regions", str(self.scale.regions),
            "--videos-per-shard", "64", "--workers", str(self.cores if self.cores > 1 else 0),
        )  # fmt: skip
        return self._work("shards", command, self.at.shards(), [self._captions()], cores=self.cores)

    def _shards_for(self, variant: Variant) -> Work:
        whole = self._shards()
        if variant.random is None:
            return whole
        folder = self.at.shards(variant.random)
        command = ("extract", "thin", str(self.at.shards()), "--out", str(folder), "--regions", str(variant.random))
        return self._work(f"shards-random-{variant.random}", command, folder, [whole])

    def _text(self) -> Work:
        sizes = ("--width", str(self.scale.text_width), "--layers", str(self.scale.text_layers), "--dropout", "0")
        command = ("train", "make-text-encoder", str(self.at.manifest), "--out", str(self.at.text), *sizes)
        return self._work("text-encoder", command, self.at.text, [self._captions()])

    def _baselines(self) -> None:
        asked = ("--manifest", str(self.at.manifest), "--out", str(self.at.baselines), *self._judged())
        self._work(
            "oracle", ("evaluate", "oracle", "--root", str(self.at.data), *asked),
            self.at.baselines / "oracle.json", [self._captions()],
        )  # fmt: skip
        self._work(
            "bag-of-objects", ("evaluate", "bag-of-objects", "--shards", str(self.at.shards()), *asked),
            self.at.baselines / "bag_of_objects.json", [self._shards()],
        )  # fmt: skip

    # ---- training

    def _pretrain(self, variant: Variant, seed: int) -> Work:
        if variant.pretrained != variant.name:
            return self.made[f"pretrain-{variant.pretrained}-{seed}"]
        tree = self._tree(variant, seed, self.scale.pretrain, {"data.frames": 1} | dict(variant.pretrain))
        return self._training("pretrain", variant, seed, tree, [self._shards_for(variant), self._text()])

    def _tune(self, variant: Variant, seed: int) -> Work:
        before = self._pretrain(variant, seed)
        tree = self._tree(variant, seed, self.scale.tune, variant.tune)
        tree["start"] = {"model": str(before.out / "model")}
        return self._training("tune", variant, seed, tree, [before])

    def _answer(self, variant: Variant, seed: int, before: Work) -> Work:
        changes = dict(variant.tune) | {"data.questions": self.scale.answer_questions}
        tree = self._tree(variant, seed, self.scale.answer, changes)
        tree["start"] = {"model": str(before.out / "model")}
        tree["answering"] = {"answers": str(self.at.answers)}
        return self._training("answer", variant, seed, tree, [before, self._answers()])

    def _tree(self, variant: Variant, seed: int, training: Training, changes: Mapping[str, Any]) -> dict[str, Any]:
        """A training's configuration, but for where it goes and what it starts from."""
        scale = self.scale
        tree: dict[str, Any] = {
            "model": {
                "preset": "tiny", "feature_dim": FEATURE_DIM, "frames": scale.frames, "regions": scale.regions,
                "width": scale.width, "depth": scale.depth, "heads": scale.heads, "joint_dim": scale.joint_dim,
                "text_encoder": str(self.at.text), "temporal_std": scale.temporal_std,
                "box_std": scale.box_std,
            },
            "data": {
                "shards": [str(self.at.shards(variant.random))], "splits": ["train"], "seed": seed,
                "frames": scale.frames, "regions": scale.seen, "batch_size": training.batch,
                "neighbours": FAMILY,  # kin are each other's hard negatives
            },
            "loss": {"sharpness": 20, "temperature": scale.temperature},
            "optimiser": {
                "lr": training.lr, "schedule": "cosine", "warmup_steps": max(1, training.steps // 20),
                "weight_decay": scale.weight_decay,
            },
            "epochs": 100_000, "max_steps": training.steps, "threads": 1, "seed": seed, "keep": 1,
            "checkpoint_every": 100_000, "checkpoint_minutes": 2.0,
        }  # fmt: skip
        return override(tree, [f"{key}={value}" for key, value in changes.items()])

    def _training(
        self, stage: str, variant: Variant, seed: int, tree: dict[str, Any], after: Iterable[Work]
    ) -> Work:  # fmt: skip
        name, out = f"{stage}-{variant.name}-{seed}", self.at.run(stage, variant.name, seed)
        path, ranks = self.at.config(name), variant.ranks if stage == "pretrain" else 1
        command = ("train", "run", str(path), "--resume")
        return self._work(
            name, command, out, after, cores=min(ranks, self.cores), ranks=ranks, config={"out": str(out)} | tree,
            config_path=path,
        )  # fmt: skip

    # ---- evaluation

    def _judge(self, stage: str, variant: Variant, seed: int, trained: Work) -> None:
        self._evaluate(
            "retrieval", stage, variant, seed, trained, self._captions(), (*self._judged(), "--figures-only")
        )

    def _judged(self) -> tuple[str, str]:
        return "--split", self.scale.judged

    def _evaluate(
        self, task: str, stage: str, variant: Variant, seed: int, trained: Work, manifest: Work,
        more: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Of a model, with the frames and regions that it was trained with."""
        changed = variant.pretrain if stage == "pretrain" else variant.tune
        frames = int(changed.get("data.frames", 1 if stage == "pretrain" else self.scale.frames))
        regions = int(changed.get("data.regions", self.scale.seen))
        folder = self.at.report(stage, variant.name, seed)
        command = (
            "evaluate", task, "--model", str(trained.out / "model"), "--shards", str(self.at.shards(variant.random)),
            "--manifest", str(manifest.out), "--out", str(folder), "--frames", str(frames), "--regions", str(regions),
            *more,
        )  # fmt: skip
        result = folder / f"{task.replace('-', '_')}.json"
        self._work(f"{task}-{stage}-{variant.name}-{seed}", command, result, [trained, manifest])

    def _work(
        self, name: str, command: tuple[str, ...], out: Path, after: Iterable[Work] = (), **more: Any
    ) -> Work:  # fmt: skip
        if name not in self.made:
            self.made[name] = Work(name, command, out, tuple(after), **more)
        return self.made[name]
