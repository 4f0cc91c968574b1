"""Where cells are carried out: one after the other, in processes of this machine, or on a Ray cluster."""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from howsparse.comparison.cells import Cell
from howsparse.comparison.work import Outcome, Site, fail, work
from howsparse.errors import HowsparseError, near

Engine = Literal["serial", "joblib", "ray"]
ENGINES: tuple[Engine, ...] = ("serial", "joblib", "ray")
_EXTRAS = {"joblib": "parallel", "ray": "ray"}


class WorkerLostError(HowsparseError):
    """The process that worked on a cell is gone."""


_LOST = WorkerLostError(
    "the worker process died without a word, as when memory runs out (fewer jobs need less) or when it is killed"
)


@dataclass(frozen=True)
class Crew:
    """Who carries the cells out.

    Args:
        engine: serial, joblib (processes of this machine) or ray.
        jobs: how many cells at a time.
        cluster: address of a running Ray cluster, or ``auto``; None starts Ray on this machine.
        cuda: whether every cell needs a GPU.
    """

    engine: Engine
    jobs: int
    cluster: str | None = None
    cuda: bool = False

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """What the engine needs for as long as it works: a Ray cluster, joined or started.

        Raises:
            HowsparseError: no cluster answers.
        """
        if self.engine != "ray":
            yield
            return
        with _connected(_package("ray"), self):
            yield

    def outcomes(self, cells: Sequence[Cell], site: Site) -> Iterator[Outcome]:
        """Carry the cells out, inside `ready`.

        Args:
            cells: in the order in which to begin them.
            site: where.

        Yields:
            Outcomes in the order in which they come.
        """
        if self.engine == "joblib":
            yield from _by_joblib(cells, site, self.jobs)
        elif self.engine == "ray":
            yield from _by_ray(cells, site, self)
        else:
            for cell in cells:
                yield work(cell, site)


def crew(engine: str, jobs: int | None, cluster: str | None, *, cuda: bool) -> Crew:
    """A crew that is fit for work.

    Args:
        engine: its name.
        jobs: cells at a time; None for one, or with several engines as many as there are cores.
        cluster: address of a Ray cluster.
        cuda: whether every cell needs a GPU.

    Returns:
        The crew.

    Raises:
        HowsparseError: an unknown engine, one whose package is not installed, no jobs, or settings that do not fit.

    Example:
        >>> crew("serial", None, None, cuda=False).jobs
        1
    """
    if engine not in ENGINES:
        raise HowsparseError(f"unknown engine {engine!r}: known are {', '.join(ENGINES)}{near(engine, ENGINES)}")
    if jobs is not None and jobs < 1:
        raise HowsparseError(f"jobs = {jobs} is not allowed: at least one cell at a time")
    if engine == "serial" and jobs not in (None, 1):
        raise HowsparseError(f"engine serial works on one cell at a time, not on {jobs}; choose joblib or ray")
    if cluster is not None and engine != "ray":
        raise HowsparseError(f"cluster = {cluster} is for engine ray, not for {engine}")
    if cluster is not None and jobs is None:
        raise HowsparseError(f"cluster = {cluster}: say how many cells it is to work on at a time, jobs = ...")
    if engine != "serial":
        _package(engine)
    found: Engine = engine
    return Crew(found, jobs or (1 if engine == "serial" else cores()), cluster, cuda)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _package(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise HowsparseError(
            f"engine {name} needs the package {name}, which is not installed: pip install 'howsparse[{_EXTRAS[name]}]'"
        ) from error


# --- joblib -----------------------------------------------------------------------------------------------------------
def _by_joblib(cells: Sequence[Cell], site: Site, jobs: int) -> Iterator[Outcome]:
    """In processes; when one dies, those that may have been its work are tried again alone, and blamed if it dies."""
    lost = _package("joblib.externals.loky.process_executor").TerminatedWorkerError

    left = list(cells)
    while left:
        try:
            for outcome in _pooled(left, site, jobs):
                left.remove(outcome.cell)
                yield outcome
        except lost:
            suspects = left[:jobs]  # cells are begun in their order
            for cell in suspects:
                left.remove(cell)
                yield _alone(cell, site)


def _pooled(cells: Sequence[Cell], site: Site, jobs: int) -> Iterator[Outcome]:
    joblib = _package("joblib")
    pool = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs)
    yield from pool(joblib.delayed(work)(cell, site) for cell in cells)


def _alone(cell: Cell, site: Site) -> Outcome:
    loky = _package("joblib.externals.loky.process_executor")
    with loky.ProcessPoolExecutor(max_workers=1) as pool:
        try:
            found: Outcome = pool.submit(work, cell, site).result()
        except loky.TerminatedWorkerError:
            return Outcome(cell, 0.0, fail(site.out / cell.folder, _LOST))
    return found


# --- ray --------------------------------------------------------------------------------------------------------------
def _by_ray(cells: Sequence[Cell], site: Site, crew: Crew) -> Iterator[Outcome]:
    """On Ray, at most ``jobs`` cells at a time; a worker that dies costs its own cell only."""
    ray = _package("ray")
    remote = ray.remote(num_cpus=site.threads or 1, num_gpus=int(crew.cuda), max_retries=0)(_work_in)
    shared, waiting = ray.put(site), list(cells)
    begun: dict[Any, Cell] = {}
    while waiting or begun:
        while waiting and len(begun) < crew.jobs:
            cell = waiting.pop(0)
            begun[remote.remote(cell, shared, Path.cwd())] = cell
        done, _ = ray.wait(list(begun), num_returns=1)
        yield _result(ray, done[0], begun.pop(done[0]), site)


def _work_in(cell: Cell, site: Site, place: Path) -> Outcome:
    """`work` in the folder that the user's modules are found from, where the machine has it."""
    with contextlib.chdir(place) if place.is_dir() else contextlib.nullcontext():
        return work(cell, site)


def _result(ray: Any, reference: Any, cell: Cell, site: Site) -> Outcome:
    try:
        found: Outcome = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, HowsparseError) else error from None
    except ray.exceptions.RayError:
        return Outcome(cell, 0.0, fail(site.out / cell.folder, _LOST))
    return found


@contextlib.contextmanager
def _connected(ray: Any, crew: Crew) -> Iterator[None]:
    """Joined to a cluster, or with one on this machine for as long as it is needed."""
    if ray.is_initialized():  # by whoever calls us
        yield
        return
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if crew.cluster is None:
            ray.init(num_cpus=max(cores(), crew.jobs), include_dashboard=False, **quiet)
        else:
            _knock(crew.cluster)
            ray.init(address=crew.cluster, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"answers at {crew.cluster}" if crew.cluster else "could be started on this machine"
        raise HowsparseError(
            f"no Ray cluster {where} ({type(error).__name__}: {str(error).splitlines()[0]}); start one with "
            "`ray start --head` and give its address, or leave the address out to use this machine alone"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """See within seconds whether anybody listens: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=5).close()
