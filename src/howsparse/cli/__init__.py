"""The command line."""

from howsparse.cli.app import main

__all__ = ["main"]
