"""The commands of a proof, tied by what each needs of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_specs.configuration import override
from pipelines.proof.experiments import MAIN, VARIANTS, Variant
from pipelines.proof.layout import Layout
from pipelines.proof.scale import Scale
from pipelines.proof.work import Work

FEATURE_DIM = 512  # of the shapes detector
FAMILY = 4  # clips that show the same things stand side by side, and are each other's hard negatives
ANSWER_FRAMES = ("main", "frames-1")
"""Variants whose tuned models go on to learn answers: of all frames, and of one."""


@dataclass
class Journey:
    """Makes the pieces of work of a proof, each once."""

    scale: Scale
    at: Layout
    cores: int
    made: dict[str, Work] = field(default_factory=dict)

    def works(self) -> list[Work]:
        """Everything, each after what it needs; the main journey comes first."""
        variants = [variant for variant in VARIANTS if self.scale.curves or variant.name in ANSWER_FRAMES]
        self._baselines()
        for seed in self.scale.seeds:
            for variant in sorted(variants, key=lambda v: v.name not in ANSWER_FRAMES):
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
            self._evaluate("multiple-choice", "tune", variant, seed, tuned, self.at.choices)
        if variant.name in ANSWER_FRAMES:
            answering = self._answer(variant, seed, tuned)
            self._evaluate("question-answering", "answer", variant, seed, answering, self.at.answers)

    # ---- data

    def _data(self) -> Work:
        sizes = [f"--split={name}={getattr(self.scale, name)}" for name in ("train", "val", "test")]
        command = ("data_specs", "make-shapes", *sizes, "--families", "--workers", str(self.cores), "--out")
        return self._work("data", (*command, str(self.at.data)), self.at.data, cores=self.cores)

    def _manifest(self, protocol: str, path: Path) -> Work:
        command = ("data_specs", "build", "shapes", "--root", str(self.at.data), "--protocol", protocol)
        return self._work(f"manifest-{protocol}", (*command, "--out", str(path)), path, [self._data()])

    @property
    def manifest(self) -> Work:
        """Of retrieval."""
        return self._manifest("first-caption", self.at.manifest)

    def _shards(self) -> Work:
        command = (
            "extract", "run", "--manifest", str(self.at.manifest), "--root", str(self.at.data),
            "--out", str(self.at.shards()), "--frames", str(self.scale.frames), "--regions", str(self.scale.regions),
            "--videos-per-shard", "64", "--workers", str(self.cores if self.cores > 1 else 0),
        )  # fmt: skip
        return self._work("shards", command, self.at.shards(), [self.manifest], cores=self.cores)

    def _shards_for(self, variant: Variant) -> Work:
        whole = self._shards()
        if variant.random is None:
            return whole
        folder = self.at.shards(variant.random)
        command = ("extract", "thin", str(self.at.shards()), "--out", str(folder), "--regions", str(variant.random))
        return self._work(f"shards-random-{variant.random}", command, folder, [whole])

    def _text(self) -> Work:
        sizes = ("--width", str(self.scale.text_width), "--layers", str(self.scale.text_layers))
        command = ("train", "make-text-encoder", str(self.at.manifest), "--out", str(self.at.text), *sizes)
        return self._work("text-encoder", command, self.at.text, [self.manifest])

    def _baselines(self) -> None:
        asked = ("--manifest", str(self.at.manifest), "--out", str(self.at.baselines))
        self._work(
            "oracle", ("evaluate", "oracle", "--root", str(self.at.data), *asked),
            self.at.baselines / "oracle.json", [self.manifest],
        )  # fmt: skip
        self._work(
            "bag-of-objects", ("evaluate", "bag-of-objects", "--shards", str(self.at.shards()), *asked),
            self.at.baselines / "bag_of_objects.json", [self._shards()],
        )  # fmt: skip

    # ---- training

    def _pretrain(self, variant: Variant, seed: int) -> Work:
        scale = self.scale
        if variant.pretrained != variant.name:
            return self.made[f"pretrain-{variant.pretrained}-{seed}"]
        changes = {"data.frames": 1, "data.batch_size": scale.pretrain_batch} | dict(variant.pretrain)
        tree = self._tree(variant, seed, scale.pretrain_steps, scale.pretrain_lr, changes)
        return self._training("pretrain", variant, seed, tree, [self._shards_for(variant), self._text()])

    def _tune(self, variant: Variant, seed: int) -> Work:
        scale, before = self.scale, self._pretrain(variant, seed)
        changes = {"data.frames": scale.frames, "data.batch_size": scale.tune_batch} | dict(variant.tune)
        tree = self._tree(variant, seed, scale.tune_steps, scale.tune_lr, changes)
        tree["start"] = {"model": str(before.out / "model")}
        return self._training("tune", variant, seed, tree, [before])

    def _answer(self, variant: Variant, seed: int, before: Work) -> Work:
        scale = self.scale
        changes = {"data.frames": scale.frames, "data.batch_size": scale.answer_batch} | dict(variant.tune)
        changes |= {"data.questions": scale.answer_questions}
        tree = self._tree(variant, seed, scale.answer_steps, scale.answer_lr, changes)
        tree["start"] = {"model": str(before.out / "model")}
        tree["answering"] = {"answers": str(self.at.answers)}
        return self._training("answer", variant, seed, tree, [before, self._manifest("qa", self.at.answers)])

    def _tree(self, variant: Variant, seed: int, steps: int, lr: float, changes: Mapping[str, Any]) -> dict[str, Any]:
        scale = self.scale
        tree: dict[str, Any] = {
            "model": {
                "preset": "tiny", "feature_dim": FEATURE_DIM, "frames": scale.frames, "regions": scale.regions,
                "width": scale.width, "depth": scale.depth, "heads": scale.heads, "joint_dim": scale.joint_dim,
                "text_encoder": str(self.at.text),
            },
            "data": {
                "shards": [str(self.at.shards(variant.random))], "splits": ["train"], "seed": seed,
                "neighbours": FAMILY,
            },
            "loss": {"sharpness": 20},
            "optimiser": {"lr": lr, "schedule": "cosine", "warmup_steps": max(1, steps // 20)},
            "epochs": 100_000, "max_steps": steps, "threads": 1, "seed": seed, "keep": 1,
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
        """Retrieval by a model, with the frames that it was trained with."""
        changed = variant.pretrain if stage == "pretrain" else variant.tune
        frames = int(changed.get("data.frames", 1 if stage == "pretrain" else self.scale.frames))
        regions = int(variant.pretrain.get("data.regions", self.scale.regions))
        more = ("--frames", str(frames), "--regions", str(regions), "--figures-only")
        self._evaluate("retrieval", stage, variant, seed, trained, self.at.manifest, more)

    def _evaluate(
        self, task: str, stage: str, variant: Variant, seed: int, trained: Work, manifest: Path,
        more: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        folder = self.at.report(stage, variant.name, seed)
        if task == "question-answering":
            more = ("--frames", str(variant.tune.get("data.frames", self.scale.frames)))
        command = (
            "evaluate", task, "--model", str(trained.out / "model"), "--shards", str(self.at.shards(variant.random)),
            "--manifest", str(manifest), "--out", str(folder), *more,
        )  # fmt: skip
        result = folder / f"{task.replace('-', '_')}.json"
        protocol = {self.at.manifest: "first-caption", self.at.answers: "qa", self.at.choices: "mc"}[manifest]
        self._work(
            f"{task}-{stage}-{variant.name}-{seed}", command, result, [trained, self._manifest(protocol, manifest)]
        )

    def _work(
        self, name: str, command: tuple[str, ...], out: Path, after: Iterable[Work] = (), **more: Any
    ) -> Work:  # fmt: skip
        if name not in self.made:
            self.made[name] = Work(name, command, out, tuple(after), **more)
        return self.made[name]
