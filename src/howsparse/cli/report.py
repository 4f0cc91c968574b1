"""``howsparse report``."""

from pathlib import Path

import click

from howsparse.errors import HowsparseError
from howsparse.report import write_report
from howsparse.training.run import CONFIG


@click.command(short_help="write the report of a run again")
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write RUN/report.html anew from what the directory of a pruning run or of a limit holds, finished or not."""
    if not (run / CONFIG).is_file():
        raise HowsparseError(f"{run} is not a run directory: it holds no {CONFIG}")
    click.echo(str(write_report(run)))
