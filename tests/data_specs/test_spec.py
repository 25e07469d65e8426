"""Specs: every YAML is valid, and a wrong one or a wrong name is explained."""

from __future__ import annotations

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
