"""Networks and data by name."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from howsparse.errors import HowsparseError
from howsparse.zoo import DATASETS, MODELS, build_model, load_data

MINE = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from howsparse.zoo import Arrays, Data

pairs = TensorDataset(torch.zeros(6, 2, 5), torch.arange(6) % 3)
named = TensorDataset(torch.zeros(6, 4), torch.arange(6) % 3)
named.classes = ["a", "b", "c"]
arrays = Arrays(np.zeros((4, 3, 3), np.uint8), np.arange(4) % 2, 2, mean=(0,), std=(1,))

class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0

class Broken(TensorDataset):
    def __getitem__(self, index):
        raise KeyError("gone")

net = nn.Linear(2, 1)
number = 3
def make_net(): return nn.Linear(2, 1)
def make_number(): return 3
def needs(shape, classes): return nn.Linear(2, 1)
def optional(width=4): return nn.Linear(width, 1)
def fails(): raise KeyError("gone")

def two(): return pairs, named
def two_list(): return [pairs, named]
def three(): return pairs, named, arrays
def mapping(): return {"train": named, "test": pairs, "loss": len}
def own(): return Data("own", train=pairs, test=pairs, shape=(9,), classes=7)
def open_ended(): return Data("open", train=arrays, test=arrays)
def subset(): return Subset(Subset(named, [0, 1]), [0]), pairs
def stream(): return Stream(), Stream()
def loaders(): return DataLoader(pairs), DataLoader(pairs)
def broken(): return Broken(torch.zeros(1)), pairs
def one(): return (pairs,)
def four(): return pairs, pairs, pairs, pairs
def typo(): return {"train": pairs, "tests": pairs}
def no_test(): return {"train": pairs}
def empty_part(): return pairs, None
def text(): return "train", "test"
"""


@pytest.fixture(autouse=True)
def mine(folder: Path) -> None:
    """A module of the user's own in the working directory."""
    (folder / "mine_f.py").write_text(MINE)


@pytest.mark.parametrize("name", ["linear", "lenet-300-100", "resnet20"])
def test_zoo_networks(name: str) -> None:
    torch.manual_seed(0)
    network = build_model(name, (1, 8, 8), 10)
    torch.manual_seed(0)
    same = MODELS[name].build((1, 8, 8), 10)
    assert type(network) is type(same)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))


