"""Text in columns, at most a hundred characters wide."""

import textwrap
from collections.abc import Sequence

WIDTH = 100


def hung(label: str, text: str) -> list[str]:
    """A text beside its label, with further lines below the text.

    Example:
        >>> hung("eps  ", "0.01")
        ['eps  0.01']
    """
    indent = " " * len(label)
    return textwrap.wrap(text, WIDTH, initial_indent=label, subsequent_indent=indent, break_on_hyphens=False)


def columns(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Lines of name, value and remark.

    Example:
        >>> columns([("trace", "39.9", "of the Hessian")])
        ['trace                     39.9  of the Hessian']
    """
    return [line for name, value, about in rows for line in hung(f"{name:<20} {value:>9}  ", about)]
