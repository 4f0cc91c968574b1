"""The experiments of the limit paper (arXiv 2306.05857) in miniature, on the networks of limit_tasks.py.

    python benchmarks/limit_experiments.py curves table crossing     # any of the experiments, or all
    python benchmarks/limit_experiments.py table --nets mnist-mlp-s0 resnet20-s0
    python benchmarks/limit_experiments.py pages                     # only write pictures and tables anew

Everything measured is kept in ``benchmarks/results/limit_experiments.json`` the moment it is known, so that a run that
was stopped goes on where it was; spectra lie in ``runs/limit_experiments``. Pictures and tables go into
``docs/results/limit-experiments.md``. Dense networks that are missing are trained first (12 epochs each). One run at a
time, and classifiers only.
"""

import argparse
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import limit_plots
import limit_tasks
import numpy as np
import torch
from limit_rounds import iterative, lomp
from limit_tasks import FOLDER, PLAIN, TASKS, TWELVE, TruthTask, dense_task

from howsparse.batches import Batches
from howsparse.curvature import GaussNewton, Hessian, Objective, Spectrum, most_uncertain, row_norms, slq, uniform
from howsparse.curvature.coreset import remainder_trace
from howsparse.files import write_atomic
from howsparse.limits import (
    accuracy_limits,
    batch_std,
    contribution,
    kept_bounds,
    loss_limit,
    paired_drop,
    paired_limit,
    prefix_norms,
    sample_std,
    solve_limit,
    width_curve,
)
from howsparse.limits.dense import DenseNetwork
from howsparse.limits.paper import Remainder, middle, paper_limit, width_bounds
from howsparse.limits.reference import (
    CUT,
    reference_density,
    reference_limit,
    reference_row_sums,
    zero_row_fraction,
    zero_row_weights,
)
from howsparse.schedules import removed_at
from howsparse.task import Task
from howsparse.training.run import environment

RESULTS = limit_plots.RESULTS
RUNS = Path("runs/limit_experiments")
DECAY = "fashion-mlp-decay"
TASKS[DECAY] = TruthTask(DECAY, limit_tasks.fashion, replace(TWELVE, weight_decay=5e-4), PLAIN, limit_tasks.THREE)
FAMILIES = ("mnist-mlp", "mnist-mlp-l1", "fashion-mlp", "fashion-mlp-l1")
NETS = [f"{family}-s{seed}" for seed in limit_tasks.THREE for family in FAMILIES]
FIRST = [case for case in NETS if case.endswith("-s0")]
FULL = FIRST
DECAYED = [f"{DECAY}-s{seed}" for seed in (0, 1)]

LEVELS = [round(i / 40, 3) for i in range(37)] + [round(0.9 + i / 100, 2) for i in range(1, 10)] + [0.995]
TRAIN_SAMPLES = 10_000  # on which the curves are measured
CORESET, PROBES, STEPS = 4_000, 2, 50
ROW_SAMPLES, ROW_BATCH = 1_024, 128
SMALL = 1e-3  # of the largest magnitude: a weight that people might count as zero
BINS = (50, 200, 1000)


