"""The page as a whole: complete, self-contained, well-formed, safe and the same every time."""

import dataclasses
import html
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from howsparse.errors import HowsparseError
from howsparse.report import read_run, render, write_report

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}


class Reader(HTMLParser):
    """Collects tags, ids, references and text; fails on tags that do not close in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.references, self.texts = [], [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self._seen(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._seen(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def _seen(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
            if name in ("href", "xlink:href"):
                self.references.append(value.removeprefix("#"))

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def page(run_folder):
    return render(read_run(run_folder))


def test_the_key_numbers_are_on_the_page(page, run_folder):
    result = json.loads((run_folder / "result.json").read_text())
    text = Reader(page).text
    assert "32 of 64 weights live" in text
    assert "asked for 0.5000" in text
    assert "lost 32 of its 64 prunable weights" in text
    for value in (result["metric"]["dense"], result["metric"]["pruned"]):
        assert f"{value:.4f}" in text
    for value in result["bytes"].values():
        assert f"{value:,} bytes" in text
    assert "on 40 samples" in text
    assert "a count, not a time" in text
    assert "do not by themselves make convolutions or dense matrix products faster" in text
    assert "urning point" not in text  # of two cycles nothing can be said
    assert "test figures are only reported" in text
    assert "Made by howsparse" in text


def test_all_three_plots_of_two_cycles_are_inside(page):
    labels = [attrs["aria-label"] for tag, attrs in Reader(page).tags if tag == "svg"]
    assert labels == [
        "Test accuracy against sparsity",
        "Histograms of the weights",
        "Training loss and held-out metric against epoch",
    ]


def test_nothing_comes_from_the_network(page):
    assert set(re.findall(r"[a-z]+://[^\s\"'<>]*", page)) == {"http://www.w3.org/2000/svg"}
    reader = Reader(page)
    assert not {"script", "link", "img", "iframe", "object", "base", "image"} & {tag for tag, _ in reader.tags}
    assert "@import" not in page
    assert "@font-face" not in page
    assert not any("src" in attrs for _, attrs in reader.tags)


def test_ids_are_unique_and_every_reference_has_its_target(page):
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids)) > 0
    assert set(reader.references) == set(reader.ids)


def test_plots_are_well_formed_and_bring_no_style_of_their_own(page):
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) == 3
    for plot in plots:
        root = ET.fromstring(plot)
        assert root.get("viewBox")
        assert root.get("width") is None
        assert "font-family" not in plot
        assert "<style" not in plot


def test_names_cannot_become_markup(page):
    reader = Reader(page)
    assert "alert('net')" not in page
    assert "<script>alert('net')</script>" in reader.text
    assert 'toy & "co"</style>' in reader.text
    assert page.count("</style>") == 1


def test_names_in_plots_are_taken_literally(make_run):
    run = make_run([0, 0.5], [0.9, 0.8], chosen=1)
    name = "<b>$x_1$ & co"
    result = {**run.result, "metric": {**run.result["metric"], "name": name}}
    page = render(dataclasses.replace(run, result=result))
    assert name not in page
    axis = next(found for found in re.findall(r"<text[^>]*>([^<]*)</text>", page) if found.startswith("test "))
    assert html.unescape(axis) == f"test {name}"


def test_the_same_run_gives_the_same_bytes(page, run_folder):
    assert render(read_run(run_folder)) == page


def test_the_users_plot_style_neither_matters_nor_changes(page, run_folder):
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 31, "axes.grid": False, "axes.unicode_minus": False}):
        assert render(read_run(run_folder)) == page
        assert (mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]) == (31, None)


def test_write_report_puts_the_page_into_the_run_directory(page, run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    before = {path.name for path in folder.iterdir()}
    path = write_report(folder)
    assert path == folder / "report.html"
    assert path.read_text(encoding="utf-8") == page
    assert {found.name for found in folder.iterdir()} == before | {"report.html"}


def test_no_path_of_this_machine_is_on_the_page(page, run_folder):
    assert str(run_folder.parent) not in page


@pytest.mark.parametrize("lines", [0, 2, 5, 7])
def test_an_unfinished_run_has_a_report_too(run_folder, tmp_path, lines):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / "result.json").unlink()
    history = (folder / "history.jsonl").read_text().splitlines(keepends=True)
    (folder / "history.jsonl").write_text("".join(history[:lines]) + '{"kind": "epo')  # killed while writing
    text = Reader(write_report(folder).read_text(encoding="utf-8")).text
    done, epochs = (1, lines - 4) if lines > 3 else (0, lines)
    assert f"not finished: {done} cycle{'' if done == 1 else 's'} of 2" in text
    assert f"in cycle {done}, {epochs} of 3 epochs are done" in text
    assert ("in training" in text) == (done == 1)
    assert "answer" not in text


def test_a_run_without_a_history_file_has_a_report(run_folder, tmp_path):
    shutil.copy(run_folder / "config.json", tmp_path)
    assert "0 cycles of 2 are complete; in cycle 0, 0 of 3 epochs are done" in render(read_run(tmp_path))


def test_undefined_values_are_named(make_run):
    run = make_run([0, 0.5, 1.0], [0.9, None, 0.1], merely=[None, 0.1], pqi=[0.3, 0.2, None], chosen=2)
    text = Reader(render(run)).text
    assert text.count("undefined") == 7  # PQ Index and Gini in two tables, three metrics of cycle 1
    assert " nan" not in text.lower()


def test_a_run_in_which_nothing_can_be_measured_has_a_report(make_run):
    run = make_run([0, 1.0], [None, None], merely=[None], pqi=[None, None], chosen=1)
    bare = tuple({**record, "val": None, "test": None} for record in run.cycles)
    reader = Reader(render(dataclasses.replace(run, cycles=bare, epochs=())))
    assert "test accuracy of undefined, against undefined when dense" in reader.text
    assert "There were no held-out data." in reader.text


def test_a_task_without_a_metric_is_judged_by_its_loss(make_run):
    run = make_run([0, 0.5], [None, None])
    settings = {**run.settings, "task": {**run.settings["task"], "metric": None}}
    text = Reader(render(dataclasses.replace(run, settings=settings))).text
    assert "Test loss against sparsity" in text
    assert "0.7000" in text


def test_a_confirmed_turn_is_explained(make_run):
    run = make_run([0, 0.5, 0.7, 0.8, 0.9], [0.9] * 5, pqi=[0.31, 0.24, 0.20, 0.23, 0.27], chosen=2)
    text = Reader(render(run)).text
    assert "Turning point at sparsity 0.7000 (between 0.5000 and 0.8000)." in text
    assert "By its end the run was compressing." in text


def test_uncounted_layers_are_admitted(make_run):
    run = make_run([0, 0.5], [0.9, 0.8], chosen=1)
    result = {**run.result, "multiply_adds": {"dense": 0, "sparse": 0, "uncounted": ["rnn.weight_hh_l0"]}}
    assert "Not counted" in (page := render(dataclasses.replace(run, result=result)))
    assert "rnn.weight_hh_l0" in page


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(HowsparseError, match="holds no run"):
        write_report(tmp_path)


def test_a_damaged_history_is_refused(run_folder, tmp_path):
    shutil.copy(run_folder / "config.json", tmp_path)
    (tmp_path / "history.jsonl").write_text("{not json}\n")
    with pytest.raises(HowsparseError, match=r"history\.jsonl is damaged"):
        write_report(tmp_path)


def test_importing_the_report_does_not_import_matplotlib():
    code = "import sys, howsparse.report; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
