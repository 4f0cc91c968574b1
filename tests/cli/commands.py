"""Calling the command line in tests."""

from click.testing import CliRunner, Result

from howsparse.cli import main


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def good(*arguments: object) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result


def bad(*arguments: object) -> str:
    """The error message of a request that must be refused, with exit code 2 and no traceback."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output + str(result.exception)
    assert "Traceback" not in result.output
    return result.stderr
