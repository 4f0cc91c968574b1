"""Run: one pruning run on disk, which can be killed at any instant and resumed to the same result."""

import importlib.metadata
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from howsparse import processes
from howsparse.errors import HowsparseError, RunMismatchError, StorageError
from howsparse.files import write_atomic, write_json
from howsparse.masks import Masks

try:
    import fcntl
except ImportError:  # not on Windows, where two processes on one directory are not noticed
    fcntl = None  # type: ignore[assignment]

CONFIG, HISTORY, RESULT = "config.json", "history.jsonl", "result.json"
MODEL, MASKS, CHECKPOINT = "model.safetensors", "masks.safetensors", "checkpoint.pt"
START, CYCLES = "start.safetensors", "cycles"


class Run:
    """A run directory.

    ``config.json`` (resolved settings, versions, seed), ``history.jsonl`` (a line an epoch and a line a cycle),
    ``masks.safetensors`` and ``model.safetensors`` (the result so far; plain keys, zeros in place), ``checkpoint.pt``
    (what resuming needs), ``result.json`` (present when the run is done). Methods that prune many times leave
    ``start.safetensors`` (the network as it began) and ``cycles/NNN.safetensors`` (the masks after each pruning) too.

    Args:
        folder: the directory; made when absent.
        settings: everything that determines the result. A directory with other settings is refused.
        every: seconds between checkpoints; 0 writes one at every opportunity.
        kept: whether the directory outlives the run.

    Raises:
        RunMismatchError: the directory belongs to other settings; the message shows the difference.
        HowsparseError: the directory cannot be written, holds something else, or another process works on it.
    """

    def __init__(self, folder: str | Path, settings: dict[str, Any], *, every: float = 20.0, kept: bool = True) -> None:
        self.folder = Path(folder)
        self.kept = kept
        self._every = every
        self._last_checkpoint = time.monotonic()
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HowsparseError(f"cannot make the run directory {folder}: {error.strerror}") from error
        if (self.folder / CONFIG).exists():
            self._refuse_other_settings(plain)
        else:
            if any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise HowsparseError(f"{folder} is not empty and holds no run; choose another directory")
            write_json(self.folder / CONFIG, {"settings": plain, "environment": environment()})
        self._lock = self._lock_folder()
        for leftover in self.folder.glob(".*.part"):  # of a write that was killed
            leftover.unlink(missing_ok=True)

    def _lock_folder(self) -> IO[bytes]:
        """Keep other processes out for as long as this object is open."""
        stream = (self.folder / CONFIG).open("rb")
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                stream.close()
                raise HowsparseError(f"another process is working on {self.folder}; wait for it or stop it") from error
        return stream

    def close(self) -> None:
        """Let other processes in again."""
        self._lock.close()

    # --- state ------------------------------------------------------------------------------------------------------
    @property
    def where_it_stands(self) -> str:
        """For error messages: that nothing is lost, and where it is; empty for a run that nobody wants kept."""
        return f" The last good checkpoint is in {self.folder}." if self.kept else ""

    @property
    def result(self) -> dict[str, Any] | None:
        """What the finished run found, or None while it is not done."""
        path = self.folder / RESULT
        return read_json(path) if path.exists() else None

    def finish(self, result: dict[str, Any]) -> None:
        """Record the result and drop the checkpoint, which nobody needs any more."""
        write_json(self.folder / RESULT, result)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def save_checkpoint(self, state: Callable[[], dict[str, Any]], *, force: bool = False) -> bool:
        """Write what ``state()`` gives if the last checkpoint is old enough, with the history's length beside it.

        Returns:
            Whether it was written.
        """
        if not force and time.monotonic() - self._last_checkpoint < self._every:
            return False
        buffer = io.BytesIO()
        torch.save({**state(), "history_bytes": self._history_size()}, buffer)
        write_atomic(self.folder / CHECKPOINT, buffer.getvalue())
        self._last_checkpoint = time.monotonic()
        return True

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None; the history is cut back to the moment it was written.

        Raises:
            HowsparseError: the checkpoint cannot be read.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            self._cut_history(0)
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise HowsparseError(f"{path} cannot be read ({error}); delete it to start this run afresh") from error
        self._cut_history(state["history_bytes"])
        return state

    # --- history ----------------------------------------------------------------------------------------------------
    def append(self, record: dict[str, Any]) -> None:
        """Add one line to the history.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        try:
            with (self.folder / HISTORY).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record, allow_nan=False) + "\n")
        except OSError as error:
            raise StorageError(
                f"cannot write {HISTORY}: {error.strerror}. The last checkpoint stays; free some space, then run the "
                "same command again to resume."
            ) from error

    def history(self) -> list[dict[str, Any]]:
        """All lines of the history so far."""
        return read_history(self.folder)

    def mend_history(self) -> None:
        """Cut off a last line that was being written when the process was killed."""
        path = self.folder / HISTORY
        if path.exists():
            self._cut_history(path.read_bytes().rfind(b"\n") + 1)

    def _history_size(self) -> int:
        path = self.folder / HISTORY
        return path.stat().st_size if path.exists() else 0

    def _cut_history(self, size: int) -> None:
        if self._history_size() > size:
            os.truncate(self.folder / HISTORY, size)

    # --- results ----------------------------------------------------------------------------------------------------
    def save_model(self, model: nn.Module, masks: Masks) -> None:
        """Write the network with its zeros in place, and its masks."""
        write_atomic(self.folder / MODEL, model_bytes(model))
        masks.save(self.folder / MASKS)

    def save_start(self, model: nn.Module) -> None:
        """Write the network as it is before anything is done to it."""
        write_atomic(self.folder / START, model_bytes(model))

    def save_cycle(self, cycle: int, masks: Masks) -> None:
        """Write the masks that a cycle's pruning left."""
        (self.folder / CYCLES).mkdir(exist_ok=True)
        masks.save(self.folder / CYCLES / f"{cycle:03d}.safetensors")

    def load_model(self, model: nn.Module) -> Masks:
        """Put the run's network into ``model`` and return its masks."""
        try:
            model.load_state_dict(safetensors.torch.load_file(self.folder / MODEL))
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise HowsparseError(
                f"{self.folder / MODEL} cannot be read into this network ({error}); delete {RESULT} beside it, and the "
                "same command makes the run again"
            ) from error
        return Masks.load(self.folder / MASKS)

    def _refuse_other_settings(self, settings: dict[str, Any]) -> None:
        there = read_json(self.folder / CONFIG).get("settings", {})
        differences = sorted(_differences(there, settings))
        if differences:
            raise RunMismatchError(
                f"{self.folder} belongs to a run with other settings; choose another directory, or ask for the same:\n"
                + "\n".join(f"  {line}" for line in differences)
            )


