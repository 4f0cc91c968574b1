"""A run that prunes to a limit says to which."""

import dataclasses
import json

import howsparse as hs
from howsparse.methods import LOMP
from howsparse.report.reading import read_run
from howsparse.report.summary import strip
from tests.limits.small_limit import make
from tests.report import limits_by_hand as by_hand


def test_the_limit_that_was_pruned_to_stands_below_the_sparsity(make_run) -> None:
    run = make_run([0, 0.5], [0.9, 0.88], chosen=1, name="lomp", limit="one-shot", sparsity=None)
    found = strip(dataclasses.replace(run, limit=by_hand.result()))[0]
    assert "the dense network’s one-shot limit: 0.5000, between 0.4500 and 0.5500" in found.notes
    assert not any("limit" in note for note in strip(run)[0].notes)


def test_it_is_read_from_the_run(tmp_path) -> None:
    result = hs.prune(make(), LOMP(), hs.Recipe(epochs=1, lr=0.01), tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "limit" / "result.json").read_text())
    run = read_run(tmp_path / "run")
    assert run.limit == kept
    assert any(f"one-shot limit: {result.achieved:.4f}, between" in note for note in strip(run)[0].notes)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "one-shot limit: " in page
