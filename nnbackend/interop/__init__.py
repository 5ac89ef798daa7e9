"""Where nnbackend meets files and other programs: the edges, on the host."""

from typing import TYPE_CHECKING

from nnbackend.lazy import lazily

if TYPE_CHECKING:
    from nnbackend.interop import safetensors as safetensors

lazily(__name__, {}, others=["safetensors"])
