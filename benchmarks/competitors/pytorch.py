"""PyTorch: eager with its default or its fused optimizer, and torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.case import Case, Run


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _dense(kernel: Any, bias: Any) -> nn.Linear:
    layer = nn.Linear(*kernel.shape)
    with torch.no_grad():
        layer.weight.copy_(_tensor(kernel.T))
        layer.bias.copy_(_tensor(bias))
    return layer


def _convolution(kernel: Any, bias: Any = None, **options: Any) -> nn.Conv2d:
    layer = nn.Conv2d(*kernel.shape[2:], kernel.shape[0], bias=bias is not None, **options)
    with torch.no_grad():
        layer.weight.copy_(_tensor(kernel.transpose(3, 2, 0, 1)))
        if bias is not None:
            layer.bias.copy_(_tensor(bias))
    return layer


def _images(x: Any) -> torch.Tensor:
    """Images as PyTorch's convolutions take them fastest on a CPU: channels first in the shape, last in memory."""
    return _tensor(x.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)


def _optimizer(model: Any, case: Case, mode: str) -> torch.optim.Optimizer:
    given = case.optimizer
    parameters = model.parameters() if isinstance(model, nn.Module) else model
    if "momentum" in given:
        return torch.optim.SGD(parameters, given["learning_rate"], given["momentum"])
    fused = {"fused": True} if mode in ("fused", "compile") else {}
    betas = (given["beta_1"], given["beta_2"])
    return torch.optim.Adam(parameters, given["learning_rate"], betas, given["epsilon"], **fused)


