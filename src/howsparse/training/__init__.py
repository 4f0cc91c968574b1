"""How networks are trained between prunings: recipe, loop, evaluation, checkpoints on disk."""

from howsparse.training.evaluation import Evaluation, evaluate
from howsparse.training.loop import Callback, Training
from howsparse.training.recipe import Recipe
from howsparse.training.run import Run

__all__ = ["Callback", "Evaluation", "Recipe", "Run", "Training", "evaluate"]
