"""How important each weight is; higher stays. One signature: ``score(weights) -> {name: tensor}``."""

from howsparse.scores.magnitude import magnitude

__all__ = ["magnitude"]
