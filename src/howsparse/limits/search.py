"""The computation of a limit, piece by piece, each remembered on disk the moment it is known."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from howsparse import processes
from howsparse.errors import HowsparseError, NoCurvatureError
from howsparse.limits.compose import compose, metric_limit
from howsparse.limits.constant import constant_loss
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.effort import spent
from howsparse.limits.epsilon import Epsilon, absolute, batch_std, calibrated, parse_epsilon, relative, sample_std
from howsparse.limits.norms import factors, prefix_norms
from howsparse.limits.notebook import Notebook
from howsparse.limits.one_shot import OneShotLimit, one_shot_limit, same_rise
from howsparse.limits.paper import paper_limit
from howsparse.limits.plan import Plan, make_plan
from howsparse.limits.race import RaceTrack
from howsparse.limits.result import Limit, Survival
from howsparse.limits.retuned import Outcome
from howsparse.limits.settings import LimitSettings
from howsparse.limits.sharpness import Sharpness
from howsparse.limits.verify import measure_retuned, retrain
from howsparse.limits.yardstick import Increase, Yardstick
from howsparse.masks import Masks
from howsparse.masks.prunable import Pattern
from howsparse.measures.histogram import histograms
from howsparse.task import Task
from howsparse.training import Callback, Recipe, Run, evaluate
from howsparse.training.randomness import repeatable_kernels

CHECKED = (0.85, 1.0, 1.15)  # multiples of the one-shot limit at which the quadratic model is evaluated
LEVELS = tuple(i / 20 for i in range(21))  # sparsities at which accuracy is looked at to calibrate ε


class Watch(Callback):
    """What an onlooker may want to know while a limit is computed; override what you need."""

    def on_plan(self, plan: Plan) -> None:
        """What it will cost."""

    def on_stage(self, stage: str, done: float, total: float) -> None:
        """Progress of a stage: ``one-shot``, ``race``, ``curvature`` or ``verify``."""

    def on_note(self, key: str, value: Any) -> None:
        """A piece of the result has just been found."""

    def on_recalled(self, key: str, value: Any) -> None:
        """A piece of the result was found by an earlier session on the same directory."""


class Search:
    """Computes a limit from wherever it stands; what the notebook holds is not computed again.

    Args:
        task: network and data; the network is left as it was.
        recipe: the retraining that is predicted.
        settings: efforts and ε.
        seed: decides samples, probes and data order.
        run: the directory; None in all processes but the first.
        watch: an onlooker.
        include: which parameters compete.
        exclude: likewise.
    """

    def __init__(  # noqa: PLR0913 - built in one place, by limit()
        self,
        task: Task,
        recipe: Recipe,
        settings: LimitSettings,
        seed: int,
        run: Run | None,
        *,
        watch: Watch | None = None,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] | None = None,
    ) -> None:
        self.task, self.recipe, self.settings, self.seed, self.run = task, recipe, settings, seed, run
        self.watch = Watch() if watch is None else watch
        self.dense = DenseNetwork(task.model, include=include, exclude=exclude)
        self.notebook = Notebook(run, self.watch.on_note, self.watch.on_recalled)
        self._rises: dict[int, float] = {}
        self.folder: Path | None = processes.agree_on(None if run is None else run.folder)

    def finish(self) -> Limit:
        """Do what is left; returns at once where the result is on disk."""
        found = processes.agree_on(None if self.run is None else self.run.result)
        if found is None:
            found = self._compute()
            self._finish(found)  # the prediction is on disk before anything is measured
        if self.settings.verify and (found["retuned"] or {}).get("value") is None:
            found["warnings"].append("nothing was verified: there is no prediction of the re-tuned limit to start from")
        if self._to_verify(found):
            found["verified"] = self._verify(found)
            self._finish(found)
        known = {round(s * self.dense.total): _infinite(rise) for s, rise, _ in found["one_shot"]["points"]}
        return Limit(found, lambda masks: self._survival(masks, found["eps"], known))

    def _compute(self) -> dict[str, Any]:
        _ = self._yardstick  # made now, while the network is the dense one
        eps = Epsilon(**self.notebook.once("eps", lambda: vars(self._epsilon())))
        plan = Plan(**self.notebook.once("plan", lambda: vars(self._plan())))
        self.watch.on_plan(plan)
        parts: dict[str, Any] = {"eps": eps, "plan": plan, "settings": self.settings, "one_shot": self._one_shot(eps)}
        parts["empty"] = self._increase(self.dense.total).mean
        measured = parts["one_shot"].measured
        parts["checked"] = self._if_bent("quadratic", lambda: self._quadratic(measured)) or []
        if plan.race and 0 < measured < 1:
            parts["race"] = self._race(eps, plan, 1 - measured)
        if plan.coreset and measured < 1:
            parts["hessian"] = self._if_bent("hessian", self._sharpness.hessian)
            parts["paper"] = self._if_bent("paper", lambda: self._paper(eps))
        parts["flat"] = parts.get("paper") is None and plan.coreset > 0 and measured < 1
        found = compose(parts, self._about())
        found["thresholds"] = self._thresholds(found)
        return found

    # --- loss ---------------------------------------------------------------------------------------------------------
    @cached_property
    def _yardstick(self) -> Yardstick:
        return Yardstick(self.task, self.dense.parameters, compared=self.settings.compared, seed=self.seed)

    def _epsilon(self) -> Epsilon:
        asked = parse_epsilon(str(self.settings.eps))
        losses = self._yardstick.whole
        if asked.rule == "sample-std":
            return sample_std(losses)
        if asked.rule == "batch-std":
            size = getattr(self.task.calib, "batch_size", None)
            if size is None:
                raise HowsparseError("eps = batch-std needs map-style data, whose batch size is known; take sample-std")
            return batch_std([float(part.mean()) for part in losses.split(size)])
        assert asked.amount is not None
        if asked.rule == "absolute":
            return absolute(asked.amount)
        if asked.rule == "relative":
            return relative(asked.amount, self._yardstick.loss)
        return self._calibrated(asked.amount)

    def _calibrated(self, drop: float) -> Epsilon:
        losses, scores = [], []
        for share in LEVELS[:-1]:
            losses.append(self._yardstick.dense + self._increase(round(share * self.dense.total)).mean)
            with self.dense.without(self.dense.masks(round(share * self.dense.total))):
                scores.append(100 * self._held_out())
        if scores[0] - min(scores) < drop:
            raise HowsparseError(
                f"eps = {self.settings.eps} asks for the loss at which held-out accuracy has dropped by {drop:g} "
                f"percentage points, but pruning up to {100 * LEVELS[-2]:.0f} % of the weights takes it from "
                f"{scores[0]:.1f} % to {min(scores):.1f} % at the lowest; ask for a smaller drop, such as accuracy:0.5"
            )
        return calibrated(losses, scores, drop)

    def _held_out(self) -> float:
        assert self.task.val is not None
        return evaluate(self.task, self.task.val).metric

    def _increase(self, removed: int) -> Increase:
        """Loss increase without the ``removed`` smallest weights."""
        yardstick = self._yardstick

        def compute() -> list[float | None]:
            with self.dense.without(self.dense.masks(removed)):
                found = yardstick.increase()
            return [found.mean if math.isfinite(found.mean) else None, found.error]

        mean, error = self.notebook.once(f"one-shot {removed}", compute)
        return Increase(math.inf if mean is None else mean, error)

    def _plan(self) -> Plan:
        return make_plan(self.task, self.recipe, self.settings, len(self._yardstick.whole), self.dense.total)

    # --- the three limits -------------------------------------------------------------------------------------------
    def _one_shot(self, eps: Epsilon) -> OneShotLimit:
        passes = 0

        def increase_at(removed: int) -> Increase:
            nonlocal passes
            passes += 1
            self.watch.on_stage("one-shot", passes, 10)
            return self._increase(removed)

        return one_shot_limit(increase_at, self.dense.total, eps.value, samples=self._yardstick.samples)

    def _if_bent(self, key: str, compute: Callable[[], Any]) -> Any:
        """A piece that needs second derivatives; None where the loss or the network has none."""
        return self.notebook.once(key, lambda: self._unless_flat(compute))

    def _unless_flat(self, compute: Callable[[], Any]) -> Any:
        if not any(p.requires_grad for p in self.task.model.parameters()):
            return None
        try:
            return compute()
        except NoCurvatureError:
            return None
        except RuntimeError as error:  # torch has no second derivative of some layers
            if "not implemented" not in str(error) and "not differentiable" not in str(error):
                raise
            return None

    def _quadratic(self, measured: float) -> list[list[float]]:
        """Rows (sparsity, gᵀd, ½ dᵀHd) around the one-shot limit."""
        counts = sorted({min(max(round(c * measured * self.dense.total), 1), self.dense.total) for c in CHECKED})
        found = self._sharpness.increases([self.dense.masks(m) for m in counts])
        return [[m / self.dense.total, *pair] for m, pair in zip(counts, found, strict=True)]

    def _race(self, eps: Epsilon, plan: Plan, kept_one_shot: float) -> dict[str, Any]:
        track = RaceTrack(
            self.task,
            self.dense,
            self._yardstick,
            self.recipe,
            self.notebook,
            folder=None if self.folder is None else self.folder / "race",
            seed=self.seed,
            callbacks=[self.watch],
        )
        outcome = track.hold(eps.value, kept_one_shot, plan.lap, plan.race)
        return {"outcome": outcome, "metric": self._metric_limit(outcome)}

    def _metric_limit(self, outcome: Outcome) -> dict[str, Any] | None:
        """Where the held-out metric falls; None without one."""
        if self.task.val is None or self.task.metric is None:
            return None
        dense = self.notebook.once("dense metric", lambda: _finite(self._held_out()))
        return None if dense is None else metric_limit(outcome.probes, dense, self.task.metric)

    def _paper(self, eps: Epsilon) -> dict[str, Any]:
        sharpness = self._sharpness
        part = sharpness.part()
        traces = sharpness.layer_traces(part)
        rest = sharpness.remainder(part)
        spectrum = sharpness.spectrum(part, lambda done, most: self.watch.on_stage("curvature", done, most))
        norms = prefix_norms(self.dense.weights)
        found = paper_limit(spectrum, eps.value, norms, rest)
        removed = round(found["value"] * self.dense.total)
        layers = [vars(row) for row in factors(self.dense.weights, removed, traces=traces)]
        return {
            **found,
            "curvature": self.settings.curvature,
            "samples": part.count,
            "share": part.share,
            "certified": part.certified,
            "rest": vars(rest),
            "layers": layers,
            "spectrum": spectrum.to_plain(),
        }

    @cached_property
    def _sharpness(self) -> Sharpness:
        plan = Plan(**self.notebook.once("plan", lambda: vars(self._plan())))
        return Sharpness(self.task, self.dense, plan, self.settings, seed=self.seed, folder=self.folder)

    def _finish(self, found: dict[str, Any]) -> None:
        """Say what it took, and write it down."""
        found["cost"]["epochs"] = spent(found, deflate=self.settings.deflate)
        found["cost"]["seconds"] = processes.agree_on(self.notebook.seconds)
        if self.run is not None:
            self.run.finish(found)

    def _to_verify(self, found: dict[str, Any]) -> bool:
        predicted = found["retuned"] is not None and found["retuned"]["value"] is not None
        points = 0 if found["verified"] is None else len(found["verified"]["points"])
        return predicted and points < self.settings.verify

    def _verify(self, limits: dict[str, Any]) -> dict[str, Any]:
        runs = 0

        def retrain_at(kept: float) -> dict[str, Any]:
            nonlocal runs
            runs += 1
            self.watch.on_stage("verify", runs, self.settings.verify)
            found: dict[str, Any] = self.notebook.once(
                f"retrained {kept:.6f}",
                lambda: retrain(
                    self.task, self.dense, self._yardstick, self.recipe, kept, seed=self.seed, callbacks=[self.watch]
                ),
            )
            return found

        target, start = self._yardstick.dense + limits["eps"], 1 - limits["retuned"]["value"]
        kept, points = measure_retuned(retrain_at, start, target, self.settings.verify)
        span = None if kept is None else {"value": 1 - kept.value, "low": 1 - kept.high, "high": 1 - kept.low}
        return {"retuned": span, "points": points, "epochs": runs * self.recipe.epochs}

    def _thresholds(self, found: dict[str, Any]) -> dict[str, float]:
        """The magnitude up to which each limit removes weights."""
        norms = prefix_norms(self.dense.weights)
        values = {"one-shot": found["one_shot"]["measured"]}
        for kind, key in (("re-tuned", "retuned"), ("paper", "paper")):
            values[kind] = (found[key] or {}).get("value")
        removed = {kind: round(s * norms.size) for kind, s in values.items() if s}
        return {kind: norms.magnitude(m) for kind, m in removed.items() if m}

    # --- around them ------------------------------------------------------------------------------------------------
    def _about(self) -> dict[str, Any]:
        task = self.task
        losses = {
            "train": self._yardstick.loss,
            "compared": self._yardstick.dense,
            "constant": constant_loss(task, self._yardstick.data),
        }
        return {
            "task": task.name,
            "weights": self.dense.total,
            "samples": {"train": len(self._yardstick.whole), "compared": self._yardstick.samples},
            "loss": losses,
            "metric": None if task.metric is None else task.metric.name,
            "recipe": {"steps_per_epoch": len(task.train), **self.recipe.to_plain()},
            "histograms": histograms(self.dense.weights, Masks.dense(self.dense.weights)),
        }

    def _survival(self, masks: Masks, eps: float, known: Mapping[int, float]) -> Survival:
        masks.check(self.dense.weights)
        self.dense.check_unchanged()
        with repeatable_kernels(self.task.device):
            _ = self._yardstick  # made now, while the network is the dense one
            found = self._unless_flat(lambda: self._sharpness.increases([masks]))
            first, second = (math.nan, math.nan) if found is None else found[0]
            measured = self._rise(masks)
            like = same_rise(self._rise_without, known, self.dense.total, measured)
        return Survival(masks.sparsity, first + second, measured, eps, like)

    def _rise(self, masks: Masks) -> float:
        with self.dense.without(masks):
            return self._yardstick.increase().mean

    def _rise_without(self, removed: int) -> float:
        """Loss increase without the smallest weights, measured once; kept in memory, the directory may be gone."""
        if removed not in self._rises:
            self._rises[removed] = self._rise(self.dense.masks(removed))
        return self._rises[removed]


def _infinite(rise: float | None) -> float:
    return math.inf if rise is None else rise


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