class Book:
    """What has been measured, by network and piece; a network that was trained anew loses its old pieces."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pages: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"nets": {}}
        self.pages["environment"] = environment()

    def once(self, where: dict[str, Any], key: str, work: Callable[[], Any], told: str = "") -> Any:
        if key not in where:
            started = time.process_time()
            where[key] = json.loads(json.dumps(work()))
            print(f"{told} {key}: {time.process_time() - started:.0f} processor seconds", flush=True)
            self.save()
        return where[key]

    def save(self) -> None:
        write_atomic(self.path, (json.dumps(self.pages, separators=(",", ":")) + "\n").encode())

    def net(self, case: str) -> dict[str, Any]:
        file = FOLDER / case / "dense.safetensors"
        mark = hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.exists() else "pretrained"
        page = self.pages["nets"].setdefault(case, {"fingerprint": mark})
        if page["fingerprint"] not in ("pretrained", mark):
            page.clear()
        page["fingerprint"] = mark
        return page


class Net:
    """A dense network and what the experiments need of it, computed when asked for."""

    def __init__(self, case: str) -> None:
        self.case = case
        self.name, _, seed = case.rpartition("-s")
        self.seed = int(seed)

    @cached_property
    def task(self) -> Task:
        return dense_task(self.name, self.seed)

    @cached_property
    def dense(self) -> DenseNetwork:
        return DenseNetwork(self.task.model)

    @cached_property
    def objective(self) -> Objective:
        return Objective.of(self.task, self.dense.parameters)

    @cached_property
    def losses(self) -> torch.Tensor:
        return self.objective.sample_losses()

    @property
    def eps(self) -> float:
        return sample_std(self.losses).value

    @cached_property
    def norms(self):
        return prefix_norms(self.dense.weights)

    def spectrum(self, removed: int = 0, samples: int = CORESET, probes: int = PROBES) -> tuple[Spectrum, Remainder]:
        """Spectrum of the least certain samples' Gauss-Newton matrix, and the trace of the others', kept on disk."""
        place = RUNS / "spectra" / f"{self.case}-{removed}-{samples}x{probes}x{STEPS}.json"
        if not place.exists():
            with self.dense.without(self.dense.masks(removed)):
                part = most_uncertain(self.objective, samples)
                rest = remainder_trace(part, seed=self.seed)
                found = slq(
                    GaussNewton(part.top), psd=True, probes=probes, steps=STEPS, seed=self.seed, samples=part.count
                )
            plain = {"spectrum": found.to_plain(), "rest": asdict(Remainder(max(rest.mean, 0.0), rest.high))}
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place, json.dumps(plain).encode())
        plain = json.loads(place.read_text())
        return Spectrum.from_plain(plain["spectrum"]), Remainder(**plain["rest"])


def retuned(case: str) -> dict[str, Any] | None:
    """The re-tuned limit that limit_truth.py has stored, and its measurement, as far as they are there."""
    stored, measured = (FOLDER / case / part / "result.json" for part in ("limit", "measured"))
    if not stored.exists():
        return None
    whole = json.loads(stored.read_text())
    found = whole["retuned"]
    if found is None or found["value"] is None:
        return None
    kept = json.loads(measured.read_text())["kept"] if measured.exists() else None
    return {
        **{key: found[key] for key in ("value", "low", "high")},
        "eps": whole["eps"],
        "one_shot": whole["one_shot"]["measured"],
        "measured": None if kept is None else 1 - kept["value"],
    }


# --- one network -----------------------------------------------------------------------------------------------------
@torch.no_grad()
def looked_at(task: Task, data: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of every sample and whether it is classified right."""
    losses, right = [], []
    for batch in data.ordered():
        output, target = task.outputs(task.model, batch)
        losses.append(task.sample_losses(output, target).double())
        right.append(output.argmax(dim=1) == target)
    return torch.cat(losses), torch.cat(right)


def curve(net: Net) -> dict[str, Any]:
    """Experiments 2 and 4: one-shot magnitude pruning at many levels, and what is read off it as the actual limit."""
    data = net.objective.data
    draw = torch.Generator().manual_seed(net.seed)
    chosen = torch.randperm(data.samples, generator=draw)[:TRAIN_SAMPLES].sort().values
    train = data.subset(chosen.tolist())
    rows, right = [], []
    for level in LEVELS:
        with net.dense.without(net.dense.masks(removed_at(level, net.dense.total))):
            train_loss, train_right = looked_at(net.task, train)
            test_loss, test_right = looked_at(net.task, net.task.test)
        rows.append([float(v.double().mean()) for v in (train_loss, train_right, test_loss, test_right)])
        right.append(test_right.numpy())
    table, answers = np.array(rows), np.stack(right)
    paired = paired_limit(LEVELS, answers)
    return {
        "levels": LEVELS,
        **{name: column.round(6).tolist() for name, column in zip(limit_plots.COLUMNS, table.T, strict=True)},
        "samples": len(chosen),
        "eps": net.eps,
        "eps_batch_std": batch_std([float(part.mean()) for part in net.losses.split(128)]).value,
        "loss_limit": asdict(loss_limit(LEVELS, table[:, 0], net.eps)),
        "accuracy": asdict(accuracy_limits(LEVELS, 100 * table[:, 3])),
        "paired": {"value": paired.value, "low": paired.low, "high": paired.high},
        "held_out": held_out(answers, net.seed),
    }


def held_out(right: np.ndarray, seed: int) -> dict[str, Any]:
    """Each definition's limit chosen on one half of the test images, and the accuracy it costs on the other half."""
    order = np.random.default_rng(seed).permutation(right.shape[1])
    chosen_on, judged_on = np.array_split(order, 2)
    found = {}
    limits = asdict(accuracy_limits(LEVELS, 100 * right[:, chosen_on].mean(axis=1)))
    for name, level in limits.items():
        if level is not None:
            drop = paired_drop(right[0, judged_on], right[LEVELS.index(level), judged_on])
            found[name] = {"level": level, "drop": drop.drop, "low": drop.low, "high": drop.high}
    return found


