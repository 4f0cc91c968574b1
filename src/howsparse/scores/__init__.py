"""How important each weight is; higher stays. Each gives ``{name: tensor}``, shaped as the weights."""

from howsparse.scores.gradient_flow import gradient_flow
from howsparse.scores.gradient_magnitude import gradient_magnitude
from howsparse.scores.lamp import lamp
from howsparse.scores.magnitude import magnitude
from howsparse.scores.random_scores import random_scores
from howsparse.scores.sensitivity import sensitivity
from howsparse.scores.survival import (
    SurvivalFeatures,
    survival_counts,
    survival_features,
    survival_rounds,
    survival_targets,
)
from howsparse.scores.survival_predictor import SurvivalPredictor
from howsparse.scores.synaptic_flow import synaptic_flow, synaptic_flow_masks

__all__ = [
    "SurvivalFeatures",
    "SurvivalPredictor",
    "gradient_flow",
    "gradient_magnitude",
    "lamp",
    "magnitude",
    "random_scores",
    "sensitivity",
    "survival_counts",
    "survival_features",
    "survival_rounds",
    "survival_targets",
    "synaptic_flow",
    "synaptic_flow_masks",
]
