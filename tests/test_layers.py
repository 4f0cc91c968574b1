"""Imports run downwards only, as docs/architecture.md says."""

import ast
from pathlib import Path

import howsparse

ROOT = Path(howsparse.__file__).parent

LAYERS = [  # from the ground up; a module may import from its own layer's package and from those below
    {"errors"},
    {"files", "settings"},
    {"weights", "batches", "processes", "zoo", "measures", "masks"},
    {"task", "measuring"},
    {"curvature", "named_task"},
    {"scores", "schedules", "allocation"},
    {"training", "deploy"},
    {"structured"},
    {"limits"},
    {"pruners"},
    {"methods"},
    {"report"},
    {"session"},
    {"pruning"},
    {"comparison"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def _unit(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "howsparse":
            found += [node.module] if node.module != "howsparse" else [f"howsparse.{a.name}" for a in node.names]
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.startswith("howsparse.")]
    return [name.split(".")[1] for name in found]


def test_every_module_has_a_layer() -> None:
    assert {_unit(path) for path in ROOT.rglob("*.py")} == set(LEVEL)


def test_imports_run_downwards() -> None:
    upwards = [
        f"{path.relative_to(ROOT)} imports {target}"
        for path in ROOT.rglob("*.py")
        for target in _imports(path)
        if target != _unit(path) and LEVEL.get(target, -1) >= LEVEL[_unit(path)]
    ]
    assert not upwards


def test_importing_the_library_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = ("matplotlib", "scipy", "sklearn", "jinja2", "rich")
    code = f"import sys, howsparse; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]" or out.stdout.strip() == "['jinja2']"  # torch itself may bring jinja2
