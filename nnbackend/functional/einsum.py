"""Einstein's summation: products of arrays named by their axes."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.functional.indexing import getitem
from nnbackend.functional.reduction import sum as sum_over
from nnbackend.functional.shaping import permute_dims, reshape
from nnbackend.typing import Array, Backward, Shape

__all__ = ["einsum"]


def einsum(*operands: Any, subscripts: str | None = None) -> Array:
    r"""Sum of products over the axes that letters name.

    .. math:: Y_{o} = \sum_{\text{letters not in } o} A_{a}\, B_{b} \cdots, \qquad
              \frac{\partial L}{\partial A_{a}} = \sum_{\text{letters not in } a}
              \frac{\partial L}{\partial Y_{o}}\, B_{b} \cdots

    The gradients are sums of the same kind, with the letters of output and argument exchanged.

    Parameters
    ----------
    *operands : str, then array
        The subscripts and the arrays, floating: ``einsum("ij,jk->ik", a, b)``. One string of letters for each array
        says which axis is which; an axis whose letter stands behind the arrow is kept, in that order, all others are
        summed over. Without an arrow the letters that stand once are kept, in alphabetical order. A letter twice in
        one string takes the diagonal. Three dots stand for the axes not named, which broadcast.
    subscripts : str, optional
        The subscripts, where only arrays stand before.

    Returns
    -------
    array
        With an axis for each letter behind the arrow.

    Raises
    ------
    ValueError
        If the subscripts do not fit the arrays, or each other.

    Notes
    -----
    Axes of different length under one letter are refused, also where one of them is of length one, which NumPy and
    PyTorch would stretch; what stands for three dots does broadcast. Two arrays at a time are brought together as one
    product of matrices, the cheapest pair first.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> a = xp.asarray([[1.0, 2.0], [3.0, 4.0]])
    >>> nn.functional.einsum("ij,kj->ik", a, a)
    array([[ 5., 11.],
           [11., 25.]])
    >>> float(nn.functional.einsum("ii->", a))
    5.0
    """
    if subscripts is None:
        if not operands or not isinstance(operands[0], str):
            raise ValueError('einsum expects subscripts first, such as einsum("ij,jk->ik", a, b).')
        subscripts, operands = operands[0], operands[1:]
    words, output = _parsed(subscripts, [tuple(array.shape) for array in operands])
    sizes = _sizes(subscripts, words, [tuple(array.shape) for array in operands])
    arrays = []
    for place, (word, array) in enumerate(zip(words, operands, strict=True)):
        word, array = _without_repeats(*_without_stretched(word, array, sizes))
        elsewhere = set(output).union(*(words[other] for other in range(len(words)) if other != place))
        word, array = _without_lonely(word, array, elsewhere)
        words[place] = word
        arrays.append(array)
    if len(arrays) == 1:
        return permute_dims(arrays[0], axes=tuple(words[0].index(letter) for letter in output))
    product: Array = _einsum(*arrays, subscripts=f"{','.join(words)}->{output}")
    return product


def _parsed(subscripts: str, shapes: Sequence[Shape]) -> tuple[list[str], str]:
    """Return the letters of each array and of the output; axes behind three dots get capitals of their own."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    words = left.split(",")
    if len(words) != len(shapes):
        raise ValueError(
            f"einsum {subscripts!r} names {len(words)} arrays, got {len(shapes)}. Separate them by commas."
        )
    free = [letter for letter in string.ascii_letters[::-1] if letter not in text]
    most = 0
    for index, (word, shape) in enumerate(zip(words, shapes, strict=True)):
        named = len(word.replace("...", "", 1))
        missing = len(shape) - named
        if missing < 0 or (missing and "..." not in word):
            raise ValueError(
                f"einsum {subscripts!r} names {named} axes of array {index}, {word!r}, whose shape is {shape}."
            )
        if "..." in word:
            most = max(most, missing)
            words[index] = word.replace("...", "".join(free[:missing][::-1]), 1)
    dots = "".join(free[:most][::-1])
    if arrow:
        output = output.replace("...", dots, 1)
    else:
        letters = "".join(words)
        output = dots + "".join(sorted(x for x in set(letters) if letters.count(x) == 1 and x not in dots))
    for word in (*words, output):
        odd = [letter for letter in word if letter not in string.ascii_letters]
        if odd:
            raise ValueError(
                f"einsum {subscripts!r}: axes are named by letters, got {odd[0]!r}. Three dots stand for the others."
            )
    if dots and any(letter not in output for letter in dots):
        raise ValueError(
            f"einsum {subscripts!r} has three dots before the arrow, so they must stand behind it, too."
        )
    twice = [letter for letter in output if output.count(letter) > 1]
    if twice:
        raise ValueError(f"einsum {subscripts!r}: the output has the axis {twice[0]!r} twice.")
    unknown = [letter for letter in output if not any(letter in word for word in words)]
    if unknown:
        raise ValueError(f"einsum {subscripts!r}: the output's axis {unknown[0]!r} is in no array.")
    return words, output


