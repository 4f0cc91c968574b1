"""What a limit's computation has found so far: each piece is computed once and remembered on disk."""

import json
import time
from collections.abc import Callable
from typing import Any

from howsparse import processes
from howsparse.training import Run


class Notebook:
    """Values by key, written as lines of a run's history the moment they are known.

    Args:
        run: the directory, in process 0; None elsewhere, or when nothing is kept.
        tell: called with key and value when a value has just been found.
        recall: called likewise when one that an earlier session found is needed for the first time.
    """

    def __init__(
        self, run: Run | None, tell: Callable[[str, Any], None], recall: Callable[[str, Any], None] = lambda *_: None
    ) -> None:
        self._run, self._tell, self._recall = run, tell, recall
        self._started = self._last = time.perf_counter()
        if run is not None:
            run.mend_history()
        lines = processes.agree_on([] if run is None else run.history())
        notes = [line for line in lines if line["kind"] == "note"]
        self._values: dict[str, Any] = {line["key"]: line["value"] for line in notes}
        self._untold = set(self._values)
        self._before: float = sum(line.get("seconds", 0.0) for line in notes)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    @property
    def seconds(self) -> float:
        """Spent so far, by this session and by earlier ones up to the last value that each of them wrote."""
        return self._before + time.perf_counter() - self._started

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The value under ``key``; computed, agreed on by all processes and written when it is not there yet.

        Args:
            key: names the piece of work.
            compute: gives a JSON value; called by every process.

        Returns:
            The value of process 0.
        """
        if key not in self._values:
            value = json.loads(json.dumps(processes.agree_on(compute()), allow_nan=False))  # as it will be read again
            now = time.perf_counter()
            if self._run is not None:
                self._run.append({"kind": "note", "key": key, "value": value, "seconds": now - self._last})
            self._last, self._values[key] = now, value
            self._tell(key, value)
        elif key in self._untold:
            self._untold.remove(key)
            self._recall(key, self._values[key])
        return self._values[key]
