"""The papers' data sets, read from their original files, and images in memory."""

from howsparse.zoo.data.arrays import Arrays
from howsparse.zoo.data.augment import crop_flip
from howsparse.zoo.data.bundle import Data
from howsparse.zoo.data.registry import DATASETS, DataEntry

__all__ = ["DATASETS", "Arrays", "Data", "DataEntry", "crop_flip"]
