"""A small network that predicts, from a weight's initial value and gradient, how long it survives: AutoSparse."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from howsparse.errors import HowsparseError
from howsparse.files import write_atomic
from howsparse.masks import Masks
from howsparse.scores.survival import SurvivalFeatures, survival_counts, survival_features, survival_targets
from howsparse.task import Task

_KEY = "howsparse-survival-predictor"
_VERSION = 1
_INPUTS = 2  # initial value and gradient
_RATE = 0.01
_BATCH = 1024
_EPOCHS, _LEAST_STEPS = 10, 1000
_CHUNK = 1 << 18  # weights predicted at a time


class SurvivalPredictor:
    """A perceptron from (initial value, initial gradient) to scaled survival; its prediction is a score at start.

    Features are standardised over the network they come from: initialisations, losses and data sets differ in scale.
    With ``raw`` they are as in the authors' code: values as they are, gradients summed over all batches, so that the
    predictor fits networks of the same initialisation, data size and batch size only. The authors' predictor is a
    ResNet-18 that runs once per weight; this one has about a thousand weights.

    Source: arXiv 2408.14757.

    Args:
        layers: sizes of the hidden layers.
        raw: do not standardise features.

    Raises:
        HowsparseError: a layer without units.

    Example:
        >>> weights = {"w": torch.linspace(-1, 1, 64).reshape(8, 8)}
        >>> features = SurvivalFeatures(weights, {"w": torch.ones(8, 8).cumsum(0)}, batches=1)
        >>> predictor = SurvivalPredictor()
        >>> errors = predictor.fit(features, {"w": weights["w"].abs()}, seed=0, epochs=300)
        >>> errors[-1] < 0.01, predictor.scores(features)["w"].shape
        (True, torch.Size([8, 8]))
    """

    def __init__(self, layers: Sequence[int] = (32, 32), *, raw: bool = False) -> None:
        self.layers, self.raw = tuple(layers), raw
        if any(size < 1 for size in self.layers):
            raise HowsparseError(f"layers = {list(self.layers)} is not allowed: every hidden layer needs a unit")
        self._tensors: dict[str, Tensor] = {}  # "0.weight", "0.bias", "1.weight" ...; empty until fitted
        self.batches: int | None = None  # of the pass its gradients were summed over: the scale of raw features

    @classmethod
    def from_run(
        cls,
        task: Task,
        initial: Mapping[str, Tensor],
        rounds: Sequence[Masks],
        *,
        layers: Sequence[int] = (32, 32),
        raw: bool = False,
        seed: int = 0,
    ) -> "SurvivalPredictor":
        """A predictor that has learned from one iterative run with rewinding.

        Args:
            task: network and data of the run; the network is left as it is.
            initial: its state dict before the run.
            rounds: the masks after each pruning, in order.
            layers: as above.
            raw: as above.
            seed: of the learning.

        Raises:
            HowsparseError: as `survival_features`, `survival_counts` and `survival_targets`.
        """
        targets = survival_targets(survival_counts(rounds))
        known = dict(task.model.named_parameters())
        parameters = {name: known[name] for name in targets if name in known}
        rounds[0].check(parameters)
        predictor = cls(layers, raw=raw)
        predictor.fit(survival_features(task, parameters, state=initial), targets, seed=seed)
        return predictor

    def fit(
        self,
        features: SurvivalFeatures,
        targets: Mapping[str, Tensor],
        *,
        seed: int = 0,
        epochs: int | None = None,
        most: int = 2_000_000,
    ) -> list[float]:
        """Learn the targets anew from one network's features: Adam (rate 0.01), minibatches of 1024, squared error.

        Args:
            features: as from `survival_features`.
            targets: what to predict, named and shaped as the features, as from `survival_targets`.
            seed: of the first weights, the choice of samples and their order.
            epochs: passes over the samples; by default 10 as the authors, and more where they make under 1000 steps.
            most: the largest number of weights to learn from; of more, this many are drawn.

        Returns:
            The mean squared error in each epoch.

        Raises:
            HowsparseError: targets that do not fit the features, an argument below 1, constant features that cannot be
                standardised, or an error that is not finite.
        """
        if most < 1 or (epochs is not None and epochs < 1):
            raise HowsparseError(f"epochs = {epochs}, most = {most}: both must be at least 1")
        Masks.dense(features.weights).check(targets)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.cat(list(self._rows(features).values()))
        wanted = torch.cat([targets[name].reshape(-1).to(rows) for name in features.weights])
        chosen = torch.randperm(len(rows), generator=generator)[:most].to(rows.device)
        rows, wanted = rows[chosen], wanted[chosen]
        self._tensors = self._initial(generator, rows.device)
        steps = -(-len(rows) // _BATCH)
        errors = self._learn(rows, wanted, epochs or max(_EPOCHS, -(-_LEAST_STEPS // steps)), generator)
        self.batches = features.batches
        return errors

    @torch.no_grad()
    def scores(self, features: SurvivalFeatures) -> dict[str, Tensor]:
        """Predicted survival of every weight of a network at initialisation; higher stays.

        Args:
            features: of that network, as from `survival_features`.

        Returns:
            float32 scores, named and shaped as the weights, on their devices.

        Raises:
            HowsparseError: the predictor has learned nothing yet, or constant features that cannot be standardised.
        """
        self._refuse_unfitted()
        found = {}
        for name, rows in self._rows(features).items():
            pieces = [self._predict(piece) for piece in rows.split(_CHUNK)]
            found[name] = torch.cat(pieces).view(features.weights[name].shape)
        return found

    # --- files ------------------------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write the predictor as one safetensors file.

        Raises:
            HowsparseError: it has learned nothing yet, or the file cannot be written.
        """
        self._refuse_unfitted()
        about = {"version": _VERSION, "layers": self.layers, "raw": self.raw, "batches": self.batches}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self._tensors.items()}
        write_atomic(Path(path), save(tensors, metadata={_KEY: json.dumps(about)}))

    @classmethod
    def load(cls, path: str | Path) -> "SurvivalPredictor":
        """Read a predictor written by `save`.

        Raises:
            HowsparseError: the file is absent, damaged, or not a predictor of this version.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                about = json.loads((file.metadata() or {}).get(_KEY, "{}"))
                if about.get("version") != _VERSION:
                    raise HowsparseError(
                        f"{path} is not a survival predictor of version {_VERSION} (it says "
                        f"{about.get('version', 'nothing')}): learn it again and write it with SurvivalPredictor.save"
                    )
                predictor = cls(about["layers"], raw=about["raw"])
                predictor.batches = about["batches"]
                predictor._tensors = {name: file.get_tensor(name) for name in predictor._shapes()}
        except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
            if isinstance(error, HowsparseError):
                raise
            raise HowsparseError(f"cannot read a survival predictor from {path}: {error}") from error
        predictor._check_tensors(path)
        return predictor

    # --- the network ------------------------------------------------------------------------------------------------
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of its tensors, by name."""
        sizes = [_INPUTS, *self.layers, 1]
        shapes: dict[str, tuple[int, ...]] = {}
        for number, (before, after) in enumerate(itertools.pairwise(sizes)):
            shapes |= {f"{number}.weight": (after, before), f"{number}.bias": (after,)}
        return shapes

    def _initial(self, generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
        """Uniform in ± 1 / √inputs, as torch's own linear layers begin."""
        shapes, drawn = self._shapes(), {}
        for name, shape in shapes.items():
            bound = shapes[name.replace("bias", "weight")][1] ** -0.5
            drawn[name] = (torch.rand(shape, generator=generator).mul_(2).sub_(1) * bound).to(device)
        return drawn

    def _predict(self, rows: Tensor) -> Tensor:
        """Predictions, shape (n,), from rows of two features, shape (n, 2)."""
        for number in range(len(self.layers) + 1):
            weight, bias = (self._tensors[f"{number}.{part}"].to(rows.device) for part in ("weight", "bias"))
            rows = F.linear(rows if number == 0 else rows.relu(), weight, bias)
        return rows.squeeze(1)

    def _learn(self, rows: Tensor, wanted: Tensor, epochs: int, generator: torch.Generator) -> list[float]:
        """Train the tensors in place; the mean squared error in each epoch."""
        optimizer = torch.optim.Adam([t.requires_grad_() for t in self._tensors.values()], lr=_RATE)
        errors = []
        for _ in range(epochs):
            total = torch.zeros((), device=rows.device)
            for part in torch.randperm(len(rows), generator=generator).to(rows.device).split(_BATCH):
                with torch.enable_grad():
                    error = F.mse_loss(self._predict(rows[part]), wanted[part])
                optimizer.zero_grad()
                error.backward()
                optimizer.step()
                total += error.detach() * len(part)
            errors.append(float(total) / len(rows))
            if not math.isfinite(errors[-1]):
                self._tensors = {}
                raise HowsparseError(
                    f"the predictor's error became {errors[-1]}: are all targets finite?"
                    + (" Raw features can be too large to learn from: standardise them (raw=False)" * self.raw)
                )
        self._tensors = {name: tensor.detach() for name, tensor in self._tensors.items()}
        return errors

    def _rows(self, features: SurvivalFeatures) -> dict[str, Tensor]:
        """Both features of every weight as the network takes them, by name, shape (n, 2)."""
        if self.raw:
            gradients = {name: gradient * features.batches for name, gradient in features.gradients.items()}
            both = (features.weights, gradients)
        else:
            both = (_standardised(features.weights, "weights"), _standardised(features.gradients, "gradients"))
        return {n: torch.stack([part[n].reshape(-1).float() for part in both], dim=1) for n in features.weights}

    def _refuse_unfitted(self) -> None:
        if not self._tensors:
            raise HowsparseError(
                "this predictor has learned nothing yet: call fit(features, targets), or make it with "
                "SurvivalPredictor.from_run(...) or SurvivalPredictor.load(path)"
            )

    def _check_tensors(self, path: str | Path) -> None:
        for name, shape in self._shapes().items():
            tensor = self._tensors[name]
            if tuple(tensor.shape) != shape or not bool(tensor.isfinite().all()):
                raise HowsparseError(
                    f"{path}: {name} is damaged: shape {tuple(tensor.shape)}, or a value that is not finite, where "
                    f"finite numbers of shape {shape} are needed"
                )


def _standardised(values: Mapping[str, Tensor], word: str) -> dict[str, Tensor]:
    """Values less their mean, over their standard deviation, both over the whole network and in float64."""
    count = sum(value.numel() for value in values.values())
    mean = sum(float(value.double().sum()) for value in values.values()) / count
    deviation = math.sqrt(sum(float((value.double() - mean).square().sum()) for value in values.values()) / count)
    if not 0 < deviation < math.inf:
        raise HowsparseError(
            f"the initial {word} have standard deviation {deviation}: they cannot be standardised, and nothing can be "
            "told from them. Is this network initialised, and does its loss depend on its weights?"
        )
    return {name: (value - mean) / deviation for name, value in values.items()}