def _sizes(subscripts: str, words: Sequence[str], shapes: Sequence[Shape]) -> dict[str, int]:
    """Return the length of each axis by its letter; axes behind three dots may be of length one here and there."""
    named = subscripts.replace(" ", "")
    sizes: dict[str, int] = {}
    for word, shape in zip(words, shapes, strict=True):
        for letter, size in zip(word, shape, strict=True):
            known = sizes.setdefault(letter, size)
            if known == size:
                continue
            if letter in named or 1 not in (known, size):
                axis = f"the axis {letter!r}" if letter in named else "an axis behind the three dots"
                raise ValueError(
                    f"einsum {subscripts!r}: {axis} has length {known} in one place and {size} in another."
                )
            sizes[letter] = size if known == 1 else known
    return sizes


def _without_stretched(word: str, array: Any, sizes: Mapping[str, int]) -> tuple[str, Any]:
    """Take away axes of length one that another array has at full length."""
    kept = [(letter, size) for letter, size in zip(word, array.shape, strict=True) if size == sizes[letter]]
    if len(kept) == len(word):
        return word, array
    return "".join(letter for letter, _ in kept), reshape(array, shape=tuple(size for _, size in kept))


def _without_repeats(word: str, array: Any) -> tuple[str, Any]:
    """Take the diagonal of axes that have the same letter."""
    for letter in dict.fromkeys(word):
        while word.count(letter) > 1:
            first = word.index(letter)
            second = word.index(letter, first + 1)
            others = [axis for axis in range(len(word)) if axis not in (first, second)]
            size, rest = array.shape[first], tuple(array.shape[axis] for axis in others)
            square = permute_dims(array, axes=(first, second, *others))
            array = getitem(reshape(square, shape=(size * size, *rest)), (slice(None, None, size + 1), ...))
            word = letter + "".join(word[axis] for axis in others)
    return word, array


def _without_lonely(word: str, array: Any, elsewhere: set[str]) -> tuple[str, Any]:
    """Sum over axes that nothing else has."""
    axes = tuple(axis for axis, letter in enumerate(word) if letter not in elsewhere)
    if not axes:
        return word, array
    return "".join(letter for letter in word if letter in elsewhere), sum_over(array, axis=axes)


def _lengths(words: Sequence[str], shapes: Sequence[Shape]) -> dict[str, int]:
    return {
        letter: size
        for word, shape in zip(words, shapes, strict=True)
        for letter, size in zip(word, shape, strict=True)
    }


def _work(first: str, second: str, sizes: Mapping[str, int]) -> int:
    """Return the multiply-adds of bringing two arrays together."""
    return math.prod(sizes[letter] for letter in {*first, *second})


