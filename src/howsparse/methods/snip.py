"""SNIP: prune before training what the loss is least sensitive to (Lee, Ajanthan & Torr, ICLR 2019)."""

from dataclasses import dataclass
from typing import ClassVar

from howsparse.masks import Masks
from howsparse.pruners.at_init import keep_best
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.scores.calibration import calibration
from howsparse.scores.sensitivity import sensitivity
from howsparse.settings import setting
from howsparse.task import Task


@dataclass(frozen=True, kw_only=True)
class SNIP(StepwiseMethod):
    """Score every weight by ``|g w|`` on a few batches, keep the highest over the whole network, then train.

    Gradients are summed over the batches and read in evaluation mode, see `howsparse.scores.sensitivity`. In a loop of
    one's own ``attach`` needs ``task=``, for its data and loss.

    Example:
        >>> import torch
        >>> from howsparse import Task
        >>> data = torch.utils.data.TensorDataset(torch.randn(40, 5), torch.randint(0, 2, (40,)))
        >>> task = Task(torch.nn.Linear(5, 2), data)
        >>> SNIP(sparsity=0.7).attach(task.model, task=task).sparsity
        0.7
    """

    name: ClassVar[str] = "snip"
    about: ClassVar[str] = "before training, remove what the loss is least sensitive to"
    source: ClassVar[str] = "arXiv 1810.02340"

    batches: int = setting(1, "batches of training samples, drawn at random, that gradients are taken from", at_least=1)

    def check_fits(self, task: Task) -> None:
        """Gradients are read from a frozen pass over the training data."""
        calibration(task, "SNIP")

    def start(self, pruner: StepwisePruner) -> Masks:
        """Keep the highest sensitivities."""
        scores = sensitivity(pruner.task, pruner.parameters, batches=self.batches, generator=pruner.generator)
        return keep_best(pruner, scores, self.sparsity)
