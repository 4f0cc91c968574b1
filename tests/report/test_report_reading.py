"""What a run directory says about what is planned."""

import dataclasses

import pytest

import howsparse as hs
from howsparse.report.reading import RunFiles


def run_of(method: hs.methods.CyclicMethod, recipe: hs.Recipe) -> RunFiles:
    task = {"metric": None, "samples": {}}
    return RunFiles({"method": method.to_plain(), "recipe": recipe.to_plain(), "task": task}, {}, (), (), None)


@pytest.mark.parametrize(
    ("method", "recipe", "planned"),
    [
        (hs.OneShot(), hs.Recipe(epochs=3, dense_epochs=5), [5, 3]),
        (hs.RigL(), hs.Recipe(epochs=3), [0, 3]),
        (hs.LOMP(fine_tune=2), hs.Recipe(epochs=3), [3, 2]),
        (hs.ESPN(variant="rewind", early_epochs=2, search_epochs=7), hs.Recipe(epochs=3), [2, 7, 3]),
        (hs.OneShot(), hs.Recipe(epochs=3, optimizer=lambda parameters: None), [3, 3]),
    ],
)
def test_planned_epochs_are_those_of_the_method(method, recipe, planned) -> None:
    run = run_of(method, recipe)
    assert [run.planned_epochs(cycle) for cycle in range(len(planned))] == planned


def test_of_a_method_that_is_not_installed_the_recipe_is_known() -> None:
    run = run_of(hs.RigL(), hs.Recipe(epochs=3, dense_epochs=1))
    foreign = dataclasses.replace(run, settings={**run.settings, "method": {"name": "somebody-elses"}})
    assert [foreign.planned_epochs(cycle) for cycle in range(2)] == [1, 3]
