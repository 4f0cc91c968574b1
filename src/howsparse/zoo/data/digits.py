"""scikit-learn's embedded 8x8 digits: real data without any download."""

import numpy as np

from howsparse.errors import HowsparseError
from howsparse.zoo.data.arrays import Arrays
from howsparse.zoo.data.bundle import Data
from howsparse.zoo.data.checks import held_out_fifth, spread


def digits() -> Data:
    """1,797 handwritten digits of 8x8 pixels in 10 classes, every fifth of each class held out for testing.

    Pixels keep their values 0 to 16; mean and standard deviation are those of the training images.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998), as scikit-learn ships it.

    Returns:
        Data with inputs of shape (1, 8, 8).

    Raises:
        HowsparseError: if scikit-learn is missing.

    Example:
        >>> data = digits()
        >>> len(data.train), len(data.test), data.shape
        (1442, 355, (1, 8, 8))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise HowsparseError('the digits come with scikit-learn: pip install "howsparse[demo]"') from error
    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.int64)
    train, test = held_out_fifth(labels, "digits")
    mean, std = spread(images[train])
    parts = [Arrays(images[part], labels[part], 10, mean=mean, std=std) for part in (train, test)]
    return Data("digits", train=parts[0], test=parts[1], shape=(1, 8, 8), classes=10)
