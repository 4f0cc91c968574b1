"""The truth table: limits predicted before they are measured, on networks that the prediction was not made from.

    python benchmarks/limit_truth.py predict [CASE ...]    # store predictions
    python benchmarks/limit_truth.py measure [CASE ...]    # retrain around them; hours; resumable
    python benchmarks/limit_truth.py table                 # benchmarks/results/limit_truth.json, docs/results/limit.md

A case is NAME-sSEED, or NAME-sSEED-VARIANT, of limit_tasks.py. Predictions lie in runs/limit_truth/CASE/limit and are
never overwritten; measuring refuses to start without one.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from limit_tasks import FOLDER, TASKS, dense_task
from pages import put

from howsparse.limits.dense import DenseNetwork
from howsparse.limits.extrapolation import Mark, predict_kept
from howsparse.limits.limit import limit
from howsparse.limits.notebook import Notebook
from howsparse.limits.settings import LimitSettings
from howsparse.limits.verify import measure_retuned, retrain
from howsparse.limits.yardstick import Yardstick
from howsparse.training import Run, evaluate
from howsparse.training.randomness import randomness_of_its_own
from howsparse.training.run import environment

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "limit_truth.json"
PAGE = HERE.parent / "docs" / "results" / "limit.md"
TRAININGS = {"resnet20": 2, "resnet32": 2, "resnet56": 2, "dncnn": 3, "stories260k": 1}  # how many retrainings; else 4


def cases() -> list[str]:
    """All cases: every task's seeds, and every variant of its recipe at seed 0."""
    plain = [f"{name}-s{seed}" for name, entry in TASKS.items() for seed in entry.seeds]
    return plain + [f"{name}-s0-{variant}" for name, entry in TASKS.items() for variant in entry.variants]


def parts_of(case: str):
    """Name, seed and recipe of a case."""
    name, _, rest = case.rpartition("-s")
    seed, _, variant = rest.partition("-")
    entry = TASKS[name]
    return name, int(seed), entry.variants[variant] if variant else entry.retrain


def predict(case: str) -> None:
    name, seed, recipe = parts_of(case)
    found = limit(dense_task(name, seed), recipe, FOLDER / case / "limit", seed=seed)
    print(f"{case}: {found} in {found.details['cost']['seconds']:.0f} s", flush=True)


def measure(case: str) -> None:
    """Full masked retrainings until two of them, close together, straddle the target."""
    stored = FOLDER / case / "limit" / "result.json"
    if not stored.exists():
        raise SystemExit(f"{case}: predict first")
    predicted = json.loads(stored.read_text())
    name, seed, recipe = parts_of(case)
    task = dense_task(name, seed)
    dense = DenseNetwork(task.model)
    run = Run(FOLDER / case / "measured", {"case": case, "recipe": recipe.to_plain()})
    notebook = Notebook(run, lambda *_: None)
    yardstick = Yardstick(task, dense.parameters, compared=LimitSettings().compared, seed=seed)
    before = notebook.once("dense test", lambda: evaluate(task, task.test).metric)
    target = yardstick.dense + predicted["eps"]
    retuned = predicted["retuned"] or {}
    start = 1 - (retuned.get("value") or 0.5 * (1 + predicted["one_shot"]["measured"]))

    def retrain_at(kept: float):
        def work():
            started = time.process_time()
            with randomness_of_its_own(task.device):
                found = retrain(task, dense, yardstick, recipe, kept, seed=seed)
            return {**found, "seconds": time.process_time() - started}

        point = notebook.once(f"retrained {kept:.6f}", work)
        print(f"  {case}: kept {kept:.4f} {(point['loss'] - yardstick.dense) / predicted['eps']:+.2f} eps", flush=True)
        return point

    kept, points = measure_retuned(retrain_at, start, target, TRAININGS.get(name, 4))
    run.finish({
        "kept": None if kept is None else vars(kept),
        "points": points,
        "dense": before,
        "eps": predicted["eps"],
        "loss": yardstick.dense,
        "epochs": len(points) * recipe.epochs,
    })  # fmt: skip
    run.close()
    print(f"{case}: measured kept {kept}, predicted {start:.4f}", flush=True)


def rows() -> list[dict]:
    """Predicted beside measured, for every case that has both."""
    found = []
    for case in cases():
        stored, measured = (FOLDER / case / part / "result.json" for part in ("limit", "measured"))
        if not stored.exists():
            continue
        limits = json.loads(stored.read_text())
        truth = json.loads(measured.read_text()) if measured.exists() else None
        retuned, paper = limits["retuned"], limits["paper"]
        row = {
            "case": case,
            "weights": limits["weights"],
            "recipe": {k: limits["recipe"][k] for k in ("epochs", "optimizer", "lr", "weight_decay")},
            "steps_per_epoch": limits["recipe"]["steps_per_epoch"],
            "loss": limits["loss"]["compared"],
            "eps": limits["eps"],
            "one_shot": {k: limits["one_shot"][k] for k in ("measured", "low", "high", "quadratic")},
            "paper": {k: paper[k] for k in ("value", "low", "high", "samples", "trace_bound")} if paper else None,
            "retuned": {k: retuned[k] for k in ("value", "low", "high", "straddled", "epochs", "probes")},
            "cost": limits["cost"],
            "warnings": limits["warnings"],
            "measured": truth,
        }
        if truth and truth["kept"] and retuned["value"]:
            row["error"] = math.log((1 - retuned["value"]) / truth["kept"]["value"])
            row["error_of_two_laps"] = _two_laps(row, retuned)
            row["covered"] = retuned["low"] <= 1 - truth["kept"]["value"] <= retuned["high"]
        found.append(row)
    return found


