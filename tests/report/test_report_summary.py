"""What the head of the report says."""

import dataclasses

import pytest

from howsparse.report.reading import Yardstick
from howsparse.report.summary import heading, provenance, story, strip


def test_the_story_gives_exact_counts_and_both_metrics(make_run):
    text = story(make_run([0, 0.5, 0.8], [0.9, 0.88, 0.7], chosen=2))
    assert text == (
        "The network was trained 3 times, lost 800 of its 1,000 prunable weights and has a test accuracy of 0.7000, "
        "against 0.9000 when dense."
    )


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ({"stop": "turning-point"}, "cycle 1, where the PQ Index is lowest; the run went on to cycle 2 of 5 planned."),
        (
            {"stop": "tolerance", "tolerance": 0.02},
            "cycle 1, the last one within 0.02 of the dense network on held-out",
        ),
    ],
)
def test_the_story_says_why_an_earlier_cycle_is_the_answer(make_run, method, reason):
    text = story(make_run([0, 0.5, 0.8], [0.9, 0.88, 0.7], chosen=1, **method))
    assert "lost 500 of its" in text
    assert reason in text


@pytest.mark.parametrize(
    ("sparsities", "stop", "expected"),
    [
        ([], "never", "0 cycles of 6 are complete; in cycle 0, 0 of 4 epochs are done."),
        ([0.0], "never", "1 cycle of 6 is complete; in cycle 1, 0 of 4 epochs are done."),
        ([0.0, 0.5], "tolerance", "2 cycles of at most 6 are complete; in cycle 2, 0 of 4 epochs are done."),
        ([0.0] * 6, "never", "6 cycles of 6 are complete, but the result is not written yet."),
    ],
)
def test_an_unfinished_run_says_where_it_stands(make_run, sparsities, stop, expected):
    run = make_run(sparsities, [0.9] * len(sparsities), stop=stop)
    assert story(run) == f"This run is not finished: {expected}"


def test_epochs_of_the_cycle_in_training_are_counted(make_run):
    run = make_run([0.0, 0.5], [0.9, 0.8])
    assert "in cycle 1, 4 of 4 epochs" in story(dataclasses.replace(run, cycles=run.cycles[:1]))
    recipe = {**run.settings["recipe"], "dense_epochs": 9}
    started = dataclasses.replace(run, settings={**run.settings, "recipe": recipe}, cycles=(), epochs=run.epochs[:2])
    assert "in cycle 0, 2 of 9 epochs" in story(started)


def test_a_method_that_is_not_installed_does_not_stop_the_report(make_run):
    run = make_run([0.0], [0.9], name="somebody-elses")
    assert story(run).startswith("This run is not finished: 1 cycle is complete")
    assert (heading(run).method, heading(run).about) == ("somebody-elses", "")


def test_the_strip_of_a_finished_run(make_run):
    cells = {cell.label: cell for cell in strip(make_run([0, 0.75], [0.9, 0.88], chosen=1))}
    assert list(cells) == ["Sparsity", "Test accuracy", "Size, packed", "Multiply-adds", "Effort"]
    assert cells["Sparsity"].value == "0.7500"
    assert cells["Sparsity"].notes == ("250 of 1,000 weights live", "no sparsity asked for")
    assert cells["Test accuracy"].value == "0.8800"
    assert cells["Test accuracy"].notes == ("dense 0.9000", "−0.0200, worse", "on 50 samples")
    assert cells["Size, packed"].value == "1.17 kB"
    assert cells["Size, packed"].notes == ("dense 4.04 kB", "3.47 times smaller")
    assert cells["Effort"].value == "2 cycles"
    assert cells["Effort"].notes == ("8 epochs", "2.0 s of training")


def test_the_strip_names_the_sparsity_asked_for(make_run):
    cell = strip(make_run([0, 0.75], [0.9, 0.88], chosen=1, sparsity=0.7504))[0]
    assert cell.notes[1] == "asked for 0.7504"


def test_the_strip_of_an_unfinished_run_knows_less(make_run):
    assert [cell.label for cell in strip(make_run([0, 0.5], [0.9, 0.8]))] == [
        "Sparsity so far",
        "Test accuracy",
        "Effort",
    ]
    assert strip(make_run([], [])) == []


def test_an_undefined_metric_is_called_undefined(make_run):
    cell = strip(make_run([0, 0.5], [0.9, None], chosen=1))[1]
    assert (cell.value, cell.notes[0]) == ("undefined", "dense 0.9000")


@pytest.mark.parametrize(
    ("higher", "difference", "verdict"),
    [
        (True, 0.1, "better"),
        (True, -0.1, "worse"),
        (False, -0.1, "better"),
        (False, 0.1, "worse"),
        (False, 0, "unchanged"),
    ],
)
def test_better_and_worse_follow_the_metrics_direction(higher, difference, verdict):
    yardstick = Yardstick("nmse", "metric", higher_is_better=higher, split="test")
    assert yardstick.verdict(difference) == verdict


def test_names_given_on_the_command_line_win(make_run):
    run = make_run([0, 0.5], [0.9, 0.8], chosen=1)
    named = dataclasses.replace(run, settings={**run.settings, "origin": {"model": "lenet5", "data": "mnist"}})
    assert (heading(run).model, heading(run).data) == ("Net", "")
    assert (heading(named).method, heading(named).model, heading(named).data) == ("imp", "lenet5", "mnist")
    assert heading(named).about.endswith("arXiv 1803.03635, 1912.05671.")


def without(run, *splits):
    cycles = tuple({**record, **dict.fromkeys(splits)} for record in run.cycles)
    return dataclasses.replace(run, cycles=cycles)


def test_provenance_says_which_data_decided(make_run):
    run = make_run([0, 0.5], [0.9, 0.8], chosen=1)
    assert "without the test data" in provenance(run)
    assert "also chose the epochs" in provenance(without(run, "test"))
    assert "Test figures are only reported" in provenance(without(run, "val"))
    assert provenance(without(run, "val", "test")) == "There were no held-out data."


def test_an_unfinished_run_without_test_data_is_judged_by_held_out_data(make_run):
    run = make_run([0, 0.5], [0.9, 0.8])
    assert run.yardstick.label == "test accuracy"
    assert without(run, "test").yardstick.label == "held-out accuracy"
    assert without(run, "test").yardstick.higher_is_better
