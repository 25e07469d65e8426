"""Tables on the disk: the asked order, and nothing believed that is not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from data_specs.errors import InputError
from evaluate.embedding.table_folder import HASH_KEY, RECORD_NAME, Column, TableFolder, rows_sha256

COLUMNS = {
    "vector": Column(row=(3,)),
    "count": Column(torch.int32),
    "words": Column(row=(2,), count="count"),
    "times": Column(torch.float64, (2,)),
    "letters": Column(torch.uint8, count="count"),
}


def rows_of(counts: list[int]) -> list[dict[str, torch.Tensor]]:
    """Each item's rows, all different."""
    return [
        {
            "vector": torch.full((1, 3), i + 0.5),
            "count": torch.tensor([n], dtype=torch.int32),
            "words": torch.arange(n * 2, dtype=torch.float32).view(n, 2) + 100 * i,
            "times": torch.full((1, 2), i / 3, dtype=torch.float64),
            "letters": torch.full((n,), i, dtype=torch.uint8),
        }
        for i, n in enumerate(counts)
    ]


def joined(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([row[name] for row in rows]) for name in COLUMNS}


def written(folder: Path, counts: list[int], place: list[int], part_size: int) -> TableFolder:
    table, rows = TableFolder(folder, COLUMNS, np.array(place, np.int64), part_size), rows_of(counts)
    for number, items in enumerate(table.parts):
        table.write(number, joined(rows[items.start : items.stop]))
    return table


@settings(max_examples=25)
@given(data=st.data(), counts=st.lists(st.integers(0, 4), min_size=1, max_size=9), part_size=st.integers(1, 10))
def test_columns_come_back_in_the_asked_order(tmp_path_factory, data, counts: list[int], part_size: int) -> None:
    place = data.draw(st.permutations(range(len(counts))))
    table = written(tmp_path_factory.mktemp("table"), counts, place, part_size)
    assert not table.is_whole() and not table.missing()
    table.finish()
    assert table.is_whole() and table.missing() == list(range(len(table.parts)))
    rows = rows_of(counts)
    expected = joined([rows[place.index(row)] for row in range(len(counts))])
    found = table.open()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.fixture
def table(tmp_path: Path) -> TableFolder:
    return written(tmp_path / "table", [2, 0, 1, 3, 1], [4, 2, 0, 1, 3], 2)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def save_believably(rows: dict[str, torch.Tensor], path: Path) -> None:
    save_file(rows, path, metadata={HASH_KEY: rows_sha256(rows)})


def widen(path: Path) -> None:
    tensors = load_file(path)
    save_believably(tensors | {"vector": torch.zeros(len(tensors["vector"]), 4)}, path)


def lengthen(path: Path) -> None:
    tensors = load_file(path)
    save_believably(tensors | {"count": tensors["count"] + 1}, path)


def forget(path: Path) -> None:
    save_believably({name: tensor for name, tensor in load_file(path).items() if name != "times"}, path)


def halve(path: Path) -> None:
    tensors = load_file(path)
    save_believably(tensors | {"vector": tensors["vector"].half()}, path)


def unsign(path: Path) -> None:
    save_file(load_file(path), path)


def flip_last(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


BREAKS = [Path.unlink, cut, widen, lengthen, forget, halve, unsign, flip_last, lambda p: p.write_text("{}")]


@pytest.mark.parametrize("break_it", BREAKS)
def test_a_broken_part_is_missing(table: TableFolder, break_it) -> None:
    break_it(table.folder / "part-00001.safetensors")
    assert table.missing() == [1]
    with pytest.raises(InputError, match="part-00001"):
        table.finish()
    assert not table.is_whole()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("break_it", [Path.unlink, cut, flip])
@pytest.mark.parametrize("name", [RECORD_NAME, "vector.bin", "words.bin"])
def test_a_broken_table_is_not_believed(table: TableFolder, name: str, break_it) -> None:
    table.finish()
    break_it(table.folder / name)
    assert not table.is_whole()


def test_what_is_mapped_outlives_its_folder_and_changes_no_file(table: TableFolder) -> None:
    table.finish()
    found = table.open()
    found["vector"] += 1
    assert table.is_whole()
    kept = found["words"].clone()
    for path in table.folder.iterdir():
        path.unlink()
    assert torch.equal(found["words"], kept)


def test_a_rank_that_sees_another_folder(table: TableFolder) -> None:
    table.finish()
    (table.folder / "words.bin").unlink()
    with pytest.raises(InputError, match="do all ranks see the same folder"):
        table.open()
