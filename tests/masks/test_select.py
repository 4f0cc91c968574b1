import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from howsparse import HowsparseError, Masks
from howsparse.masks import SCOPES, group_sizes, remove_smallest
from howsparse.masks.select import kth_smallest


@st.composite
def problems(draw: st.DrawFn):
    """Scores with many ties, prior masks, and counts that the groups can give."""
    scope = draw(st.sampled_from(SCOPES))
    shapes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=3))
    scores, masks = {}, {}
    for i, shape in enumerate(shapes):
        n = shape[0] * shape[1]
        values = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0]), min_size=n, max_size=n))
        scores[f"w{i}"] = torch.tensor(values).reshape(shape)
        masks[f"w{i}"] = torch.tensor(draw(st.lists(st.booleans(), min_size=n, max_size=n))).reshape(shape)
    living = Masks(masks)
    counts = {
        group: torch.tensor([draw(st.integers(0, int(s))) for s in size.reshape(-1)]).reshape(size.shape)
        for group, size in group_sizes(living, scope).items()
    }
    return scope, scores, living, counts


def brute_force(scope, scores, masks, counts, ties):
    """The definition, one entry at a time."""
    groups: dict[object, list[tuple[float, int, str, int]]] = {}
    for position, (name, score) in enumerate(scores.items()):
        for flat, (value, alive) in enumerate(zip(score.reshape(-1).tolist(), masks[name].reshape(-1), strict=True)):
            row = flat // score.shape[1]
            key = {"global": ("global", 0), "layer": (name, 0), "neuron": (name, row)}[scope]
            if alive:
                groups.setdefault(key, []).append((value, position, name, flat))
    result = {name: mask.clone() for name, mask in masks.items()}
    for (group, row), entries in groups.items():
        c = int(counts[group].reshape(-1)[row])
        ordered = sorted(entries, key=lambda e: (e[0], e[1], e[3]))
        gone = ordered[:c]
        if ties == "keep" and c < len(ordered):
            gone = [e for e in ordered if e[0] < ordered[c][0]]
        for _, _, name, flat in gone:
            result[name].view(-1)[flat] = False
    return Masks(result)


@given(problems(), st.sampled_from(["exact", "keep"]))
def test_equals_the_definition(problem, ties) -> None:
    scope, scores, masks, counts = problem
    new = remove_smallest(masks, scores, counts, scope=scope, ties=ties)
    assert new == brute_force(scope, scores, masks, counts, ties)
    assert new <= masks
    if ties == "exact":
        assert masks.active - new.active == sum(int(c.sum()) for c in counts.values())


@given(st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=60), st.data())
def test_kth_smallest(values, data) -> None:
    k = data.draw(st.integers(1, len(values)))
    assert float(kth_smallest(torch.tensor(values), k)) == float(np.sort(np.float32(values))[k - 1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types(dtype) -> None:
    scores = {"w": torch.tensor([[3.0, 1.0, 2.0]], dtype=dtype)}
    for scope in SCOPES:
        masks = Masks.dense(scores)
        counts = {group: torch.ones_like(size) for group, size in group_sizes(masks, scope).items()}
        assert remove_smallest(masks, scores, counts, scope=scope)["w"].tolist() == [[True, False, True]]


def test_mixed_precision_compares_exactly() -> None:
    """A float64 score just above a float32 one must not be rounded onto it."""
    scores = {"a": torch.tensor([[1.0]]), "b": torch.tensor([[1.0 + 1e-12]], dtype=torch.float64)}
    new = remove_smallest(Masks.dense(scores), scores, {"global": torch.tensor(1)}, scope="global")
    assert (bool(new["a"]), bool(new["b"])) == (False, True)


@pytest.mark.parametrize("ties", ["exact", "keep"])
@pytest.mark.parametrize("scope", SCOPES)
def test_channels_last_weights(scope, ties) -> None:
    """Positions are row-major whatever the memory format."""
    torch.manual_seed(0)
    weight = torch.randint(0, 5, (6, 4, 3, 3)).float()
    plain, last = {"w": weight}, {"w": weight.to(memory_format=torch.channels_last)}
    counts = {group: size // 2 for group, size in group_sizes(Masks.dense(plain), scope).items()}
    masks = [remove_smallest(Masks.dense(w), w, counts, scope=scope, ties=ties) for w in (plain, last)]
    assert masks[0] == masks[1]
    assert Masks.unpacked(masks[1].packed(), {"w": list(weight.shape)}) == masks[0]


def test_infinite_scores_stay_before_the_dead() -> None:
    masks = Masks({"w": torch.tensor([[True, True, False, False]])})
    scores = {"w": torch.tensor([[torch.inf, 1.0, 0.0, 0.0]])}
    for removed, left in ((1, [True, False, False, False]), (2, [False] * 4)):
        assert remove_smallest(masks, scores, {"w": torch.tensor([removed])}, scope="neuron")["w"].tolist() == [left]


def test_more_than_torch_quantile_can_take() -> None:
    torch.manual_seed(0)
    scores = {"w": torch.rand(1 << 12, (1 << 12) + 1)}  # 16,781,312 entries; torch.quantile refuses more than 2^24
    count = 10_000_001
    new = remove_smallest(Masks.dense(scores), scores, {"global": torch.tensor(count)}, scope="global")
    assert new.total - new.active == count
    assert float(scores["w"][~new["w"]].max()) <= float(scores["w"][new["w"]].min())


def test_errors() -> None:
    masks = Masks.dense({"w": torch.zeros(2, 2)})
    with pytest.raises(HowsparseError, match="asked to remove 5 of 4"):
        remove_smallest(masks, {"w": torch.zeros(2, 2)}, {"global": torch.tensor(5)}, scope="global")
    with pytest.raises(HowsparseError, match="NaN"):
        remove_smallest(masks, {"w": torch.full((2, 2), torch.nan)}, {"global": torch.tensor(1)}, scope="global")
    with pytest.raises(HowsparseError, match="scope 'row' is unknown"):
        group_sizes(masks, "row")  # type: ignore[arg-type]
    with pytest.raises(HowsparseError, match="counts are for groups"):
        remove_smallest(masks, {"w": torch.zeros(2, 2)}, {"v": torch.tensor(1)}, scope="layer")
    with pytest.raises(HowsparseError, match="floating point is needed"):
        remove_smallest(masks, {"w": torch.zeros(2, 2).int()}, {"w": torch.tensor(1)}, scope="layer")
