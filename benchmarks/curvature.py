"""Products with the Hessian, and whole spectra, beside PyHessian and curvlinops: cost in gradients of the same data.

    python benchmarks/curvature.py [--networks fc5 resnet20] [--rounds 5] [--seconds 30] [--threads 1]

The other two take part where they can be imported (``pip install --no-deps pyhessian curvlinops-for-pytorch`` and what
they miss, in an environment of their own); otherwise the table says they are absent. Writes
``benchmarks/results/curvature.json`` and ``curvature.md``. All variants differentiate the prunable weights only, in
evaluation mode. Under "held" the data are one batch and everything may be kept between products; under "streamed" the
data are several batches and howsparse gets no more memory than one batch takes, four vectors at a time. A spectrum is
Lanczos from random signs, set-up included.
"""

import argparse
import importlib
import importlib.metadata
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rounds import Case, measure
from table import cpu
from torch import Tensor, nn

from howsparse.curvature import GaussNewton, Hessian, Objective, slq
from howsparse.masks import prunable_parameters
from howsparse.training.run import environment
from howsparse.zoo import build_model

RESULTS = Path(__file__).parent / "results" / "curvature.json"
PEERS = {"pyhessian": "pyhessian", "curvlinops": "curvlinops-for-pytorch"}
PROBES, STEPS = 4, 8
GOALS = {
    ("fc5", "product, held"): 1.35,
    ("resnet20", "product, held"): 1.7,
    ("fc5", "spectrum, streamed"): 2.0,
    ("resnet20", "spectrum, streamed"): 2.5,
}
BATCHES = {"fc5": (4, 128), "resnet20": (2, 128)}  # number and samples of the streamed ones; held is one of 128
MEMORY = {"fc5": 53_000_000, "resnet20": 345_000_000}  # enough for one such batch at work, not for keeping it
KINDS = ("product, held", "products, streamed", "spectrum, held", "spectrum, streamed")
Variants = dict[str, Callable[[], object]]


class Problem:
    """A network and random images; what takes part is made when it is asked for."""

    def __init__(self, network: str, *, streamed: bool) -> None:
        torch.manual_seed(0)
        self.model = build_model(network, (3, 32, 32), 10).eval()
        self.weights = prunable_parameters(self.model)
        for parameter in self.model.parameters():
            parameter.requires_grad_(any(parameter is weight for weight in self.weights.values()))
        number, samples = BATCHES[network] if streamed else (1, 128)
        self.batches = [(torch.randn(samples, 3, 32, 32), torch.randint(0, 10, (samples,))) for _ in range(number)]
        self.memory = MEMORY[network] if streamed else None
        self.size = sum(weight.numel() for weight in self.weights.values())

    def gradient(self) -> list[Tensor]:
        total = [torch.zeros_like(weight) for weight in self.weights.values()]
        for x, y in self.batches:
            parts = torch.autograd.grad(F.cross_entropy(self.model(x), y), list(self.weights.values()))
            torch._foreach_add_(total, parts)
        return total

    def objective(self) -> Objective:
        return Objective(self.model, self.batches)

    def pyhessian(self) -> Any:
        kind = importlib.import_module("pyhessian").hessian
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it keeps a graph in .grad
            if self.memory is None:
                return kind(self.model, nn.CrossEntropyLoss(), data=self.batches[0], cuda=False)
            return kind(self.model, nn.CrossEntropyLoss(), dataloader=self.batches, cuda=False)

    def curvlinops(self, name: str) -> Any:
        kind = getattr(importlib.import_module("curvlinops"), name)
        weights = list(self.weights.values())
        return kind(self.model, nn.CrossEntropyLoss(), weights, self.batches, check_deterministic=False)


def products(problem: Problem) -> Variants:
    """One product with data held, or four with data streamed."""
    probes = 1 if problem.memory is None else PROBES
    vectors = torch.randn(probes, problem.size)
    variants: Variants = {"gradient": problem.gradient}
    for name, kind in (("howsparse, Hessian", Hessian), ("howsparse, Gauss-Newton", GaussNewton)):
        operator = kind(problem.objective(), memory=problem.memory)
        variants[name] = lambda operator=operator: operator @ vectors
    if present("pyhessian"):
        variants["PyHessian, Hessian"] = _pyhessian_product(problem, vectors)
    if present("curvlinops"):
        for name, kind in (("Hessian", "HessianLinearOperator"), ("Gauss-Newton", "GGNLinearOperator")):
            theirs = problem.curvlinops(kind)
            variants[f"curvlinops, {name}"] = lambda theirs=theirs: theirs @ vectors.T.contiguous()
    return variants


def _pyhessian_product(problem: Problem, vectors: Tensor) -> Callable[[], object]:
    theirs = problem.pyhessian()
    product = importlib.import_module("pyhessian.utils").hessian_vector_product
    shapes = [weight.shape for weight in problem.weights.values()]
    lists = [[p.view(s) for p, s in zip(v.split([s.numel() for s in shapes]), shapes, strict=True)] for v in vectors]
    if problem.memory is None:
        return lambda: product(theirs.gradsH, theirs.params, lists[0])
    return lambda: [quietly(theirs.dataloader_hv_product, parts) for parts in lists]


