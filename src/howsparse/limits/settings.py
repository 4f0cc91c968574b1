"""How a limit is to be computed: what may be spent, on what, and how large a loss increase is allowed."""

from dataclasses import dataclass
from typing import Literal

from howsparse.limits.epsilon import parse_epsilon
from howsparse.settings import check_settings, setting


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """Settings of `howsparse.limit`.

    Efforts are counted in epochs' worth of gradients: one is a forward and backward pass over the training samples.

    Example:
        >>> LimitSettings(race_epochs=6).race_epochs
        6
    """

    eps: str | float = setting(
        "sample-std", "allowed rise of the training loss: sample-std, batch-std, 0.01, 5%, accuracy:0.5"
    )
    minutes: float | None = setting(None, "time to spend, shared out over the efforts below", above=0)
    race_epochs: int = setting(6, "epochs of masked training to predict the re-tuned limit (0: none)", at_least=0)
    curvature_epochs: float = setting(2.0, "gradients per sample for the paper's limit (0: none)", at_least=0)
    samples: int | None = setting(
        None, "training samples on which losses are compared (none: a quarter, 2,000 to 10,000)", at_least=16
    )
    curvature: Literal["ggn", "hessian"] = setting("ggn", "curvature of the paper's limit: Gauss-Newton or Hessian")
    probes: int = setting(2, "random vectors of the spectrum", at_least=1)
    steps: int = setting(60, "most Lanczos steps a probe", at_least=2)
    deflate: int = setting(0, "largest eigenvalues that are taken out and counted exactly", at_least=0)
    verify: int = setting(0, "full retrainings that measure the re-tuned limit after it was predicted", at_least=0)

    def compared(self, samples: int) -> int:
        """On how many of ``samples`` training samples losses are compared."""
        return min(samples, min(max(samples // 4, 2_000), 10_000) if self.samples is None else self.samples)

    def __post_init__(self) -> None:
        check_settings(self)
        parse_epsilon(str(self.eps))
