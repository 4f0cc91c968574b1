import json
from xml.etree import ElementTree as ET

import pytest

from howsparse.curvature import Spectrum

from .commands import bad, good

QUICK = ["--samples", 200, "--steps", 6, "--threads", 1]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A command on a network of two layers and its data, given as files."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(
        "import torch\nfrom torch import nn\nfrom torch.utils.data import TensorDataset\n"
        "def net():\n    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))\n"
        "def data():\n"
        "    generator = torch.Generator().manual_seed(1)\n"
        "    x, y = torch.randn(80, 6, generator=generator), torch.randint(0, 3, (80,), generator=generator)\n"
        "    pairs = TensorDataset(x, y)\n    return {'train': pairs, 'test': pairs}\n"
    )
    return ["spectrum", "--model", f"{folder}/mine.py:net", "--data", f"{folder}/mine.py:data", *QUICK]


def test_one_object_file_and_picture(own, tmp_path) -> None:
    out, plot = tmp_path / "new" / "spectrum.json", tmp_path / "spectrum.svg"
    done = good(*own, "--samples", 50, "--out", out, "--plot", plot, "--json")
    found = json.loads(done.stdout)
    assert found == json.loads(out.read_text())
    assert found["schema"] == "howsparse/spectrum/1"
    assert found["samples"] == {"used": 50, "train": 72}
    (row,) = found["spectra"]
    spectrum = Spectrum.from_plain(row["spectrum"])
    assert (row["layer"], row["weights"], row["steps"]) == (None, 45, 6)
    assert row["largest"] == spectrum.largest > row["smallest"]
    assert row["trace_error"] == pytest.approx(float(spectrum.traces.std(ddof=1)) / 2)
    assert row["negative_mass"] is None
    shares = [(q["low"], q["high"]) for q in row["quantiles"]]
    assert shares == sorted(shares, reverse=True)
    assert all(0 <= q["low"] <= q["high"] <= 1 and 0 <= q["mass"] <= 1 for q in row["quantiles"])
    assert "cost: at most 60 gradients for each of 50 samples" in done.stderr
    root = ET.fromstring(plot.read_text())
    assert root.tag.endswith("svg")
    assert "all weights" in plot.read_text()


def test_layer_by_layer(own, tmp_path) -> None:
    done = good(*own, "--curvature", "hessian", "--per-layer", "--plot", tmp_path / "layers.svg")
    assert max(map(len, done.stdout.splitlines())) <= 100
    rows = [line.split() for line in done.stdout.splitlines() if line[1:].startswith(".weight")]
    assert [(row[0], row[1]) for row in rows] == [("0.weight", "30"), ("2.weight", "15")]
    assert "curvature: 0.2 of 2 layers" in done.stderr
    assert {"0.weight", "2.weight"} <= set((tmp_path / "layers.svg").read_text().replace("<", ">").split(">"))
    alone = json.loads(good(*own, "--curvature", "hessian", "--layer", "2.weight", "--json").stdout)
    assert f"{alone['spectra'][0]['largest']:.3g}" == rows[1][2]
    whole = json.loads(good(*own, "--curvature", "hessian", "--json").stdout)["spectra"][0]
    assert 0 < whole["negative_mass"] < 1
    assert whole["smallest"] < 0


def test_text_for_people(own) -> None:
    shown = good(*own, "--steps", 45, "--samples", 500)
    text = shown.stdout
    assert max(map(len, text.splitlines())) <= 100
    for part in ("over all 72 training samples", "largest eigenvalue", "standard error", "share of eigenvalues"):
        assert part in text
    assert "The whole data set bends" not in text
    assert "curvature at an untrained network, unless mine.py:net loads" in " ".join(shown.stderr.split())
    alone = good(*own, "--probes", 1).stdout
    assert "one probe has no error bar" in alone
    assert "over all 72 training samples" in alone


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layer", "0.wieght"], "layer '0.wieght' is not among the prunable parameters: 0.weight, 2.weight; did you"),
        (["--layer", "0.weight", "--per-layer"], "exclude each other"),
        (["--plot", "spectrum.png"], "only SVG is drawn"),
        (["--curvature", "fisher"], "is not one of 'ggn', 'hessian'"),
        (["--samples", "0"], "0 is not in the range x>=1"),
        (["--out", "."], "is a directory; name a file"),
        (["--exclude", "conv*"], "matches no prunable tensor"),
    ],
)
def test_bad_requests_are_refused(own, more, message, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in bad(*own, *more)
