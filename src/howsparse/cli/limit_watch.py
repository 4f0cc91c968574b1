"""Progress of a limit's computation."""

import time
from typing import Any

from howsparse.cli.layout import hung
from howsparse.cli.progress import Stages
from howsparse.limits.compose import raised
from howsparse.limits.plan import Plan
from howsparse.limits.search import Watch

_UNITS = {"one-shot": "forward passes", "race": "epochs", "curvature": "Lanczos steps", "verify": "retrainings"}


class LimitWatch(Watch):
    """Says what it will cost, moves a bar for every stage, and gives a line for every racer and retraining.

    Args:
        stages: what shows it.
        epochs: length of a retraining.
        race: epochs of racing that were asked for; None when minutes were.
    """

    def __init__(self, stages: Stages, epochs: int, race: int | None = None) -> None:
        self._stages, self._epochs, self._race = stages, epochs, race
        self._stage, self._total, self._moved = "race", 0.0, 0.0  # of trainings: race or verify
        self._raced: dict[str, int] = {}  # epochs by racer
        self._retrained: set[str] = set()
        self._under_way = 0  # epochs since a racer or a retraining was done

    def on_plan(self, plan: Plan) -> None:
        """What it will cost."""
        self._total = plan.race
        self._stages.say("\n".join(hung("cost: ", str(plan))))
        if self._race is not None and 0 < self._race < plan.race:
            more = f"{plan.race} epochs of racing, not {self._race} (--race-epochs): {raised(plan)}"
            self._stages.say("\n".join(hung("note: ", more)))

    def on_stage(self, stage: str, done: float, total: float) -> None:
        """Move the stage's bar; those of trainings move with their steps."""
        if stage in ("race", "verify"):
            self._under_way = 0 if stage != self._stage else self._under_way
            self._stage, self._total = stage, total
            self._show(0.0)
        else:
            self._stages.move(stage, done, total, _UNITS.get(stage, ""))

    def on_step(self, epoch: int, step: int, steps: int) -> None:  # noqa: ARG002
        """Move the bar of the race or of the retrainings, a few times a second."""
        whole, now = step == steps, time.monotonic()
        self._under_way += whole
        if whole or now - self._moved >= 0.2:
            self._moved = now
            self._show(self._under_way + (0 if whole else step / steps))

    def on_note(self, key: str, value: Any) -> None:
        """A line when a racer or a retraining is done."""
        self.on_recalled(key, value)
        words = key.split()
        if words[0] == "race" and value:
            lap = f"{words[3]} epoch{'' if words[3] == '1' else 's'}"
            self._say(f"race: sparsity {1 - float(words[1]):.4f} after {lap}", value[-1][1])
        if words[0] == "retrained":
            self._say(f"verify: sparsity {1 - value['kept']:.4f} retrained", value["loss"])

    def on_recalled(self, key: str, value: Any) -> None:
        """Count what is done; what an earlier session has said is not said again."""
        words = key.split()
        if words[0] == "race" and value:
            self._raced[words[1]] = max(int(words[3]), self._raced.get(words[1], 0))
        if words[0] == "retrained":
            self._retrained.add(key)

    def _say(self, what: str, loss: float) -> None:
        self._under_way = 0
        self._stages.say(f"{what}: training loss {loss:.4g}")

    def _show(self, under_way: float) -> None:
        """Move the bar of trainings; a race may need more epochs than were planned."""
        if self._stage == "race":
            done = sum(self._raced.values()) + under_way
        else:
            done = len(self._retrained) + min(under_way / max(self._epochs, 1), 1.0)
        self._stages.move(self._stage, done, max(self._total, done), _UNITS[self._stage])
