"""Pipelines: every YAML is valid, its commands exist, and the runner stops, goes on and checks."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import pipelines.pipeline as pipeline_module
from data_specs.errors import InputError
from data_specs.spec import load_spec
from evaluate.__main__ import main as evaluate_main
from pipelines.__main__ import main
from pipelines.filling import fill_tree
from pipelines.pipeline import command_line, config_text, load_pipeline, pipeline_names
from pipelines.runner import StepFailed, run_pipeline
from tests.pipelines.doors import behind, on_this_machine
from train.config import TrainConfig

GIVEN = {"extract": ("dataset=msrvtt", "root=/data"), "finetune": ("dataset=folder",), "eval": ("dataset=folder",)}
EVERYTHING = {
    "finetune": ("protocol=p", "start=scratch", "vit_weights=v", "max_steps=7", "questions=true", "validate=true"),
    "eval": ("protocol=p", "choices=true", "choices_protocol=q", "questions=true", "frames=4", "regions=20",
             "allow_missing=true"),
}  # fmt: skip


@pytest.mark.parametrize("name", pipeline_names())
@pytest.mark.parametrize("everything", [False, True])
def test_steps_are_commands_that_exist(name: str, everything: bool) -> None:
    more = EVERYTHING.get(name.split("-")[0], ()) if everything else ()
    pipeline, values = load_pipeline(name, (*GIVEN.get(name, ()), *more))
    for step in pipeline.steps:
        package, command, *arguments = command_line(step, values)
        group = importlib.import_module(f"{package}.__main__").main
        assert isinstance(group, click.Group)
        found = group.commands[command]
        found.make_parser(click.Context(found)).parse_args(list(arguments))  # an unknown option raises
        if step.config is not None:
            TrainConfig.model_validate(yaml.safe_load(config_text(step, values)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smok"], "unknown pipeline 'smok': did you mean smoke?"),
        (["extract"], "needs dataset"),
        (["pretrain", "--set", "shard=x"], "did you mean shards?"),
        (["pretrain", "--set", "epochs={a: 1}"], "takes a value"),
        (["eval-msrvtt", "--set", "model=nowhere/model"], "nowhere/model is not there: a model/ folder"),
        (
            ["eval-msvd-qa", "--set", "answer_model=nowhere"],
            "nowhere is not there: the model/ folder of a model that ans",
        ),
        (["finetune-msvd", "--set", "start=nowhere"], "nowhere is not there: a model/ folder to start from"),
        (["finetune-msvd", "--set", "validate=perhaps"], "validate is true or false, not 'perhaps'"),
        (["finetune-msvd", "--set", "questions=perhaps"], "questions is true, false or auto, not 'perhaps'"),
        (
            ["finetune-msvd", "--set", "start=scratch", "--set", "tune.start.model=m"],
            "--set tune.start.model=m: start is left out, as start is None; set start, too",
        ),
        (["smoke", "--set", "out=setup.cfg"], "is no folder"),
        (["smoke", "--set", "out=s3://bucket/runs"], "pipelines write to folders"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_overrides_reach_variables_and_step_configs() -> None:
    pipeline, values = load_pipeline("pretrain", ("shards=[a, b]", "pretrain.optimiser.lr=0.1"))
    config = yaml.safe_load(config_text(pipeline.steps[1], values))
    assert config["data"]["shards"] == ["a", "b"]
    assert config["optimiser"]["lr"] == 0.1
    assert config["data"]["batch_size"] == 128


@pytest.mark.parametrize("text", ["/data/a #b", "0123", "1_0", "/data/a: b", '"q" x', "a{b}", "true", ""])
def test_paths_are_taken_to_the_letter(text: str) -> None:
    pipeline, values = load_pipeline("extract", ("dataset=msrvtt", f"out={text}", "root=/x"))
    assert values["out"] == text
    assert text in command_line(pipeline.steps[1], values)


def test_list_and_show() -> None:
    listed = CliRunner().invoke(main, ["list"])
    assert all(name in listed.output for name in pipeline_names())
    shown = CliRunner().invoke(main, ["show", "extract"])
    assert shown.exit_code == 0
    assert "python -m extract run" in shown.output
    assert (
        "extracted and failed, when extract, unless allow_missing: python"
        in CliRunner().invoke(main, ["show", "finetune-msvd"]).output
    )


def test_a_pipeline_that_extends_another_has_its_steps_and_defaults_of_its_own() -> None:
    base, before = load_pipeline("pretrain")
    half, after = load_pipeline("pretrain-half", ("max_steps=7",))
    assert half.steps == base.steps and half.name == "pretrain-half"
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"subset", "epoch_samples", "out", "max_steps"}
    shown = CliRunner().invoke(main, ["show", "pretrain-half"])
    assert shown.exit_code == 0 and "500000" in shown.output and "train run" in shown.output


def of_step(name: str, step: str, *given: str) -> tuple[str | None, list[str], dict]:
    """Why a step is left out, its command line and its configuration."""
    pipeline, values = load_pipeline(name, given)
    (found,) = (s for s in pipeline.steps if s.name == step)
    config = yaml.safe_load(config_text(found, values)) if found.config is not None else {}
    return found.switched_off(values), command_line(found, values), config


@pytest.mark.parametrize(
    ("name", "tuned", "answers", "batch", "rounds"),
    [
        ("finetune-msrvtt", True, True, 32, (20, 24)),
        ("finetune-msvd", True, False, 32, (41, 1)),
        ("finetune-lsmdc", True, False, 32, (1, 1)),
        ("finetune-didemo", True, False, 32, (1, 1)),
        ("finetune-msrvtt-qa", False, True, 64, (1, 24)),
        ("finetune-msvd-qa", False, True, 64, (1, 27)),
        ("finetune-tgif-qa", False, True, 64, (1, 1)),
    ],
)
def test_the_recipe_is_the_published_one(
    name: str, tuned: bool, answers: bool, batch: int, rounds: tuple[int, int]
) -> None:
    for step, there, number in (("tune", tuned, rounds[0]), ("answer", answers, rounds[1])):
        why, _, config = of_step(name, step)
        assert (why is None) == there
        if not there:
            continue
        data, optimiser = config["data"], config["optimiser"]
        assert (data["frames"], data["regions"]) == (8, 30) == (config["model"]["frames"], config["model"]["regions"])
        assert data["batch_size"] == (batch if step == "tune" else 64)
        assert data["rounds"] == number
        assert (optimiser["lr"], optimiser["milestones"], config["epochs"]) == (1e-5, [2, 4, 8], 10)
        assert "local_form" not in config["loss"]  # a released model keeps its own


def test_rounds_take_each_text_of_an_epoch_about_once() -> None:
    for name, split in (("finetune-msrvtt", "train"), ("finetune-msvd", "train")):
        _, values = load_pipeline(name)
        counts = load_spec(values["dataset"]).protocol(values["protocol"])[1].splits[split]
        assert values["rounds"] == round(counts.caption_count / counts.videos)
    for name in ("finetune-msrvtt-qa", "finetune-msvd-qa"):
        _, values = load_pipeline(name)
        counts = load_spec(values["dataset"]).protocol(values["protocol"])[1].splits["train"]
        assert values["question_rounds"] == round(counts.question_count / counts.videos)


def test_a_start_is_left_out_from_scratch() -> None:
    assert "start" not in of_step("finetune-msvd", "tune", "start=scratch")[2]
    assert "start" not in of_step("finetune-msvd", "tune", "start=")[2]
    config = of_step("finetune-msvd", "tune", "start=models/released", "temporal=interpolate", "box_dim=6")[2]
    assert config["start"] == {"model": "models/released", "temporal": "interpolate"}
    assert config["model"]["box_dim"] == 6


def test_fine_tuning_looks_at_validation_clips_where_there_are_some() -> None:
    assert "validation" not in of_step("finetune-msrvtt", "tune")[2]
    assert of_step("finetune-msvd", "tune")[2]["validation"]["splits"] == ["val"]
    assert "validation" not in of_step("finetune-msvd", "tune", "validate=false")[2]
    for name in pipeline_names():
        _, values = load_pipeline(name, GIVEN.get(name, ()))
        if values.get("validate"):
            assert "val" in load_spec(values["dataset"]).protocol(values["protocol"])[1].splits


@pytest.mark.parametrize("name", [name.removeprefix("finetune-") for name in pipeline_names() if "finetune-" in name])
def test_evaluation_looks_where_fine_tuning_wrote(name: str) -> None:
    tuning, tuned = load_pipeline(f"finetune-{name}")
    _, judged = load_pipeline(f"eval-{name}")
    for key in ("dataset", "root", "protocol", "shards", "detector", "stored_frames", "stored_regions"):
        assert tuned[key] == judged[key], key
    written = {step.name: yaml.safe_load(config_text(step, tuned))["out"] for step in tuning.steps if step.config}
    assert judged["retrieval"] == tuned["retrieval"]
    if tuned["retrieval"]:
        assert judged["model"] == f"{written['tune']}/model"
    if tuned["questions"]:
        assert judged["answer_model"] == f"{written['answer']}/model"


def test_choices_of_another_protocol_have_their_own_files(tmp_path: Path) -> None:
    command = on_this_machine(of_step("eval-lsmdc", "multiple-choice")[1], tmp_path)
    read = evaluate_main.commands["multiple-choice"].make_context("multiple-choice", command[2:]).params
    assert read["shards"] == Path("shards/lsmdc-multiple-choice")
    assert read["manifest"] == Path("runs/eval-lsmdc/choices.parquet")
    assert of_step("eval-lsmdc", "choices-extract")[0] is None
    assert of_step("eval-lsmdc", "choices-extract", "choices=false")[0] == "choices is false"
    assert of_step("eval-msrvtt", "choices-extract")[0] == "choices_protocol is not given"


@pytest.mark.parametrize("name", [name for name in pipeline_names() if name.startswith(("finetune", "eval"))])
def test_make_has_a_door(name: str) -> None:
    given = ["MODEL=a model", "ANSWER_MODEL=n", "START=s", "SHARDS=t", "DATASET=folder", "ROOT=r", "WORKERS=2"]
    command, assignments = behind(name, *given)
    assert command == ["pipelines", "run", name]
    _, values = load_pipeline(name, tuple(assignments))
    assert (values["shards"], values["root"]) == ("t", "r")
    if name.startswith("eval"):
        assert values["answer_model" if name.endswith("-qa") else "model"] in ("a model", "n")
    else:
        assert (values["start"], values["workers"]) == ("s", 2)


@pytest.fixture
def own_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a pipeline of `data_specs list` steps and loads it."""
    monkeypatch.setattr(pipeline_module, "FOLDER", tmp_path)

    def make(**changes: object):
        tree = {
            "name": "own",
            "about": "test",
            "variables": {"out": {"about": "folder", "default": str(tmp_path / "out")}},
            "steps": [{"name": "list", "about": "lists", "command": ["data_specs", "list"]}],
            **changes,
        }
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
        return load_pipeline("own")

    return make


