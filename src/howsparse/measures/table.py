"""All measures of sparsity in one table, with the properties of an ideal measure that each has.

The six properties are those of Hurley, Rickard, "Comparing Measures of Sparsity", arXiv 0811.4706, taken strictly and
for d >= 2. The test suite checks every "yes" of the table on random vectors and every "no" on a counterexample.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from howsparse.measures import classical
from howsparse.measures.gini import gini
from howsparse.measures.pqi import pqi

AXIOMS = {
    "D1": "Robin Hood: moving part of a larger entry to a smaller one, less than half their gap, lowers the measure",
    "D2": "Scaling: multiplying all entries by a positive constant changes nothing",
    "D3": "Rising Tide: adding a positive constant to all entries, not all the same, lowers the measure",
    "D4": "Cloning: repeating the vector changes nothing",
    "P1": "Bill Gates: once an entry, not the only non-zero one, is large enough, making it larger raises the measure",
    "P2": "Babies: appending a zero to a vector that is not zero raises the measure",
}


@dataclass(frozen=True)
class Measure:
    """A measure of sparsity; larger means sparser.

    Attributes:
        name: Key in `MEASURES`.
        function: Takes weights and an optional mask, returns a 0-dim float64 tensor.
        formula: What it computes, with x the d active magnitudes.
        axioms: The properties of `AXIOMS` that hold without exception; "lowers" and "raises" are meant strictly.

    Example:
        >>> import torch
        >>> measure = MEASURES["hoyer"]
        >>> measure.function(torch.tensor([0.0, 1.0])).item(), "D4" in measure.axioms
        (1.0, False)
    """

    name: str
    function: Callable[..., Tensor]
    formula: str
    axioms: frozenset[str]


def _pqi_1_2(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """PQ Index with p = 1, q = 2."""
    return pqi(x, mask, p=1.0, q=2.0)


def _measure(name: str, function: Callable[..., Tensor], formula: str, axioms: str) -> Measure:
    """A row of the table."""
    return Measure(name, function, formula, frozenset(axioms.split()))


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        _measure("pqi", pqi, "1 - d^(1/q - 1/p) ||x||_p / ||x||_q, p = 0.5, q = 1", "D1 D2 D3 D4 P1 P2"),
        _measure("pqi_1_2", _pqi_1_2, "1 - d^(1/q - 1/p) ||x||_p / ||x||_q, p = 1, q = 2", "D1 D2 D3 D4 P1 P2"),
        _measure("gini", gini, "sum_i (2i - d - 1) x_(i) / (d sum x), x_(i) ascending", "D1 D2 D3 D4 P1 P2"),
        _measure("participation", classical.participation, "1 - (||x||_1 / ||x||_2)^2 / d", "D1 D2 D3 D4 P1 P2"),
        _measure("hoyer", classical.hoyer, "(sqrt(d) - ||x||_1 / ||x||_2) / (sqrt(d) - 1)", "D1 D2 D3 P1"),
        _measure("l2_over_l1", classical.l2_over_l1, "||x||_2 / ||x||_1", "D1 D2 D3 P1"),
        _measure("neg_shannon", classical.neg_shannon, "sum s log s, s = x / sum x", "D1 D2 D3 P1"),
        _measure("kurtosis", classical.kurtosis, "mean(x^4) / mean(x^2)^2", "D2 D3 D4 P1 P2"),
        _measure("l0", classical.l0, "#{x = 0} / d", "D2 D4 P2"),
        _measure("l0_epsilon", classical.l0_epsilon, "#{x <= eps} / d, eps = 1e-3", "D4"),
        _measure("neg_l1", classical.neg_l1, "-sum x", "D3"),
        _measure("neg_lp", classical.neg_lp, "-(sum x^p)^(1/p), p = 0.5", "D1 D3"),
        _measure("neg_tanh", classical.neg_tanh, "-sum tanh((a x)^b), a = b = 1", "D1 D3"),
        _measure("neg_log", classical.neg_log, "-sum log(1 + x^2)", "D3"),
    )
}