@pytest.mark.parametrize("spec", ["mine_f:make_net", "mine_f.py:make_net", "./mine_f.py:make_net", "mine_f:optional"])
def test_own_networks_are_new_each_time(spec: str) -> None:
    first, second = build_model(spec, None, None), build_model(spec, (1, 2), 3)
    assert isinstance(first, nn.Linear)
    assert first is not second


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet81", r"unknown network 'resnet81': known are linear.*package\.module:function.*did you mean resnet18"),
        ("zzz", r"file\.py:function$"),
        ("mine_f:number", "mine_f:number is a int, not a function"),
        ("mine_f:net", "is a Linear, not a function.*afresh"),
        ("mine_f:make_number", "returned a int, not a torch.nn.Module"),
        ("mine_f:needs", r"called without arguments.*\(shape, classes\).*wrap it"),
        ("mine_f:fails", "mine_f:fails failed with KeyError: 'gone'"),
        ("mine_f:make_nte", r"did you mean make_net"),
    ],
)
def test_wrong_networks(spec: str, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        build_model(spec, (1, 8, 8), 10)


@pytest.mark.parametrize(("shape", "classes"), [(None, 10), ((1, 8, 8), None), (None, None)])
def test_zoo_networks_need_shape_and_classes(shape: tuple[int, ...] | None, classes: int | None) -> None:
    with pytest.raises(HowsparseError, match=r"mlp .* shape is .* classes is .*Data\("):
        build_model("mlp", shape, classes)


@pytest.mark.parametrize(
    ("function", "shape", "classes", "val"),
    [
        ("two", (2, 5), None, False),
        ("two_list", (2, 5), None, False),
        ("three", (2, 5), None, True),
        ("mapping", (4,), 3, False),
        ("own", (9,), 7, False),
        ("open_ended", (1, 3, 3), 2, False),
        ("subset", (4,), 3, False),
        ("stream", None, None, False),
        ("loaders", None, None, False),
    ],
)
@pytest.mark.parametrize("module", ["mine_f", "./mine_f.py"])
def test_own_data(module: str, function: str, shape: tuple[int, ...] | None, classes: int | None, val: bool) -> None:
    data = load_data(f"{module}:{function}")
    assert (data.shape, data.classes, data.val is not None) == (shape, classes, val)


def test_parts_keep_their_places() -> None:
    three = load_data("mine_f:three")
    module = sys.modules["mine_f"]
    assert (three.train, three.val, three.test) == (module.pairs, module.named, module.arrays)
    mapping = load_data("mine_f:mapping")
    assert (mapping.name, mapping.train, mapping.test, mapping.loss) == ("mapping", module.named, module.pairs, len)
    assert load_data("mine_f:own").name == "own"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine_f:one", "returned a tuple of length 1; return Data"),
        ("mine_f:four", "returned a tuple of length 4; return Data"),
        ("mine_f:make_number", "returned a int; return Data"),
        ("mine_f:typo", r"a dict with 'tests': known are train, test.*did you mean test"),
        ("mine_f:no_test", "a dict without test"),
        ("mine_f:empty_part", "test of mine_f:empty_part is a NoneType, not a torch Dataset"),
        ("mine_f:text", "train of mine_f:text is a str"),
        ("mine_f:broken", "first training sample failed with KeyError"),
        ("mine_f:fails", "failed with KeyError"),
        ("mine_f:needs", "called without arguments"),
        ("mnits:some/folder", "unknown data set 'mnits': known are digits.*did you mean mnist"),
        ("fashion_mnist:data", r"unknown data set 'fashion_mnist'.*did you mean fashion-mnist"),
        ("cifar", r"unknown data set 'cifar'.*did you mean cifar10"),
        ("mine_f", r"unknown data set 'mine_f'.*file\.py:function$"),
        ("mine_f:a/b", "unknown data set 'mine_f'"),
        ("not_a_module_g:make", "no module 'not_a_module_g'"),
        ("digits:folder", "digits takes nothing after its name, but 'folder'"),
        ("mnist", "mnist needs a folder: give mnist:FOLDER"),
        ("npz:", "npz needs a file: give npz:FILE"),
        ("cifar10:nowhere", "nowhere does not exist"),
    ],
)
def test_wrong_data(spec: str, message: str) -> None:
    with pytest.raises(HowsparseError, match=message):
        load_data(spec)


def test_a_module_named_much_like_a_data_set(folder: Path) -> None:
    (folder / "mnist1.py").write_text("from mine_f import two\n")
    (folder / "my").mkdir()
    (folder / "my" / "mnist.py").write_text("from mine_f import two\n")
    assert load_data("mnist1:two").name == "two"
    assert load_data("my.mnist:two").name == "two"


def test_every_entry_says_what_it_needs() -> None:
    assert {name: entry.needs for name, entry in DATASETS.items()} == {
        "digits": "",
        "mnist": "FOLDER",
        "fashion-mnist": "FOLDER",
        "cifar10": "FOLDER",
        "cifar100": "FOLDER",
        "npz": "FILE",
    }
    assert all(entry.name == name and "\n" not in entry.about for name, entry in DATASETS.items())


def test_digits_train_a_network() -> None:
    """Two passes over real data reach an accuracy far above chance."""
    data = load_data("digits")
    torch.manual_seed(0)
    network = build_model("mlp", data.shape, data.classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for chosen in torch.randperm(2 * 1442).remainder(1442)[:2800].reshape(-1, 50):
        inputs, targets = data.train[chosen]
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(inputs), targets))
        optimizer.step()
    inputs, targets = data.test[torch.arange(355)]
    assert (network(inputs).argmax(1) == targets).float().mean() > 0.85