def _trains(model: nn.Module, loss_of: Callable[..., Any], x: Any, y: Any, case: Case, mode: str) -> Run:
    torch.set_num_threads(case.threads)
    optimizer = _optimizer(model, case, mode)

    def evaluate(x: Any, y: Any) -> Any:
        return loss_of(model(x), y)

    if mode == "compile":
        evaluate = torch.compile(evaluate)

    def run(steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = evaluate(x, y)
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    return run


def _network(case: Case) -> nn.Sequential:
    layers: list[nn.Module] = []
    for kernel, bias in case.layers:
        layers += [_dense(kernel, bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def mlp(case: Case, mode: str) -> Run:
    return _trains(_network(case), functional.cross_entropy, _tensor(case.x), _tensor(case.y), case, mode)


class _Channels(nn.Module):
    """Flattens as (h, w, c), so that the weights behind are those of the others."""

    def forward(self, x: Any) -> Any:
        return x.permute(0, 2, 3, 1).flatten(1)


def cnn(case: Case, mode: str) -> Run:
    first, second, third, fourth = case.layers
    model = nn.Sequential(
        *(_convolution(*first), nn.ReLU(), _convolution(*second), nn.ReLU(), nn.MaxPool2d(2), _Channels()),
        *(_dense(*third), nn.ReLU(), _dense(*fourth)),
    ).to(memory_format=torch.channels_last)
    return _trains(model, functional.cross_entropy, _images(case.x), _tensor(case.y), case, mode)


class _Recurrent(nn.Module):
    def __init__(self, kernel: Any, recurrent: Any, bias: Any, dense: nn.Linear) -> None:
        super().__init__()
        self.lstm, self.dense = nn.LSTM(kernel.shape[0], recurrent.shape[0], batch_first=True), dense
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(_tensor(kernel.T))
            self.lstm.weight_hh_l0.copy_(_tensor(recurrent.T))
            self.lstm.bias_ih_l0.copy_(_tensor(bias))
            self.lstm.bias_hh_l0.zero_()
        self.lstm.bias_hh_l0.requires_grad_(False)  # one bias, as the others have

    def forward(self, x: Any) -> Any:
        return self.dense(self.lstm(x)[0][:, -1])


def lstm(case: Case, mode: str) -> Run:
    kernel, recurrent, bias, *dense = case.weights.values()
    model = _Recurrent(kernel, recurrent, bias, _dense(*dense))
    return _trains(model, functional.cross_entropy, _tensor(case.x), _tensor(case.y), case, mode)


def transformer(case: Case, mode: str) -> Run:
    given = {path.partition("/")[2]: array for path, array in case.weights.items()}
    width = case.sizes[-1]
    inner = given["feedforward_intermediate_dense/kernel"].shape[1]
    model = nn.TransformerEncoderLayer(width, 4, inner, dropout=0.0, batch_first=True)
    attention = model.self_attn
    names = [f"self_attention_layer/{part}" for part in ("query", "key", "value")]
    with torch.no_grad():
        attention.in_proj_weight.copy_(
            _tensor(np.concatenate([given[f"{name}/kernel"].reshape(width, -1).T for name in names]))
        )
        attention.in_proj_bias.copy_(
            _tensor(np.concatenate([given[f"{name}/bias"].ravel() for name in names]))
        )
        output = given["self_attention_layer/attention_output/kernel"].reshape(-1, width)
        attention.out_proj.weight.copy_(_tensor(output.T))
        attention.out_proj.bias.copy_(_tensor(given["self_attention_layer/attention_output/bias"]))
        for layer, name in (
            (model.linear1, "feedforward_intermediate_dense"),
            (model.linear2, "feedforward_output_dense"),
        ):
            layer.weight.copy_(_tensor(given[f"{name}/kernel"].T))
            layer.bias.copy_(_tensor(given[f"{name}/bias"]))
    return _trains(model, functional.mse_loss, _tensor(case.x), _tensor(case.y), case, mode)


class _Residual(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        channels = case.sizes[-1]
        self.conv_1, self.conv_2 = (
            _convolution(case.weights[f"conv_{number}/kernel"], padding=1) for number in (1, 2)
        )
        self.norm_1, self.norm_2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Any) -> Any:
        y = functional.relu(self.norm_1(self.conv_1(x)))
        return functional.relu(x + self.norm_2(self.conv_2(y)))


def residual(case: Case, mode: str) -> Run:
    model = _Residual(case).to(memory_format=torch.channels_last)
    return _trains(model, functional.mse_loss, _images(case.x), _images(case.y), case, mode)


def inference(case: Case, mode: str) -> Run:
    torch.set_num_threads(case.threads)
    model, x = _network(case).eval(), _tensor(case.x)
    called = torch.compile(model) if mode == "compile" else model

    @torch.inference_mode()
    def run(steps: int) -> float:
        for _ in range(steps):
            output = called(x)
        return float(output[0, 0] - output[0, 1])

    return run


def update(case: Case, mode: str) -> Run:
    torch.set_num_threads(case.threads)
    parameter = nn.Parameter(_tensor(case.x))
    parameter.grad = _tensor(case.y)
    optimizer = _optimizer([parameter], case, "eager" if mode == "compile" else mode)
    step = torch.compile(lambda: optimizer.step()) if mode == "compile" else optimizer.step

    def run(steps: int) -> float:
        for _ in range(steps):
            step()
        return float(parameter.detach()[0])

    return run


def fit(case: Case, mode: str) -> Run:
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    model, kept, batch = _network(case), case.validation, case.batch
    x, y = _tensor(case.x), _tensor(case.y)
    trained, held = (x[:-kept], y[:-kept]), (x[-kept:], y[-kept:])
    optimizer = _optimizer(model, case, "eager" if mode == "loader" else mode)
    called = torch.compile(model) if mode == "compile" else model

    if mode == "loader":
        data = torch.utils.data
        shuffled: Any = data.DataLoader(data.TensorDataset(*trained), batch, shuffle=True)
        in_order: Any = data.DataLoader(data.TensorDataset(*held), batch)
    else:

        class Shuffled:
            def __iter__(self) -> Any:
                for rows in torch.randperm(len(trained[0])).split(batch):
                    yield trained[0][rows], trained[1][rows]

        shuffled = Shuffled()
        in_order = list(zip(held[0].split(batch), held[1].split(batch), strict=True))

    def run(steps: int) -> float:
        for _ in range(steps * case.epochs):
            model.train()
            for x, y in shuffled:
                optimizer.zero_grad()
                functional.cross_entropy(called(x), y).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                total = sum(
                    float(functional.cross_entropy(called(x), y, reduction="sum")) for x, y in in_order
                )
        return total / kept

    return run


KINDS = {
    "mlp": mlp,
    "cnn": cnn,
    "lstm": lstm,
    "transformer": transformer,
    "residual": residual,
    "inference": inference,
    "update": update,
    "fit": fit,
}
