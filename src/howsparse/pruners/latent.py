"""Pruners whose optimizer moves a latent variable instead of the weights that the network computes with."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from howsparse.errors import HowsparseError
from howsparse.pruners.before_step import moving_optimizer, refuse_missing_optimizer
from howsparse.pruners.cyclic_pruner import CyclicPruner


class LatentPruner(CyclicPruner):
    """Holds a latent variable for every prunable weight and lets the user's own optimizer move it.

    Between steps the model holds the *effective* weights, what forward passes and evaluations should see. Inside
    ``optimizer.step()`` the latent variable takes their place, with its own gradient; `step` takes it out again. So
    modules and state_dict keys stay as they are, and the latent variable has the optimizer's momentum and learning
    rate. A step that the optimizer skips changes nothing. If ``optimizer.step()`` raises, the latent variable stays in
    the model, and a weight decay that does not act at 0, until `step` or `finish` is called.

    Attributes:
        hidden: the tensors that the model does not show, by kind and name; ``latent`` is what the optimizer moves.
    """

    decays: ClassVar[bool] = True
    """Whether the optimizer's weight decay acts while there is a latent variable."""
    freezes: ClassVar[bool] = False
    """Whether all other parameters rest while there is a latent variable."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.hidden: dict[str, dict[str, Tensor]] = {}
        self._inside: list[str] = []  # whose latent variable is in the model: within optimizer.step() only
        self._decay: list[tuple[dict[str, Any], Any]] = []  # groups of the optimizer, and what is due to them

    @abstractmethod
    def effective(self, name: str) -> Tensor:
        """The weights that the network computes with, zero where ``masks`` say so."""

    @abstractmethod
    def latent_gradient(self, name: str, gradient: Tensor) -> Tensor:
        """Gradient of the latent variable from the gradient of the effective weights."""

    def move_beside(self, name: str, gradient: Tensor, rate: float) -> None:
        """Move what else is trained and not by the optimizer; ``rate`` is its learning rate."""

    def project(self, latent: Tensor) -> None:
        """Bring the latent variable back, in place, to where it may be."""

    @property
    def latent(self) -> dict[str, Tensor]:
        """What the optimizer moves, by name; empty while it moves the weights themselves."""
        return self.hidden.get("latent", {})

    def hide(self, latent: dict[str, Tensor], **beside: dict[str, Tensor]) -> None:
        """From now on the optimizer moves ``latent``; ``beside`` are further tensors that it is used with."""
        self.hidden = {"latent": latent, **beside}
        self.show()

    @torch.no_grad()
    def show(self) -> None:
        """Put the effective weights into the model."""
        for name in self.latent:
            self.parameters[name].copy_(self.effective(name))

    @torch.no_grad()
    def before_step(self) -> None:
        """Put the latent variable where the optimizer will move it."""
        optimizer = moving_optimizer(self) if self.latent else None
        if optimizer is None:
            return
        if self._inside:
            raise HowsparseError("pruner.step() was not called after the last optimizer.step(); call it after each")
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        for group in optimizer.param_groups:
            if not self.decays and "weight_decay" in group:
                self._decay.append((group, group["weight_decay"]))
                group["weight_decay"] = 0
            for parameter in group["params"]:
                if id(parameter) in names:
                    self._swap_in(names[id(parameter)], parameter, float(group["lr"]))
                elif self.freezes:
                    parameter.grad = None

    def _swap_in(self, name: str, parameter: nn.Parameter, rate: float) -> None:
        if parameter.grad is None:
            return
        gradient = self.latent_gradient(name, parameter.grad)
        self.move_beside(name, parameter.grad, rate)
        parameter.grad.copy_(gradient)
        parameter.copy_(self.latent[name])
        self._inside.append(name)

    def step(self) -> None:
        """Call right after ``optimizer.step()``: the model holds effective weights again."""
        if self.latent:
            refuse_missing_optimizer(self)
            if not self._inside:
                self._refuse_moved()
            self._swap_out()
        super().step()

    @torch.no_grad()
    def _swap_out(self) -> None:
        for name in self._inside:
            self.project(self.latent[name].copy_(self.parameters[name]))
            self.parameters[name].copy_(self.effective(name))
        for group, decay in self._decay:
            group["weight_decay"] = decay
        self._inside, self._decay = [], []

    def _refuse_moved(self) -> None:
        """A skipped step leaves the weights alone; weights that moved were moved by somebody else."""
        moved = [name for name in self.latent if not torch.equal(self.parameters[name], self.effective(name))]
        if moved:
            raise HowsparseError(
                f"{', '.join(moved[:3])} moved outside the pruner's optimizer: give it the one that trains the "
                "network, pruner.optimizer = optimizer"
            )

    def let_go(self) -> None:
        """See `CyclicPruner.let_go`; the effective weights stay."""
        super().let_go()
        self._swap_out()
        self.hidden = {}

    def state_dict(self) -> dict[str, Any]:
        """See `CyclicPruner.state_dict`; with all that is hidden."""
        return {**super().state_dict(), "hidden": self.hidden}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `CyclicPruner.load_state_dict`."""
        super().load_state_dict(state)
        self.hidden = {
            kind: {name: tensor.to(self.parameters[name].device, copy=True) for name, tensor in tensors.items()}
            for kind, tensors in state["hidden"].items()
        }
