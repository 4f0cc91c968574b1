"""The file that a report is."""

from pathlib import Path

from howsparse.files import write_atomic
from howsparse.report.limit_page import render_limit
from howsparse.report.limit_reading import holds_limit, read_limit
from howsparse.report.page import render
from howsparse.report.reading import read_run

REPORT = "report.html"


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the directory of a pruning run or of a limit, also while it is not finished.

    Args:
        folder: the directory.

    Returns:
        Path of the report: one file that needs no network.

    Raises:
        HowsparseError: the folder holds neither, a file in it is damaged, or it cannot be written.

    Example:
        >>> import tempfile, torch, howsparse as hs
        >>> data = torch.utils.data.TensorDataset(torch.randn(40, 8), torch.randint(0, 2, (40,)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = hs.prune(hs.Task(torch.nn.Linear(8, 2), data), hs.OneShot(), hs.Recipe(epochs=1), out=folder)
        ...     write_report(Path(folder)).name
        'report.html'
    """
    folder = Path(folder)
    html = render_limit(read_limit(folder)) if holds_limit(folder) else render(read_run(folder))
    write_atomic(folder / REPORT, html.encode())
    return folder / REPORT