def _plan(words: Sequence[str], output: str, sizes: Mapping[str, int]) -> list[tuple[int, int, str]]:
    """Return which two arrays to bring together, and what letters come out, until one is left; the cheapest first."""
    left = dict(enumerate(words))
    steps = []
    for number in range(len(words), 2 * len(words) - 1):
        pair = min(
            itertools.combinations(left, 2), key=lambda ij: (_work(left[ij[0]], left[ij[1]], sizes), ij)
        )
        first, second = left.pop(pair[0]), left.pop(pair[1])
        wanted = set(output).union(*left.values())
        result = "".join(letter for letter in dict.fromkeys(first + second) if letter in wanted)
        if not left:
            result = output
        steps.append((*pair, result))
        left[number] = result
    return steps


def _einsum_work(*arrays: Any, subscripts: str) -> int:
    """Return the multiply-adds of all steps."""
    left, _, output = subscripts.partition("->")
    words = left.split(",")
    sizes = _lengths(words, [tuple(array.shape) for array in arrays])
    total = 0
    for first, second, result in _plan(words, output, sizes):
        total += _work(words[first], words[second], sizes)
        words.append(result)
    return total


@differentiable(multiply_adds=_einsum_work)
def _einsum(*arrays: Array, subscripts: str) -> tuple[Array, Backward]:
    """Multiply two or more arrays; every letter stands in two places or more, never twice in one."""
    left, _, output = subscripts.partition("->")
    words = left.split(",")
    sizes = _lengths(words, [tuple(array.shape) for array in arrays])
    pool, names = list(arrays), list(words)
    for first, second, result in _plan(words, output, sizes):
        pool.append(_pair(names[first], pool[first], names[second], pool[second], result, sizes))
        names.append(result)
    dtypes = [array.dtype for array in arrays]

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        gradients: list[Any] = []
        for place, word in enumerate(words):
            if not needs[place]:
                gradients.append(None)
                continue
            others = [*range(place), *range(place + 1, len(words))]
            inputs = ",".join([output, *(words[other] for other in others)])
            gradient = _einsum(dy, *(arrays[other] for other in others), subscripts=f"{inputs}->{word}")
            kind = dtypes[place]
            gradients.append(
                gradient if gradient.dtype == kind else namespace(gradient).astype(gradient, kind)
            )
        return tuple(gradients)

    return pool[-1], backward


def _pair(a: str, x: Any, b: str, y: Any, output: str, sizes: Mapping[str, int]) -> Any:
    """Bring two arrays together as one product of matrices, or of stacks of them."""
    shared = [letter for letter in output if letter in a and letter in b]
    own = [letter for letter in output if letter not in shared]
    if own and own[0] in b:  # so that the product comes out in the order wanted
        a, x, b, y = b, y, a, x
    summed = [letter for letter in a if letter in b and letter not in shared]
    rows = [letter for letter in a if letter not in b]
    columns = [letter for letter in b if letter not in a]
    xp = namespace(x if hasattr(x, "__nnbackend_value__") else y)

    def arranged(word: str, array: Any, *groups: list[str]) -> Any:
        letters = list(itertools.chain(*groups))
        order = tuple(word.index(letter) for letter in letters)
        if order != tuple(range(len(order))):
            array = xp.permute_dims(array, order)
        shape = tuple(math.prod(sizes[letter] for letter in group) for group in groups)
        return array if all(len(group) == 1 for group in groups) else xp.reshape(array, shape)

    if not summed:
        product = xp.multiply(
            arranged(a, x, *([s] for s in shared), rows, []),
            arranged(b, y, *([s] for s in shared), [], columns),
        )
    elif shared:
        product = xp.matmul(arranged(a, x, shared, rows, summed), arranged(b, y, shared, summed, columns))
    else:
        product = xp.matmul(arranged(a, x, rows, summed), arranged(b, y, summed, columns))
    found = [*shared, *rows, *columns]
    product = xp.reshape(product, tuple(sizes[letter] for letter in found))
    order = tuple(found.index(letter) for letter in output)
    return product if order == tuple(range(len(order))) else xp.permute_dims(product, order)
