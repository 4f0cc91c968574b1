"""Reading a pickle of plain values and byte arrays without running anything that it names."""

import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from howsparse.errors import HowsparseError
from howsparse.zoo.data.checks import Pixels

BYTE_CODES = ("u1", b"u1")


def load_plain(content: bytes, where: str) -> Any:
    """Unpickle numbers, strings, lists, dicts and numpy arrays of bytes; refuse every other name.

    numpy itself is never called with what the file says: arrays are put together by hand from their raw bytes.
    """
    try:
        return _values(PlainUnpickler(io.BytesIO(content), encoding="bytes").load())
    except HowsparseError as error:
        raise HowsparseError(f"{where}: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise HowsparseError(f"{where}: damaged pickle ({type(error).__name__}: {error})") from error


class PlainUnpickler(pickle.Unpickler):  # noqa: S301 - find_class below never looks anything up
    """An unpickler that knows four names, and gives its own harmless stand-ins for them."""

    def __init__(self, file: io.BytesIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._stand_ins = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a known name; no module is ever imported."""
        known = self._stand_ins.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise HowsparseError(
                f"the pickle asks for {module}.{name}, which a file of images has no use for; "
                "it was not run. Get the file from a source that you trust"
            )
        return known


class _Bytes:
    """A numpy array of bytes in the making."""

    def __init__(self) -> None:
        self.value: Pixels = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, backwards, raw = state
        sizes = tuple(int(side) for side in shape)
        if not isinstance(kind, _ByteType) or not isinstance(raw, bytes) or math.prod(sizes) != len(raw):
            raise HowsparseError(f"the pickle holds an array of shape {sizes} that is not made of single bytes")
        self.value = np.frombuffer(raw, dtype=np.uint8).reshape(sizes, order="F" if backwards else "C")


class _ByteType:
    """The type of unsigned bytes; whatever else a file says about it is ignored."""

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and the like."""


def _stand_ins() -> dict[tuple[str, str], Callable[..., Any] | str]:
    """Fresh functions for every file, so that one file cannot leave anything behind in them for the next."""

    def reconstruct(*_: Any) -> _Bytes:
        return _Bytes()

    def dtype(code: Any, *_: Any) -> _ByteType:
        if code not in BYTE_CODES:
            raise HowsparseError(f"the pickle holds an array of type {code!r}, not of unsigned bytes")
        return _ByteType()

    def encode(text: str, *_: Any) -> bytes:
        return text.encode("latin-1")

    return {
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy", "ndarray"): "ndarray",
        ("numpy", "dtype"): dtype,
        ("_codecs", "encode"): encode,
    }


def _values(loaded: Any) -> Any:
    """The top-level dict with finished arrays in place of those in the making."""
    if not isinstance(loaded, dict):
        return loaded
    return {key: value.value if isinstance(value, _Bytes) else value for key, value in loaded.items()}
