"""The errors that howsparse raises on purpose: each names the value, why it is wrong and what would work."""

import difflib
from collections.abc import Iterable


class HowsparseError(ValueError):
    """Something the caller can put right: a setting, a file, a model or its data."""


class RunMismatchError(HowsparseError):
    """A run directory holds a run with other settings than the ones asked for."""


class DivergedError(HowsparseError):
    """The training loss stopped being finite; the last good checkpoint is kept."""


class StorageError(HowsparseError):
    """A file could not be written: a full disk, a folder without permission. What was written before stays."""


class NoCurvatureError(HowsparseError):
    """A loss without a second derivative was asked for one."""


def near(name: str, known: Iterable[str]) -> str:
    """The words '; did you mean ...?' with the nearest known names, or nothing when none is near.

    Example:
        >>> near("resnet81", ["resnet18", "vgg16"])
        '; did you mean resnet18?'
        >>> near("xyz", ["resnet18", "vgg16"])
        ''
    """
    names = difflib.get_close_matches(name, known)
    return f"; did you mean {', '.join(names)}?" if names else ""
