"""Puts tables that scripts make into pages, between two comments, so that no number in the docs is typed by hand."""

import re
from pathlib import Path


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``."""
    content = page.read_text()
    pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
    changed, count = re.subn(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", content, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{page} has {count} places for {name}, one is needed")
    page.write_text(changed)
