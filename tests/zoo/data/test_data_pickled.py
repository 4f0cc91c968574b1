"""The restricted unpickler runs nothing that a file names."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from howsparse.errors import HowsparseError
from howsparse.zoo.data.pickled import load_plain


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_shell_command_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    evil = pickle.dumps({"data": Call(os.system, f"touch {trace}")}, protocol=protocol)
    with pytest.raises(HowsparseError, match=r"evil: .*(posix|nt)\.system.*not run"):
        load_plain(evil, "evil")
    assert not trace.exists()
    pickle.loads(evil)
    assert trace.exists(), "the test itself must be able to do harm"


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, open, np.load, np.frombuffer, pickle.loads])
def test_other_functions_are_refused(function: Any) -> None:
    with pytest.raises(HowsparseError, match="not run"):
        load_plain(pickle.dumps(Call(function, "1"), protocol=2), "evil")


@pytest.mark.parametrize("name", [b"numpy\nload", b"numpy\nndarray.tofile", b"_codecs\nlookup", b"numpy.core\nndarray"])
def test_neighbours_of_known_names_are_refused(name: bytes) -> None:
    with pytest.raises(HowsparseError, match="not run"):
        load_plain(b"c" + name + b"\n.", "evil")


def test_protocol_four_names_are_no_way_around() -> None:
    with pytest.raises(HowsparseError, match=r"numpy\.ndarray\.tofile"):
        load_plain(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "evil")


def test_a_file_cannot_change_what_the_next_one_gets() -> None:
    poison = b"c_codecs\nencode\n(N}X\x0c\x00\x00\x00__defaults__K\x01\x85stb."  # sets an attribute of the function
    load_plain(poison, "evil")
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(load_plain(pickle.dumps({"a": array}, protocol=2), "good")["a"], array)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_and_plain_values(protocol: int) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for order in (array, np.asfortranarray(array)):
        batch = {b"data": order, b"labels": [1, 2], b"name": b"x", b"more": {b"a": None}}
        loaded = load_plain(pickle.dumps(batch, protocol=protocol), "good")
        assert np.array_equal(loaded.pop(b"data"), array)
        assert loaded == {b"labels": [1, 2], b"name": b"x", b"more": {b"a": None}}


@pytest.mark.parametrize("array", [np.zeros(3), np.array([None]), np.array(["a"]), np.zeros(2, [("a", "u1")])])
def test_other_array_types_are_refused(array: Any) -> None:
    with pytest.raises(HowsparseError, match="not of unsigned bytes"):
        load_plain(pickle.dumps(array, protocol=2), "bad")


def test_a_shape_that_does_not_fit_its_bytes_is_refused() -> None:
    content = pickle.dumps(np.zeros((2, 3), np.uint8), protocol=2).replace(b"K\x02K\x03\x86", b"K\x7fK\x7f\x86")
    with pytest.raises(HowsparseError, match=r"\(127, 127\)"):
        load_plain(content, "bad")


@pytest.mark.parametrize("content", [b"", b"\x00", b"garbage", b"\x80\x02}", b"\x80\x63.", b"(lp0\n."])
def test_garbage(content: bytes) -> None:
    if content == b"(lp0\n.":
        assert load_plain(content, "list") == []
    else:
        with pytest.raises(HowsparseError, match="bad: "):
            load_plain(content, "bad")
