"""Methods that search for masks in a training of its own, between the network as given and the last training."""

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass

import torch

from howsparse.masks import Masks
from howsparse.pruners.cyclic import CyclicMethod
from howsparse.pruners.latent import LatentPruner
from howsparse.pruners.removal import still_to_remove
from howsparse.settings import setting
from howsparse.training import Recipe


@dataclass(frozen=True, kw_only=True)
class SearchMethod(CyclicMethod):
    """Cycle 0 is the network as given, cycle 1 the search for masks, cycle 2 the training of what is left."""

    sparsity: float = setting(0.9, "fraction of prunable weights to remove", at_least=0, below=1)
    search_epochs: int | None = setting(None, "epochs of the search for masks; none: as many as epochs", at_least=0)
    search_lr: float | None = setting(
        None, "learning rate of the search; none: that of the training (rare-gems: ten times)", above=0
    )

    @property
    def prunings(self) -> int:
        """Two: the search begins, and ends."""
        return 2

    def recipe_in(self, recipe: Recipe, cycle: int) -> Recipe:
        """The search: its own epochs and rate, no L1 penalty, and the last epoch counts, as earlier ones are denser."""
        if cycle != 1:
            return super().recipe_in(recipe, cycle)
        epochs = recipe.epochs if self.search_epochs is None else self.search_epochs
        rate = recipe.lr if self.search_lr is None else self.search_lr
        return dataclasses.replace(recipe, epochs=epochs, lr=rate, keep="last", l1=0.0)

    def training_steps(self, recipe: Recipe, steps_per_epoch: int) -> int:
        """Optimizer steps of the search."""
        return self.recipe_in(recipe, 1).epochs_of(1) * steps_per_epoch


class SearchPruner(LatentPruner):
    """Begins a search when the network as given is treated, and puts what it found in place when it is over."""

    method: SearchMethod

    @property
    def excess(self) -> int:
        """How many of the living weights still have to go."""
        return still_to_remove(self.masks, self.method.sparsity)

    @abstractmethod
    def search(self) -> None:
        """Begin the search: hide the latent variables."""

    @abstractmethod
    def conclude(self) -> None:
        """End the search: exactly the asked-for weights go, and the model holds those that training starts from."""

    @torch.no_grad()
    def prune(self) -> Masks:
        """Nothing before the search; after it the masks it found."""
        if self.cycle == 1:
            self.conclude()
            self.hidden = {}
            self.adopt(self.masks)  # zeros in weights that were put back
        if self.optimizer is not None:
            self.optimizer.state.clear()
        return self.masks

    @torch.no_grad()
    def treat(self) -> None:
        """Go on to the next cycle; the search is the one after the network as given."""
        super().treat()
        if self.cycle == 1:
            self.search()
