"""The page of a limit as a whole, of a real one and of some put together by hand."""

import json
import re
import shutil
import xml.etree.ElementTree as ET

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import howsparse as hs
from howsparse.cli import main
from howsparse.errors import HowsparseError
from howsparse.limits.limit import limit
from howsparse.report import read_limit, read_run, render, render_limit, write_report
from howsparse.report.limit_curves import rise
from howsparse.report.limit_plots import plot_rise
from tests.report import limits_by_hand as by_hand
from tests.report.test_report_page import Reader

HEADINGS = [
    "Read with care",
    "What removing weights costs",
    "Held-out accuracy against sparsity",
    "Where the paper’s limit comes from",
    "How the paper’s limit depends on ε",
    "Spectrum of the curvature",
    "The weights and where the limits cut",
    "Larger weights, smaller limit",
    "Layers at the paper’s limit",
    "Facts",
]


@pytest.fixture(scope="module")
def limit_folder(tmp_path_factory):
    """A finished limit of a small trained network with a hostile name: race, formula and two full retrainings."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(320, 6, generator=generator)
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).long()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    data = torch.utils.data.TensorDataset(x, y)
    task = hs.Task(network, data, batch_size=32, val_share=0.2, name="<script>alert('net')</script>")
    folder = tmp_path_factory.mktemp("report") / "limit"
    settings = {"eps": 0.05, "race_epochs": 4, "curvature_epochs": 10, "steps": 6, "verify": 2}
    limit(task, hs.Recipe(epochs=6, lr=0.1), folder, origin={"data": 'toy & "co"</style>'}, **settings)
    return folder


@pytest.fixture(scope="module")
def page(limit_folder):
    return render_limit(read_limit(limit_folder))


@pytest.fixture
def copied(limit_folder, tmp_path):
    """A copy of the directory that a test may change."""
    return shutil.copytree(limit_folder, tmp_path / "limit", ignore=shutil.ignore_patterns("race"))


def headings(page):
    return [" ".join(re.sub("<[^>]*>", "", found).split()) for found in re.findall(r"<h2>(.*?)</h2>", page)]


def test_the_page_of_a_real_limit_answers_in_order(page, limit_folder):
    reader = Reader(page)
    shown = [heading for heading in HEADINGS if heading in headings(page)]
    assert headings(page) == shown
    assert set(HEADINGS) - set(shown) <= {"Read with care"}
    found = json.loads((limit_folder / "result.json").read_text())
    assert f"{found['one_shot']['measured']:.3f}" in reader.text
    assert f"{found['paper']['value']:.3f}" in reader.text
    assert all(warning[1:] in reader.text for warning in found["warnings"])
    assert "2 full retrainings" in reader.text


def test_the_page_is_self_contained_and_well_formed(page, limit_folder):
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids)) > 0
    assert set(reader.references) == set(reader.ids)
    assert not any(tag in ("script", "link", "img") for tag, _ in reader.tags)
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) == 7
    for plot in plots:
        assert ET.fromstring(plot).get("viewBox")
    assert str(limit_folder.parent) not in page
    assert not re.search(r"\b(nan|inf)\b", reader.text)


def test_names_cannot_become_markup(page):
    reader = Reader(page)
    assert "alert('net')" not in page
    assert "<script>alert('net')</script>" in reader.text
    assert 'toy & "co"</style>' in reader.text


def test_the_same_limit_gives_the_same_bytes(page, limit_folder):
    assert render_limit(read_limit(limit_folder)) == page


def test_report_tells_a_limit_from_a_run(page, copied):
    done = CliRunner().invoke(main, ["report", str(copied)])
    assert (done.exit_code, done.output.strip()) == (0, str(copied / "report.html"))
    assert (copied / "report.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("lines", [0, 1, 6, 100])
def test_an_unfinished_limit_has_a_page_too(copied, lines):
    (copied / "result.json").unlink()
    history = (copied / "history.jsonl").read_text().splitlines(keepends=True)
    (copied / "history.jsonl").write_text("".join(history[:lines]) + '{"kind": "no')  # killed while writing
    page = write_report(copied).read_text(encoding="utf-8")
    reader = Reader(page)
    assert "This limit is not finished" in reader.text
    assert ("ε is known" in reader.text) == (lines > 0)
    assert ("What removing weights costs" in headings(page)) == (lines >= 6)
    assert ("Where the paper’s limit comes from" in headings(page)) == (lines == 100)
    assert "Facts" not in headings(page)


def test_a_damaged_history_is_refused(copied):
    (copied / "history.jsonl").write_text("{not json}\n")
    with pytest.raises(HowsparseError, match=r"history\.jsonl is damaged"):
        write_report(copied)


def test_sections_without_data_are_left_out():
    page = render_limit(by_hand.limit(**by_hand.ALONE, warnings=[]))
    Reader(page)
    assert headings(page) == ["What removing weights costs", "The weights and where the limits cut", "Facts"]
    assert "re-tuned" not in Reader(page).text


def test_a_race_without_an_answer_is_shown_without_a_band():
    unknown = {**by_hand.retuned(), "value": None, "low": 0.0, "high": 0.9}
    text = Reader(render_limit(by_hand.limit(retuned=unknown))).text
    assert "below 0.900 the race could not say more" in text
    assert "one-shot , paper's formula" in text  # the keys of the plots


def test_warnings_are_escaped():
    page = render_limit(by_hand.limit())
    assert "The race is <b>short</b>." in Reader(page).text
    assert "<b>" not in page


@pytest.mark.parametrize("dense", [0.2, 100.0])
def test_what_does_not_rise_is_marked_on_the_edge(dense):
    found = rise(by_hand.limit(loss={"train": 1.0, "compared": dense}, verified=by_hand.verified((0.2, 0.1))))
    assert found.one_shot[0][1] < 0
    ET.fromstring(plot_rise(found, by_hand.limit().intervals))


def test_limits_over_the_cycles_of_a_pruning_run(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    before = render(read_run(folder))
    assert "Limits of each cycle’s network" not in headings(before)
    for cycle in ("0", "1", "leftover"):
        (folder / "limits" / cycle).mkdir(parents=True)
        (folder / "limits" / cycle / "result.json").write_text(json.dumps(by_hand.result()))
    (folder / "limits" / "2").mkdir()  # not finished
    assert sorted(read_run(folder).limits) == [0, 1]
    page = render(read_run(folder))
    assert "Limits of each cycle’s network" in headings(page)
    Reader(page)
