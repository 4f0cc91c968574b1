"""The examples in README and docs run, and say what the files say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_examples_run(page, tmp_path) -> None:
    """All blocks of a page are one program, run in an empty folder with warnings as errors."""
    (tmp_path / "page.py").write_text("\n".join(blocks(page, "python")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "page.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_the_method_in_the_docs_is_the_example() -> None:
    page = ROOT / "docs" / "how-to" / "add-a-method.md"
    example = ROOT / "examples" / "own_method"
    files = [example / f"{name}.py" for name in ("random_pruning", "lamp_at_init")]
    assert blocks(page, "python") == [file.read_text() for file in files]
    assert blocks(page, "toml") == [(example / "pyproject.toml").read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_commands_in_the_docs_exist() -> None:
    from howsparse.cli import main

    for page in PAGES:
        for block in blocks(page, "console"):
            for command in re.findall(r"howsparse ([a-z]+)", block):
                assert main.get_command(None, command) is not None, command


def test_the_table_of_measures_is_the_librarys() -> None:
    from howsparse.measures import AXIOMS, MEASURES

    page = (ROOT / "docs" / "concepts" / "measures.md").read_text()
    for measure in MEASURES.values():
        cells = " | ".join("yes" if axiom in measure.axioms else "-" for axiom in AXIOMS)
        assert f"| `{measure.name}` | `{measure.formula.replace('|', chr(92) + '|')}` | {cells} |" in page
    for axiom, text in AXIOMS.items():
        assert f"- **{axiom}** {text}" in page
