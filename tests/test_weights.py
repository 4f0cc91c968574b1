import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from howsparse import HowsparseError
from howsparse.weights import load_weights, read_weights


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("/tmp/howsparse-bomb-went-off",)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("form", ["safetensors", "plain", "nested", "parallel"])
def test_forms(net, form, tmp_path) -> None:
    state = net.state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "parallel":
        torch.save({"epoch": 3, "model": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        torch.save({"state_dict": state} if form == "nested" else state, path)
    torch.manual_seed(1)
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    load_weights(other, path)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), other.state_dict().values(), strict=True))


def test_pickles_are_refused_and_never_executed(tmp_path) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"weight": Bomb()}, path)
    with pytest.raises(HowsparseError, match="not a plain state dict and was not opened"):
        read_weights(path)
    path.write_bytes(pickle.dumps({"weight": Bomb()}))
    with pytest.raises(HowsparseError):
        read_weights(path)
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(HowsparseError, match=r"torch.save\(model.state_dict\(\)"):
        read_weights(path)
    assert not os.path.exists("/tmp/howsparse-bomb-went-off")  # noqa: PTH110


def test_misfits_name_the_keys(net, tmp_path) -> None:
    state = net.state_dict()
    state["extra"] = torch.zeros(1)
    del state["0.bias"]
    state["2.weight"] = torch.zeros(2, 5)
    save_file(state, tmp_path / "w.safetensors")
    before = net[2].bias.clone()
    with pytest.raises(HowsparseError) as caught:
        load_weights(net, tmp_path / "w.safetensors")
    for part in ("missing in the file: 0.bias", "not in the model: extra", "2.weight is (2, 5) in the file, (2, 4)"):
        assert part in str(caught.value)
    assert torch.equal(net[2].bias, before)


def test_nan_counters_and_damage(net, tmp_path) -> None:
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "w.safetensors")
    load_weights(net, tmp_path / "w.safetensors")
    state["0.weight"] = torch.full((4, 3), torch.nan)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(HowsparseError, match=r"NaN or infinite values in 0\.weight"):
        load_weights(net, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-20])
    with pytest.raises(HowsparseError, match="not a sound safetensors file"):
        read_weights(tmp_path / "w.safetensors")
    (tmp_path / "w.pt").write_bytes(b"garbage")
    with pytest.raises(HowsparseError):
        read_weights(tmp_path / "w.pt")
    with pytest.raises(HowsparseError, match="no weights file"):
        read_weights(tmp_path / "absent.pt")
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(HowsparseError, match="holds a list, not a state dict"):
        read_weights(tmp_path / "w.pt")
