"""Which indices of which dimensions must be removed together: equality of labels, with a reason for those that stay."""

from typing import Any

import numpy as np

from howsparse.errors import HowsparseError

Indices = np.ndarray[Any, np.dtype[np.int64]]
FIXED = 0  # the label of an index that can never be removed


class Labels:
    """Classes of labels under "removed together" (a union-find), each free or fixed with a reason.

    A dimension of a tensor is an array of labels, one per index. Label 0 is fixed from the start.

    Example:
        >>> labels = Labels()
        >>> a, b = labels.fresh(3), labels.fresh(3)
        >>> labels.join(a, b, "addition")
        >>> bool((labels.roots(a) == labels.roots(b)).all())
        True
        >>> labels.fix(b[:1], "softmax over it")
        >>> labels.free(a).tolist(), labels.reason(a[0])
        ([False, True, True], 'softmax over it')
    """

    def __init__(self) -> None:
        self._parent = np.zeros(1024, dtype=np.int64)
        self._used = 1
        self._reasons: dict[int, str] = {FIXED: "it belongs to the input, the output or a dimension no layer has made"}

    @property
    def count(self) -> int:
        """Labels given out so far; the next one has this number."""
        return self._used

    def fresh(self, count: int) -> Indices:
        """Labels that are joined to no other, shape (count,)."""
        first, self._used = self._used, self._used + count
        while self._used > len(self._parent):
            self._parent = np.concatenate([self._parent, np.zeros_like(self._parent)])
        new = np.arange(first, self._used)
        self._parent[first : self._used] = new
        return new

    def roots(self, labels: Indices) -> Indices:
        """The representative of each label's class, same shape."""
        roots = self._parent[labels]
        while not np.array_equal(roots, above := self._parent[roots]):
            roots = above
        self._parent[labels] = roots
        return roots

    def free(self, labels: Indices) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each index may be removed, same shape."""
        roots = self.roots(labels)
        fixed = np.fromiter(self._reasons, dtype=np.int64)
        return ~np.isin(roots, fixed)

    def reason(self, label: int) -> str:
        """Why an index stays.

        Raises:
            HowsparseError: the index may be removed.
        """
        root = int(self.roots(np.array([label]))[0])
        if root not in self._reasons:
            raise HowsparseError(f"label {label} is free")
        return self._reasons[root]

    def fix(self, labels: Indices, reason: str) -> None:
        """Never remove these indices, nor those joined to them."""
        for root in np.unique(self.roots(labels)):
            self._reasons.setdefault(int(root), reason)

    def join(self, a: Indices, b: Indices, reason: str) -> None:
        """Remove index i of ``a`` exactly when index i of ``b`` is removed.

        Args:
            a: labels.
            b: labels, same shape.
            reason: what joins them; told when one of them is fixed and the other was free.
        """
        first, second = self.roots(a.reshape(-1)), self.roots(b.reshape(-1))
        pairs = np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)[first != second]
        for root in pairs[pairs[:, 0] == FIXED, 1].tolist():  # kept apart: every class remembers its own reason
            self._reasons.setdefault(root, reason)
        pairs = np.unique(pairs[pairs[:, 0] != FIXED], axis=0)
        if len(np.unique(pairs)) == pairs.size:  # no class is met twice
            self._parent[pairs[:, 1]] = pairs[:, 0]
            for older, root in pairs[np.isin(pairs[:, 1], list(self._reasons))].tolist():
                self._reasons.setdefault(older, self._reasons.pop(root))
            return
        for one, two in pairs.tolist():
            self._join_one(one, two)

    def _join_one(self, a: int, b: int) -> None:
        a, b = sorted(self.roots(np.array([a, b])).tolist())
        if a == b:
            return
        self._parent[b] = a
        if b in self._reasons:
            self._reasons.setdefault(a, self._reasons.pop(b))
