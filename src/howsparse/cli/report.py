"""``howsparse report``."""

from pathlib import Path

import click

from howsparse.comparison import read_comparison, write
from howsparse.comparison.comparison import JSON
from howsparse.errors import HowsparseError
from howsparse.report import write_report
from howsparse.training.run import CONFIG


@click.command(short_help="write the report of a run again")
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write RUN/report.html anew from what the directory of a pruning run or of a limit holds, finished or not.

    Of a comparison RUN/comparison.html is written, with its tables as JSON, Markdown and CSV.
    """
    if not (run / CONFIG).is_file():
        raise HowsparseError(f"{run} is not a run directory: it holds no {CONFIG}")
    click.echo(str(write(read_comparison(run)) if (run / JSON).is_file() else write_report(run)))
