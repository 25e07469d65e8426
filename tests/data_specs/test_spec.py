"""Specs: every YAML is valid, and a wrong one or a wrong name is explained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from data_specs.annotations.registry import PARSERS, parser_of
from data_specs.configuration import build
from data_specs.errors import InputError
from data_specs.spec import DatasetSpec, load_spec, spec_names


def tree_of(name: str) -> dict:
    return yaml.safe_load(load_spec(name).model_dump_json())


@pytest.mark.parametrize("name", spec_names())
def test_every_spec_is_valid_and_has_a_parser(name: str) -> None:
    spec = load_spec(name)
    assert parser_of(spec) is PARSERS[spec.format]
    assert spec.protocol() == (f"{name}/{spec.default_protocol}", spec.protocols[spec.default_protocol])
    for protocol in spec.protocols:
        assert spec.protocol(f"{name}/{protocol}") == spec.protocol(protocol)


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="data set 'msrvt' is unknown: did you mean msrvtt"):
        load_spec("msrvt")
    with pytest.raises(InputError, match=r"data set '\.\./msrvtt' is unknown"):
        load_spec("../msrvtt")
    with pytest.raises(InputError, match="protocol 'ful' of msrvtt is unknown: did you mean full"):
        load_spec("msrvtt").protocol("ful")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda t: t | {"licens": "x"}, "unknown key 'licens': did you mean licence"),
        (lambda t: t | {"default_protocol": "first"}, "default_protocol 'first'"),
        (lambda t: t | {"media_paths": ["videos/all.mp4"]}, "has no {id}"),
        (lambda t: t | {"files": {}}, "no file 'train'"),
        (lambda t: t | {"media": ["sound"]}, "media.0"),
        (lambda t: t["files"]["train"].update(places=["../x"]) or t, "not a path below the data set's root"),
        (lambda t: t["protocols"]["all-captions"]["splits"].update(dev={}) or t, "splits.dev"),
        (lambda t: t["protocols"]["all-captions"]["splits"]["test"].update(captions="chosen") or t, "come together"),
        (lambda t: t["protocols"]["qa"].update(ids="map") or t, "protocols.qa.ids: no file 'map'"),
        (lambda t: t["protocols"]["qa"].update(answers={"file": "x"}) or t, "protocols.qa.answers.file: no file 'x'"),
        (lambda t: t["protocols"]["qa"].update(answers=None) or t, "question-answering needs answers"),
        (lambda t: t["protocols"]["qa"]["answers"].update(file="train") or t, "give one of file: ROLE and"),
        (lambda t: t["protocols"]["qa"]["answers"].update(most_freqent=3) or t, "did you mean most_frequent"),
        (lambda t: t["protocols"]["qa"]["splits"].pop("test") and t, "candidates: 'test' is none of the splits"),
        (lambda t: t["protocols"]["mc"].update(choices=None) or t, "multiple-choice needs choices"),
        (lambda t: t["protocols"]["mc"]["choices"].update(label_base=2) or t, "label_base"),
        (lambda t: t["protocols"]["mc"].update(ties="optimistic") or t, "ties"),
        (lambda t: t["protocols"]["mc"]["splits"]["val"].update(optional=True, files=[]) or t, "optional: true needs"),
        (lambda t: t["protocols"]["qa"]["answers"].update(coverage={"val": 101}) or t, "coverage.val"),
        (lambda t: t | {"name": "my/shapes"}, "name"),
    ],
)
def test_a_wrong_spec_is_explained(edit, said: str) -> None:
    with pytest.raises(InputError) as error:
        build(DatasetSpec, edit(tree_of("shapes")), "shapes.yaml")
    assert said in error.value.message


def test_an_unknown_format_is_named() -> None:
    spec = build(DatasetSpec, tree_of("shapes") | {"format": "shape"}, "shapes.yaml")
    with pytest.raises(InputError, match="format 'shape' is unknown: did you mean shapes"):
        parser_of(spec)


@pytest.mark.parametrize("name", spec_names())
def test_the_expected_numbers_of_a_protocol_fit_each_other(name: str) -> None:
    for protocol in load_spec(name).protocols.values():
        for split in protocol.splits.values():
            assert split.captions != "none" or split.caption_count is None
            assert split.question_count is None or split.questions
            if split.captions == "chosen":
                assert split.caption_count == split.videos


def test_a_spec_of_ones_own_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tree_of("shapes") | {"name": "mine"}))
    assert load_spec(str(path)).protocol("all-captions")[0] == "mine/all-captions"
    assert "mine" not in spec_names()
    path.write_text(yaml.safe_dump(tree_of("shapes")))
    with pytest.raises(InputError, match="name 'shapes' is taken by a data set of this program"):
        load_spec(str(path))
    with pytest.raises(InputError, match="no such configuration file"):
        load_spec(str(tmp_path / "other.yaml"))
    with pytest.raises(InputError, match="unknown key 'colour'"):
        path.write_text(yaml.safe_dump(tree_of("shapes") | {"name": "mine", "colour": 3}))
        load_spec(str(path))
