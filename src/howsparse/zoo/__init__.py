"""The papers' networks and data sets, and the way to the user's own."""

from howsparse.zoo.data import DATASETS, Arrays, Data
from howsparse.zoo.lookup import build_model, load_data
from howsparse.zoo.models import MODELS
from howsparse.zoo.objects import load_object

__all__ = ["DATASETS", "MODELS", "Arrays", "Data", "build_model", "load_data", "load_object"]
