"""Windows over texts and time series, and sequences of several lengths in one array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nnbackend.arguments import positive_integer
from nnbackend.backend import host, is_array, to_numpy
from nnbackend.data.arrays import to_array

__all__ = ["Alphabet", "pad_sequences", "sequence_windows", "text_windows"]


class Alphabet:
    """The characters of a text, numbered from 0 in the order of their code points.

    Parameters
    ----------
    text : str
        Where the characters come from.

    Attributes
    ----------
    characters : str
        Each once, in order.

    Examples
    --------
    >>> alphabet = Alphabet("hello")
    >>> alphabet.characters, alphabet.encode("hole"), alphabet.decode([1, 0, 2])
    ('ehlo', array([1, 3, 2, 0]), 'hel')
    """

    def __init__(self, text: str) -> None:
        self.characters = "".join(sorted(set(text)))
        self._numbers = {character: number for number, character in enumerate(self.characters)}

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Any:
        """Return the number of each character, as int64 on the host.

        Raises
        ------
        ValueError
            If a character is not in the alphabet.
        """
        try:
            return host().from_host([self._numbers[character] for character in text], "int64")
        except KeyError as error:
            raise ValueError(f"The alphabet has no {error.args[0]!r}. Make it of all texts.") from None

    def decode(self, numbers: Any) -> str:
        """Return the text of these numbers."""
        values = to_numpy(numbers) if is_array(numbers) else numbers
        return "".join(self.characters[int(number)] for number in values)


def text_windows(ids: Any, length: int, *, stride: int = 1, target: str = "sequence") -> tuple[Any, Any]:
    r"""Cut a text into windows, each with what is to be predicted.

    .. math:: x_i = (w_{is}, \dots, w_{is + t - 1}), \qquad
              y_i = (w_{is + 1}, \dots, w_{is + t}) \quad\text{or}\quad y_i = w_{is + t}

    Parameters
    ----------
    ids : array of int, shape (m,)
        The text as numbers of characters, of words or of tokens; `Alphabet.encode` makes them.
    length : int
        The length `t` of a window.
    stride : int
        How far, `s`, a window begins after the one before.
    target : {"sequence", "next"}
        Whether each place is to predict what follows it, or the window what follows it as a whole.

    Returns
    -------
    x : array of int64, shape (n, t)
        The windows, on the host.
    y : array of int64, shape (n, t) or (n,)
        What they are to predict.

    Raises
    ------
    ValueError
        If the text is too short for one window.

    Examples
    --------
    >>> x, y = text_windows([5, 6, 7, 8], 2)
    >>> x.tolist(), y.tolist()
    ([[5, 6], [6, 7]], [[6, 7], [7, 8]])
    """
    length = positive_integer("text_windows", "length", length)
    if target not in ("sequence", "next"):
        raise ValueError(f"text_windows expects target to be 'sequence' or 'next', got {target!r}.")
    if isinstance(ids, str):
        raise TypeError("text_windows expects numbers: Alphabet(text).encode(text).")
    numbers = to_numpy(to_array(ids, "text_windows: ids")).astype("int64")
    windows = _windows(
        "text_windows", numbers, length + 1, positive_integer("text_windows", "stride", stride), 1
    )
    return windows[:, :-1], windows[:, 1:] if target == "sequence" else windows[:, -1]


def sequence_windows(
    data: Any, targets: Any = None, *, length: int, stride: int = 1, rate: int = 1, ahead: int | None = None
) -> Any:
    r"""Cut a time series into windows.

    .. math:: x_i = (v_{is}, v_{is + r}, \dots, v_{is + (t - 1) r})

    Parameters
    ----------
    data : array of shape (m, ...)
        The series, one row for each moment.
    targets : array of shape (m, ...), optional
        One row for each moment. Without `ahead` window `i` gets ``targets[i * stride]``, the row at which it begins.
    length : int
        The moments `t` of a window.
    stride : int
        How far, `s`, a window begins after the one before.
    rate : int
        How far apart, `r`, the moments of a window are.
    ahead : int, optional
        With it a window gets the target that lies so many moments after its last one, and there are no windows whose
        target would lie after the end.

    Returns
    -------
    x : array of shape (n, t, ...)
        The windows, on the host.
    y : array of shape (n, ...)
        The targets, where they were given.

    Raises
    ------
    ValueError
        If the series is too short for one window, or targets do not have a row for each moment.

    Notes
    -----
    Without `ahead` these are the samples of Keras's ``timeseries_dataset_from_array(data, targets, sequence_length=t,
    sequence_stride=s, sampling_rate=r)``, in order. There, to predict what comes next, targets are shifted by hand;
    here ``targets=data, ahead=1`` says it.

    Examples
    --------
    >>> x, y = sequence_windows([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], length=2, ahead=1)
    >>> x.tolist(), y.tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [3.0, 4.0])
    """
    name = "sequence_windows"
    length, stride = positive_integer(name, "length", length), positive_integer(name, "stride", stride)
    rate = positive_integer(name, "rate", rate)
    series = to_numpy(to_array(data, f"{name}: data"))
    if targets is None:
        if ahead is not None:
            raise TypeError(f"{name} takes ahead with targets.")
        return _windows(name, series, length, stride, rate)
    rows = to_numpy(to_array(targets, f"{name}: targets"))
    if rows.shape[:1] != series.shape[:1]:
        raise ValueError(
            f"{name} expects a target for each of {series.shape[0]} moments, got {rows.shape[0]}."
        )
    reach = 0
    if ahead is not None:
        reach = (length - 1) * rate + positive_integer(name, "ahead", ahead)
        series = series[: series.shape[0] - reach + (length - 1) * rate]
    windows = _windows(name, series, length, stride, rate)
    starts = host().xp.arange(windows.shape[0]) * stride
    return windows, host().xp.take(rows, starts + reach, axis=0)


def pad_sequences(
    sequences: Iterable[Any],
    maxlen: int | None = None,
    *,
    value: float = 0.0,
    padding: str = "pre",
    truncating: str = "pre",
    dtype: str | None = None,
) -> tuple[Any, Any]:
    """Put sequences of several lengths into one array, and say which of its places are theirs.

    Parameters
    ----------
    sequences : iterable of array or list of shape (t_i, ...)
        The sequences.
    maxlen : int, optional
        The length `t` that all get; that of the longest without it.
    value : float
        What stands where there is nothing.
    padding : {"pre", "post"}
        Whether that is put before or after a sequence.
    truncating : {"pre", "post"}
        Whether a sequence that is too long loses its beginning or its end.
    dtype : str, optional
        That of the result; without it int64 where the sequences and `value` are whole numbers, else float32. Fractions
        that are put into whole numbers lose what stands after the point.

    Returns
    -------
    padded : array of shape (n, t, ...)
        The sequences, on the host.
    mask : array of bool, shape (n, t)
        True where there is a value of a sequence; what layers take as ``mask=``.

    Raises
    ------
    ValueError
        If there is no sequence, their steps differ in shape, or a word is not known.

    Notes
    -----
    The words are Keras's, and so are the defaults but one: Keras's `dtype` is int32 whatever the sequences hold, so
    that fractions are cut off. It returns the array alone, without a mask, and takes all arguments by position, those
    after `maxlen` in another order. Recurrent layers that look at the last step want
    ``"pre"`` where there is no mask; attention and most other libraries pad behind, ``"post"``.

    Examples
    --------
    >>> padded, mask = pad_sequences([[1, 2, 3], [4]])
    >>> padded.tolist(), mask.tolist()
    ([[1, 2, 3], [0, 0, 4]], [[True, True, True], [False, False, True]])
    """
    for name, word in (("padding", padding), ("truncating", truncating)):
        if word not in ("pre", "post"):
            raise ValueError(f"pad_sequences expects {name} to be 'pre' or 'post', got {word!r}.")
    rows = [to_numpy(to_array(s, f"pad_sequences: sequence {i}")) for i, s in enumerate(sequences)]
    step = _step_shape(rows)
    longest = max(int(row.shape[0]) for row in rows)
    length = longest if maxlen is None else positive_integer("pad_sequences", "maxlen", maxlen)
    whole = float(value).is_integer() and all(
        "int" in str(row.dtype) or "bool" in str(row.dtype) for row in rows if row.shape[0]
    )
    xp = host().xp
    padded = xp.full((len(rows), length, *step), value, dtype=dtype or ("int64" if whole else "float32"))
    mask = xp.zeros((len(rows), length), dtype=xp.bool)
    for i, row in enumerate(rows):
        kept = row[max(0, int(row.shape[0]) - length) :] if truncating == "pre" else row[:length]
        size = int(kept.shape[0])
        if not size:
            continue
        place = slice(length - size, length) if padding == "pre" else slice(size)
        padded[i, place] = kept
        mask[i, place] = True
    return padded, mask


def _step_shape(rows: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of a step of sequences, which they are to share; empty ones do not count."""
    if not rows:
        raise ValueError("pad_sequences expects at least one sequence.")
    for i, row in enumerate(rows):
        if row.ndim == 0:
            raise ValueError(f"pad_sequences expects sequences, got a single number as sequence {i}.")
    shapes = {tuple(row.shape[1:]): i for i, row in reversed(list(enumerate(rows))) if row.shape[0]}
    if len(shapes) > 1:
        (one, i), (other, j) = sorted(shapes.items(), key=lambda pair: pair[1])[:2]
        raise ValueError(
            f"pad_sequences expects steps of one shape, got {one} in sequence {i} and {other} in sequence {j}."
        )
    return next(iter(shapes), ())


def _windows(name: str, rows: Any, length: int, stride: int, rate: int) -> Any:
    """Return all windows of so many rows, `rate` apart, that begin every `stride` rows."""
    xp = host().xp
    if not rows.ndim:
        raise ValueError(f"{name} expects one row for each moment, got a single number.")
    reach = (length - 1) * rate + 1
    count = (int(rows.shape[0]) - reach) // stride + 1
    if count < 1:
        raise ValueError(f"{name} expects at least {reach} rows for a window, got {rows.shape[0]}.")
    places = xp.arange(count)[:, None] * stride + xp.arange(length)[None, :] * rate
    return rows[places]
