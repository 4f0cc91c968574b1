"""The words and tables of a limit's page."""

import pytest

from howsparse.report.limit_summary import cells, doubling, facts, flat, layers, story
from howsparse.report.tables import setting_groups
from tests.report import limits_by_hand as by_hand


def test_the_three_numbers_come_with_their_intervals():
    found = [(c.label, c.origin, c.value, c.interval) for c in cells(by_hand.limit())]
    assert found == [
        ("One-shot limit", "measured", "0.500", "0.450 to 0.550"),
        ("Re-tuned limit", "predicted", "0.800", "0.700 to 0.850"),
        ("Paper's formula", "theory", "0.600", "0.400 to 0.750"),
    ]


def test_sparsities_near_one_keep_their_digits():
    near = {**by_hand.retuned(), "value": 0.99642, "low": 0.99, "high": 0.9981}
    cell = cells(by_hand.limit(retuned=near))[1]
    assert (cell.value, cell.interval) == ("0.9964", "0.9900 to 0.9981")


def test_the_retuned_limit_names_its_recipe():
    meaning = cells(by_hand.limit())[1].meaning
    assert "(10 epochs of sgd, learning rate 0.05, cosine)" in meaning
    assert "from 2 short trainings" in meaning


@pytest.mark.parametrize(
    ("low", "high", "value"), [(0.0, 0.9, "below 0.900"), (0.75, 1.0, "above 0.750"), (0.3, 0.9, "between")]
)
def test_a_race_without_an_answer_says_on_which_side_it_lies(low, high, value):
    cell = cells(by_hand.limit(retuned={**by_hand.retuned(), "value": None, "low": low, "high": high}))[1]
    assert (cell.value, cell.drawn) == (value, False)
    assert "could not be told from 2 short trainings" in cell.meaning


def test_limits_that_were_not_computed_are_left_out():
    assert [cell.kind for cell in cells(by_hand.limit(**by_hand.ALONE))] == ["one-shot"]
    assert cells(by_hand.unfinished(eps={"value": 0.1}, **{"one-shot 1000": [1.0, 0.1]})) == []


@pytest.mark.parametrize(
    ("points", "value", "check"),
    [
        ([(0.25, 0.2), (0.19, 0.4)], 0.8, "2 full retrainings: 0.800 (0.790 to 0.810), inside the predicted interval."),
        (
            [(0.1, 0.2), (0.05, 0.4)],
            0.92,
            "2 full retrainings: 0.920 (0.910 to 0.930), outside the predicted interval.",
        ),
        (
            [(0.25, 0.2), (0.2, 0.3)],
            None,
            "2 full retrainings afterwards: the loss came back up to 0.800, the sparsest",
        ),
        ([(0.25, 0.4)], None, "1 full retraining afterwards: the loss did not come back even at 0.750, the densest"),
        ([(0.25, 0.4), (0.2, 0.2)], None, "came back at some sparsities and not at smaller ones."),
        ([], None, ""),
    ],
)
def test_full_retrainings_are_held_against_the_prediction(points, value, check):
    cell = cells(by_hand.limit(verified=by_hand.verified(*points, value=value)))[1]
    assert check in cell.check
    assert bool(cell.check) == bool(points)


def test_the_story_says_it_in_a_sentence_or_two():
    assert story(by_hand.limit()) == (
        "Net has 1,000 prunable weights and a training loss of 0.2000. The 500 smallest ones (50.0 %) can be removed "
        "as they are before the loss rises by more than ε = 0.1. With retraining it should be about 80.0 %."
    )
    assert "With retraining" not in story(by_hand.limit(retuned=None))


@pytest.mark.parametrize(("measured", "words"), [(0.0, "Not a single one can be removed"), (1.0, "All of them can be")])
def test_the_story_of_all_or_nothing(measured, words):
    assert words in story(by_hand.limit(one_shot={**by_hand.one_shot(), "measured": measured}))


