"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference vectors and real data, or skip."""
    if not SHARED.is_dir():
        pytest.skip("../shared (reference vectors and real data) is not here")
    return SHARED
