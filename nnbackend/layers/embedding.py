"""Embedding of things known by number, and of the positions where they stand."""

from __future__ import annotations

from typing import Any

from nnbackend import constraints, functional, initializers, regularizers
from nnbackend.arguments import positive_integer
from nnbackend.autodiff import Tensor, is_floating
from nnbackend.backend import backend_of, host, plain, to_numpy
from nnbackend.layers.base import Layer
from nnbackend.typing import Shape

__all__ = [
    "Embedding",
    "PositionEmbedding",
    "RotaryEmbedding",
    "SinusoidalPositionEncoding",
    "TokenAndPositionEmbedding",
]


class Embedding(Layer):
    r"""Give each of a set of things that are known by number, such as words, a vector that is learned.

    .. math:: y_i = E_{j_i}

    The derivatives are those of `nnbackend.functional.embedding`: the gradients of a vector that is taken several
    times add up, in a fixed order.

    Parameters
    ----------
    input_dim : int
        How many things there are, `v`; they are numbered from 0 to v - 1.
    output_dim : int
        How many features each has, `d`.
    embeddings_initializer : str or Initializer
        First values of :math:`E`.
    embeddings_regularizer : str or Regularizer, optional
        A penalty on it.
    embeddings_constraint : str or Constraint, optional
        Where it must stay.
    mask_zero : bool
        Whether number 0 stands for nothing, as at the end of a sequence that is shorter than others: layers behind
        are told by a mask.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    embeddings : Parameter of shape (v, d)
        :math:`E`.

    Raises
    ------
    ValueError
        If a number is not from 0 to v - 1: in ``fit``, ``evaluate`` and ``predict`` of a model that begins with the
        layer, on every backend, since data are looked at on the host; where the layer is called in another way, on
        NumPy alone. Elsewhere its vector is NaN, which the loss shows: looking at values would wait for the device.
        (`nnbackend.functional.embedding` on NumPy raises IndexError.)

    Notes
    -----
    Inputs have the shape (n, ...), outputs (n, ..., d). Indices are integers. Floating ones are cast, as in Keras,
    since a model of one's own casts what it is given to its dtype; in float32 that is exact up to 16 777 216. Give
    such a model ``casts_input = False``, or a graph ``nn.Input(..., dtype="int64")``. The first vectors are drawn from
    :math:`U(-0.05, 0.05)` as in Keras; PyTorch draws them from :math:`N(0, 1)`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.Embedding(3, 2, embeddings_initializer="ones")
    >>> layer(nn.get_backend("numpy").xp.asarray([[2, 0]])).shape
    (1, 2, 2)
    """

    casts_input = False
    takes_rows = True
    computes_wide = True  # the rows that were looked up are cast, rather than the table

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: str | initializers.Initializer = "uniform",
        *,
        embeddings_regularizer: str | regularizers.Regularizer | None = None,
        embeddings_constraint: str | constraints.Constraint | None = None,
        mask_zero: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.input_dim = positive_integer("Embedding", "input_dim", input_dim)
        self.output_dim = positive_integer("Embedding", "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero

    def build(self, input_shape: Shape) -> None:
        """Make the table, whatever the input's shape."""
        self.embeddings = self.add_weight(
            "embeddings",
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with an axis of `output_dim` behind."""
        return (*input_shape, self.output_dim)

    def check_values(self, x: Any) -> None:
        """Refuse indices outside of the table, wherever the data are."""
        xp, indices = host().xp, to_numpy(x)
        if xp.isdtype(indices.dtype, "real floating") and bool(xp.any(indices != xp.round(indices))):
            raise ValueError(
                f"Embedding {self.path!r} expects whole numbers, which say which vector to take, got fractions. Number "
                "the things from 0 on, or put a Dense layer in the place of the Embedding."
            )
        wrong = (indices < 0) | (indices >= self.input_dim)
        if bool(xp.any(wrong)):
            first = xp.reshape(indices, (-1,))[int(xp.argmax(xp.astype(xp.reshape(wrong, (-1,)), xp.int64)))]
            raise ValueError(
                f"Embedding {self.path!r} expects indices from 0 to {self.input_dim - 1}, got {first}. Make input_dim "
                "larger, or check how the data are numbered."
            )

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return where the input is not 0, if that stands for nothing."""
        if not self.mask_zero:
            return None
        nothing: Any = 0
        return functional.not_equal(x, nothing)

    def forward(self, x: Any) -> Any:
        """Take the vectors."""
        indices = functional.astype(x, "int64") if is_floating(x) else x
        try:
            return functional.embedding(indices, self.embeddings)
        except IndexError:
            self.check_values(plain(indices))
            raise


class PositionEmbedding(Layer):
    r"""Give each position of a sequence a vector that is learned.

    .. math:: y_{p} = P_{p}

    Parameters
    ----------
    sequence_length : int
        The greatest length of a sequence.
    initializer : str or Initializer
        First values of :math:`P`.
    add : bool
        Whether the input is added: :math:`x + P`, for a layer that stands in a row of others. As it is the output
        is the vectors alone, as in KerasHub, in the shape of the input.
    regularizer : str or Regularizer, optional
        A penalty on it.
    constraint : str or Constraint, optional
        Where it must stay.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Attributes
    ----------
    position_embeddings : Parameter of shape (sequence_length, c)
        :math:`P`, of the name ``embeddings``.

    Raises
    ------
    ValueError
        If a sequence is longer than `sequence_length`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.ones((2, 3, 4))
    >>> layer = nn.PositionEmbedding(8)
    >>> (x + layer(x)).shape
    (2, 3, 4)
    """

    expects = "t c"
    fixed = ("c",)
    passes_mask = True

    def __init__(
        self,
        sequence_length: int,
        initializer: str | initializers.Initializer = "glorot_uniform",
        *,
        add: bool = False,
        regularizer: str | regularizers.Regularizer | None = None,
        constraint: str | constraints.Constraint | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.sequence_length = positive_integer("PositionEmbedding", "sequence_length", sequence_length)
        self.initializer = initializers.get(initializer)
        self.add = add
        self.regularizer = regularizers.get(regularizer)
        self.constraint = constraints.get(constraint)

    def build(self, input_shape: Shape) -> None:
        """Make the vectors for inputs of shape (t, c)."""
        self.position_embeddings = self.add_weight(
            "embeddings",
            (self.sequence_length, input_shape[-1]),
            self.initializer,
            regularizer=self.regularizer,
            constraint=self.constraint,
        )

    def check_input(self, input_shape: Shape) -> None:
        """Refuse sequences that are too long, too."""
        super().check_input(input_shape)
        if input_shape[0] > self.sequence_length:
            raise ValueError(
                f"PositionEmbedding {self.path!r} has vectors for {self.sequence_length} positions, got a sequence of "
                f"{input_shape[0]}. Make it with a larger sequence_length."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any, *, start_index: int = 0) -> Any:
        """Take the vectors of the positions from `start_index` on."""
        end = start_index + x.shape[1]
        if not 0 <= start_index <= end <= self.sequence_length:
            raise ValueError(
                f"PositionEmbedding {self.path!r} has vectors for the positions 0 to {self.sequence_length - 1}, got a "
                f"sequence from {start_index} to {end - 1}."
            )
        vectors = self.position_embeddings[start_index:end, ...]
        return x + vectors if self.add else functional.broadcast_to(vectors, tuple(x.shape))


class SinusoidalPositionEncoding(Layer):
    r"""Give each position of a sequence a vector of sines and cosines, which needs no learning.

    .. math:: y_{p,\,2i} = \sin(p\, \lambda^{-2i/c}), \qquad y_{p,\,2i+1} = \cos(p\, \lambda^{-2i/c})

    Parameters
    ----------
    max_wavelength : float
        :math:`\lambda`.
    add : bool
        Whether the input is added, for a layer that stands in a row of others. As it is the output is the vectors
        alone, in the shape of the input, as of KerasHub's ``SinePositionEncoding``.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Notes
    -----
    The vectors are those of `nnbackend.functional.sinusoidal_positions`. They have no gradient; an input that is added
    has its own.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.zeros((1, 2, 2))
    >>> nn.SinusoidalPositionEncoding(add=True)(x)
    array([[[0.        , 1.        ],
            [0.84147096, 0.5403023 ]]], dtype=float32)
    """

    expects = "t c"
    passes_mask = True

    def __init__(self, max_wavelength: float = 10000.0, *, add: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.max_wavelength = float(max_wavelength)
        self.add = add

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any, *, start_index: int = 0) -> Any:
        """Compute the vectors of the positions from `start_index` on."""
        array = plain(x)
        backend = backend_of(array)
        places = backend.xp.arange(start_index, start_index + x.shape[1], device=backend.device(array))
        waves = functional.sinusoidal_positions(places, size=x.shape[2], max_wavelength=self.max_wavelength)
        vectors = Tensor(backend.xp.astype(waves, array.dtype))
        return x + vectors if self.add else functional.broadcast_to(vectors, tuple(x.shape))


class RotaryEmbedding(Layer):
    r"""Turn each pair of features of queries or keys by an angle that grows with the position (RoPE).

    Inner products of what was turned depend on the distance of positions alone. The formula and its derivative are
    those of `nnbackend.functional.rotary_embedding`.

    Parameters
    ----------
    max_wavelength : float
        :math:`\lambda`: the last pair turns once in nearly :math:`2\pi\lambda` positions.
    scaling_factor : float
        Positions are divided by it, for sequences longer than those that a model was trained on.
    interleaved : bool
        Whether neighbours make a pair, as in the paper; else feature j and j + d/2, as in KerasHub.
    **options
        ``name`` and ``dtype`` of `Layer`.

    Raises
    ------
    ValueError
        If the number of features is odd.

    Notes
    -----
    Inputs have the shape (n, t, ..., d): time is the second axis, features are the last, whatever stands between.

    Examples
    --------
    >>> import nnbackend as nn
    >>> queries = nn.get_backend("numpy").xp.ones((2, 5, 4, 8))  # samples, time, heads, features
    >>> nn.RotaryEmbedding()(queries).shape
    (2, 5, 4, 8)
    """

    passes_mask = True

    def __init__(
        self,
        max_wavelength: float = 10000.0,
        scaling_factor: float = 1.0,
        *,
        interleaved: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not scaling_factor > 0:
            raise ValueError(f"RotaryEmbedding expects a scaling_factor above zero, got {scaling_factor}.")
        self.max_wavelength = float(max_wavelength)
        self.scaling_factor = float(scaling_factor)
        self.interleaved = interleaved

    def check_input(self, input_shape: Shape) -> None:
        """Refuse inputs without time or with an odd number of features."""
        if len(input_shape) < 2 or input_shape[-1] % 2:
            came = ", ".join(["n", *map(str, input_shape)])
            raise ValueError(
                f"RotaryEmbedding {self.path!r} expects inputs of shape (n, t, ..., d) with an even number d of "
                f"features, got ({came})."
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Any, *, start_index: int = 0, positions: Any = None) -> Any:
        """Turn what stands at the positions from `start_index` on, or at `positions`."""
        if positions is None and self.scaling_factor != 1.0:
            array = plain(x)
            backend = backend_of(array)
            positions = backend.xp.arange(x.shape[1], device=backend.device(array))
        if self.scaling_factor != 1.0:
            positions = plain(positions)
            xp = backend_of(positions).xp
            positions = xp.astype(positions + start_index, xp.float64) / self.scaling_factor
            start_index = 0
        return functional.rotary_embedding(
            x,
            positions,
            offset=start_index,
            max_wavelength=self.max_wavelength,
            interleaved=self.interleaved,
        )


class TokenAndPositionEmbedding(Layer):
    r"""The sum of what a thing is and where it stands, both learned:  :math:`y_p = E_{j_p} + P_p`.

    Parameters
    ----------
    vocabulary_size : int
        How many things there are.
    sequence_length : int
        The greatest length of a sequence.
    embedding_dim : int
        How many features each has.
    embeddings_initializer : str or Initializer
        First values of both tables.
    mask_zero : bool
        Whether number 0 stands for nothing; see `Embedding`.
    **options
        ``name``, ``dtype``, ``trainable`` and ``activity_regularizer`` of `Layer`.

    Notes
    -----
    Inputs have the shape (n, t), outputs (n, t, embedding_dim). The parts are the layers ``token_embedding``, an
    `Embedding`, and ``position_embedding``, a `PositionEmbedding`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> layer = nn.TokenAndPositionEmbedding(vocabulary_size=10, sequence_length=4, embedding_dim=3)
    >>> layer(nn.get_backend("numpy").xp.asarray([[7, 7]])).shape
    (1, 2, 3)
    """

    casts_input = False
    expects = "t"

    def __init__(
        self,
        vocabulary_size: int,
        sequence_length: int,
        embedding_dim: int,
        embeddings_initializer: str | initializers.Initializer = "glorot_uniform",
        *,
        mask_zero: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.embedding_dim = embedding_dim
        self.token_embedding = Embedding(
            vocabulary_size,
            embedding_dim,
            embeddings_initializer,
            mask_zero=mask_zero,
            name="token_embedding",
        )
        self.position_embedding = PositionEmbedding(
            sequence_length, embeddings_initializer, add=True, name="position_embedding"
        )

    def build(self, input_shape: Shape) -> None:
        """Make both tables."""
        self.token_embedding.build(input_shape)
        self.position_embedding.build((*input_shape, self.embedding_dim))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with an axis of `embedding_dim` behind."""
        return (*input_shape, self.embedding_dim)

    def check_values(self, x: Any) -> None:
        """Refuse indices outside of the table of things."""
        self.token_embedding.check_values(x)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Return where the input is not 0, if that stands for nothing."""
        return self.token_embedding.compute_mask(x)

    def forward(self, x: Any) -> Any:
        """Add the vectors of the things and of their positions."""
        return self.position_embedding(self.token_embedding(x))
