"""Spectrum: what a few Lanczos runs know about all eigenvalues of an operator, in a few hundred numbers.

Functions of the spectrum are read off quadrature nodes directly; nothing is binned. Ubaru, Chen, Saad, "Fast estimation
of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38, 2017; brackets by Gauss and Radau rules
from Golub, Meurant, "Matrices, Moments and Quadrature with Applications", 2010.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from howsparse.curvature.probes import Interval, interval
from howsparse.curvature.quadrature import Floats, Function, Rule
from howsparse.errors import HowsparseError

Kind = Literal["psd", "squared", "indefinite"]
Side = Literal["gauss", "radau"]

FORMAT = "howsparse/spectrum"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Quadrature rules for the spectral measure of a symmetric operator A on R^D. Immutable.

    Of each probe's unit vector u: u' f(A) u = sum_j w_j f(t_j). Deflated eigenvalues are counted exactly, and rules
    speak for the D - q directions left, so that one probe's estimate of (1/D) tr f(A) is (sum_i f(l_i) + (D - q) sum_j
    w_j f(t_j)) / D: exactly 1 for f = 1. Dividing by the probe's own squared norm costs a bias of order q / D^2.

    Kinds: ``psd`` (A has no negative eigenvalues; rules on A), ``squared`` (rules on A^2, nodes are |eigenvalues|),
    ``indefinite`` (Gauss rules on A with signed nodes; no bracket).

    Attributes:
        D: dimension.
        kind: see above.
        gauss: one rule a probe; lower side of a bracket for completely monotone f unless ``indefinite``.
        radau: one rule a probe with a node at exactly 0, the upper side; empty when ``indefinite``.
        forms: (p,) u' A u of each probe.
        exact: (p,) whether the probe's Krylov space closed, so that its rule is exact.
        values: (q,) deflated eigenvalues with signs.
        low: (q,) where f is taken for them on the Gauss side.
        high: (q,) where it is taken on the Radau side, lowered by what their residuals allow.
        slack: how much deflation may have raised the rest; on the Radau side its part is multiplied by f(0) / f(slack),
            unless f(0) for every deflated eigenvalue says less.
        steps: Lanczos steps taken by the probes that went furthest.
        seed: of the probes; None when they were given.
        samples: data points the operator averages over, when known.
    """

    D: int
    kind: Kind
    gauss: tuple[Rule, ...]
    radau: tuple[Rule, ...]
    forms: Floats
    exact: npt.NDArray[np.bool_]
    values: Floats
    low: Floats
    high: Floats
    slack: float
    steps: int
    seed: int | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or not self.gauss:
            raise HowsparseError(f"a spectrum needs a kind ({', '.join(get_args(Kind))}) and rules; got {self.kind!r}")
        if len(self.radau) != (0 if self.kind == "indefinite" else self.probes):
            raise HowsparseError(f"{len(self.radau)} Radau rules for {self.probes} probes of kind {self.kind}")
        arrays = [self.forms, self.exact, self.values, self.low, self.high]
        for array in [*arrays, *(part for rule in self.gauss + self.radau for part in rule)]:
            array.flags.writeable = False

    @property
    def probes(self) -> int:
        """How many probes there are."""
        return len(self.gauss)

    @property
    def certified(self) -> bool:
        """Whether `bounds` can be given: the rules enclose the truth for their probes."""
        return self.kind != "indefinite"

    def mean_of(self, f: Function, rule: Side = "gauss") -> Floats:
        """Estimates of (1/D) tr f(A), one a probe, deflated eigenvalues added exactly.

        For ``squared`` f is a function of |eigenvalues|. For completely monotone f (such as 1 / (1 + c x), exp(-c x))
        of eigenvalues or magnitudes, ``gauss`` is the lower and ``radau`` the upper side for the probes given.

        Args:
            f: applied to arrays of eigenvalues; with ``indefinite`` they may be negative.
            rule: ``gauss`` or ``radau``.

        Returns:
            (p,) float64.

        Raises:
            HowsparseError: a Radau rule of an ``indefinite`` spectrum, or an unknown rule.

        Example:
            >>> spectrum = Spectrum.of_eigenvalues([0.0, 1.0, 2.0])
            >>> spectrum.mean_of(lambda x: 1 / (1 + x)).round(12).tolist()  # (1 + 1/2 + 1/3) / 3
            [0.611111111111]
        """
        if rule not in get_args(Side):
            raise HowsparseError(f"rule {rule!r} is unknown; it is gauss or radau")
        if rule == "gauss":
            return self._mean(f, self.gauss, self.low)
        self._need_bracket()
        if self.values.size == 0:
            return self._mean(f, self.radau, self.high)
        factor = _at(f, 0.0) / _at(f, self.slack) if self.slack > 0 else 1.0
        # by interlacing alone, deflated directions are worth f(0) each at most, however wrong their vectors
        crude = self._mean(f, self.radau, np.zeros(self.values.size))
        return np.minimum(self._mean(f, self.radau, self.high, factor), crude)

    def gap(self, f: Function) -> float:
        """Width of the quadrature bracket averaged over probes: how much more steps could still bring.

        Args:
            f: completely monotone, of (the magnitude of) eigenvalues.

        Returns:
            Mean of the Radau side less mean of the Gauss side, not negative up to rounding.

        Raises:
            HowsparseError: an ``indefinite`` spectrum.

        Example:
            >>> Spectrum.of_eigenvalues([0.0, 1.0, 2.0]).gap(lambda x: 1 / (1 + x))
            0.0
        """
        return float(self.mean_of(f, "radau").mean() - self.mean_of(f, "gauss").mean())

    def bounds(self, f: Function, confidence: float = 0.95) -> tuple[float, float]:
        """Interval for (1/D) tr f(A) that covers quadrature and probes together.

        From the lower confidence limit of the Gauss side to the upper one of the Radau side; see `interval`.

        Args:
            f: completely monotone with f(0) <= 1, of (the magnitude of) eigenvalues.
            confidence: in (0, 1).

        Returns:
            Lower and upper end, within [0, f(0)].

        Raises:
            HowsparseError: an ``indefinite`` spectrum.

        Example:
            >>> Spectrum.of_eigenvalues([1.0, 3.0]).bounds(lambda x: 1 / (1 + x))
            (0.375, 0.375)
        """
        high = self._interval(self.mean_of(f, "radau"), confidence).high
        low = self._interval(self.mean_of(f, "gauss"), confidence).low
        return max(low, 0.0), min(high, _at(f, 0.0))

    def null_share(self, threshold: float, confidence: float = 0.95) -> tuple[float, float]:
        """Interval for the share of eigenvalues with magnitude at most ``threshold``.

        Chebyshev-Markov-Stieltjes: nodes below a point, the last one left out, weigh no more than the true spectrum
        does; nodes up to the next one weigh no less. A Radau rule bounds the share of exact zeros by its weight at 0.
        Deflated eigenvalues are counted, the rest up to their residuals.

        Args:
            threshold: not negative.
            confidence: of the part that probes contribute, in (0, 1).

        Returns:
            Lower and upper end, within [0, 1].

        Raises:
            HowsparseError: a negative threshold.

        Example:
            >>> Spectrum.of_eigenvalues([0.0, 0.0, 0.0, 1.0]).null_share(1e-6)
            (0.75, 0.75)
        """
        if not threshold >= 0:
            raise HowsparseError(f"threshold {threshold} must not be negative")
        sides = np.array([self._share(index, threshold) for index in range(self.probes)])
        counted = float((np.abs(self.values) <= threshold).sum())
        lower, upper = ((counted + self._sampled * sides) / self.D).T
        low, high = self._interval(lower, confidence).low, self._interval(upper, confidence).high
        return max(low, 0.0), min(high, 1.0)

    @property
    def traces(self) -> Floats:
        """(p,) estimates of tr A, one a probe."""
        total: Floats = self.values.sum() + self._sampled * self.forms
        return total

    @property
    def trace(self) -> float:
        """Estimate of tr A, the mean over probes (Hutchinson)."""
        return float(self.traces.mean())

    @property
    def negative_mass(self) -> float:
        """Estimate of sum of |negative eigenvalues| / sum of |eigenvalues|; 0 for ``psd`` and when all are zero.

        From signed nodes when ``indefinite``; when ``squared``, (tr|A| - tr A) / (2 tr|A|).
        """
        if self.kind == "psd":
            return 0.0
        total = float(self._mean(np.abs, self.gauss, self.values).mean()) * self.D
        if total <= 0:
            return 0.0
        if self.kind == "squared":
            return min(max((total - self.trace) / (2 * total), 0.0), 1.0)
        return float(self._mean(lambda x: np.maximum(-x, 0), self.gauss, self.values).mean()) * self.D / total

    @property
    def largest(self) -> float:
        """Largest eigenvalue found; the true one is not smaller. Of |A| for the nodes of ``squared``."""
        return max(self._found())

    @property
    def smallest(self) -> float:
        """Smallest eigenvalue found; the true one is not larger. Of |A| for the nodes of ``squared``."""
        return min(self._found())

    def density(self, grid: npt.ArrayLike, width: float | None = None) -> tuple[Floats, Floats]:
        """The spectrum smoothed by Gaussians, for a picture only; take numbers from `mean_of`.

        Args:
            grid: (n,) points.
            width: standard deviation of the Gaussians; by default a hundredth of the range of the spectrum.

        Returns:
            Density at each point and its standard error over probes (NaN with a single probe), both (n,).

        Raises:
            HowsparseError: a width that is not positive.

        Example:
            >>> density, error = Spectrum.of_eigenvalues([1.0, 3.0]).density([1.0, 2.0, 3.0], width=0.1)
            >>> density.round(3).tolist()
            [1.995, 0.0, 1.995]
        """
        points = np.asarray(grid, dtype=np.float64)
        sigma = width if width is not None else max(self.largest - self.smallest, 1e-12) / 100
        if not sigma > 0:
            raise HowsparseError(f"width {width} must be positive")
        norm = sigma * np.sqrt(2 * np.pi)
        at = [self.mean_of(lambda x, c=c: np.exp(-(((x - c) / sigma) ** 2) / 2) / norm) for c in points]  # type: ignore[misc]
        heights = np.stack(at)  # (n, p)
        alone = self.probes == 1
        errors = np.full(points.shape, np.nan) if alone else heights.std(axis=1, ddof=1) / np.sqrt(self.probes)
        return heights.mean(axis=1), errors

    @classmethod
    def of_eigenvalues(cls, eigenvalues: npt.ArrayLike, kind: Kind = "psd") -> "Spectrum":
        """The spectrum of a matrix whose eigenvalues are known: all are counted, nothing is sampled.

        Args:
            eigenvalues: (D,), D >= 1, with signs; none negative for ``psd``.
            kind: see the class.

        Returns:
            A `Spectrum` of one probe that speaks for nothing.

        Raises:
            HowsparseError: no eigenvalues, or negative ones for ``psd``.

        Example:
            >>> Spectrum.of_eigenvalues([-1.0, 1.0, 2.0], kind="indefinite").negative_mass
            0.25
        """
        known = np.array(eigenvalues, dtype=np.float64).reshape(-1)
        if known.size == 0 or (kind == "psd" and known.min() < 0):
            raise HowsparseError(f"{known.size} eigenvalues for kind {kind}: none, or negative ones with psd")
        at = np.abs(known) if kind == "squared" else known
        rule = Rule(np.zeros(1), np.ones(1))
        return cls(
            D=known.size, kind=kind, gauss=(rule,), radau=() if kind == "indefinite" else (rule,),
            forms=np.zeros(1), exact=np.array([True]), values=known, low=at, high=at, slack=0.0, steps=0,
        )  # fmt: skip

    def to_plain(self) -> dict[str, Any]:
        """Lists and numbers that JSON keeps exactly.

        Returns:
            A dictionary for `from_plain`.
        """
        rules = {
            name: [{"nodes": rule.nodes.tolist(), "weights": rule.weights.tolist()} for rule in getattr(self, name)]
            for name in get_args(Side)
        }
        arrays = {name: getattr(self, name).tolist() for name in ("forms", "exact", "values", "low", "high")}
        numbers = {name: getattr(self, name) for name in ("D", "kind", "slack", "steps", "seed", "samples")}
        return {"format": FORMAT, "version": _VERSION} | numbers | arrays | rules

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Spectrum":
        """The spectrum that `to_plain` wrote, to the bit.

        Args:
            plain: the dictionary, perhaps by way of JSON.

        Returns:
            An equal `Spectrum`.

        Raises:
            HowsparseError: something else than a spectrum, or one of a newer version.

        Example:
            >>> import json
            >>> spectrum = Spectrum.of_eigenvalues([0.1, 0.2])
            >>> Spectrum.from_plain(json.loads(json.dumps(spectrum.to_plain()))).to_plain() == spectrum.to_plain()
            True
        """
        if plain.get("format") != FORMAT or plain.get("version") != _VERSION:
            raise HowsparseError(
                f"format {plain.get('format')!r} version {plain.get('version')!r}: not a spectrum of version {_VERSION}"
            )
        numbers = {name: plain[name] for name in ("D", "kind", "slack", "steps", "seed", "samples")}
        arrays = {name: np.array(plain[name], dtype=np.float64) for name in ("forms", "values", "low", "high")}
        rules = {
            name: tuple(Rule(np.array(r["nodes"]), np.array(r["weights"])) for r in plain[name])
            for name in get_args(Side)
        }
        fields: dict[str, Any] = numbers | arrays | rules
        return cls(**fields, exact=np.array(plain["exact"], dtype=np.bool_))

    @property
    def _sampled(self) -> int:
        """Directions that the probes speak for."""
        return self.D - self.values.size

    def _interval(self, values: Floats, confidence: float) -> Interval:
        return interval(values, self.D, confidence, sampled=self._sampled)

    def _found(self) -> list[float]:
        """Deflated eigenvalues and the ends of the rules."""
        ends = [float(end) for rule in self.gauss for end in rule.nodes[[0, -1]]] if self._sampled else []
        return ends + [float(value) for value in self.values]

    def _mean(self, f: Function, rules: tuple[Rule, ...], deflated: Floats, factor: float = 1.0) -> Floats:
        """Deflated eigenvalues' f plus the rules' share, over D."""
        taken = float(f(deflated).sum()) if deflated.size else 0.0
        rest = np.array([rule.integral(f) for rule in rules])
        result: Floats = (taken + self._sampled * factor * rest) / self.D
        return result

    def _share(self, index: int, threshold: float) -> tuple[float, float]:
        """Bracket of one probe's mass within [-threshold, threshold]."""
        rules = [self.gauss[index], *(self.radau[index : index + 1])]
        if self.exact[index]:
            inside = float(rules[0].weights[np.abs(rules[0].nodes) <= threshold].sum())
            return inside, inside
        sides = [_mass_within(rule, threshold, signed=self.kind == "indefinite") for rule in rules]
        return max(low for low, _ in sides), min(high for _, high in sides)

    def _need_bracket(self) -> None:
        if not self.certified:
            raise HowsparseError(
                "plain Gauss rules on an indefinite operator enclose nothing; run slq with certify=True (two products "
                "a step) for a bracket, or look at mean_of over several numbers of steps"
            )


def _mass_within(rule: Rule, threshold: float, *, signed: bool) -> tuple[float, float]:
    """Chebyshev-Markov-Stieltjes bracket of the mass in [-threshold, threshold]."""
    low, high = _mass_up_to(rule, threshold)
    if not signed:
        return low, high
    below_low, below_high = _mass_up_to(rule, -threshold)
    return max(low - below_high, 0.0), min(high - below_low, 1.0)


def _mass_up_to(rule: Rule, point: float) -> tuple[float, float]:
    """Bracket of the mass of (-inf, point]; the lower end holds without the point too."""
    total = np.concatenate([[0.0], np.cumsum(rule.weights)])
    passed = int(np.searchsorted(rule.nodes, point, side="right"))
    reached = int(np.searchsorted(rule.nodes, point, side="left"))
    return float(total[max(passed - 1, 0)]), float(total[reached + 1]) if reached < rule.nodes.size else 1.0


def _at(f: Function, x: float) -> float:
    return float(f(np.array([x]))[0])
