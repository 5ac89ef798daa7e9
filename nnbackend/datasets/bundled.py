"""Real data sets that come with scikit-learn: small, and there without a network."""

from __future__ import annotations

from typing import Any

__all__ = ["breast_cancer", "diabetes", "digits", "iris", "wine"]


def _load(name: str) -> tuple[Any, Any]:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"The data set {name!r} comes with scikit-learn, which is not installed. Cure: "
            'pip install "nnbackend[data]"'
        ) from error
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return x, y


def digits() -> tuple[Any, Any]:
    """Return 1797 images of handwritten digits of 8 by 8 pixels from 0 to 16.

    Returns
    -------
    x : array of float64, shape (1797, 64)
        Pixels, row by row.
    y : array of int64, shape (1797,)
        The digits. Those who wrote them come one after the other, so an unshuffled split is harder than a drawn one.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x, y = nn.datasets.digits()
    >>> x.shape, y.shape
    ((1797, 64), (1797,))
    """
    return _load("digits")


def iris() -> tuple[Any, Any]:
    """Return four measures in centimetres of 150 irises of three species.

    Returns
    -------
    x : array of float64, shape (150, 4)
        Length and width of sepals and petals.
    y : array of int64, shape (150,)
        The species, sorted.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x, y = nn.datasets.iris()
    >>> x.shape, y.shape
    ((150, 4), (150,))
    """
    return _load("iris")


def wine() -> tuple[Any, Any]:
    """Return thirteen analyses of 178 wines of three growers.

    Returns
    -------
    x : array of float64, shape (178, 13)
        The analyses, in units of very different size: standardise them.
    y : array of int64, shape (178,)
        The growers, sorted.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x, y = nn.datasets.wine()
    >>> x.shape, y.shape
    ((178, 13), (178,))
    """
    return _load("wine")


def breast_cancer() -> tuple[Any, Any]:
    """Return thirty measures of 569 tumours and whether they were benign.

    Returns
    -------
    x : array of float64, shape (569, 30)
        Measures of cell nuclei, of very different size: standardise them.
    y : array of int64, shape (569,)
        0 for malignant, 1 for benign.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x, y = nn.datasets.breast_cancer()
    >>> x.shape, y.shape
    ((569, 30), (569,))
    """
    return _load("breast_cancer")


def diabetes() -> tuple[Any, Any]:
    """Return ten measures of 442 patients and how far their diabetes went within a year.

    Returns
    -------
    x : array of float64, shape (442, 10)
        Measures, each with mean 0 and a sum of squares of 1.
    y : array of float64, shape (442,)
        From 25 to 346.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x, y = nn.datasets.diabetes()
    >>> x.shape, y.shape
    ((442, 10), (442,))
    """
    return _load("diabetes")
