"""The released procedure of arXiv 2306.05857 with its quirks, for comparison only; written from its description."""

import math
from dataclasses import dataclass

import numpy as np

from howsparse.errors import HowsparseError
from howsparse.limits.measured import accuracy_limits
from howsparse.limits.norms import PrefixNorms, Weights, flat_weights
from howsparse.limits.width import Array, Negative, Numbers, Width, check_eps, contribution, finite, spectral_measure

LEVELS = 1000
ROW_LEVELS = 100
BINS = 100_000
SIGMA_SQUARED = 1e-10
OVERHEAD = 0.01  # how far the grid of the density reaches beyond the outermost nodes
CUT = 1e-7
_REACH = 39.0  # standard deviations after which a float64 Gaussian is zero


def reference_removed(norms: PrefixNorms, *, levels: int = LEVELS) -> list[int]:
    """How many weights the released pruning routine removes at each of its levels.

    Level i of 1000 asks for the fraction i/1000. *Quirks*: the count is rounded up and at least one (level 0 removes a
    weight); everything as small as the last one goes with it, all ties.

    Args:
        norms: of the N weights that compete.
        levels: number of levels, >= 1; 1000 as released.

    Returns:
        Counts for levels 0, …, levels - 1.

    Raises:
        HowsparseError: no levels.

    Source: Zhang et al., arXiv 2306.05857, released code.

    Example:
        >>> from howsparse.limits.norms import prefix_norms
        >>> reference_removed(prefix_norms(np.array([0.0, 0.0, 1.0, 2.0])), levels=4)
        [2, 2, 2, 3]
    """
    return [norms.with_ties(count) for count in _asked(norms.size, levels)]


