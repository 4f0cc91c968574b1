"""The papers' networks, one file a family, each built from the shape of one input and a number of classes."""

from howsparse.zoo.models.registry import MODELS, ModelEntry

__all__ = ["MODELS", "ModelEntry"]
