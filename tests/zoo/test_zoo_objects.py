"""Objects of the user's own modules and files."""

import sys
from pathlib import Path

import pytest

from howsparse.errors import HowsparseError
from howsparse.zoo import load_object


def test_standard_modules() -> None:
    assert load_object("os.path:join") is __import__("os").path.join


def test_modules_in_the_working_directory(folder: Path) -> None:
    (folder / "pkg_a").mkdir()
    (folder / "pkg_a" / "__init__.py").touch()
    (folder / "pkg_a" / "nets.py").write_text("answer = 41 + 1\n")
    path = list(sys.path)
    assert load_object("pkg_a.nets:answer") == 42
    assert sys.path == path


@pytest.mark.parametrize("spec", ["./nets_b.py:make", "nets_b.py:make", "{}/nets_b.py:make"])
def test_files_and_the_modules_beside_them(folder: Path, spec: str) -> None:
    (folder / "beside_b.py").write_text("def make():\n    return 'made'\n")
    (folder / "nets_b.py").write_text("from beside_b import make\n")
    path = list(sys.path)
    assert load_object(spec.format(folder))() == "made"
    assert sys.path == path
    assert not sys.dont_write_bytecode
    assert sorted(entry.name for entry in folder.iterdir()) == ["beside_b.py", "nets_b.py"]


def test_dataclasses_with_postponed_annotations_work(folder: Path) -> None:
    (folder / "kinds.py").write_text(
        "from __future__ import annotations\nimport dataclasses, typing\n"
        "@dataclasses.dataclass\nclass Kind:\n    count: typing.ClassVar[int] = 3\n    size: int = 1\n"
    )
    assert repr(load_object("kinds.py:Kind")()) == "Kind(size=1)"


def test_a_file_runs_once(folder: Path) -> None:
    (folder / "log").touch()
    (folder / "once.py").write_text(
        "from pathlib import Path\nlog = Path('log')\nlog.write_text(log.read_text() + 'x')\na = b = object()\n"
    )
    assert load_object("once.py:a") is load_object("./once.py:b")
    assert (folder / "log").read_text() == "x"


def test_files_of_the_same_name_are_kept_apart(folder: Path) -> None:
    for i in range(2):
        (folder / str(i)).mkdir()
        (folder / str(i) / "same.py").write_text(f"number = {i}\n")
    assert [load_object(f"{i}/same.py:number") for i in range(2)] == [0, 1]


def test_a_failed_import_leaves_nothing_behind(folder: Path) -> None:
    (folder / "later.py").write_text("import not_there_yet_c\n")
    with pytest.raises(HowsparseError, match=r"later\.py failed: it needs not_there_yet_c"):
        load_object("later.py:x")
    (folder / "not_there_yet_c.py").write_text("")
    (folder / "later.py").write_text("import not_there_yet_c\nx = 1\n")
    assert load_object("later.py:x") == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "failed with ZeroDivisionError: division by zero"),
        ("def f(:", "failed with SyntaxError"),
        ("raise SystemExit(3)", "failed with SystemExit: 3"),
        ("import torch.no_such_thing", r"needs torch\.no_such_thing"),
        ("from torch import no_such_thing", "failed with ImportError.*no_such_thing"),
    ],
)
@pytest.mark.parametrize("spec", ["broken_d.py:f", "broken_d:f"])
def test_failures_of_the_users_code_are_chained(folder: Path, code: str, message: str, spec: str) -> None:
    (folder / "broken_d.py").write_text(code + "\n")
    with pytest.raises(HowsparseError, match=rf"broken_d.*{message}") as caught:
        load_object(spec)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nets_e.py:mkae", r"nets_e\.py has no 'mkae'; did you mean make\?"),
        ("nest_e.py:make", r"nest_e\.py does not exist; did you mean nets_e\.py\?"),
        ("nowhere/nets_e.py:make", r"nowhere.nets_e\.py does not exist$"),
        ("./nets_e:make", "does not exist"),
        ("./readme.txt:make", r"readme\.txt is no Python file"),
        ("nest_e:make", r"no module 'nest_e' for 'nest_e'; did you mean nets_e[,?]"),
        ("collections.acb:Set", r"no module 'collections\.acb'.*did you mean collections\.abc\?"),
        ("math:sqroot", r"math has no 'sqroot'; did you mean sqrt"),
        ("nets_e", "'nets_e' names no object; write"),
        (":make", "names no object"),
        ("nets_e:", "names no object"),
        ("nets_e:make()", "names no object"),
        ("nets e:make", "'nets e' is no module name"),
        (".nets_e:make", "'.nets_e' is no module name"),
    ],
)
def test_nothing_of_that_name(folder: Path, spec: str, message: str) -> None:
    (folder / "nets_e.py").write_text("def make(): pass\n")
    (folder / "readme.txt").touch()
    with pytest.raises(HowsparseError, match=message):
        load_object(spec)
