"""GraSP: prune before training, preserving gradient flow (Wang, Zhang & Grosse, ICLR 2020)."""

from dataclasses import dataclass
from typing import ClassVar

from howsparse.masks import Masks
from howsparse.pruners.at_init import keep_best
from howsparse.pruners.stepwise import StepwiseMethod
from howsparse.pruners.stepwise_pruner import StepwisePruner
from howsparse.scores.calibration import calibration
from howsparse.scores.gradient_flow import gradient_flow
from howsparse.settings import setting
from howsparse.task import Task


@dataclass(frozen=True, kw_only=True)
class GraSP(StepwiseMethod):
    """Score every weight by ``w (H g)``, keep the highest over the whole network, then train.

    Removing the others reduces the norm of the gradient least, see `howsparse.scores.gradient_flow`. In a loop of one's
    own ``attach`` needs ``task=``, for its data and loss.

    Example:
        >>> import torch
        >>> from howsparse import Task
        >>> data = torch.utils.data.TensorDataset(torch.randn(40, 5), torch.randint(0, 2, (40,)))
        >>> task = Task(torch.nn.Linear(5, 2), data)
        >>> GraSP(sparsity=0.7).attach(task.model, task=task).sparsity
        0.7
    """

    name: ClassVar[str] = "grasp"
    about: ClassVar[str] = "before training, remove what gradient flow misses least"
    source: ClassVar[str] = "arXiv 2002.07376"

    batches: int = setting(1, "batches of training samples, drawn at random, that gradients are taken from", at_least=1)
    temperature: float | None = setting(
        None, "the network's output is divided by it (none: 200 for cross-entropy, else 1)", above=0
    )

    def check_fits(self, task: Task) -> None:
        """Gradients are read from a frozen pass over the training data."""
        calibration(task, "GraSP")

    def start(self, pruner: StepwisePruner) -> Masks:
        """Keep the highest contributions to gradient flow."""
        flow = gradient_flow(
            pruner.task,
            pruner.parameters,
            batches=self.batches,
            temperature=self.temperature,
            generator=pruner.generator,
        )
        return keep_best(pruner, flow, self.sparsity)
