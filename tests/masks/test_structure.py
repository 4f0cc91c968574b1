"""Structures: the reference masks, exact counts in units, and what does not fit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from howsparse import HowsparseError, Masks
from howsparse.masks import (
    Block,
    Element,
    NofM,
    group_sizes,
    indivisible,
    keep_n_of_m,
    parse_structure,
    remove_smallest,
    remove_units,
    structured,
    unit_masks,
    unit_scores,
    units_for,
)
from tests.allocation.test_reference import cases, each


@each("methods_vectors", "cases", ("n_of_m_mask",), "kind")
def test_n_of_m(case) -> None:
    scores = {"w": torch.tensor(case["inputs"]["score"])}
    for ratio, expected in case["expected"].items():
        structure = parse_structure(f"nm:{ratio}")
        assert structured(Masks.dense(scores), scores, structure)["w"].int().tolist() == expected


@each("methods_vectors", "cases", ("deterministic_topk_mask",), "kind")
def test_top_k(case) -> None:
    """Mirrored: there the lower of two equal positions stays, here it goes first."""
    for inputs, expected in zip(case["inputs"], case["expected"], strict=True):
        scores = {"w": torch.tensor(inputs["score"]).flip(0)}
        size = len(inputs["score"])
        removed = size - max(1, round(size * (1 - inputs["sparsity"])))
        found = structured(Masks.dense(scores), scores, Element(), removed=removed)["w"]
        assert found.flip(0).int().tolist() == expected


def test_the_vectors_are_all_here(shared) -> None:
    assert shared.is_dir()
    kinds = [case["kind"] for case in cases("methods_vectors", "cases")]
    assert [kinds.count(kind) for kind in ("n_of_m_mask", "deterministic_topk_mask")] == [1, 1]


@given(st.one_of(st.just(Element()), st.builds(Block, st.integers(1, 99), st.integers(1, 99))))
def test_words(structure) -> None:
    assert parse_structure(str(structure)) == structure


@pytest.mark.parametrize("text", ["", "nm", "nm:4:4", "nm:0:4", "nm:5:4", "block:4", "block:0x1", "4x1", "element "])
def test_words_that_are_none(text) -> None:
    with pytest.raises(HowsparseError, match="not allowed|unknown; it is element"):
        parse_structure(text)


@st.composite
def blocked(draw: st.DrawFn):
    """A structure, scores of tensors that it fits, and some that it does not."""
    block = Block(draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    scores = {}
    for i in range(draw(st.integers(1, 3))):
        rows, columns = draw(st.integers(1, 3)) * block.rows, draw(st.integers(1, 3)) * block.columns
        n = rows * columns
        flat = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), min_size=n, max_size=n))
        scores[f"w{i}"] = torch.tensor(flat).reshape(rows, columns)
    return block, scores


@given(blocked(), st.sampled_from(["global", "layer", "neuron"]), st.data())
def test_blocks_go_whole_and_in_order(problem, scope, data) -> None:
    block, scores = problem
    masks = Masks.dense(scores)
    units = unit_masks(masks, block)
    counts = {
        group: torch.tensor([data.draw(st.integers(0, int(s))) for s in size.reshape(-1)]).reshape(size.shape)
        for group, size in group_sizes(units, scope).items()
    }
    left = remove_units(masks, scores, counts, structure=block, scope=scope)
    after = unit_masks(left, block)
    assert units.active - after.active == sum(int(count.sum()) for count in counts.values())
    assert left.active == after.active * block.unit
    means = {}
    for name, score in scores.items():  # block by block
        rows, columns = score.shape[0] // block.rows, score.shape[1] // block.columns
        means[name] = torch.zeros(rows, columns, dtype=torch.float64)
        for r in range(rows):
            for c in range(columns):
                at = slice(r * block.rows, (r + 1) * block.rows), slice(c * block.columns, (c + 1) * block.columns)
                means[name][r, c] = score[at].double().mean()
                assert len(left[name][at].unique()) == 1
                assert bool(left[name][at].all()) == bool(after[name][r, c])
    assert after == remove_smallest(units, means, counts, scope=scope)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**31))
def test_n_of_m_keeps_the_largest(n, more, rows, seed) -> None:
    structure = NofM(n, n + more)
    generator = torch.Generator().manual_seed(seed)
    scores = {"w": torch.rand(rows, 3, structure.m, generator=generator), "odd": torch.rand(2, structure.m + 1)}
    masks = Masks({name: torch.rand(s.shape, generator=generator) < 0.7 for name, s in scores.items()})
    left = keep_n_of_m(masks, scores, structure)
    assert left <= masks
    assert torch.equal(left["odd"], masks["odd"])
    for score, before, after in zip(*(t["w"].reshape(-1, structure.m) for t in (scores, masks, left)), strict=True):
        assert int(after.sum()) == min(n, int(before.sum()))
        if bool((before & ~after).any()):
            assert float(score[before & ~after].max()) <= float(score[after].min())


def test_groups_run_along_the_inputs() -> None:
    """The rows of weight.flatten(1): input channels outside, kernel inside."""
    scores = {"conv": torch.zeros(2, 2, 1, 2)}
    scores["conv"][:, 1] = 1.0
    left = structured(Masks.dense(scores), scores, NofM(2, 4))["conv"]
    assert left[:, 1].all()
    assert not left[:, 0].any()
    tall = structured(Masks.dense(scores), scores, Block(2, 1), removed=4)["conv"]
    assert torch.equal(tall, left)
    last = {"conv": scores["conv"].to(memory_format=torch.channels_last)}
    assert torch.equal(structured(Masks.dense(last), last, Block(2, 1), removed=4)["conv"], tall)
    assert torch.equal(structured(Masks.dense(last), last, NofM(2, 4))["conv"], left)


def test_element_is_the_plain_selector() -> None:
    torch.manual_seed(0)
    scores = {"a": torch.randn(5, 6), "b": torch.randn(7, 3)}
    masks = Masks.dense(scores)
    plain = remove_smallest(masks, scores, {"global": torch.tensor(20)}, scope="global")
    assert structured(masks, scores, Element(), removed=20) == plain


def test_signed_scores_keep_their_sign() -> None:
    scores = {"w": torch.tensor([[-9.0, -9.0, 1.0, 1.0]])}
    assert unit_scores(scores, Block(1, 2))["w"].tolist() == [[-9.0, 1.0]]
    assert structured(Masks.dense(scores), scores, Block(1, 2), removed=2)["w"].int().tolist() == [[0, 0, 1, 1]]


def test_dead_weights_count_as_nothing() -> None:
    scores = {"w": torch.tensor([[9.0, 1.0, 2.0, 2.0, 0.0, 0.0]])}
    masks = Masks({"w": torch.tensor([[0, 1, 1, 1, 0, 0]])})
    assert structured(masks, scores, Block(1, 2), removed=2)["w"].int().tolist() == [[0, 0, 1, 1, 0, 0]]


def test_what_does_not_fit_stays_dense() -> None:
    scores = {"fits": torch.ones(8, 3), "odd": torch.zeros(6, 3)}
    masks = Masks.dense(scores)
    assert indivisible(masks, Block(4, 1)) == ["odd"]
    left = structured(masks, scores, Block(4, 1), removed=24)
    assert left["odd"].all()
    assert not left["fits"].any()
    with pytest.raises(HowsparseError, match=r"block:4x1 needs a first dimension divisible by 4.*: odd \(6, 3\)"):
        indivisible(masks, Block(4, 1), named=["odd"])
    with pytest.raises(HowsparseError, match=r"nm:2:4 needs matrix rows .* divisible by 4.*fits \(8, 3\), odd"):
        structured(masks, scores, NofM(2, 4))
    with pytest.raises(HowsparseError, match=r"largest reachable sparsity is 0\.571428, because .* stay dense: odd"):
        units_for(masks, Block(4, 1), removed=27)
    assert units_for(masks, Block(4, 1), removed=22) == 6  # halves up


def test_what_must_be_said() -> None:
    scores = {"w": torch.ones(4, 4)}
    with pytest.raises(HowsparseError, match=r"fixes the sparsity at 0\.5; leave removed=3 out"):
        structured(Masks.dense(scores), scores, NofM(2, 4), removed=3)
    with pytest.raises(HowsparseError, match="element needs to know how many"):
        structured(Masks.dense(scores), scores, Element())
    with pytest.raises(HowsparseError, match="asked to remove 5 of 4"):
        remove_units(Masks.dense(scores), scores, {"w": torch.tensor(5)}, structure=Block(2, 2), scope="layer")