def weights(net: Net) -> dict[str, Any]:
    """Experiment 7, and what a mere count of small weights says."""
    flat = torch.cat([w.flatten() for w in net.dense.weights.values()]).abs().numpy()
    top = float(flat.max())
    signed = torch.cat([w.flatten() for w in net.dense.weights.values()]).numpy()
    return {
        "count": net.dense.total,
        "norm": net.norms.total,
        "largest": top,
        "exactly_zero": float((flat == 0).mean()),
        "small": float((flat < SMALL * top).mean()),
        "histogram": np.histogram(signed, bins=201, range=(-top, top))[0].tolist(),
        "magnitudes": [net.norms.magnitude(max(removed_at(s, net.dense.total), 1)) for s in LEVELS],
    }


def paper(net: Net, samples: int = CORESET, probes: int = PROBES) -> dict[str, Any]:
    """Experiments 3, 4 and 6: the paper's limit, exactly and by the authors' procedure, from the same quadrature."""
    spectrum, rest = net.spectrum(samples=samples, probes=probes)
    found = paper_limit(spectrum, net.eps, net.norms, rest)
    f = contribution(found["R"], net.eps)
    gauss, radau = (float(spectrum.mean_of(f, side).mean()) for side in ("gauss", "radau"))
    return {
        **{k: v for k, v in found.items() if k not in ("curve",)},
        "samples": spectrum.samples,
        "probes": spectrum.probes,
        "steps": spectrum.steps,
        "largest": spectrum.largest,
        "rest": rest.trace,
        "quadrature": [gauss, radau],
        "procedure": procedure(net, spectrum),
    }


def procedure(net: Net, spectrum: Spectrum) -> dict[str, float]:
    """The first probe's nodes through the authors' steps, one quirk after the other undone."""
    nodes, shares = spectrum.gauss[0].nodes, spectrum.gauss[0].weights
    density, noisy = reference_density(nodes, shares), batch_std([float(p.mean()) for p in net.losses.split(128)]).value
    return {
        "reference": reference_limit(lambda R: density.width(noisy, R=R), net.norms),
        "our_eps": reference_limit(lambda R: density.width(net.eps, R=R), net.norms),
        "exact_R": reference_limit(lambda R: density.width(net.eps, R=R), net.norms, exact_R=True),
        "direct": solve_limit(width_curve(nodes, shares, net.eps), net.norms).sparsity,
    }


def bounds(net: Net, at: float) -> dict[str, Any]:
    """Experiment 1: kept fractions from the curvature at the dense weights and at the one-shot-pruned ones."""
    centres = [net.spectrum(removed) for removed in (0, removed_at(at, net.dense.total))]
    sides = [[*width_bounds(s, net.eps, rest), middle(s, net.eps, rest)] for s, rest in centres]
    low, high, value = (kept_bounds(dense, pruned, net.norms) for dense, pruned in zip(*sides, strict=True))
    return {
        "at": at,
        "trace": [s.trace + rest.trace for s, rest in centres],
        "lower": [value.lower, high.lower, low.lower],  # a wider ellipsoid needs fewer weights
        "upper": [value.upper, high.upper, low.upper],
        "gap": value.gap,
    }


def rows(net: Net, found: dict[str, Any]) -> dict[str, Any]:
    """Experiment 5: rows of the mean curvature at 100 magnitude levels."""
    places = torch.tensor(sorted(set(zero_row_weights(net.dense.weights))))
    part = uniform(net.objective, ROW_SAMPLES, net.seed)
    batches = [part.top.subset(list(range(i, i + ROW_BATCH))) for i in range(0, part.count, ROW_BATCH)]
    f = contribution(found["R"], net.eps)
    answer: dict[str, Any] = {"samples": part.count, "R": found["R"], "cut": CUT}
    for name, kind in (("ggn", GaussNewton), ("hessian", Hessian)):
        norms = row_norms(kind(part.top), places, chunk=20)
        apart = [row_norms(kind(batch), places, chunk=20).l1 * ROW_BATCH / part.count for batch in batches]
        released = reference_row_sums(np.stack(apart) * part.count / ROW_BATCH, part.count)
        answer[name] = {
            "l1": norms.l1.tolist(),
            "below": float((norms.l1 < CUT).mean()),
            "released_below": zero_row_fraction(released),
            "matters": float((norms.l1 * found["R"] ** 2 > 2 * net.eps).mean()),
            "bound_l1": norms.bound(f, "l1"),
            "bound_l2": norms.bound(f, "l2"),
        }
    answer["magnitude"] = torch.cat([w.flatten() for w in net.dense.weights.values()]).abs()[places].tolist()
    return answer


