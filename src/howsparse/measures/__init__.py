"""Numbers about weights: how sparse they are, by the PQ Index first. Plain functions over tensors."""

from howsparse.measures.card import NAME_RULE, Card, NeuronSummary, Row, measure, weights_by_name
from howsparse.measures.classical import (
    hoyer,
    kurtosis,
    l0,
    l0_epsilon,
    l2_over_l1,
    neg_l1,
    neg_log,
    neg_lp,
    neg_shannon,
    neg_tanh,
    participation,
)
from howsparse.measures.gini import gini
from howsparse.measures.pqi import effective_count, pqi, pqi_upper, retained_bound
from howsparse.measures.sums import PowerSums, power_sums
from howsparse.measures.table import AXIOMS, MEASURES, Measure
from howsparse.measures.turning_point import TurningPoint, turning_point

__all__ = [
    "AXIOMS",
    "MEASURES",
    "NAME_RULE",
    "Card",
    "Measure",
    "NeuronSummary",
    "PowerSums",
    "Row",
    "TurningPoint",
    "effective_count",
    "gini",
    "hoyer",
    "kurtosis",
    "l0",
    "l0_epsilon",
    "l2_over_l1",
    "measure",
    "neg_l1",
    "neg_log",
    "neg_lp",
    "neg_shannon",
    "neg_tanh",
    "participation",
    "power_sums",
    "pqi",
    "pqi_upper",
    "retained_bound",
    "turning_point",
    "weights_by_name",
]