def _two_laps(row: dict, retuned: dict) -> float | None:
    """The error had only the first two racers run their first laps."""
    lap = min(probe["marks"][-1][0] for probe in retuned["probes"])
    per = row["steps_per_epoch"]
    first = retuned["probes"][:2] if len(retuned["probes"]) == 2 else []
    probes = {1 - p["sparsity"]: [Mark(*m) for m in p["marks"] if m[0] <= min(lap, 2 * per)] for p in first}
    found = predict_kept(probes, row["loss"] + row["eps"], row["recipe"]["epochs"] * per) if probes else None
    return None if found is None else math.log(found.value / row["measured"]["kept"]["value"])


def table() -> None:
    found = rows()
    command = "python benchmarks/limit_truth.py predict; ... measure; ... table"
    RESULTS.write_text(json.dumps({"command": command, "environment": environment(), "rows": found}, indent=1) + "\n")
    heads = (
        *("network, seed, recipe", "ε", "one-shot: measured (quadratic)", "re-tuned: predicted", "measured"),
        *("error in kept", "of two laps", "covered", "paper's formula", "trace bound"),
        *("predicting, epochs", "measuring, epochs"),
    )
    lines = [
        "| " + " | ".join(heads) + " |",
        "|---" * 12 + "|",
    ]
    lines += [_line(row) for row in found]
    judged = [row for row in found if "error" in row]
    if judged:
        lines += ["", _summary(judged)]
        put(PAGE, "others", others(judged))
    put(PAGE, "truth", "\n".join(lines))
    print("\n".join(lines))


def _summary(judged: list[dict]) -> str:
    errors = sorted(abs(row["error"]) for row in judged)
    rms = math.sqrt(sum(e * e for e in errors) / len(errors))
    return (
        f"{len(judged)} cases measured: rms error of ln(kept) {rms:.3f}, median {errors[len(errors) // 2]:.3f}; "
        f"{sum(e <= 0.15 for e in errors)} of {len(judged)} within 0.15; "
        f"{sum(row['covered'] for row in judged)} of {len(judged)} intervals cover."
    )


OTHERS = {
    "race": lambda row: 1 - row["retuned"]["value"],
    "0.10 · kept one-shot^0.7": lambda row: 0.10 * (1 - row["one_shot"]["measured"]) ** 0.7,
    "kept one-shot / 5": lambda row: (1 - row["one_shot"]["measured"]) / 5,
    "paper's formula": lambda row: 1 - row["paper"]["value"],
    "trace bound": lambda row: 1 - row["paper"]["trace_bound"],
}


def others(judged: list[dict]) -> str:
    """What the other numbers would have predicted for the re-tuned limit: errors of the kept weights."""
    lines = ["| case | " + " | ".join(OTHERS) + " |", "|---" * (len(OTHERS) + 1) + "|"]
    squares = dict.fromkeys(OTHERS, 0.0)
    for row in judged:
        errors = {
            name: math.log(max(guess(row), 1e-6) / row["measured"]["kept"]["value"]) for name, guess in OTHERS.items()
        }
        squares = {name: squares[name] + error**2 for name, error in errors.items()}
        lines.append(f"| {row['case']} | " + " | ".join(_percent(error) for error in errors.values()) + " |")
    rms = [f"{math.sqrt(total / len(judged)):.2f}" for total in squares.values()]
    return "\n".join([*lines, "| rms of ln(kept) | " + " | ".join(rms) + " |"])


def _unbracketed(row: dict) -> str:
    """The side on which the measured limit lies when no two retrainings straddle it."""
    points = row["measured"]["points"]
    missed = [p["kept"] for p in points if p["loss"] > row["loss"] + row["eps"]]
    return f"below {1 - max(missed):.3f}" if missed else f"above {1 - min(p['kept'] for p in points):.3f}"


def _percent(error: float) -> str:
    """A difference of logarithms as a percentage, or as a factor where that is easier to read."""
    return f"{100 * (math.exp(error) - 1):+.0f} %" if abs(error) < 1 else f"x {math.exp(error):.2g}"


def _line(row: dict) -> str:
    one, re, paper, truth = row["one_shot"], row["retuned"], row["paper"], row["measured"]
    quadratic = "-" if one["quadratic"] is None else f"{one['quadratic']:.3f}"
    predicted = "-" if re["value"] is None else f"{re['value']:.4f} [{re['low']:.4f}, {re['high']:.4f}]"
    measured = "-" if not truth else _unbracketed(row) if not truth["kept"] else f"{1 - truth['kept']['value']:.4f}"
    error = _percent(row["error"]) if "error" in row else "-"
    covered = {True: "yes", False: "**no**", None: "-"}[row.get("covered")]
    formula = "-" if paper is None else f"{paper['value']:.3f} [{paper['low']:.3f}, {paper['high']:.3f}]"
    bound = "-" if paper is None else f"{paper['trace_bound']:.3f}"
    epochs = "-" if not truth else str(truth["epochs"])
    cells = [row["case"], f"{row['eps']:.4f}", f"{one['measured']:.3f} ({quadratic})", predicted, measured, error]
    laps = row.get("error_of_two_laps")
    cells += [
        "-" if laps is None else _percent(laps),
        covered,
        formula,
        bound,
        f"{row['cost']['epochs']:.1f} ({re['epochs']} race)",
        epochs,
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("predict", "measure", "table"))
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "table":
        table()
        return
    for case in options.cases or cases():
        {"predict": predict, "measure": measure}[options.what](case)


if __name__ == "__main__":
    main()
