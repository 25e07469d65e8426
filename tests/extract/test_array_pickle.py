"""Pickles of arrays are read as NumPy reads them; anything else is refused before it can do anything."""

from __future__ import annotations

import collections
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from extract import array_pickle
from extract.array_pickle import ArrayPickleError, read_array_pickle

ARRAYS = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "texts": np.array(["ab", "c"]),
    "none": np.zeros((0, 4), np.float16),
    "truth": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_out_as_they_went_in(protocol: int) -> None:
    told = {**ARRAYS, "scalar": np.float32(3), "plain": ("x", [np.int64(4), None]), "o": collections.OrderedDict(k=1)}
    found = read_array_pickle(pickle.dumps(told, protocol), "latin1")
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert (found["scalar"], found["plain"], found["o"]) == (3, ("x", [4, None]), {"k": 1})


def test_an_array_of_one_object_as_npz_files_hold_it() -> None:
    info = {"objects_id": np.arange(4), "image_id": "a"}
    found = read_array_pickle(pickle.dumps(np.array(info, dtype=object), 4))
    np.testing.assert_array_equal(found["objects_id"], np.arange(4))


class Calls:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def test_nothing_is_called(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    for function, arguments in ((os.mkdir, ("attacked",)), (eval, ("1",)), (np.load, ("x",)), (getattr, ("", "x"))):
        with pytest.raises(ArrayPickleError, match="which no array needs"):
            read_array_pickle(pickle.dumps({"x": Calls(function, *arguments)}))
    assert not os.listdir()


EVIL = {
    "a memo of 32 GB": b"Nr\xff\xff\xff\xff.",
    "another memo": b"Np4294967295\n.",
    "sets an attribute of a class": b"cnumpy\ndtype\nN}(Vdtype\nI1\nu\x86b.",
    "bytes that are too few": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(Vf4\ntRVx\ntR.",
    "a structured type": pickle.dumps(np.zeros(2, [("a", "f4")])),
    "a persistent id": b"Px\n.",
    "an instance": b"(inumpy\nndarray\n.",
    "a shape that is negative": pickle.dumps(np.zeros(3)).replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85"),
    "cut": pickle.dumps(ARRAYS)[:-20],
    "nothing": b"",
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_is_refused_in_little_memory(name: str) -> None:
    kept = dict(vars(array_pickle._Type))
    tracemalloc.start()
    try:
        with pytest.raises(ArrayPickleError):
            read_array_pickle(EVIL[name])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert dict(vars(array_pickle._Type)) == kept


def test_a_tree_that_unfolds_without_end_is_refused() -> None:
    laugh: list = [1]
    for _ in range(40):
        laugh = [laugh] * 20
    with pytest.raises(ArrayPickleError, match="hold too much"):
        read_array_pickle(pickle.dumps(laugh))
    itself: list = []
    itself.append(itself)
    with pytest.raises(ArrayPickleError, match="nested too deeply"):
        read_array_pickle(pickle.dumps(itself))
