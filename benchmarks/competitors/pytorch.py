"""PyTorch: eager with its default or its fused optimizer, and torch.compile; on a processor or a GPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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


def _memory_format(case: Case) -> torch.memory_format:
    """Return what convolutions take fastest: channels last, but on a GPU's plain float32 units."""
    plain = case.setting.device == "cuda" and case.setting.precision == "highest"
    return torch.contiguous_format if plain else torch.channels_last


def _images(x: Any, case: Case) -> torch.Tensor:
    """Images with channels first in the shape."""
    return _tensor(x.transpose(0, 3, 1, 2)).contiguous(memory_format=_memory_format(case))


def _prepare(case: Case) -> torch.device:
    """Set threads and precision for this process; return the device."""
    torch.set_num_threads(case.threads)
    exact = case.setting.precision != "high"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = True
    return torch.device(case.setting.device)


def _casting(case: Case) -> AbstractContextManager[Any]:
    """Return what casts products to the case's half precision, where it has one."""
    _, mixed, dtype = case.setting.precision.rpartition("mixed_")
    return torch.autocast(case.setting.device, getattr(torch, dtype)) if mixed else nullcontext()


def _synchronize(case: Case) -> None:
    if case.setting.device == "cuda":
        torch.cuda.synchronize()


def peak_device_memory() -> int:
    """Return the most bytes that PyTorch's allocator has taken from the device."""
    return int(torch.cuda.max_memory_reserved())


def _compiled(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    if mode == "compile":
        return torch.compile(function)
    return torch.compile(function, mode=mode) if mode == "reduce-overhead" else function


def _optimizer(model: Any, case: Case, mode: str) -> torch.optim.Optimizer:
    given = case.optimizer
    parameters = model.parameters() if isinstance(model, nn.Module) else model
    if "momentum" in given:
        return torch.optim.SGD(parameters, given["learning_rate"], given["momentum"])
    fused = {"fused": True} if mode in ("fused", "compile", "reduce-overhead") else {}
    betas = (given["beta_1"], given["beta_2"])
    return torch.optim.Adam(parameters, given["learning_rate"], betas, given["epsilon"], **fused)


def _trains(model: nn.Module, loss_of: Callable[..., Any], x: Any, y: Any, case: Case, mode: str) -> Run:
    device = _prepare(case)
    model, x, y = model.to(device), x.to(device), y.to(device)
    optimizer = _optimizer(model, case, mode)
    # where it is off it passes all through: only float16 underflows
    scaler = torch.amp.GradScaler(device.type, enabled=case.setting.precision == "mixed_float16")

    def evaluate(x: Any, y: Any) -> Any:
        with _casting(case):
            return loss_of(model(x), y)

    evaluate = _compiled(evaluate, mode)

    def run(steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = evaluate(x, y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
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
    ).to(memory_format=_memory_format(case))
    return _trains(model, functional.cross_entropy, _images(case.x, case), _tensor(case.y), case, mode)


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
    model = _Residual(case).to(memory_format=_memory_format(case))
    return _trains(model, functional.mse_loss, _images(case.x, case), _images(case.y, case), case, mode)


def inference(case: Case, mode: str) -> Run:
    device = _prepare(case)
    model, x = _network(case).eval().to(device), _tensor(case.x).to(device)
    called = _compiled(model, mode)

    @torch.inference_mode()
    def run(steps: int) -> float:
        for _ in range(steps):
            with _casting(case):
                output = called(x)
            _synchronize(case)  # each answer is waited for
        return float(output[0, 0] - output[0, 1])

    return run


def update(case: Case, mode: str) -> Run:
    device = _prepare(case)
    if mode == "copy":
        return _copies(case, device)
    parameter = nn.Parameter(_tensor(case.x).to(device))
    parameter.grad = _tensor(case.y).to(device)
    compiles = mode in ("compile", "reduce-overhead")
    optimizer = _optimizer([parameter], case, "eager" if compiles else mode)
    step = _compiled(lambda: optimizer.step(), mode)

    def run(steps: int) -> float:
        for _ in range(steps):
            step()
        return float(parameter.detach()[0])

    return run


def _copies(case: Case, device: torch.device) -> Run:
    """Copy as many bytes as Adam must move: it reads four arrays and writes three, a copy reads one and writes one."""
    source = _tensor(case.x).to(device).repeat(4)[: case.x.size * 7 // 2].clone()
    target = torch.empty_like(source)

    def run(steps: int) -> float:
        for _ in range(steps):
            target.copy_(source)
        return float(target[0])

    return run


def fit(case: Case, mode: str) -> Run:
    _prepare(case)
    torch.manual_seed(0)
    model, kept, batch = _network(case), case.validation, case.batch
    x, y = _tensor(case.x), _tensor(case.y)
    trained, held = (x[:-kept], y[:-kept]), (x[-kept:], y[-kept:])
    optimizer = _optimizer(model, case, "eager" if mode == "loader" else mode)
    called = _compiled(model, mode)

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
