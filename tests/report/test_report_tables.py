"""The rows of the report's tables."""

import dataclasses

from howsparse.report.tables import cycle_rows, layer_rows, setting_groups, worth_rows


def test_a_merely_pruned_network_stands_in_the_row_of_its_sparsity(make_run):
    rows = cycle_rows(make_run([0, 0.5, 0.8], [0.9, 0.88, 0.7], merely=[0.6, 0.4], chosen=1))
    assert [row.sparsity for row in rows] == ["0.0000", "0.5000", "0.8000"]
    assert [row.merely_pruned for row in rows] == ["", "0.6000", "0.4000"]
    assert [row.test for row in rows] == ["0.9000", "0.8800", "0.7000"]
    assert [row.held_out for row in rows] == ["1.0000", "0.9800", "0.8000"]
    assert [row.live for row in rows] == ["1,000", "500", "200"]
    assert [row.chosen for row in rows] == [False, True, False]


def test_the_cycle_in_training_has_a_row_of_its_own(make_run):
    rows = cycle_rows(make_run([0.0], [0.9], merely=[0.3]))
    assert [row.in_training for row in rows] == [False, True]
    assert (rows[1].cycle, rows[1].sparsity, rows[1].merely_pruned, rows[1].test) == (1, "0.9900", "0.3000", "")
    assert not any(row.chosen for row in rows)
    assert cycle_rows(make_run([], [])) == []


def test_null_is_undefined_and_unmeasured_is_empty(make_run):
    run = make_run([0, 1.0], [0.9, None], merely=[None], pqi=[0.2, None], chosen=0)
    row = cycle_rows(run)[1]
    assert (row.pqi, row.gini, row.test, row.merely_pruned) == ("undefined",) * 4
    bare = dataclasses.replace(run, cycles=tuple({**record, "val": None} for record in run.cycles))
    assert cycle_rows(bare)[0].held_out == ""


def test_layers_are_those_of_the_answer(make_run):
    run = make_run([0, 0.5, 0.8], [0.9] * 3, pqi=[0.3, 0.2, None], chosen=1)
    (row,) = layer_rows(run)
    assert (row.name, row.sparsity, row.removed_percent) == ("fc.weight", "0.5000", "50.00%")
    assert (row.live, row.total, row.pqi) == ("500", "1,000", "0.2000")
    assert layer_rows(dataclasses.replace(run, result=None))[0].pqi == "undefined"  # the last complete cycle
    assert layer_rows(make_run([], [])) == []


def test_what_zeros_are_worth(make_run):
    rows = worth_rows(make_run([0, 0.75], [0.9] * 2, chosen=1))
    assert [row.value for row in rows] == ["4,040 bytes", "1,165 bytes", "1,500 bytes", "1,000", "250"]
    assert [row.change for row in rows] == ["", "3.47 times smaller", "2.69 times smaller", "", "4.00 times smaller"]
    assert worth_rows(make_run([0.0], [0.9])) == []


def test_settings_are_grouped_and_in_words(make_run):
    groups = {group.title: dict(group.rows) for group in setting_groups(make_run([0.0], [0.9]))}
    assert list(groups) == ["Method", "Recipe", "Task", "Environment"]  # nothing is known of the origin
    assert groups["Recipe"]["dense epochs"] == "none"
    assert groups["Task"]["parameters"] == "2 tensors, 1,010 numbers"
    assert groups["Task"]["test samples"] == "50"
    assert groups["Environment"] == {"howsparse": "0.0.1", "threads": "1"}
