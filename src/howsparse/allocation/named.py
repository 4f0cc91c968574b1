"""Which tensors a name or a shell pattern means."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from howsparse.errors import HowsparseError, near


def named(patterns: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """For each tensor that a pattern matches, the pattern that decides about it.

    A full name goes before shell patterns (``"layer3.*"``), earlier patterns before later ones.

    Args:
        patterns: names or shell patterns; a single string counts as one pattern.
        names: the tensors.

    Returns:
        Tensor name to pattern, in the order of ``names``; tensors that nothing matches are left out.

    Raises:
        HowsparseError: a pattern matches no tensor.

    Example:
        >>> named(["conv*", "conv2.weight"], ["conv1.weight", "conv2.weight", "fc.weight"])
        {'conv1.weight': 'conv*', 'conv2.weight': 'conv2.weight'}
    """
    known, asked = list(names), [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in asked:
        if pattern not in known and not any(fnmatchcase(name, pattern) for name in known):
            raise HowsparseError(
                f"pattern {pattern!r} matches no tensor: there is {', '.join(known[:6])}"
                f"{' ...' if len(known) > 6 else ''}{near(pattern, known)}"
            )
    found = {}
    for name in known:
        hits = [name] if name in asked else [pattern for pattern in asked if fnmatchcase(name, pattern)]
        if hits:
            found[name] = hits[0]
    return found