def spectra(problem: Problem) -> Variants:
    """Lanczos from random signs, set-up included: one probe with data held, four with data streamed."""
    probes = 1 if problem.memory is None else PROBES

    def ours() -> object:
        hessian = Hessian(problem.objective(), memory=problem.memory)
        return slq(hessian, psd=False, certify=False, probes=probes, steps=STEPS)

    def ours_squares() -> object:
        return slq(GaussNewton(problem.objective(), memory=problem.memory), psd=True, probes=probes, steps=STEPS)

    variants: Variants = {
        "gradient": problem.gradient,
        "howsparse, Hessian": ours,
        "howsparse, Gauss-Newton": ours_squares,
    }
    if present("pyhessian"):
        variants["PyHessian, Hessian"] = lambda: quietly(problem.pyhessian().density, STEPS, probes)
    if present("curvlinops"):
        lanczos = importlib.import_module("curvlinops.papyan2020traces.spectrum").fast_lanczos
        variants["curvlinops, Hessian"] = lambda: [
            lanczos(problem.curvlinops("HessianLinearOperator"), STEPS) for _ in range(probes)
        ]
    return variants


def quietly(function: Callable[..., object], *arguments: object) -> object:
    """Call a function of PyHessian's, whose graphs in .grad make torch warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def eig(matrix: Tensor, eigenvectors: bool = True) -> tuple[Tensor, Tensor]:
    """What PyHessian 0.1 calls on the small tridiagonal matrix; torch no longer has it."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], dim=1), vectors


def present(peer: str) -> bool:
    try:
        importlib.import_module(peer)
    except ImportError:
        return False
    return True


def variants_of(network: str, kind: str) -> Variants:
    problem = Problem(network, streamed="streamed" in kind)
    return (products if "product" in kind else spectra)(problem)


def work(kind: str) -> int:
    """Products in one run of a variant."""
    return (1 if "held" in kind else PROBES) * (STEPS if "spectrum" in kind else 1)


def rows(networks: list[str], seconds: float, rounds: int) -> Iterator[dict[str, Any]]:
    for network in networks:
        for kind in KINDS:
            variants = variants_of(network, kind)
            goal = GOALS.get((network, kind))
            goals = {} if goal is None else {"howsparse, Hessian": goal * work(kind)}
            for row in measure(Case(f"{network}: {kind}", variants, goals), seconds, at_least=rounds):
                share = 1 if row["variant"] == "gradient" else work(kind)
                scaled = {key: row[key] / share for key in ("ratio", "processor_ratio")}
                scaled |= {key: [number / share for number in row[key]] for key in ("ratio_95", "ratio_10_90")}
                yield {**row, **scaled, "goal": goal if goals.get(row["variant"]) else None, "products": share} | {
                    "megabytes": peak(network, kind, row["variant"])
                }


def peak(network: str, kind: str, variant: str) -> float:
    """Most memory that a fresh process needs for a variant, beyond what it has after making network and data."""
    command = [sys.executable, __file__, "--peak", network, kind, variant]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_here(network: str, kind: str, variant: str) -> float:
    problem = Problem(network, streamed="streamed" in kind)
    problem.model(problem.batches[0][0][:1])
    before = high_water()
    run = (products if "product" in kind else spectra)(problem)[variant]
    for _ in range(2):
        run()
    return high_water() - before


def high_water() -> float:
    """Most memory of this process so far, in MB; its ru_maxrss would begin with that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def markdown(found: dict[str, Any]) -> str:
    about = found["environment"]
    lines = [
        f"{about['cpu']}, {about['threads']} thread(s), torch {about['torch']}; "
        + "; ".join(f"{peer} {version}" for peer, version in found["peers"].items())
        + ". Cost of one product in gradients of the same data.",
        "",
        "| network | what | variant | gradients a product (95 %) | peak MB | goal |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        network, _, kind = row["case"].partition(": ")
        ratio = "1 ({:.0f} ms)".format(row["milliseconds"])
        if row["variant"] != "gradient":
            ratio = "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_95"])
        goal = "" if row["goal"] is None else f"<= {row['goal']:g}: {row['verdict']}"
        lines.append(f"| {network} | {kind} | {row['variant']} | {ratio} | {row['megabytes']:.0f} | {goal} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(BATCHES), default=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=5, help="fewest rounds of a case")
    parser.add_argument("--seconds", type=float, default=30, help="time for the rounds of a case, more where needed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peak", nargs=3, metavar=("NETWORK", "WHAT", "VARIANT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.eig = eig
    if options.peak:
        print(peak_here(*options.peak))
        return
    about = {**environment(), "cpu": cpu()}
    peers = {peer: importlib.metadata.version(name) if present(peer) else "absent" for peer, name in PEERS.items()}
    found: dict[str, Any] = {"command": " ".join(["python", "benchmarks/curvature.py", *sys.argv[1:]])}
    found |= {"environment": about, "peers": peers, "steps": STEPS, "probes": PROBES, "rows": []}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for row in rows(options.networks, options.seconds, options.rounds):
        found["rows"].append(row)
        print(f"{row['case']:30} {row['variant']:26} {row['ratio']:6.2f} {row['processor_ratio']:6.2f}", flush=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")  # what was measured stays, if the rest is stopped
        options.out.with_suffix(".md").write_text(markdown(found))


if __name__ == "__main__":
    sys.exit(main())