def open_run(stack: ExitStack, out: str | Path | None, settings: dict[str, Any], every: float) -> Run | None:
    """The run directory, in process 0; what is wrong with it is raised in every process."""
    run, wrong = None, None
    if processes.rank() == 0:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out
            run = Run(folder, settings, every=every, kept=out is not None)
            stack.callback(run.close)
        except HowsparseError as error:
            wrong = error
    wrong = processes.agree_on(wrong)
    if wrong is not None:
        raise wrong
    return run


def read_cycles(folder: str | Path) -> tuple[dict[str, Tensor], list[Masks]]:
    """What a run of an iterative method began from, and its masks after every pruning.

    Raises:
        HowsparseError: the directory holds no such run.
    """
    files = sorted((Path(folder) / CYCLES).glob("*.safetensors"))
    try:
        start = safetensors.torch.load_file(Path(folder) / START)
    except (OSError, safetensors.SafetensorError) as error:
        raise HowsparseError(
            f"{folder} holds no run of an iterative method with its start and cycles ({error}); make one with "
            "howsparse prune --method imp --out ..."
        ) from error
    if not files:
        raise HowsparseError(f"{folder}: no cycle of this run has pruned anything yet; let it finish")
    return start, [Masks.load(file) for file in files]


def model_bytes(model: nn.Module) -> bytes:
    """The state dict as a safetensors file with every key of the model, so that plain ``load_state_dict`` reads it.

    A tensor with two names is written twice: safetensors' own sharing needs a loader that knows of it.
    """
    state: dict[str, Tensor] = {}
    written: set[int] = set()
    for name, tensor in model.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        state[name] = plain.clone() if plain.data_ptr() in written else plain
        written.add(plain.data_ptr())
    return safetensors.torch.save(state, metadata={"format": "pt"})


def environment() -> dict[str, Any]:
    """Versions and hardware a result was made with; no names of hosts, users or folders."""
    return {
        "howsparse": importlib.metadata.version("howsparse"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": Path(sys.argv[0]).name,
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        HowsparseError: absent or damaged.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HowsparseError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise HowsparseError(f"{path} holds a {type(value).__name__}, not the object a run writes there")
    return value


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of a run's history; a line cut short by a kill is left out."""
    path = folder / HISTORY
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise HowsparseError(f"{path} is damaged: {error}") from error


def _differences(there: Any, here: Any, path: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        lines = []
        for key in {*there, *here}:
            lines += _differences(there.get(key), here.get(key), f"{path}.{key}" if path else key)
        return lines
    return [] if there == here else [f"{path}: {there!r} there, {here!r} asked for"]
