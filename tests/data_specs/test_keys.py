"""Keys: any id becomes a safe tar member name and comes back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.keys import decode_key, encode_key

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(ids)
def test_round_trip_and_only_safe_characters(identifier: str) -> None:
    key = encode_key(identifier)
    assert decode_key(key) == identifier
    assert re.fullmatch(r"[A-Za-z0-9_%-]+", key)
    assert "." not in key and "/" not in key


@given(st.lists(ids, unique=True, max_size=20))
def test_different_ids_have_different_keys(identifiers: list[str]) -> None:
    assert len({encode_key(identifier) for identifier in identifiers}) == len(identifiers)


def test_examples() -> None:
    assert encode_key("video7") == "video7"
    assert encode_key("../a b.mp4") == "%2E%2E%2Fa%20b%2Emp4"
    assert encode_key("é") == "%C3%A9"


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "%2e", "%41", "%ZZ", "%", "a b", "é", "a\n", "%FF"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError):
        decode_key(key)


def test_an_id_that_is_empty_or_no_text_is_refused() -> None:
    for identifier in ("", "\ud800"):
        with pytest.raises(ValueError):
            encode_key(identifier)
