import json

import pytest
import torch
from safetensors.torch import save_file

from .commands import bad, call, good

FAST = ["--cycles", "2", "--epochs", "1", "--lr", "0.1", "--l1", "0.0005"]


def prune(out, *more: object):
    return call("prune", "--model", "mlp", "--data", "digits", "--method", "sap", "--out", out, *FAST, *more)


def test_measure_needs_no_model(tmp_path) -> None:
    weights = {"fc.weight": torch.tensor([[9.0, 1.0], [1.0, 1.0]]), "fc.bias": torch.zeros(2)}
    save_file(weights, tmp_path / "w.safetensors")
    torch.save(weights, tmp_path / "w.pt")
    for file in ("w.safetensors", "w.pt"):
        found = json.loads(good("measure", tmp_path / file, "--json").stdout)
        assert found["schema"] == "howsparse/measure/1"
        assert found["global"]["pqi"] == pytest.approx(0.25)
        assert [layer["name"] for layer in found["layers"]] == ["fc.weight"]
    assert "holds fc" not in bad("measure", tmp_path / "w.pt", "--include", "nothing*")
    pruned = {"a.weight_orig": torch.ones(2, 2), "a.weight_mask": torch.eye(2)}
    torch.save(pruned, tmp_path / "p.pt")
    found = json.loads(good("measure", tmp_path / "p.pt", "--zeros", "masked", "--json").stdout)
    assert [(layer["name"], layer["sparsity"]) for layer in found["layers"]] == [("a.weight", 0.5)]
    text = good("measure", tmp_path / "w.pt", "--scope", "neuron", "--p", 1, "--q", 2).stdout
    assert "p=1, q=2" in text
    assert "chosen by name" in text


def test_measure_with_a_model_leaves_embeddings_out(tmp_path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))\n"
    )
    net = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 3))
    torch.save(net.state_dict(), tmp_path / "w.pt")
    found = json.loads(good("measure", tmp_path / "w.pt", "--model", f"{tmp_path}/nets.py:make", "--json").stdout)
    assert [layer["name"] for layer in found["layers"]] == ["1.weight"]


def test_prune_resume_report_measure(tmp_path) -> None:
    out = tmp_path / "run"
    first = prune(out, "--json")
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert found["schema"] == "howsparse/prune/1"
    assert found["asked"] is None
    assert 0 < found["achieved"] < 1
    assert set(found["metric"]) >= {"dense", "pruned"}
    assert found["run"] == str(out)
    assert "3 trainings, 3 epochs" in first.stderr
    assert "cycle  2" in first.stderr
    again = prune(out)
    assert again.exit_code == 0
    assert "cycle" not in again.stderr
    (out / "report.html").unlink()
    assert good("report", out).stdout.strip() == str(out / "report.html")
    assert (out / "report.html").stat().st_size > 5000
    measured = json.loads(good("measure", out, "--json").stdout)
    assert measured["global"]["sparsity"] == pytest.approx(found["achieved"])
    assert "cycles: 2 there, 3 asked for" in bad(
        "prune", "--model", "mlp", "--data", "digits", "--method", "sap", "--out", out, *FAST, "--cycles", 3
    )


