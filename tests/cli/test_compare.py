import json

import pytest
import torch
from safetensors.torch import save_file

from .commands import bad, call, good

FAST = ["--sparsities", "0.8", "--seeds", 1, "--epochs", 2, "--lr", "0.1", "--threads", 1]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A file with a network and data of the user's own, and weights."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(
        "import torch\nfrom torch import nn\nfrom torch.utils.data import TensorDataset\n"
        "def net():\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n"
        "def wide():\n    return nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 2))\n"
        "def data():\n"
        "    print('loading')\n"
        "    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))\n"
        "    pairs = TensorDataset(x, (x[:, 0] > 0).long())\n"
        "    return {'train': pairs, 'test': pairs}\n"
    )
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    save_file(net.state_dict(), folder / "w.safetensors")
    return folder


def own(mine, model: str = "net") -> list[str]:
    return ["--model", f"{mine}/mine.py:{model}", "--data", f"{mine}/mine.py:data"]


def test_compare_resume_and_report(mine, tmp_path) -> None:
    out = tmp_path / "cmp"
    first = good("compare", *own(mine), "--methods", "one-shot,imp", *FAST, "--out", out, "--json")
    found = json.loads(first.stdout)  # what the user's functions print goes elsewhere
    assert found["schema"] == "howsparse/compare/1"
    assert [row["run"] for row in found["rows"]] == [f"mine-net-mine-data/{m}/0.8/seed0" for m in ("one-shot", "imp")]
    assert [row["epochs"] for row in found["rows"]] == [2, 2]
    assert "2 cells; 4 epochs ahead; at most 2 epochs a cell, search included" in first.stderr
    assert "1 instead of 8 cycles, each removes 0.8" in first.stderr
    assert "[1/2; about " in first.stderr
    assert "[2/2] mine-net-mine-data/imp/0.8/seed0: test accuracy" in first.stderr
    again = good("compare", *own(mine), "--methods", "one-shot,imp", *FAST, "--out", out)
    assert "2 cells, 2 of them done; 0 epochs ahead" in again.stderr
    assert again.stdout.strip().endswith(f"report: {out / 'comparison.html'}")
    assert "one-shot" in again.stdout
    (out / "comparison.html").unlink()
    assert good("report", out).stdout.strip() == str(out / "comparison.html")
    assert str(mine) not in (out / "comparison.html").read_text() + (out / "comparison.json").read_text()
    assert json.loads(good("measure", out / "mine-net-mine-data/imp/0.8/seed0", "--json").stdout)["global"]["sparsity"]


def test_several_tasks_and_labelled_methods(mine, tmp_path) -> None:
    (tmp_path / "c.toml").write_text(
        f"""
sparsities = [0.5]
seeds = 1
epochs = 3
threads = 1
methods = ["one-shot", {{method = "imp", label = "imp-half", fraction = 0.5, rewind = "none"}}]

[[tasks]]
model = "{mine}/mine.py:net"
data = "{mine}/mine.py:data"
weights = "{mine}/w.safetensors"
label = "trained"

[[tasks]]
model = "{mine}/mine.py:wide"
data = "{mine}/mine.py:data"
"""
    )
    found = json.loads(good("compare", "--config", tmp_path / "c.toml", "--out", tmp_path / "o", "--json").stdout)
    assert {(row["task"], row["method"]): row["trainings"] for row in found["rows"]} == {
        ("trained", "one-shot"): [0, 3],
        ("trained", "imp-half"): [0, 3],
        ("mine-wide-mine-data", "one-shot"): [2, 1],
        ("mine-wide-mine-data", "imp-half"): [2, 1],
    }
    assert found["trained"] == {"trained": True, "mine-wide-mine-data": False}
    run = tmp_path / "o" / "trained" / "imp-half" / "0.5" / "seed0" / "config.json"
    assert json.loads(run.read_text())["settings"]["method"]["rewind"] == "none"


def test_failed_cells_have_their_exit_code(mine, tmp_path) -> None:
    done = call(
        *["compare", *own(mine), "--methods", "one-shot", *FAST, "--out", tmp_path / "cmp"],
        *["--lr", "1e30", "--clip", "none"],
    )
    assert done.exit_code == 1
    assert "failed: DivergedError: cycle" in done.stderr
    assert "failed: mine-net-mine-data/one-shot/0.8/seed0: DivergedError" in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "one-shot,ipm"], "unknown method 'ipm'"),
        (["--methods", "imp,imp"], "method imp is there twice"),
        (["--sparsities", "95"], "sparsity 95 is out of range"),
        (["--sparsities", "most"], "is not numbers with commas between"),
        (["--model", "mlpp"], "unknown network 'mlpp'"),
        (["--task", "mlp@digits"], "--task stands instead of --model"),
        (["--engine", "slurm"], "is not one of"),
        (["--against", "sap"], "against = 'sap' is not among the methods one-shot, imp"),
        (["--fine-tune", "2"], "none of the methods one-shot, imp has --fine-tune"),
        (["--epochs", "1"], "takes at least 2 epochs"),
        (["--weights", "absent.pt"], "no weights file"),
        (["--limit"], "limits are those of trained networks"),
    ],
)
def test_bad_requests_are_refused_before_any_work(flags, message, tmp_path) -> None:
    base = ["--model", "mlp", "--data", "digits", "--methods", "one-shot,imp", "--out", tmp_path / "cmp", *FAST]
    assert message in bad("compare", *base, *flags)
    assert not (tmp_path / "cmp").exists()


def test_no_task_is_refused(tmp_path) -> None:
    rest = ["--methods", "imp", "--out", tmp_path / "cmp", *FAST]
    assert "no task to compare on" in bad("compare", *rest)
    assert "is not MODEL@DATA" in bad("compare", "--task", "mlp", *rest)
    twice = bad("compare", "--task", "mlp@digits", "--task", "mlp@digits", *rest)
    assert "two tasks are called mlp-digits" in twice


def test_help_teaches() -> None:
    text = good("compare", "--help").stdout
    for part in ("MODEL@DATA", "Training:", "Methods:", "--fraction", "tries"):
        assert part in text
    assert "--keep" not in text
