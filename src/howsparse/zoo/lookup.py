"""From the words of a command line to networks and data: zoo names, or functions of the user's own."""

import dataclasses
import importlib.util
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, Subset

from howsparse.errors import HowsparseError, near
from howsparse.zoo.data import DATASETS, Data
from howsparse.zoo.models import MODELS
from howsparse.zoo.objects import load_object

OWN = "package.module:function or path/to/file.py:function"
PARTS = tuple(field.name for field in dataclasses.fields(Data) if field.name != "name")


def build_model(spec: str, shape: tuple[int, ...] | None, classes: int | None) -> nn.Module:
    """A new network, from the zoo or from the user's own function.

    Args:
        spec: a name of MODELS, or package.module:function or path/to/file.py:function. The user's function is called
            without arguments and returns the network.
        shape: shape of one input, (C, H, W) for images; needed by the zoo's networks only.
        classes: number of outputs; needed by the zoo's networks only.

    Returns:
        The network.

    Raises:
        HowsparseError: if the name is unknown, the network cannot take the shape, shape or classes are needed and
            missing, or the user's function fails or returns something else.

    Example:
        >>> build_model("linear", (1, 8, 8), 10).fc1
        Linear(in_features=64, out_features=10, bias=True)
        >>> build_model("linaer", (1, 8, 8), 10)
        Traceback (most recent call last):
        howsparse.errors.HowsparseError: unknown network 'linaer': known are ...; did you mean linear?
    """
    if spec in MODELS:
        if shape is None or classes is None:
            raise HowsparseError(
                f"{spec} is built for one shape of input and one number of classes, and these data do not tell both: "
                f"shape is {shape}, classes is {classes}; let the data function return "
                "Data(..., shape=(C, H, W), classes=...)"
            )
        return MODELS[spec].build(shape, classes)
    if ":" not in spec:
        raise _unknown("network", spec, MODELS)
    network = _call(spec, load_object(spec), "network")
    if not isinstance(network, nn.Module):
        raise HowsparseError(f"{spec} returned a {type(network).__name__}, not a torch.nn.Module")
    return network


def load_data(spec: str) -> Data:
    """Training and test samples, from the zoo or from the user's own function.

    Where the user's function leaves it open, the shape is taken from the first training sample, and the number of
    classes from the data set's attribute classes.

    Args:
        spec: a name of DATASETS with what it needs (digits, mnist:FOLDER, npz:FILE), or package.module:function or
            path/to/file.py:function. The user's function is called without arguments and returns Data, (train, test),
            (train, val, test) or a dict with train, test and any other fields of Data.

    Returns:
        The data.

    Raises:
        HowsparseError: if the name is unknown, files are missing or damaged, or the user's function fails or returns
            something else.

    Example:
        >>> load_data("digits").shape
        (1, 8, 8)
        >>> load_data("mnist")
        Traceback (most recent call last):
        howsparse.errors.HowsparseError: mnist needs a folder: give mnist:FOLDER
    """
    name, _, place = spec.partition(":")
    if name in DATASETS:
        return _read(name, place)
    misspelt = near(name, DATASETS) and not _may_be_module(name)
    if ":" not in spec or not spec.rpartition(":")[2].isidentifier() or misspelt:
        raise _unknown("data set", name, DATASETS)
    return _as_data(_call(spec, load_object(spec), "data"), spec)


def _read(name: str, place: str) -> Data:
    """A data set of the zoo."""
    entry = DATASETS[name]
    if not entry.needs:
        if place:
            raise HowsparseError(f"{name} takes nothing after its name, but {place!r} was given: write {name}")
        return entry.read()
    if not place:
        raise HowsparseError(f"{name} needs a {entry.needs.lower()}: give {name}:{entry.needs}")
    return entry.read(Path(place))


def _unknown(kind: str, name: str, known: Iterable[str]) -> HowsparseError:
    """The error for a name that is not in the table."""
    return HowsparseError(f"unknown {kind} {name!r}: known are {', '.join(known)}; or give {OWN}{near(name, known)}")


