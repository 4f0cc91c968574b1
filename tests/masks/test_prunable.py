import pytest
import torch
from torch import nn

from howsparse import HowsparseError
from howsparse.masks import prunable_parameters


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.lstm = nn.LSTM(8, 4)
        self.norm = nn.LayerNorm(8)
        self.up = nn.ConvTranspose1d(8, 4, 3)
        self.raw = nn.Parameter(torch.randn(3, 3))
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embed.weight


def test_rule_by_module_type() -> None:
    assert list(prunable_parameters(Language())) == [
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "up.weight",
    ]


def test_include_replaces_and_exclude_takes_away() -> None:
    net = Language()
    assert list(prunable_parameters(net, include=["raw", "lstm.*"])) == [
        "raw",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
    ]
    assert list(prunable_parameters(net, include=[nn.LSTM])) == ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]
    assert list(prunable_parameters(net, exclude=[nn.LSTM, "att*"])) == ["up.weight"]


def test_shared_weights_appear_once() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert list(prunable_parameters(net)) == ["0.weight"]


def test_errors() -> None:
    with pytest.raises(HowsparseError, match="no prunable parameter"):
        prunable_parameters(nn.BatchNorm1d(3))
    with pytest.raises(HowsparseError, match=r"'conv9\.\*' matches no prunable tensor: there is"):
        prunable_parameters(Language(), include=["conv9.*"])
    with pytest.raises(HowsparseError, match="must be a list"):
        prunable_parameters(Language(), include="raw")  # type: ignore[arg-type]
    with pytest.raises(HowsparseError, match="run one forward pass"):
        prunable_parameters(nn.LazyLinear(3))
    pruned = nn.Linear(4, 4)
    nn.utils.prune.l1_unstructured(pruned, "weight", amount=3)
    with pytest.raises(HowsparseError, match="from_torch_prune"):
        prunable_parameters(pruned)
    normed = nn.Sequential(nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(HowsparseError, match="the weight of 1 is made by a parametrization"):
        prunable_parameters(normed)
    assert list(prunable_parameters(normed, include=["0.*"])) == ["0.weight"]
