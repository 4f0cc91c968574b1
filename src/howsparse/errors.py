"""The errors that howsparse raises on purpose: each names the value, why it is wrong and what would work."""


class HowsparseError(ValueError):
    """Something the caller can put right: a setting, a file, a model or its data."""


class RunMismatchError(HowsparseError):
    """A run directory holds a run with other settings than the ones asked for."""


class DivergedError(HowsparseError):
    """The training loss stopped being finite; the last good checkpoint is kept."""
