"""Running a network once while every operation says which channels it ties together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from howsparse.errors import HowsparseError
from howsparse.structured.forms import Axis, Call, Findings, Form, Site
from howsparse.structured.labels import Indices, Labels

Rule = Callable[["Tracer", Call], None]
Run = Callable[[nn.Module], Any]
_ATTEMPTS = 64  # reshapes whose reading may have to be changed


class ReadOtherwise(Exception):  # noqa: N818 - a signal, not an error
    """A factor of a reshape turned out to be a stack of different things, not of channels."""

    def __init__(self, origin: tuple[int, int]) -> None:
        super().__init__(str(origin))
        self.origin = origin


class Tracer(TorchDispatchMode):
    """Watches the operations of one forward pass.

    Args:
        model: the network; its parameters and buffers carry the labels.
        avoid: factors of reshapes that must not be read as channels.
    """

    def __init__(self, model: nn.Module, avoid: set[tuple[int, int]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.labels, self.avoid, self.found = Labels(), avoid, Findings()
        self.model = model
        self.splits = self.pads = 0  # counted in the order of the trace
        self._known: dict[int, tuple[Tensor, Form]] = {}  # holds the tensors, or their ids would be used again
        self._stack: list[str] = [""]
        self.parameter_axes: list[Axis] = []
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            axes = [Axis(self.labels.fresh(size), source=(name, dim)) for dim, size in enumerate(tensor.shape)]
            self.parameter_axes += axes
            self.know(tensor, Form(tuple(axes), learned=True))
        self.last_parameter = self.labels.count  # labels up to here belong to parameters and buffers

    # --- tensors ----------------------------------------------------------------------------------------------------
    def know(self, tensor: Tensor, form: Form) -> None:
        """Remember what a tensor looks like."""
        self._known[id(tensor)] = (tensor, form)

    def form(self, tensor: Tensor) -> Form:
        """What a tensor looks like; nothing can be removed from one that the trace has not seen being made."""
        known = self._known.get(id(tensor))
        return Form.fixed(tuple(tensor.shape)) if known is None else known[1]

    def known(self, tensor: Tensor) -> bool:
        """Whether the trace has seen the tensor being made."""
        return id(tensor) in self._known

    def forget(self) -> None:
        """Let go of the activations."""
        self._known.clear()

    def role(self, axis: Axis, role: str) -> None:
        """Say what a dimension of a parameter is for: out, in, norm or bias."""
        if axis.source is not None:
            self.found.roles.setdefault(axis.source, set()).add(role)

    def site(self, size: int, labels: Indices, what: str, attribute: str | None = None) -> None:
        """Note that the code of the current module gives this size as a number."""
        self.found.sites.append(Site(self.where, size, labels, what, attribute))

    # --- places -----------------------------------------------------------------------------------------------------
    @property
    def where(self) -> str:
        """Name of the module whose forward is running."""
        return self._stack[-1]

    @property
    def module(self) -> nn.Module:
        """The module whose forward is running."""
        return self.model.get_submodule(self.where)

    def because(self, words: str) -> str:
        """A reason, with the place."""
        return f"{words} in {self.where or type(self.model).__name__}"

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow which module is running."""
        with ExitStack() as stack:
            for name, module in self.model.named_modules():
                handles = [
                    module.register_forward_pre_hook(lambda _m, _x, name=name: self._stack.append(name)),
                    module.register_forward_hook(lambda _m, _x, _y: _popped(self._stack)),
                ]
                for handle in handles:
                    stack.callback(handle.remove)
            yield

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first use imports torch's compiler, which takes seconds

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, then apply its rule."""
        from howsparse.structured.rules import apply_rule

        out = func(*args, **(kwargs or {}))
        apply_rule(self, func, Call(func._schema.name.removeprefix("aten::"), args, kwargs or {}, out))  # noqa: SLF001
        return out


def _popped(stack: list[str]) -> None:
    stack.pop()


def trace(model: nn.Module, run: Run) -> Tracer:
    """Trace a copy of the network in evaluation mode.

    Args:
        model: the network; not changed.
        run: runs it on the example inputs.

    Returns:
        The tracer, whose labels say what goes together; the output's dimensions are fixed.

    Raises:
        HowsparseError: the network cannot be copied or does not run on the example inputs.
    """
    network = copied(model).eval()
    avoid: set[tuple[int, int]] = set()
    for _ in range(_ATTEMPTS):
        tracer = Tracer(network, set(avoid))
        try:
            output = _run_once(tracer, run)
        except ReadOtherwise as signal:
            avoid.add(signal.origin)
            continue
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                for axis in tracer.form(tensor).axes:
                    tracer.labels.fix(axis.labels, "it is an output of the network")
        tracer.forget()
        return tracer
    raise HowsparseError(f"the reshapes of {type(model).__name__} could not be read in {_ATTEMPTS} attempts")


def _run_once(tracer: Tracer, run: Run) -> Any:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque operation for a whole encoder layer
    try:
        with torch.no_grad(), tracer.watching(), tracer:
            return run(tracer.model)
    except (ReadOtherwise, HowsparseError):
        raise
    except Exception as error:
        place = tracer.where or type(tracer.model).__name__
        raise HowsparseError(
            f"{type(tracer.model).__name__} cannot be traced: it fails on the example inputs in {place} with "
            f"{type(error).__name__}: {error}. Give example_inputs that the network takes: a tensor, a tuple of "
            "arguments or a dict of keyword arguments."
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of a network.

    Raises:
        HowsparseError: some part of it cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise HowsparseError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}); the caller's network is never "
            "changed, so a copy is needed: keep only parameters, buffers and plain values in its modules"
        ) from error


def as_run(example_inputs: Any) -> Run:
    """What calls a network on inputs: a tensor, a tuple or list of arguments, or a dict of keyword arguments.

    Raises:
        HowsparseError: there are none.
    """
    if example_inputs is None:
        raise HowsparseError(
            "example_inputs are missing: give one batch that the network takes (a tensor, a tuple of arguments or a "
            "dict of keyword arguments), or task=..., whose first batch is used"
        )
    if isinstance(example_inputs, dict):
        return lambda model: model(**example_inputs)
    if isinstance(example_inputs, tuple | list):
        return lambda model: model(*example_inputs)
    return lambda model: model(example_inputs)
