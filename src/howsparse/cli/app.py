"""The ``howsparse`` command: its groups, its errors and its exit codes."""

import os
import sys
from typing import Any

import click

from howsparse.errors import DivergedError, HowsparseError, StorageError

EPILOG = "Exit codes: 0 done, 1 the run failed on the way, 2 something in the request is wrong, 130 interrupted."


class _Commands(click.Group):
    """Turns the errors we raise on purpose into one message and an exit code; loads commands when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [
            *("measure", "limit", "prune", "compact", "compare", "predictor", "report", "spectrum"),
            *("methods", "models", "data"),
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name == "measure":
            from howsparse.cli.measure import measure

            return measure
        if cmd_name == "limit":
            from howsparse.cli.limit import limit_command

            return limit_command()
        if cmd_name == "spectrum":
            from howsparse.cli.spectrum import spectrum_command

            return spectrum_command()
        if cmd_name == "prune":
            from howsparse.cli.prune import prune_command

            return prune_command()
        if cmd_name == "compact":
            from howsparse.cli.compact import compact_command

            return compact_command
        if cmd_name == "predictor":
            from howsparse.cli.predictor import predictor_command

            return predictor_command()
        if cmd_name == "compare":
            from howsparse.cli.compare import compare_command

            return compare_command()
        if cmd_name == "report":
            from howsparse.cli.report import report

            return report
        from howsparse.cli import listings

        return {"methods": listings.methods, "models": listings.models, "data": listings.data}.get(cmd_name)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except (DivergedError, StorageError) as error:
            _fail(error, code=1)
        except HowsparseError as error:
            _fail(error, code=2)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted; where --out names a run directory, the same command goes on from there", err=True)
            sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    if os.environ.get("RANK", "0") == "0":  # under torchrun every process fails alike; one says why
        click.echo(f"error: {error}", err=True)
    sys.exit(code)


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="howsparse", prog_name="howsparse")
def main() -> None:
    """How sparse can this network be pruned? Measure it, then take it there.

    \b
      howsparse measure weights.safetensors
      howsparse limit --model mlp --data digits --weights weights.safetensors
      howsparse prune --model mlp --data digits --method sap --out runs/first
      howsparse compare --model mlp --data digits --methods imp,sap --sparsities 0.9 --epochs 6 --out runs/two
      howsparse report runs/first
    """