def _asked(size: int, levels: int) -> list[int]:
    """How many of ``size`` weights each level asks for: rounded up, at least one."""
    if levels < 1:
        raise HowsparseError(f"levels={levels}: give at least one; the authors' code has 1000, and 100 for rows")
    return [max(1, -(-level * size // levels)) for level in range(levels)]


def reference_limit(
    width_of_R: Width,
    norms: PrefixNorms,
    *,
    levels: int = LEVELS,
    exact_R: bool = False,
    zero_rows: float = 0.0,
) -> float:
    """The sparsity that the released selection rule predicts: the level i with the smallest |g(R_i) - i/1000|.

    *Quirks*: the width is tabulated at integer R and each R_i rounded to the nearest integer, so that norms of a few
    units (or below one half) give an almost arbitrary answer; the nearest level is taken, on either side of the
    crossing; level 1.0 cannot be reached; see `reference_removed` and `add_zero_rows` for two more.

    Args:
        width_of_R: normalised width g, such as ``reference_density(...).width``.
        norms: of the N weights that compete.
        levels: number of levels; 1000 as released.
        exact_R: use R_i itself instead of the nearest integer.
        zero_rows: fraction of zero rows for `add_zero_rows`; 0 for fully connected networks as released.

    Returns:
        The level as a sparsity, i/levels.

    Raises:
        HowsparseError: no levels, a width that is not a number, or a fraction outside [0, 1].

    Source: Zhang et al., arXiv 2306.05857, released code.

    Example:
        >>> from howsparse.limits import prefix_norms, width_curve
        >>> norms = prefix_norms(np.full(250, 0.01))  # total norm 0.16 rounds to 0: the width looks like 1 everywhere
        >>> reference_limit(width_curve([9.0], None, 1e-3), norms)
        0.999
    """
    radii = [norms.norm(m) for m in reference_removed(norms, levels=levels)]
    if not exact_R:
        radii = [float(round(R)) for R in radii]
    table = {R: add_zero_rows(width_of_R(R), zero_rows) for R in set(radii)}
    if any(math.isnan(g) for g in table.values()):
        raise HowsparseError("the width is not a number for some R; were loss and curvature finite?")
    misfit = [abs(table[R] - level / levels) for level, R in enumerate(radii)]
    return misfit.index(min(misfit)) / levels


def add_zero_rows(width: float, fraction: float) -> float:
    """The released correction for zero rows of the curvature: g' = p + (1 - p) g.

    *Quirk*: it counts the flat directions twice when g already holds them; the density 1 - g is then multiplied by
    1 - p. It is right only if the spectrum missed the whole null space.

    Args:
        width: normalised width g.
        fraction: p in [0, 1], from `zero_row_fraction`.

    Returns:
        The corrected width.

    Raises:
        HowsparseError: a fraction outside [0, 1].

    Source: Zhang et al., arXiv 2306.05857, released code.

    Example:
        >>> add_zero_rows(0.5, 0.5)
        0.75
    """
    if not 0 <= fraction <= 1:
        raise HowsparseError(f"fraction={fraction} of zero rows must lie in [0, 1]")
    return fraction + (1 - fraction) * width


def zero_row_weights(weights: Weights, *, levels: int = ROW_LEVELS) -> list[int]:
    """The weights whose rows of the curvature the released code looks at: one at each of 100 magnitude levels.

    At level j of 100 it takes the magnitude threshold of that sparsity and a weight of exactly that magnitude (here,
    among equal ones, the one whose turn it is in the order of positions). *Quirks*: the sample is stratified by
    magnitude and small (standard error up to 0.05), and level 0 looks at the smallest weight.

    Args:
        weights: see `prefix_norms`; the tensors are flattened one after the other.
        levels: how many rows; 100 as released.

    Returns:
        A position among the flattened weights for each level.

    Raises:
        HowsparseError: no levels, or see `prefix_norms`.

    Source: Zhang et al., arXiv 2306.05857, released code.

    Example:
        >>> zero_row_weights(np.array([3.0, -1.0, 2.0, 1.0]), levels=4)
        [1, 1, 3, 2]
    """
    order = np.argsort(np.abs(flat_weights(weights)), kind="stable")
    return [int(order[count - 1]) for count in _asked(order.size, levels)]


def zero_row_fraction(row_sums: Numbers, *, cut: float = CUT) -> float:
    """The share of looked-at rows that count as zero: those whose sum of absolute entries is below the cut.

    *Quirk*: the cut is absolute, although a row matters when R² times its norm is not small against 2ε.

    Args:
        row_sums: one number per row, from `reference_row_sums`, or the exact L1 norms.
        cut: 1e-7 as released.

    Returns:
        The fraction p.

    Raises:
        HowsparseError: no rows, or sums that are not finite.

    Source: Zhang et al., arXiv 2306.05857, released code.

    Example:
        >>> zero_row_fraction([0.0, 1e-8, 0.5, 2.0])
        0.5
    """
    return float((finite(row_sums, "row sums") < cut).mean())


def reference_row_sums(batch_sums: Numbers, samples: int) -> Array:
    """The released numbers for rows of the curvature: Σ over batches of Σ_j |H_b[i, j]|, divided by the samples.

    *Quirks*: divided by samples where batches were summed, they are smaller than the mean row norm by the batch size;
    and the mean of absolute values over batches exceeds the absolute value of the mean.

    Args:
        batch_sums: L1 norm of each row in each batch's mean curvature, shape (batches, rows).
        samples: number of samples in all batches, >= 1.

    Returns:
        One number per row (rows,).

    Raises:
        HowsparseError: another shape, no samples, or sums that are not finite.

    Source: Zhang et al., arXiv 2306.05857, released code.

    Example:
        >>> reference_row_sums([[1.0, 0.0], [3.0, 0.0]], samples=256).tolist()
        [0.015625, 0.0]
    """
    sums = finite(batch_sums, "row sums")
    if sums.ndim != 2 or samples < 1:
        raise HowsparseError(
            f"shape {sums.shape}, samples={samples}: give sums (batches, rows) and at least one sample"
        )
    total: Array = sums.sum(axis=0) / samples
    return total


@dataclass(frozen=True, eq=False)
class ReferenceDensity:
    """A spectral density on a grid, as the released code makes it; see `reference_density`.

    Attributes:
        grid: eigenvalues (bins,), equally spaced.
        mass: share of the spectrum at each (bins,), summing to one.
    """

    grid: Array
    mass: Array

    def width(self, eps: float, *, R: float, negative: Negative = "abs") -> float:
        """The normalised width of the binned spectrum, Σ mass · 2ε / (R²|grid| + 2ε).

        Args:
            eps: admissible loss increase, > 0.
            R: distance, >= 0.
            negative: see `contribution`.

        Returns:
            The width, in [0, 1].

        Raises:
            HowsparseError: see `contribution`.
        """
        return float(self.mass @ contribution(R, check_eps(eps), negative=negative)(self.grid))


def reference_density(
    nodes: Numbers, weights: Numbers, *, bins: int = BINS, sigma_squared: float = SIGMA_SQUARED
) -> ReferenceDensity:
    """Smear the nodes of one quadrature over a grid of eigenvalues, as the released code does.

    Gaussians of variance σ²·max(1, range) around the nodes, on equally spaced points from θ_min - 0.01 to θ_max + 0.01,
    normalised. *Quirks*: for a range above 1 the kernel is narrower than the grid, so a node's mass depends on where it
    falls between two points; eigenvalues nearer to 0 than half a bin are moved away from it, where the width is steep.

    Args:
        nodes: of one probe, shape (steps,).
        weights: of the nodes, same shape.
        bins: number of points, >= 2; 100,000 as released.
        sigma_squared: σ² > 0; 1e-10 as released.

    Returns:
        The density.

    Raises:
        HowsparseError: numbers that do not fit, or a grid so coarse that every node falls between two points (the
            released code divides zero by zero there).

    Source: Zhang et al., arXiv 2306.05857, released code, which builds on PyHessian.

    Example:
        >>> reference_density([0.0], [1.0], bins=3).mass.tolist()
        [0.0, 1.0, 0.0]
    """
    _, shares = spectral_measure(nodes, weights)
    centres = finite(nodes, "nodes").reshape(-1)
    if bins < 2 or not sigma_squared > 0:
        raise HowsparseError(
            f"bins={bins}, sigma_squared={sigma_squared}: give two points or more and a positive width"
        )
    grid = np.linspace(centres.min() - OVERHEAD, centres.max() + OVERHEAD, bins)
    variance = sigma_squared * max(1.0, float(grid[-1] - grid[0]))
    reach = _REACH * math.sqrt(variance)
    mass = np.zeros(bins)
    for centre, share in zip(centres, shares, strict=True):
        near = slice(*np.searchsorted(grid, (centre - reach, centre + reach)))
        mass[near] += share * np.exp(-((grid[near] - centre) ** 2) / (2 * variance))
    if not mass.sum() > 0:
        raise HowsparseError(
            f"all {centres.size} nodes fall between the {bins} points of a grid over {grid[-1] - grid[0]:.4g}; take "
            "more bins or a larger sigma_squared, or evaluate the width at the nodes themselves"
        )
    return ReferenceDensity(grid, mass / mass.sum())


def reference_measured_limit(accuracies: Numbers) -> float | None:
    """The released "actual limit": scanning from the sparse end, the first level strictly better than level 0.

    *Quirks*: it selects on the test set by a maximum over many noisy levels; and when no level beats the dense network
    the released code stops at an undefined variable, for which this returns None.

    Args:
        accuracies: at sparsities i/n for i = 0, …, n - 1, shape (n,), higher is better; 1000 levels as released.

    Returns:
        The sparsity, or None.

    Raises:
        HowsparseError: no accuracies, or some that are not finite.

    Source: Zhang et al., arXiv 2306.05857, released code.

    Example:
        >>> reference_measured_limit([92.0, 91.0, 92.5, 80.0]), reference_measured_limit([92.0, 91.0])
        (0.5, None)
    """
    scores = finite(accuracies, "accuracies").reshape(-1)
    return accuracy_limits(np.arange(scores.size) / scores.size, scores).last_above_dense
