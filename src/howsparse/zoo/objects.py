"""Objects of the user's own modules and files, by name."""

import contextlib
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from howsparse.errors import HowsparseError, near


def load_object(spec: str) -> Any:
    """The object that package.module:name or path/to/file.py:name stands for.

    Modules are found in the working directory and wherever Python finds them; a file finds modules beside it. Both
    are imported once, like any module, and no bytecode files are written. Importing runs the user's code.

    Args:
        spec: module or file, a colon, and the name of something defined in it.

    Returns:
        The object, whatever it is.

    Raises:
        HowsparseError: if the file, module or name does not exist, or importing it fails.

    Example:
        >>> load_object("math:sqrt")(4)
        2.0
        >>> load_object("math:flor")
        Traceback (most recent call last):
        howsparse.errors.HowsparseError: math has no 'flor'; did you mean floor?
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise HowsparseError(f"{spec!r} names no object; write package.module:name or path/to/file.py:name")
    is_file = place.endswith(".py") or "/" in place or "\\" in place
    module = _from_file(Path(place).expanduser()) if is_file else _from_module(place)
    if not hasattr(module, name):
        raise HowsparseError(f"{place} has no {name!r}{near(name, dir(module))}")
    return getattr(module, name)


def _from_file(path: Path) -> ModuleType:
    """The module in a file, imported under a name of its own."""
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise HowsparseError(f"the file {path} does not exist{near(path.name, beside)}")
    path = path.resolve()
    name = f"howsparse_user_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise HowsparseError(f"{path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        with _importing(str(path), path.parent):
            found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_module(name: str) -> ModuleType:
    """The module of that dotted name."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise HowsparseError(f"{name!r} is no module name; write package.module:name or path/to/file.py:name")
    with _importing(name, Path.cwd()):
        return importlib.import_module(name)


@contextlib.contextmanager
def _importing(name: str, folder: Path) -> Iterator[None]:
    """Put folder first on the path, write no bytecode, and explain what goes wrong."""
    quiet = sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise HowsparseError(_no_module(name, error.name)) from error
        raise HowsparseError(f"importing {name} failed: it needs {error.name}, which is not installed") from error
    except (Exception, SystemExit) as error:
        raise HowsparseError(f"importing {name} failed with {type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(ValueError):  # the user's own changes to the path stay
            sys.path.remove(str(folder))
        sys.dont_write_bytecode = quiet


def _no_module(name: str, missing: str) -> str:
    """Message for a module that does not exist, with its nearest siblings."""
    parent = missing.rpartition(".")[0]
    where = getattr(sys.modules.get(parent), "__path__", []) if parent else None
    siblings = [f"{parent}.{module.name}" if parent else module.name for module in pkgutil.iter_modules(where)]
    return f"no module {missing!r} for {name!r}{near(missing, siblings)}"
