"""What a limit's computation has found so far: each piece is computed once and remembered on disk."""

import json
from collections.abc import Callable
from typing import Any

from howsparse import processes
from howsparse.training import Run


class Notebook:
    """Values by key, written as lines of a run's history the moment they are known.

    Args:
        run: the directory, in process 0; None elsewhere, or when nothing is kept.
        tell: called with key and value whenever a value becomes known, from disk or freshly.
    """

    def __init__(self, run: Run | None, tell: Callable[[str, Any], None]) -> None:
        self._run, self._tell = run, tell
        if run is not None:
            run.mend_history()
        lines = processes.agree_on([] if run is None else run.history())
        self._values: dict[str, Any] = {line["key"]: line["value"] for line in lines if line["kind"] == "note"}

    def __contains__(self, key: str) -> bool:
        return key in self._values

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
            if self._run is not None:
                self._run.append({"kind": "note", "key": key, "value": value})
            self._values[key] = value
        self._tell(key, self._values[key])
        return self._values[key]