def test_the_story_of_an_unfinished_limit_says_where_it_stands():
    assert story(by_hand.unfinished()) == "This limit is not finished. The same command goes on from there."
    notes = {
        "eps": {"value": 0.1},
        "one-shot 9": [0.1, 0],
        "race 0.1 epochs 1": [],
        "race 0.2 epochs 1": [],
        "paper": {},
    }
    assert story(by_hand.unfinished(**notes)).startswith(
        "This limit is not finished: ε is known, 1 pruned network measured, 2 trainings of the race run, the curvature"
    )


def test_facts():
    found = {fact.label: (fact.value, fact.note) for fact in facts(by_hand.limit())}
    assert found["ε, the allowed rise of the training loss"] == (
        "0.1",
        "sample-std: sigma 1 over 500 samples, batches of 128",
    )
    assert found["Dense network's training loss"][0] == "0.2500"
    assert found["Rise when every weight is removed"] == ("2.0000", "20 ε")
    assert found["Largest eigenvalue of the Hessian, λ_max"] == ("2.5000", "on 32 samples")
    assert found["Negative mass of the Hessian"] == ("5.0 %", "smallest eigenvalue −0.5000, on 32 samples")
    assert found["Trace of the Gauss-Newton matrix"] == ("11.0000", "1.0000 of it from the samples left out")
    assert found["R, norm of the removed weights"][0] == "2.0000"
    assert found["Samples of the curvature"][0] == "100 of 500"
    assert found["Race"] == ("2 epochs", "in all, of masked training at 2 sparsities; the recipe has 10")
    assert found["Cost"] == (
        "1 min 15 s",
        "asked for 6 epochs of racing and 3 of curvature, expected 1 min 0 s; about 8.2 gradients a training sample",
    )
    assert "Held-out accuracy kept up to" not in found


def test_facts_of_what_was_not_computed_are_left_out():
    labels = [fact.label for fact in facts(by_hand.limit(**by_hand.ALONE))]
    assert len(labels) == 5
    assert not any("Hessian" in label or "R, norm" in label or "Race" in label for label in labels)
    assert facts(by_hand.unfinished(eps={"value": 0.1})) == []


def test_the_accuracy_limit_is_a_fact_when_it_is_known():
    accuracy = {**by_hand.result()["accuracy"], "value": 0.7}
    found = {fact.label: fact for fact in facts(by_hand.limit(accuracy=accuracy))}
    assert found["Held-out accuracy kept up to"].value == "0.700"
    assert found["Held-out accuracy kept up to"].note.startswith("within 0.005 of the dense network's 0.9200")


def test_minutes_are_named_where_they_were_asked_for():
    found = by_hand.limit()
    found.settings["settings"]["minutes"] = 2.5
    assert facts(found)[-1].note.startswith("asked for 2.5 minutes")


def test_what_eps_is_worth_is_read_off_the_curve():
    assert doubling(by_hand.limit()) == pytest.approx(0.05)
    assert flat(by_hand.limit()) == pytest.approx(2 * 0.1 / 4)
    assert doubling(by_hand.limit(paper=None)) is flat(by_hand.limit(paper=None)) is None
    assert flat(by_hand.limit(paper={**by_hand.paper(), "R": 0.0})) is None


def test_layers_name_what_they_share():
    first, second = layers(by_hand.limit())
    assert (first.size, first.kept, first.norm, first.sharpness) == ("900", "0.3800", "70.0 %", "90.0 %")
    assert (first.kept_percent, first.norm_percent, first.sharpness_percent) == ("38.00%", "70.00%", "90.00%")
    assert (second.sharpness, second.sharpness_percent) == ("", "0.00%")
    assert layers(by_hand.limit(paper=None)) == []


def test_the_settings_of_a_limit_are_grouped():
    groups = {group.title: dict(group.rows) for group in setting_groups(by_hand.limit())}
    assert list(groups) == ["Limit", "Recipe", "Task", "Environment"]
    assert groups["Limit"]["minutes"] == "none"
    assert groups["Task"]["train samples"] == "500"
