"""The table of data sets by name."""

from collections.abc import Callable
from dataclasses import dataclass

from howsparse.zoo.data.bundle import Data
from howsparse.zoo.data.cifar import cifar10, cifar100
from howsparse.zoo.data.digits import digits
from howsparse.zoo.data.idx import fashion_mnist, mnist
from howsparse.zoo.data.npz import npz


@dataclass(frozen=True)
class DataEntry:
    """One data set of the zoo: its name, its reader, a line about it, and what must follow the name after a colon.

    Example:
        >>> DATASETS["mnist"].needs
        'FOLDER'
        >>> DATASETS["digits"].read().shape
        (1, 8, 8)
    """

    name: str
    read: Callable[..., Data]  # takes one Path, or nothing when needs is empty
    about: str
    needs: str


DATASETS: dict[str, DataEntry] = {
    entry.name: entry
    for entry in (
        DataEntry("digits", digits, "1,797 digits of 8x8 pixels that come with scikit-learn", ""),
        DataEntry("mnist", mnist, "MNIST from its IDX files (.gz or not)", "FOLDER"),
        DataEntry("fashion-mnist", fashion_mnist, "Fashion-MNIST from its IDX files (.gz or not)", "FOLDER"),
        DataEntry("cifar10", cifar10, "CIFAR-10 from its binary or Python version, unpacked or .tar.gz", "FOLDER"),
        DataEntry("cifar100", cifar100, "CIFAR-100, fine labels, from the same kinds of files", "FOLDER"),
        DataEntry("npz", npz, "uint8 images and labels from a numpy .npz file", "FILE"),
    )
}
