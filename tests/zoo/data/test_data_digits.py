"""The embedded digits."""

import sys

import numpy as np
import pytest
import torch

from howsparse.errors import HowsparseError
from howsparse.zoo import Arrays, load_data


def test_split_is_stratified_disjoint_and_the_same_each_time() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_digits()
    data, again = load_data("digits"), load_data("digits")
    assert isinstance(data.train, Arrays)
    assert isinstance(data.test, Arrays)
    assert isinstance(again.test, Arrays)
    assert torch.equal(data.test.images, again.test.images)
    train, test = data.train.labels.bincount(), data.test.labels.bincount()
    assert (train + test).tolist() == np.bincount(bunch.target).tolist()
    assert test.tolist() == (np.bincount(bunch.target) // 5).tolist()
    both = np.concatenate([data.train.images.numpy(), data.test.images.numpy()]).reshape(-1, 64)
    everything = bunch.images.reshape(-1, 64)
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, everything.tolist()))


def test_a_missing_sklearn_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(HowsparseError, match=r'pip install "howsparse\[demo\]"'):
        load_data("digits")
