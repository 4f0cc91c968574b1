"""The head of the report: what was run, what happened, and the few numbers that matter."""

from dataclasses import dataclass

from howsparse.errors import HowsparseError
from howsparse.methods import method_class
from howsparse.report.limit_reading import intervals
from howsparse.report.reading import Record, RunFiles
from howsparse.report.wording import count, difference, duration, number, ratio, sentence, short, sparsity


@dataclass(frozen=True)
class Heading:
    """Names of a run's parts; empty where the run does not know them."""

    method: str
    model: str
    data: str
    about: str  # what the method does and its source


@dataclass(frozen=True)
class Cell:
    """One number of the summary strip with its remarks."""

    label: str
    value: str
    notes: tuple[str, ...]


def heading(run: RunFiles) -> Heading:
    """Who pruned what on which data.

    Args:
        run: the run.

    Returns:
        The names, as given on the command line where the run was started there.
    """
    origin, name = run.settings.get("origin") or {}, str(run.settings["method"]["name"])
    try:
        method = method_class(name)
        about = f"{sentence(method.about)}. {method.source}."
    except HowsparseError:
        about = ""
    model = str(origin.get("model") or run.settings["task"]["name"])
    return Heading(method=name, model=model, data=str(origin.get("data") or ""), about=about)


def story(run: RunFiles) -> str:
    """What happened, in a sentence or two.

    Args:
        run: the run, finished or not.

    Returns:
        Plain text.
    """
    if run.result is None:
        return _standing(run)
    result = run.result
    removed, metric = result["total"] - result["active"], result["metric"]
    trainings = len({record["cycle"] for record in run.epochs})  # trained weights may have needed none at first
    trained = f"was trained {count(trainings, 'time')}, " if trainings > 2 else ""
    text = (
        f"The network {trained}lost {count(removed)} of its {count(result['total'])} prunable weights and has a "
        f"{run.yardstick.label} of {number(metric['pruned'])}, against {number(metric['dense'])} "
        f"{'when dense' if run.start == 'dense' else 'as it was given'}."
    )
    return f"{text} {_choice(run, result)}".strip()


def _choice(run: RunFiles, result: Record) -> str:
    """Why an earlier cycle's network is the answer, if it is."""
    chosen, last = result["chosen_cycle"], result["cycles"] - 1
    if chosen == last:
        return ""
    method = run.settings["method"]
    reason = {
        "turning-point": ", where the PQ Index is lowest",
        "tolerance": f", the last one within {method.get('tolerance')} of the dense network on held-out data",
    }.get(method.get("stop"), "")
    planned = run.planned_cycles
    early = f" of {planned - 1} planned" if planned is not None and planned > last + 1 else ""
    return f"The answer is the network of cycle {chosen}{reason}; the run went on to cycle {last}{early}."


def _standing(run: RunFiles) -> str:
    """Where an unfinished run stands."""
    cycle, planned = len(run.cycles), run.planned_cycles
    at_most = "at most " if run.settings["method"].get("stop", "never") != "never" else ""
    of = f" of {at_most}{planned}" if planned is not None else ""
    epochs = run.planned_epochs(cycle)
    done = max((record["epoch"] + 1 for record in run.epochs if record["cycle"] == cycle), default=0)
    done_cycles = f"{count(cycle, 'cycle')}{of} {'is' if cycle == 1 else 'are'} complete"
    if planned is not None and cycle >= planned:
        return f"This run is not finished: {done_cycles}, but the result is not written yet."
    return f"This run is not finished: {done_cycles}; in cycle {cycle}, {done} of {count(epochs, 'epoch')} are done."


def strip(run: RunFiles) -> list[Cell]:
    """The numbers that matter, largest first in importance.

    Args:
        run: the run, finished or not.

    Returns:
        Sparsity, metric, size, multiply-adds and effort, without what an unfinished run does not know yet.
    """
    if run.shown is None:
        return [_effort(run)] if run.epochs else []
    cells = [_sparsity(run, run.cycles[run.shown]), _metric(run, run.cycles[run.shown])]
    if run.result is not None:
        sizes, adds = run.result["bytes"], run.result["multiply_adds"]
        cells += [
            Cell(
                "Size, packed",
                short(sizes["packed"], "B"),
                (f"dense {short(sizes['dense'], 'B')}", ratio(sizes["dense"], sizes["packed"])),
            ),
            Cell(
                "Multiply-adds",
                short(adds["sparse"]),
                (f"dense {short(adds['dense'])}", "a count, not a time"),
            ),
        ]
    return [*cells, _effort(run)]


def _sparsity(run: RunFiles, cycle: Record) -> Cell:
    asked = run.settings["method"].get("sparsity")
    return Cell(
        "Sparsity" if run.finished else "Sparsity so far",
        sparsity(cycle["sparsity"]),
        (
            f"{count(cycle['active'])} of {count(cycle['total'])} weights live",
            "no sparsity asked for" if asked is None else f"asked for {sparsity(asked)}",
            *_limit_used(run),
        ),
    )


def _limit_used(run: RunFiles) -> list[str]:
    """The limit of the dense network that the method pruned to."""
    kind = run.settings["method"].get("limit")
    known = {} if run.limit is None else {found.kind: found for found in intervals(run.limit)}
    if kind not in known:
        return []
    value, low, high = known[kind].value, known[kind].low, known[kind].high
    at = "unknown" if value is None else sparsity(value)
    return [f"the dense network’s {kind} limit: {at}, between {sparsity(low)} and {sparsity(high)}"]


def _metric(run: RunFiles, cycle: Record) -> Cell:
    yardstick = run.yardstick
    dense, pruned = yardstick.of(run.cycles[0]), yardstick.of(cycle)
    samples = (cycle.get(yardstick.split) or {}).get("samples")
    notes = ["the dense network" if cycle["cycle"] == 0 else f"{run.start} {number(dense)}"]
    if dense is not None and pruned is not None and cycle["cycle"] > 0 and run.start == "dense":
        notes.append(f"{difference(pruned - dense)}, {yardstick.verdict(pruned - dense)}")
    if samples is not None:
        notes.append(f"on {count(samples, 'sample')}")
    return Cell(sentence(yardstick.label), number(pruned), tuple(notes))


def _effort(run: RunFiles) -> Cell:
    seconds = sum(record["seconds"] for record in run.epochs)
    epochs, took = count(len(run.epochs), "epoch"), f"{duration(seconds)} of training"
    if run.start != "dense":  # one training, or a search and a training: nothing that goes in cycles
        return Cell("Effort", epochs, (took,))
    return Cell("Effort", count(len(run.cycles), "cycle"), (epochs, took))


def provenance(run: RunFiles) -> str:
    """Which data decided and which were only reported.

    Args:
        run: the run.

    Returns:
        Plain text.
    """
    held_out, test = run.measures("val"), run.measures("test")
    if not held_out:
        return "There were no held-out data" + (
            ": no metric decided anything. Test figures are only reported." if test else "."
        )
    if test:
        return "Epochs, cycles and stops are chosen without the test data: test figures are only reported."
    also = ", which also chose the epochs and so flatter a little" if run.settings["recipe"]["keep"] == "best" else ""
    return f"There were no test data: the figures are of the held-out data{also}."
