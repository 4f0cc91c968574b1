"""Writing files so that a kill at any instant leaves the old file or the new one, never half of one."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from howsparse.errors import StorageError


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` by way of a temporary file in the same folder.

    Args:
        path: where the bytes go; an existing file is replaced in one step.
        data: the whole content.

    Raises:
        StorageError: the folder cannot be written or the disk is full; the old file is untouched.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = pathlib.Path(folder) / "note.txt"
        ...     write_atomic(target, b"kept")
        ...     target.read_bytes()
        b'kept'
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~_UMASK)  # mkstemp makes files private; ours follow the user's umask
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise StorageError(
            f"cannot write {path.name} ({len(data):,} bytes) in {path.parent}: {error.strerror or error}. "
            "Free some space or choose another folder; nothing written earlier is lost, the same call goes on."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN is refused because JSON has none."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _read_umask()
