"""How much memory is taken to be free."""

import pytest
import torch

from howsparse.curvature.memory import free_memory


def test_what_torch_holds_in_its_cache_is_free(monkeypatch) -> None:
    """A GPU that looks full because PyTorch keeps released blocks has room for PyTorch."""
    for name, value in (("mem_get_info", (100, 1000)), ("memory_reserved", 700), ("memory_allocated", 50)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert free_memory(torch.device("cuda")) == 100 + 650


def test_processes_of_one_machine_share_its_memory(monkeypatch) -> None:
    alone = free_memory(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory(torch.device("cpu")) == pytest.approx(alone / 4, rel=0.5)
