"""AutoSparse: prune before training by a learned prediction of survival (arXiv 2408.14757)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from howsparse.errors import HowsparseError
from howsparse.masks import Masks
from howsparse.pruners.at_init import keep_best
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.scores import SurvivalPredictor, survival_features
from howsparse.scores.calibration import calibration
from howsparse.settings import setting
from howsparse.task import Task


@dataclass(frozen=True, kw_only=True)
class AutoSparse(StepwiseMethod):
    """Keep the weights that a predictor expects to survive iterative pruning, then train.

    The predictor has learned from a recorded run of iterative pruning how long a weight with a certain initial value
    and gradient lives: ``howsparse predictor``, or `howsparse.scores.SurvivalPredictor`. In a loop of one's own
    ``attach`` needs ``task=``, for gradients over its training data.

    Example:
        >>> AutoSparse(sparsity=0.9, predictor="survival.safetensors").sparsity
        0.9
    """

    name: ClassVar[str] = "autosparse"
    about: ClassVar[str] = "before training, remove what a learned predictor expects to die first"
    source: ClassVar[str] = "arXiv 2408.14757"

    predictor: str | None = setting(None, "file that howsparse predictor wrote")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.predictor is None:
            raise HowsparseError(
                "AutoSparse needs a predictor: howsparse predictor --run RUN --model ... --data ... --out FILE learns "
                "one from a finished run of an iterative method; then predictor=FILE"
            )

    def to_plain(self) -> dict[str, Any]:
        """Name and settings as JSON values; the predictor without its folder, but with a digest of what it holds."""
        file = Path(str(self.predictor))
        digest = f"#{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}" if file.is_file() else ""
        return {**super().to_plain(), "predictor": file.name + digest}

    def check_fits(self, task: Task) -> None:
        """Gradients are read from a frozen pass over the training data, and the predictor's file must be one."""
        calibration(task, "AutoSparse")
        SurvivalPredictor.load(str(self.predictor))

    def start(self, pruner: StepwisePruner) -> Masks:
        """Keep what is expected to live longest."""
        features = survival_features(pruner.task, pruner.parameters)
        return keep_best(pruner, SurvivalPredictor.load(str(self.predictor)).scores(features), self.sparsity)