def _may_be_module(name: str) -> bool:
    """Whether a name is a path, a dotted module, or a module that is there."""
    if not name.isidentifier():
        return "." in name or "/" in name
    return Path(name).is_dir() or Path(f"{name}.py").is_file() or importlib.util.find_spec(name) is not None


def _call(spec: str, function: Any, what: str) -> Any:
    """Result of the user's function, with its own failures explained."""
    if isinstance(function, nn.Module) or not callable(function):
        raise HowsparseError(
            f"{spec} is a {type(function).__name__}, not a function; give a function without arguments that returns "
            f"the {what}, so that every use starts afresh"
        )
    _check_no_arguments(spec, function)
    try:
        return function()
    except Exception as error:
        raise HowsparseError(f"{spec} failed with {type(error).__name__}: {error}") from error


def _check_no_arguments(spec: str, function: Callable[..., Any]) -> None:
    """Refuse a function that cannot be called without arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some built-in callables do not tell
    try:
        signature.bind()
    except TypeError as error:
        raise HowsparseError(
            f"{spec} is called without arguments, but its signature is {signature} ({error}); "
            "wrap it in a function that fills them in"
        ) from error


def _as_data(value: Any, spec: str) -> Data:
    """Data from what a user's function returned."""
    if isinstance(value, tuple | list) and len(value) in {2, 3}:
        value = dict(zip(("train", "test") if len(value) == 2 else ("train", "val", "test"), value, strict=True))
    if isinstance(value, dict):
        value = _from_dict(value, spec)
    if not isinstance(value, Data):
        length = f" of length {len(value)}" if isinstance(value, tuple | list) else ""
        raise HowsparseError(
            f"{spec} returned a {type(value).__name__}{length}; "
            "return Data, (train, test), (train, val, test) or a dict with train and test"
        )
    for part in ("train", "test", "val"):
        _check_samples(getattr(value, part), f"{part} of {spec}", optional=part == "val")
    shape = _shape_of(value.train, spec) if value.shape is None else value.shape
    classes = _classes_of(value.train) if value.classes is None else value.classes
    return dataclasses.replace(value, shape=shape, classes=classes)


def _from_dict(parts: dict[Any, Any], spec: str) -> Data:
    """Data from a dict of its fields."""
    for key in parts:
        if key not in PARTS:
            known = ", ".join(PARTS)
            raise HowsparseError(f"{spec} returned a dict with {key!r}: known are {known}{near(str(key), PARTS)}")
    missing = [part for part in ("train", "test") if part not in parts]
    if missing:
        raise HowsparseError(f"{spec} returned a dict without {' and '.join(missing)}; train and test are needed")
    return Data(name=spec.rpartition(":")[2], **parts)


def _check_samples(samples: Any, where: str, *, optional: bool) -> None:
    """Refuse what cannot be a data set or loader."""
    if optional and samples is None:
        return
    if isinstance(samples, str | bytes | dict | Tensor) or not any(
        hasattr(samples, method) for method in ("__getitem__", "__iter__")
    ):
        raise HowsparseError(f"{where} is a {type(samples).__name__}, not a torch Dataset or DataLoader")


def _shape_of(samples: Any, spec: str) -> tuple[int, ...] | None:
    """Shape of the first input of a map-style data set of (tensor, label) pairs, else None."""
    if not isinstance(samples, Dataset) or isinstance(samples, IterableDataset):
        return None
    try:
        first = samples[0]
    except Exception as error:
        raise HowsparseError(f"{spec}: reading the first training sample failed with {error!r}") from error
    if isinstance(first, tuple | list) and len(first) == 2 and isinstance(first[0], Tensor):
        return tuple(first[0].shape)
    return None


def _classes_of(samples: Any) -> int | None:
    """Number of classes that a data set, or the one below a Subset, declares in its attribute classes."""
    while isinstance(samples, Subset):
        samples = samples.dataset
    declared = getattr(samples, "classes", None)
    if isinstance(declared, int):
        return declared
    return len(declared) if isinstance(declared, list | tuple) else None
