import copy
import io
import json
import re

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

import howsparse as hs
from howsparse.cli.limit_text import limit_text, recipe_words
from howsparse.cli.limit_watch import LimitWatch
from howsparse.cli.progress import StageBars
from howsparse.training import Training
from howsparse.zoo import build_model, load_data

from .commands import bad, good

QUICK = ["--epochs", 3, "--race-epochs", 3, "--curvature-epochs", 1, "--samples", 400, "--steps", 8, "--threads", 1]
CHEAP = ["--race-epochs", 0, "--curvature-epochs", 0, "--threads", 1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The weights of ``--model linear`` after a short training on ``--data digits``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load_data("digits")
    task = hs.Task(build_model("linear", data.shape, data.classes), data.train)
    recipe = hs.Recipe(epochs=8, lr=0.1, keep="last")
    for _ in Training(task, recipe, recipe.epochs, epoch_seed=lambda epoch: epoch).run():
        pass
    file = tmp_path_factory.mktemp("trained") / "linear.safetensors"
    save_file(task.model.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A limit with everything in it, measured too: the command's directory, its object, what it said meanwhile."""
    out = tmp_path_factory.mktemp("limit") / "run"
    done = good(*flags(trained), "--out", out, *QUICK, "--verify", 2, "--eps", 0.1, "--json")
    return out, json.loads(done.stdout), done.stderr


def flags(weights, model="linear") -> list[object]:
    return ["limit", "--model", model, "--data", "digits", *([] if weights is None else ["--weights", weights])]


def test_json_holds_what_is_promised(run) -> None:
    _, found, _ = run
    assert found["schema"] == "howsparse/limit/1"
    assert found["one_shot"].keys() >= {"measured", "quadratic"}
    assert found["paper"].keys() >= {"value", "low", "high"}
    assert found["retuned"].keys() >= {"value", "low", "high", "method", "recipe"}
    assert found["cost"].keys() >= {"epochs", "seconds"}
    assert {"trace_bound", "eps", "warnings"} <= found.keys()
    assert 0 < found["one_shot"]["measured"] < 1
    assert found["retuned"]["recipe"]["epochs"] == 3
    assert found["eps"] == 0.1


def test_the_cost_comes_first_and_every_stage_shows(run) -> None:
    lines = run[2].splitlines()
    assert re.match(r"cost: about [\d.]+ gradients per training sample", lines[0])
    stages = dict.fromkeys(line.split(":")[0] for line in lines if ":" in line)
    assert [s for s in stages if s not in ("cost", "note")] == ["one-shot", "race", "curvature", "verify"]
    said = " ".join(run[2].split())
    assert re.search(r"note: \d+ epochs of racing, not 3 \(--race-epochs\): three laps of \d+ epochs", said)
    assert any(re.match(r"race_epochs = 3 was raised to \d+", warning) for warning in run[1]["warnings"])
    assert re.search(r"race: sparsity 0\.\d+ after [0-9]+ epochs?: training loss 0\.\d+", run[2])
    assert len(re.findall(r"verify: sparsity 0\.\d+ retrained", run[2])) == 2


def test_a_finished_directory_answers_at_once_with_the_same_numbers(run, trained) -> None:
    out, found, _ = run
    again = good(*flags(trained), "--out", out, *QUICK, "--verify", 2, "--eps", 0.1)
    assert again.stderr == ""
    assert json.loads((out / "result.json").read_text())["one_shot"]["measured"] == found["one_shot"]["measured"]
    answers = [line for line in again.stdout.splitlines() if re.match(r"(one-shot|re-tuned|paper's) limit ", line)]
    assert [line.split(" limit")[0] for line in answers] == ["one-shot", "re-tuned", "paper's"]
    values = [found["one_shot"]["measured"], found["retuned"]["value"], found["paper"]["value"]]
    for line, value in zip(answers, values, strict=True):
        assert float(line.split()[2]) == pytest.approx(value, abs=6e-4)
    assert max(map(len, again.stdout.splitlines())) <= 100
    assert again.stdout.endswith(f"report: {out / 'report.html'}\n")
    assert (out / "report.html").exists()
    other = bad(*flags(trained), "--out", out, *QUICK)
    assert "eps: 0.1 there" in other or "eps: '0.1' there" in other


def test_without_out_nothing_is_kept(trained, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = good(*flags(trained), *CHEAP)
    assert list(tmp_path.iterdir()) == []
    assert "Not predicted: not asked for (--race-epochs 0)." in shown.stdout
    assert "Not computed: not asked for (--curvature-epochs 0)." in shown.stdout
    assert "untrained" not in shown.stderr


def test_an_untrained_network_is_not_taken_for_a_trained_one(tmp_path) -> None:
    shown = good(*flags(None), *CHEAP)
    assert "the limit of an untrained network means nothing" in " ".join(shown.stderr.split())
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    own = good(*flags(None, model=f"{tmp_path}/nets.py:net"), *CHEAP)
    assert "unless nets.py:net loads trained weights itself" in " ".join(own.stderr.split())


def test_settings_come_from_a_file_and_prunes_flags_are_taken(trained, tmp_path) -> None:
    (tmp_path / "limit.toml").write_text(
        f'model = "linear"\ndata = "digits"\nweights = "{trained}"\neps = "10%"\nepochs = 7\nkeep = "last"\n'
        'dense-epochs = 2\nrace-epochs = 0\ncurvature-epochs = 0\ninclude = ["fc*"]\nl1 = 0.001\n'
    )
    found = json.loads(good("limit", "--config", tmp_path / "limit.toml", "--epochs", 9, "--json").stdout)
    assert found["recipe"]["epochs"] == 9
    assert found["recipe"]["l1"] == 0.001
    assert found["eps"] == pytest.approx(0.1 * found["loss"]["train"])
    (tmp_path / "limit.toml").write_text("race_epoch = 1")
    message = bad("limit", "--config", tmp_path / "limit.toml")
    assert "unknown setting 'race_epoch'; did you mean race_epochs" in message
    assert "see howsparse limit --help" in message


def test_help_teaches() -> None:
    text = good("limit", "--help").stdout
    for part in ("--eps", "--minutes", "--race-epochs", "--verify", "--lr", "Without --out nothing is kept"):
        assert part in text
    assert "--dense-epochs" not in text
    assert "how sparse it can go" in good("--help").stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--eps", "much"], "eps 'much' is none of"),
        (["--race-epochs", "-1"], "race_epochs = -1 is not allowed: it must be at least 0"),
        (["--minutes", "0"], "minutes = 0.0 is not allowed: it must be greater than 0"),
        (["--curvature", "fisher"], "is not one of 'ggn', 'hessian'"),
        (["--lr", "0"], "lr = 0.0 is not allowed"),
        (["--optimizer", "lion"], "optimizer = 'lion' is unknown"),
        (["--weights", "absent.pt"], "no weights file absent.pt"),
        (["--model", "liner"], "unknown network 'liner'"),
        (["--device", "nonsense"], "--device nonsense cannot be used here"),
        (["--include", "conv*"], "include pattern 'conv*' matches no prunable tensor"),
        (["--minutes", "1e-9"], "minutes are too few"),
    ],
)
def test_bad_requests_are_refused(more, message, trained, tmp_path) -> None:
    assert message in bad(*flags(trained), *more, "--threads", 1)


# --- the text ---------------------------------------------------------------------------------------------------------
def text_of(found, **changes) -> str:
    """The text for a result with some of its parts exchanged."""
    details = copy.deepcopy(found)
    for path, value in changes.items():
        *way, last = path.split("__")
        place = details
        for key in way:
            place = place[key]
        place[last] = value
    text = limit_text(hs.Limit(details))
    assert max(map(len, text.splitlines())) <= 100
    return " ".join(text.split())


def test_the_retuned_limit_names_its_recipe(run) -> None:
    recipe = hs.Recipe(epochs=1, optimizer="adam", lr=1e-3, weight_decay=1e-4, l1=5e-5, schedule="linear")
    words = "1 epoch of adam, learning rate 0.001 (linear), weight decay 0.0001, L1 5e-05"
    assert recipe_words(recipe.to_plain()) == words
    plain = {"steps_per_epoch": 3, **recipe.to_plain()}
    assert f"retrained by {words}." in text_of(run[1], recipe=plain, retuned__value=0.9)
    assert words in text_of(run[1], recipe=plain, retuned__value=None)


def test_digits_follow_what_is_kept(run) -> None:
    spans = {"low": 0.9991, "value": 0.99953, "high": 0.99961}
    text = text_of(run[1], **{f"retuned__{key}": value for key, value in spans.items()})
    assert "0.99953 [0.99910, 0.99961]" in text
    assert re.search(r"one-shot limit 0\.\d{5} \[0\.\d{5}, ", text)


def test_what_was_measured_stands_beside_the_prediction(run) -> None:
    target = run[1]["loss"]["compared"] + run[1]["eps"]
    below, above = target - 0.01, target + 0.01

    def verified(losses, span=None):
        points = [{"kept": k, "loss": loss, "val": None, "test": None} for k, loss in losses.items()]
        return text_of(run[1], verified={"retuned": span, "points": points, "epochs": 6})

    span = {"value": 0.93, "low": 0.9, "high": 0.95}
    text = verified({0.1: below, 0.05: above}, span)
    assert "measured 0.930 [0.900, 0.950] Measured, once that was predicted, by 2 full retrainings." in text
    assert f"retrained 0.9000 {below:.4g} training loss, within" in text
    assert f"retrained 0.9500 {above:.4g} training loss, beyond" in text
    assert "by 1 full retraining, all beyond eps: it lies below 0.9500." in verified({0.05: above})
    assert "all within eps: it lies above 0.9500." in verified({0.1: below, 0.05: below})
    assert "which do not enclose it." in verified({0.1: above, 0.05: below})


def test_what_is_missing_is_said(run) -> None:
    text = text_of(run[1], retuned=None, paper=None, hessian=None, trace_bound=None, accuracy=None)
    assert "re-tuned limit - Not predicted" in text
    assert "paper's limit - Not computed" in text
    text = text_of(run[1], retuned=None, paper=None, one_shot__measured=1.0)
    assert "Not predicted: every weight can go at once." in text
    assert "Not computed: every weight can go at once." in text
    assert "largest eigenvalue" not in text
    text = text_of(run[1], one_shot__quadratic=None, warnings=["beware " * 40])
    assert "quadratic model - what the loss's slope" in text
    assert "warning: beware beware" in text


# --- progress ---------------------------------------------------------------------------------------------------------
class Seen:
    """Remembers what it is told to show."""

    def __init__(self) -> None:
        self.lines, self.moves = [], []

    def say(self, line) -> None:
        self.lines.append(line)

    def move(self, stage, done, total, unit="") -> None:
        self.moves.append((stage, done, total))

    def stop(self) -> None: ...


def test_the_race_counts_what_a_stopped_one_had_run() -> None:
    seen = Seen()
    watch = LimitWatch(seen, epochs=4)
    watch._total = 6
    marks = [[5, 0.5, None], [10, 0.25, 0.9]]
    watch.on_recalled("race 0.100000 epochs 2", marks)  # from disk: no steps were seen
    watch.on_step(0, 10, 10)
    assert seen.moves[-1] == ("race", 3, 6)
    watch.on_note("race 0.050000 epochs 1", marks)
    watch.on_step(1, 10, 10)
    assert seen.moves[-1] == ("race", 4, 6)
    assert seen.lines == [
        "race: sparsity 0.9500 after 1 epoch: training loss 0.25",
    ]
    watch.on_stage("verify", 1, 2)
    watch.on_step(1, 10, 10)
    assert seen.moves[-1] == ("verify", 0.25, 2)
    watch.on_note("retrained 0.100000", {"kept": 0.1, "loss": 0.125, "val": None, "test": None})
    watch.on_stage("verify", 2, 2)
    assert seen.moves[-1] == ("verify", 1, 2)


def test_bars_fit_a_terminal_and_do_not_wait_for_what_was_not_needed() -> None:
    stream = io.StringIO()
    bars = StageBars(Console(file=stream, force_terminal=True, width=100))
    bars.say("[0.1, 0.2] is no markup")
    bars.move("race", 3.5, 6, "epochs")
    bars.move("curvature", 1, 60, "Lanczos steps")
    assert [(task.completed, task.total) for task in bars._progress.tasks] == [(3.5, 3.5), (1, 60)]
    bars.stop()
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "[0.1, 0.2] is no markup" in plain
    assert max(len(line) for line in re.split(r"[\r\n]", plain)) <= 100