# --- the experiments -------------------------------------------------------------------------------------------------
def each(book: Book, cases: list[str], *pieces: str) -> None:
    """These pieces of every network, in order; each may need earlier ones."""
    work: dict[str, Callable[[Net, dict[str, Any]], Any]] = {
        "weights": lambda net, _: weights(net),
        "curve": lambda net, _: curve(net),
        "paper": lambda net, _: paper(net),
        "full": lambda net, _: paper(net, samples=len(net.losses), probes=1),
        "bounds": lambda net, page: bounds(net, page["paper"]["value"]),
        "rows": lambda net, page: rows(net, page["paper"]),
    }
    for case in cases:
        net, page = Net(case), book.net(case)
        for piece in pieces:
            book.once(page, piece, lambda net=net, page=page, piece=piece: work[piece](net, page), case)


def variation(book: Book, cases: list[str]) -> None:
    """Experiment 10: total variation between weight histograms of seeds, and of other recipes for comparison."""
    families = {case.rpartition("-s")[0] for case in cases}
    flats = {
        (family, seed): torch.cat([w.flatten() for w in Net(f"{family}-s{seed}").dense.weights.values()]).numpy()
        for family in sorted(families)
        for seed in limit_tasks.THREE
    }
    for family in sorted(families):
        mine = [flats[family, seed] for seed in limit_tasks.THREE]
        other = flats.get((family.removesuffix("-l1") + ("" if family.endswith("-l1") else "-l1"), 0))
        halves = np.array_split(np.random.default_rng(0).permutation(mine[0]), 2)
        found = {
            str(bins): {
                "seeds": [distance(a, b, bins) for a, b in itertools.combinations(mine, 2)],
                "halves": distance(*halves, bins),
                "recipes": None if other is None else distance(mine[0], other, bins),
            }
            for bins in BINS
        }
        book.once(book.pages.setdefault("variation", {}), family, lambda found=found: found, "variation")


def distance(a: np.ndarray, b: np.ndarray, bins: int) -> float:
    """½ Σ|p - q| over equal bins from the smallest to the largest weight of either."""
    reach = (min(a.min(), b.min()), max(a.max(), b.max()))
    p, q = (np.histogram(x, bins=bins, range=reach)[0] / x.size for x in (a, b))
    return float(np.abs(p - q).sum() / 2)


def training(work: Callable[[Path], dict[str, Any]], name: str) -> Callable[[Book, list[str]], None]:
    """An experiment that trains; its runs are resumable by themselves and it is written down once complete."""
    return lambda book, _: book.once(book.pages, name, lambda: work(RUNS / name))


EXPERIMENTS: dict[str, Callable[[Book, list[str]], None]] = {
    "curves": lambda book, cases: each(book, cases or NETS, "curve"),
    "histograms": lambda book, cases: each(book, cases or NETS, "weights"),
    "variation": lambda book, cases: variation(book, cases or NETS),
    "crossing": lambda book, cases: each(book, cases or NETS, "curve", "paper"),
    "scaling": lambda book, cases: each(book, cases or NETS, "paper"),
    "table": lambda book, cases: each(book, cases or NETS, "weights", "curve", "paper"),
    "full": lambda book, cases: each(book, cases or FULL, "full"),
    "iterative": training(iterative, "iterative"),
    "lomp": training(lomp, "lomp"),
    "bounds": lambda book, cases: each(book, cases or FIRST, "paper", "bounds"),
    "rows": lambda book, cases: each(book, cases or FIRST, "paper", "rows"),
    "l2": lambda book, cases: each(book, cases or DECAYED, "weights", "curve", "paper"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=[*EXPERIMENTS, "all", "pages"])
    parser.add_argument("--nets", nargs="+", default=[], metavar="CASE", help="NAME-sSEED of limit_tasks.py")
    options = parser.parse_args()
    torch.set_num_threads(1)
    book = Book(RESULTS)
    for name in EXPERIMENTS if "all" in options.experiments else options.experiments:
        if name != "pages":
            EXPERIMENTS[name](book, options.nets)
    for case, page in book.pages["nets"].items():
        known = retuned(case)
        page |= {} if known is None else {"retuned": known}
    book.save()
    limit_plots.write(book.pages)


if __name__ == "__main__":
    main()
