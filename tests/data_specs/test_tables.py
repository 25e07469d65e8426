"""Delimited tables: every text survives quoting, and every malformed row is named by its first line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_specs.annotations.tables import CSV, RAW_TSV, TSV, TableForm, named_rows, read_rows, wide_rows
from data_specs.errors import InputError
from tests.data_specs.annotation_files import table

PATH = Path("some/file.tsv")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = texts.filter(lambda text: not set(text) & set("\t\r\n"))


def lines(text: str) -> list[str]:
    """As ``Sources.stream`` gives them: only line feeds end a line."""
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@given(st.lists(st.tuples(texts, texts), max_size=6), st.sampled_from([CSV, TSV]), st.sampled_from(["\r\n", "\n"]))
def test_quoted_values_come_back(rows: list[tuple[str, str]], form: TableForm, end: str) -> None:
    rows = [(a.replace("\r", " "), b.replace("\r", " ")) for a, b in rows]
    found = list(read_rows(PATH, lines(table(rows, form.delimiter, end)), form))
    assert [tuple(values) for _, values in found] == rows
    expected, row = [], 1
    for a, b in rows:
        expected.append(row)
        row += 1 + a.count("\n") + b.count("\n")
    assert [row for row, _ in found] == expected


@given(st.lists(st.tuples(plain, plain), max_size=6), st.sampled_from(["\r\n", "\n"]))
def test_without_quoting_a_quote_is_a_letter(rows: list[tuple[str, str]], end: str) -> None:
    text = "".join(f"{a}\t{b}{end}" for a, b in rows)
    assert [tuple(values) for _, values in read_rows(PATH, lines(text), RAW_TSV)] == rows


def test_ten_megabytes_in_one_value_and_blank_lines() -> None:
    long = "word " * (2 << 20)
    text = f'\n"{long}\n"\ta\n\nb\tc'
    assert list(read_rows(PATH, lines(text), TSV)) == [(2, [long + "\n", "a"]), (5, ["b", "c"])]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a\tb\n"c\td\ne\tf\n', "row 2: not TSV: unexpected end of data"),  # where the quote was opened
        ('a\tb\n"c"d\te\n', "row 2: not TSV: '\t' expected after"),
        ("a\tb\nc\rd\te\n", "row 2: not TSV: new-line character seen in unquoted field"),
    ],
)
def test_a_malformed_row_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        list(read_rows(PATH, lines(text), TSV))
    assert f"{PATH}: {' '.join(said.split())}" in error.value.message


def test_number_of_values() -> None:
    with pytest.raises(InputError, match=r"file.tsv: row 7: not 3 values, but 2"):
        list(wide_rows(PATH, [(4, ["a", "b", "c"]), (7, ["a", "b"])], 3))


def test_columns_by_name_in_any_order() -> None:
    rows = [(1, ["b", "extra", "a"]), (2, ["1", "2", "3"])]
    assert list(named_rows(PATH, rows, ("a", "b"))) == [(2, {"a": "3", "b": "1", "extra": "2"})]
    with pytest.raises(InputError, match="row 1: no column 'c', found: b, extra, a"):
        list(named_rows(PATH, rows, ("a", "c")))
    with pytest.raises(InputError, match="row 1: two columns 'a', found: a, a"):
        list(named_rows(PATH, [(1, ["a", "a"])], ("a",)))
    with pytest.raises(InputError, match="row 1: no column 'a', found:"):
        list(named_rows(PATH, [], ("a",)))
    with pytest.raises(InputError, match="row 2: not 3 values, but 4"):
        list(named_rows(PATH, [rows[0], (2, ["1", "2", "3", "4"])], ("a",)))