def test_configuration_file_and_flags_win(tmp_path) -> None:
    (tmp_path / "run.toml").write_text(
        'model = "linear"\ndata = "digits"\nmethod = "one-shot"\nsparsity = 0.75\nepochs = 1\nbatch-size = 64\n'
        'clip = "none"\nmilestones = [0.3, 0.6]\nnesterov = false\n'
    )
    good("prune", "--config", tmp_path / "run.toml", "--out", tmp_path / "a", "--sparsity", 0.5)
    settings = json.loads((tmp_path / "a" / "config.json").read_text())["settings"]
    assert settings["method"]["sparsity"] == 0.5
    assert settings["recipe"]["clip"] is None
    assert settings["recipe"]["milestones"] == [0.3, 0.6]
    assert settings["recipe"]["nesterov"] is False
    assert settings["task"]["batch_size"] == 64
    assert json.loads((tmp_path / "a" / "result.json").read_text())["achieved"] == 0.5
    (tmp_path / "bad.toml").write_text("epoch = 3")
    assert "unknown setting 'epoch'; did you mean epochs?" in bad("prune", "--config", tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("epochs = ")
    assert "cannot read" in bad("prune", "--config", tmp_path / "bad.toml")


def test_own_model_data_and_weights(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\nfrom torch.utils.data import TensorDataset\n"
        "def net():\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))\n"
        "def data():\n"
        "    print('loading')\n"
        "    x = torch.linspace(-1, 1, 400).reshape(100, 4)\n"
        "    pairs = TensorDataset(x, x.sum(1, keepdim=True))\n"
        "    return {'train': pairs, 'test': pairs, 'loss': lambda o, t: (o - t).square().mean(1)}\n"
    )
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    own = ["--model", f"{tmp_path}/mine.py:net", "--data", f"{tmp_path}/mine.py:data"]
    out = tmp_path / "run"
    done = good(
        *("prune", *own, "--weights", tmp_path / "w.safetensors", "--method", "one-shot", "--out", out, "--epochs", 2),
        "--json",
    )
    assert json.loads(done.stdout)["achieved"] == 0.9  # what the user's functions print goes elsewhere
    assert "2 trainings, 2 epochs" in done.stderr  # trained weights are not trained again before pruning
    assert json.loads(done.stdout)["metric"]["name"] == "loss"
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert history[0]["kind"] == "cycle"
    save_file({**net.state_dict(), "3.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert "not in the model: 3.weight" in bad(
        "prune", *own, "--weights", tmp_path / "w.safetensors", "--method", "one-shot", "--out", tmp_path / "other"
    )


def test_listings() -> None:
    assert "arXiv 2302.05601" in good("methods").stdout
    names = {row["name"] for row in json.loads(good("models", "--json").stdout)["models"]}
    assert {"mlp", "resnet20", "wresnet28x8"} <= names
    assert "cifar10:FOLDER" in good("data").stdout
    listed = json.loads(good("methods", "--json").stdout)["methods"]
    assert "gamma" in next(m for m in listed if m["name"] == "sap")["settings"]


def test_help_teaches() -> None:
    text = good("prune", "--help").stdout
    for part in ("Training in each cycle:", "Method:", "--gamma", "--rewind", "resumes it"):
        assert part in text
    assert "howsparse measure" in good("--help").stdout
    assert good("--version").stdout.startswith("howsparse")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--p", "1", "--q", "0.5"], "the PQ Index needs p < q"),
        (["--eta", "-1"], "eta = -1.0 is not allowed: it must be at least 0"),
        (["--beta", "1"], "beta = 1.0 is not allowed: it must be less than 1"),
        (["--method", "one-shot", "--sparsity", "1"], "sparsity = 1.0 is not allowed"),
        (["--fraction", "0.5"], "method sap has no --fraction"),
        (["--method", "spa"], "unknown method 'spa'"),
        (["--model", "mlpp"], "unknown network 'mlpp'"),
        (["--data", "digit"], "unknown data set 'digit'"),
        (["--data", "mnist"], "mnist needs a folder"),
        (["--include", "conv*"], "include pattern 'conv*' matches no prunable tensor"),
        (["--lr", "fast"], "'fast' is not number"),
        (["--scope", "filter"], "is not one of"),
        (["--weights", "absent.pt"], "no weights file absent.pt"),
        (["--val-share", "1.2"], "val_share = 1.2 is not allowed"),
        (["--device", "nonsense"], "--device nonsense cannot be used here"),
    ],
)
def test_bad_requests_are_refused_before_any_work(flags, message, tmp_path) -> None:
    base = {"--model": "mlp", "--data": "digits", "--method": "sap", "--out": str(tmp_path / "run")}
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        base[flag] = value
    assert message in bad("prune", *[part for pair in base.items() for part in pair])
    assert not (tmp_path / "run").exists()


def test_divergence_has_its_own_exit_code(tmp_path) -> None:
    result = prune(tmp_path / "run", "--lr", "1e30", "--clip", "none")
    assert result.exit_code == 1
    assert "training diverged" in result.stderr


def test_not_a_run_directory(tmp_path) -> None:
    assert "holds no config.json" in bad("report", tmp_path)
    assert "holds no model.safetensors" in bad("measure", tmp_path)


def test_measuring_a_run_looks_at_what_the_run_pruned(tmp_path) -> None:
    out = tmp_path / "run"
    good(
        *["prune", "--model", "mlp", "--data", "digits", "--method", "one-shot", "--sparsity", 0.9, "--epochs", 1],
        *["--exclude", "fc1.weight", "--out", out],
    )
    found = json.loads(good("measure", out, "--json").stdout)["global"]
    assert found["sparsity"] == pytest.approx(0.9, abs=1e-4)
    assert found["total"] == 43_520 - 8_192
    one = json.loads(good("measure", out, "--include", "fc3*", "--json").stdout)
    assert [layer["name"] for layer in one["layers"]] == ["fc3.weight"]