def test_a_failing_step_stops_the_run(own_pipeline) -> None:
    failing = {"name": "show", "about": "fails", "command": ["data_specs", "show", "nothing-like-it"]}
    after = {"name": "after", "about": "never", "command": ["data_specs", "make-shapes", "--out", "{out}/never"]}
    with pytest.raises(StepFailed, match="'show' failed with exit code 2") as caught:
        run_pipeline(*own_pipeline(steps=[failing, after]))
    assert caught.value.exit_code == 2


def test_expectations_are_checked(own_pipeline, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"R@1": {"value": 90}}))
    expect = {"file": str(tmp_path / "result.json"), "key": ["R@1", "value"], "says": "too low"}
    run_pipeline(*own_pipeline(expect=[{**expect, "at_least": 90}]))
    with pytest.raises(click.ClickException, match="too low: R@1"):
        run_pipeline(*own_pipeline(expect=[{**expect, "at_least": 91}]))


def test_a_fresh_pipeline_removes_only_what_it_made(own_pipeline, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_pipeline(*own_pipeline(fresh=True))
    (out / "result").write_text("old")
    run_pipeline(*own_pipeline(fresh=True))
    assert not (out / "result").exists()
    (out / "pipeline.json").unlink()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a former run"):
        run_pipeline(*own_pipeline(fresh=True))
    assert (out / "thesis.txt").read_text() == "years of work"


def test_an_extension_changes_only_what_is_there(own_pipeline, tmp_path: Path) -> None:
    own_pipeline()
    (tmp_path / "more.yaml").write_text("{name: more, extends: own, variables: {ouch: {default: x}}}")
    with pytest.raises(InputError, match=r"more\.yaml: variable 'ouch' is not in own: did you mean out"):
        load_pipeline("more")


def test_a_step_that_is_switched_off_is_left_out_and_that_is_said(own_pipeline, tmp_path: Path, capfd) -> None:
    shapes = ["data_specs", "make-shapes", "--videos", "1", "--out", "{out}/never"]
    switches = {"on": {"about": "?", "default": True}, "off": {"about": "?", "default": False}}
    variables = {"out": {"about": "folder", "default": str(tmp_path / "out")}, **switches}
    unless = {"name": "unless", "about": "no", "command": shapes, "when": ["on"], "unless": "on"}
    when = {"name": "when", "about": "no", "command": shapes, "when": ["on", "off"], "config": {"a": 1}}
    run_pipeline(*own_pipeline(variables=variables, steps=[unless, when]))
    said = capfd.readouterr().err
    assert "left out: on is true" in said and "left out: off is false" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pipeline.json"]
    with pytest.raises(InputError, match="'of' is a condition, and no variable"):
        own_pipeline(variables=variables, steps=[{**when, "when": ["of"]}])


def test_auto_runs_what_has_all_it_needs(own_pipeline, tmp_path: Path, ten_manifest_path: Path) -> None:
    def lacking(setting: object, **need: str) -> str | None:
        variables = {
            "out": {"about": "folder", "default": str(tmp_path / "out")},
            "ask": {"about": "?", "default": setting},
        }
        step = {"name": "list", "about": "lists", "command": ["data_specs", "list"], "when": ["ask"], "needs": [need]}
        pipeline, values = own_pipeline(variables=variables, steps=[step])
        return pipeline.steps[0].left_out(values)

    manifest = str(ten_manifest_path)
    assert lacking("auto", path=manifest) is None
    assert lacking("auto", path="no/where") == "no/where is not there"
    assert lacking(True, path="no/where") is None
    assert lacking(False, path=manifest) == "ask is false"
    assert lacking("auto", manifest=manifest, questions="open-ended", split="train") is None
    assert lacking("auto", manifest=manifest, questions="multiple-choice", split="test") is None
    said = lacking("auto", manifest=manifest, questions="multiple-choice", split="train")
    assert said == f"{manifest} has no multiple-choice question of split train"
    with pytest.raises(InputError, match="either a path or a manifest"):
        lacking("auto", path=manifest, manifest=manifest)


def test_defaults_use_other_variables_and_what_is_given_is_left_alone(own_pipeline, tmp_path: Path) -> None:
    own_pipeline(
        variables={
            "out": {"about": "folder", "default": "{a}/out"},
            "a": {"about": "?", "default": "{b}/a"},
            "b": {"about": "?", "default": "b"},
        }
    )
    assert load_pipeline("own", ("b=x",))[1] == {"out": "x/a/out", "a": "x/a", "b": "x"}
    assert load_pipeline("own", ("a={b}",))[1]["out"] == "{b}/out"
    with pytest.raises(InputError, match="stand for one another: "):
        own_pipeline(variables={"out": {"about": "folder", "default": "{a}"}, "a": {"about": "?", "default": "{out}"}})


def test_a_tree_without_what_its_condition_says() -> None:
    tree = {"a": {"when": "x", "b": "{x}"}, "c": [{"when": "y", "d": 1}], "e": {"f": {"when": "y", "g": 1}}}
    assert fill_tree(tree, {"x": 3, "y": None}) == {"a": {"b": 3}, "c": [{"d": 1}], "e": {}}
    assert fill_tree(tree, {"x": False, "y": "z"}) == {"c": [{"d": 1}], "e": {"f": {"g": 1}}}
    with pytest.raises(InputError, match="'y' is no variable"):
        fill_tree(tree, {"x": 1})


def test_steps_are_our_own_packages_only(own_pipeline) -> None:
    with pytest.raises(InputError, match="'os' is none of"):
        own_pipeline(steps=[{"name": "x", "about": "x", "command": ["os", "x"]}])
