"""How exactly products are computed: what is chosen, for whom, and what the libraries beneath make of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import nnbackend as nn
from nnbackend import functional as fn

WORDS = ("highest", "high", "medium")


@pytest.fixture(autouse=True)
def _restored() -> Any:
    yield
    nn.set_matmul_precision("highest")


def test_products_are_exact_unless_one_asks_for_speed():
    assert nn.get_matmul_precision() == "highest"


@pytest.mark.parametrize("precision", WORDS)
def test_a_precision_is_chosen_until_another_one_is(precision):
    nn.set_matmul_precision(precision)
    assert nn.get_matmul_precision() == precision


def test_a_block_has_a_precision_of_its_own():
    nn.set_matmul_precision("medium")
    with nn.use_matmul_precision("highest"):
        with nn.use_matmul_precision("high"):
            assert nn.get_matmul_precision() == "high"
        assert nn.get_matmul_precision() == "highest"
    assert nn.get_matmul_precision() == "medium"


def test_an_error_ends_a_block_s_precision():
    with pytest.raises(KeyError), nn.use_matmul_precision("high"):
        raise KeyError
    assert nn.get_matmul_precision() == "highest"


def test_a_block_counts_for_its_own_thread():
    with nn.use_matmul_precision("medium"), ThreadPoolExecutor(1) as other:
        assert other.submit(nn.get_matmul_precision).result() == "highest"


@pytest.mark.parametrize(
    "choose", [nn.set_matmul_precision, lambda word: nn.use_matmul_precision(word).__enter__()]
)
@pytest.mark.parametrize(
    ("word", "hint"), [("hihg", " Did you mean 'high'"), ("tf32", "$"), (None, "$"), (1, "$")], ids=str
)
def test_other_words_are_refused_by_naming_the_three(choose, word, hint):
    with pytest.raises(ValueError, match=rf"is 'highest', 'high' or 'medium', got {word!r}\.{hint}"):
        choose(word)
    assert nn.get_matmul_precision() == "highest"


class TestPyTorch:
    """PyTorch's own setting is the process's: it holds while the library computes, and no longer."""

    @pytest.fixture
    def torch(self) -> Any:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        before = torch.get_float32_matmul_precision()
        yield torch
        torch.set_float32_matmul_precision(before)

    @pytest.fixture
    def seen(self, torch, monkeypatch) -> list[str]:
        """PyTorch's setting at each product of matrices."""
        found: list[str] = []
        matmul = torch.Tensor.__matmul__

        def spied(*arguments: Any) -> Any:
            found.append(torch.get_float32_matmul_precision())
            return matmul(*arguments)

        monkeypatch.setattr(nn.get_backend("torch").xp, "matmul", spied)
        return found

    @pytest.mark.parametrize("own", WORDS)
    @pytest.mark.parametrize("precision", WORDS)
    def test_rules_and_steps_compute_in_the_precision_chosen(self, torch, seen, own, precision):
        torch.set_float32_matmul_precision(own)
        step = nn.get_backend("torch").compile(lambda state, x: (state, fn.matmul(x, state)))
        with nn.use_matmul_precision(precision):
            fn.matmul(torch.ones(2, 2), torch.ones(2, 2))
            nn.grad(lambda x: fn.sum(fn.matmul(x, x)))(torch.ones(2, 2))
            step(torch.ones(2, 2), torch.ones(2, 2))
        assert set(seen) == {precision}
        assert torch.get_float32_matmul_precision() == own

    def test_an_error_leaves_the_user_s_setting(self, torch):
        torch.set_float32_matmul_precision("medium")
        with pytest.raises(RuntimeError):
            fn.matmul(torch.ones(2, 3), torch.ones(2, 3))
        assert torch.get_float32_matmul_precision() == "medium"

    def test_finer_settings_of_the_user_s_are_left(self, torch):
        finer = torch.backends.mkldnn.matmul
        before = finer.fp32_precision
        try:
            finer.fp32_precision = "bf16"
            with nn.use_matmul_precision("high"):
                fn.matmul(torch.ones(2, 2), torch.ones(2, 2))
            assert finer.fp32_precision == "bf16"
        finally:
            finer.fp32_precision = before


class TestJax:
    """JAX compiles once for each precision."""

    @pytest.fixture
    def jax(self) -> Any:
        return pytest.importorskip("jax", reason="JAX is not installed")

    @pytest.mark.parametrize(
        ("precision", "word"), [("highest", "HIGHEST"), ("high", "HIGH"), ("medium", "DEFAULT")]
    )
    def test_rules_compute_in_the_precision_chosen(self, jax, precision, word):
        x = jax.numpy.ones((2, 2))
        with jax.default_matmul_precision("tensorfloat32"), nn.use_matmul_precision(precision):
            program = str(jax.make_jaxpr(lambda x: fn.matmul(x, x))(x))
        assert f"precision=(Precision.{word}, Precision.{word})" in program.replace("\n", "") or (
            f"precision={word}" in program
        ), program

    def test_a_compiled_step_is_compiled_again_for_another_precision(self, jax):
        step = nn.get_backend("jax").compile(lambda state, x: (state, fn.matmul(x, x)))
        x = jax.numpy.ones((2, 2))
        step((), x)
        with nn.use_matmul_precision("high"):
            step((), x)
            assert step.count == 2
        step((), x)
        assert step.count == 2
