"""The two weight initialisations that the papers use, applied in place to a finished network."""

from typing import Literal, TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def kaiming_fan_out(network: Network) -> Network:
    """Convolutions Kaiming normal by fan-out, linear weights as PyTorch draws them, zero biases, BatchNorm 1 and 0."""
    return _initialise(network, "fan_out", (nn.Conv2d,))


def kaiming_fan_in(network: Network) -> Network:
    """Convolutions and linear layers Kaiming normal by fan-in, zero biases, BatchNorm 1 and 0."""
    return _initialise(network, "fan_in", (nn.Conv2d, nn.Linear))


def _initialise(
    network: Network, mode: Literal["fan_in", "fan_out"], drawn: tuple[type[nn.Conv2d] | type[nn.Linear], ...]
) -> Network:
    """Draw the weights of the kinds in drawn with standard deviation sqrt(2 / fan); reset what else there is."""
    for module in network.modules():
        if isinstance(module, drawn):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return network
