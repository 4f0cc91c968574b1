"""How a comparison is carried out."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from howsparse.comparison.watch import Watch
from howsparse.errors import HowsparseError, near
from howsparse.masks.prunable import Pattern


@dataclass(frozen=True)
class Options:
    """How a comparison is carried out; none of it changes what a cell finds, apart from ``include`` and ``exclude``.

    Args:
        engine: ``serial``, ``joblib`` (processes of this machine) or ``ray``.
        jobs: cells at a time; by default one, with several engines as many as there are cores.
        threads: CPU threads of each cell; by default cores / jobs.
        cluster: address of a Ray cluster; by default Ray is started on this machine.
        trained: whether tasks start from trained weights; a `NamedTask` with weights says so itself.
        against: the method that others are compared to; by default the best.
        limit: also predict the limits of every task, which must start from trained weights.
        include: see `howsparse.masks.prunable_parameters`.
        exclude: likewise.
        checkpoint_every: seconds between a cell's checkpoints.
        watch: an onlooker.
    """

    engine: str = "serial"
    jobs: int | None = None
    threads: int | None = None
    cluster: str | None = None
    trained: bool = False
    against: str | None = None
    limit: bool = False
    include: Sequence[Pattern] | None = None
    exclude: Sequence[Pattern] | None = None
    checkpoint_every: float = 20.0
    watch: Watch = dataclasses.field(default_factory=Watch)


def options_from(given: Mapping[str, Any]) -> Options:
    """Options by name.

    Args:
        given: fields of `Options`.

    Returns:
        The options.

    Raises:
        HowsparseError: an unknown name, or threads below 1.

    Example:
        >>> options_from({"engine": "joblib"}).jobs is None
        True
    """
    known = [field.name for field in dataclasses.fields(Options)]
    for name in given:
        if name not in known:
            raise HowsparseError(f"compare() has no option {name!r}: it has {', '.join(known)}{near(name, known)}")
    found = Options(**given)
    if found.threads is not None and found.threads < 1:
        raise HowsparseError(f"threads = {found.threads} is not allowed: a cell needs at least one")
    return found
