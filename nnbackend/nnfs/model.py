"""The book's model: layers in a row, trained, evaluated and asked, with the book's printed lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

from nnbackend import functional
from nnbackend.arguments import positive_integer
from nnbackend.nnfs import saving, settings
from nnbackend.nnfs.activations import Activation_Softmax, Activation_Softmax_Loss_CategoricalCrossentropy
from nnbackend.nnfs.layers import Layer_Input
from nnbackend.nnfs.losses import Loss_CategoricalCrossentropy

__all__ = ["Model"]


class Model:
    """Layers and activations in a row, with a loss, an optimizer and an accuracy.

    Attributes
    ----------
    layers : list
        What was added.
    trainable_layers : list
        Those with weights; from `finalize` on.
    loss, optimizer, accuracy : object or None
        What was set.
    output_layer_activation : activation
        The last of the layers; from `finalize` on.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> X, y = nnfs.spiral_data(samples=100, classes=3)
    >>> model = nnfs.Model()
    >>> model.add(nnfs.Layer_Dense(2, 64))
    >>> model.add(nnfs.Activation_ReLU())
    >>> model.add(nnfs.Layer_Dense(64, 3))
    >>> model.add(nnfs.Activation_Softmax())
    >>> model.set(
    ...     loss=nnfs.Loss_CategoricalCrossentropy(),
    ...     optimizer=nnfs.Optimizer_Adam(learning_rate=0.05, decay=5e-7),
    ...     accuracy=nnfs.Accuracy_Categorical(),
    ... )
    >>> model.finalize()
    >>> model.train(X, y, epochs=20, print_every=10)
    epoch: 10, acc: ..., loss: ... (data_loss: ..., reg_loss: 0.000), lr: 0.0499997750010125
    epoch: 20, acc: ..., loss: ... (data_loss: ..., reg_loss: 0.000), lr: 0.04999952500451246
    """

    layers: list[Any]
    trainable_layers: list[Any]
    input_layer: Layer_Input
    output_layer_activation: Any

    def __init__(self) -> None:
        self.layers = []
        self.loss: Any = None
        self.optimizer: Any = None
        self.accuracy: Any = None
        self.softmax_classifier_output: Activation_Softmax_Loss_CategoricalCrossentropy | None = None

    def add(self, layer: Any) -> None:
        """Add a layer or an activation at the end.

        Parameters
        ----------
        layer : layer or activation
            One of this module, or one's own with ``forward(inputs, training)`` and ``backward(dvalues)``.

        Raises
        ------
        TypeError
            If it is neither.
        """
        if isinstance(layer, type) or not all(hasattr(layer, name) for name in ("forward", "backward")):
            raise TypeError(
                f"Model.add expects a layer or an activation, with forward and backward, got {layer!r}. Make one: "
                "Layer_Dense(2, 64)."
            )
        self.layers.append(layer)

    def set(self, *, loss: Any = None, optimizer: Any = None, accuracy: Any = None) -> None:
        """Set what to train with; what is left out stays as it is.

        Parameters
        ----------
        loss : Loss, optional
            What is made small.
        optimizer : optimizer, optional
            How.
        accuracy : Accuracy, optional
            What is shown beside it.
        """
        self.loss = self.loss if loss is None else loss
        self.optimizer = self.optimizer if optimizer is None else optimizer
        self.accuracy = self.accuracy if accuracy is None else accuracy

    def finalize(self) -> None:
        """Tie the layers together: each gets its ``prev`` and ``next``.

        Raises
        ------
        RuntimeError
            If there are no layers.
        """
        if not self.layers:
            raise RuntimeError("Model.finalize found no layers. Give it some with add first.")
        self.input_layer = Layer_Input()
        row = [self.input_layer, *self.layers, self.loss]
        for before, layer, after in zip(row, row[1:], row[2:], strict=False):
            layer.prev, layer.next = before, after
        self.input_layer.next = self.layers[0]
        self.output_layer_activation = self.layers[-1]
        self.trainable_layers = [layer for layer in self.layers if hasattr(layer, "weights")]
        if self.loss is not None:
            self.loss.remember_trainable_layers(self.trainable_layers)
        together = isinstance(self.layers[-1], Activation_Softmax) and isinstance(
            self.loss, Loss_CategoricalCrossentropy
        )
        self.softmax_classifier_output = (
            Activation_Softmax_Loss_CategoricalCrossentropy() if together else None
        )

    def train(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        print_every: int = 1,
        validation_data: tuple[Any, Any] | None = None,
    ) -> None:
        """Train, and print how it goes.

        Parameters
        ----------
        X, y : array
            Samples and targets, of any library.
        epochs : int
            How often to go through them.
        batch_size : int, optional
            Samples of a step; without it all at once.
        print_every : int
            After how many steps to print a line; without batches, after how many epochs.
        validation_data : pair of array, optional
            Samples and targets to evaluate on, after every epoch; without batches, at the end.

        Raises
        ------
        RuntimeError
            If loss, optimizer or accuracy are not set, or the model is not finalized.
        TypeError, ValueError
            If `batch_size` or `print_every` is no whole number above zero.

        Notes
        -----
        Without `batch_size` the lines are those of the book's chapter 18, with it those of chapter 19 on. The samples
        keep their order, as in the book, whose programs shuffle them before.
        """
        self._require("train", "loss", "optimizer", "accuracy")
        print_every = positive_integer("Model.train", "print_every", print_every)
        X, y = self._placed(X), settings.place(y, settings.chosen_backend())
        self.accuracy.init(y)
        for epoch in range(1, epochs + 1):
            if batch_size is None:
                line = self._step(X, y)
                if not epoch % print_every:
                    print(f"epoch: {epoch}, {line}")
                continue
            print(f"epoch: {epoch}")
            self._new_pass()
            batches = list(_cuts(X.shape[0], batch_size))
            for step, cut in enumerate(batches):
                line = self._step(_part(X, cut), _part(y, cut))
                if not step % print_every or step == len(batches) - 1:
                    print(f"step: {step}, {line}")
            data_loss, penalty = self.loss.calculate_accumulated(include_regularization=True)
            print(f"training, {self._line(self.accuracy.calculate_accumulated(), data_loss, penalty)}")
            if validation_data is not None:
                self.evaluate(*validation_data, batch_size=batch_size)
        if batch_size is None and validation_data is not None:
            self.evaluate(*validation_data)

    def _step(self, X: Any, y: Any) -> str:
        """Take a step, and return what to print of it."""
        output = self.forward(X, training=True)
        data_loss, penalty = self.loss.calculate(output, y, include_regularization=True)
        accuracy = self.accuracy.calculate(self._predictions(output), y)
        self.backward(output, y)
        self.optimizer.pre_update_params()
        for layer in self.trainable_layers:
            self.optimizer.update_params(layer)
        self.optimizer.post_update_params()
        return self._line(accuracy, data_loss, penalty)

    def _line(self, accuracy: float, data_loss: Any, penalty: Any) -> str:
        return (
            f"acc: {accuracy:.3f}, loss: {data_loss + penalty:.3f} (data_loss: {data_loss:.3f}, "
            f"reg_loss: {penalty:.3f}), lr: {self.optimizer.current_learning_rate}"
        )

    def evaluate(self, X_val: Any, y_val: Any, *, batch_size: int | None = None) -> None:
        """Print accuracy and loss on samples that were kept back.

        Parameters
        ----------
        X_val, y_val : array
            Samples and targets.
        batch_size : int, optional
            Samples taken at once; without it all.

        Raises
        ------
        RuntimeError
            If loss or accuracy are not set, or the model is not finalized.
        """
        self._require("evaluate", "loss", "accuracy")
        X_val, y_val = self._placed(X_val), settings.place(y_val, settings.chosen_backend())
        self.accuracy.init(y_val)
        self._new_pass()
        for cut in _cuts(X_val.shape[0], batch_size):
            output, y = self.forward(_part(X_val, cut), training=False), _part(y_val, cut)
            self.loss.calculate(output, y)
            self.accuracy.calculate(self._predictions(output), y)
        print(
            f"validation, acc: {self.accuracy.calculate_accumulated():.3f}, "
            f"loss: {self.loss.calculate_accumulated():.3f}"
        )

    def predict(self, X: Any, *, batch_size: int | None = None) -> Any:
        """Return the output for samples.

        Parameters
        ----------
        X : array
            Samples.
        batch_size : int, optional
            Samples taken at once; without it all.

        Returns
        -------
        array of shape (n, ...)
            The output; ``model.output_layer_activation.predictions`` makes classes of it.
        """
        self._require("predict")
        X = self._placed(X)
        outputs = [self.forward(_part(X, cut), training=False) for cut in _cuts(X.shape[0], batch_size)]
        return outputs[0] if len(outputs) == 1 else functional.concat(outputs, axis=0)

    def forward(self, X: Any, training: bool = False) -> Any:
        """Pass samples through all layers.

        Parameters
        ----------
        X : array
            Samples.
        training : bool
            Whether dropout drops.

        Returns
        -------
        array
            The output of the last layer.
        """
        self._require("forward")
        self.input_layer.forward(X, training)
        for layer in self.layers:
            layer.forward(layer.prev.output, training)
        return self.output_layer_activation.output

    def backward(self, output: Any, y: Any) -> None:
        """Pass the gradient back through loss and layers.

        Parameters
        ----------
        output, y : array
            What `forward` returned, and the targets.
        """
        self._require("backward", "loss")
        layers = list(reversed(self.layers))
        if self.softmax_classifier_output is not None:
            self.softmax_classifier_output.backward(output, y)
            self.layers[-1].dinputs = self.softmax_classifier_output.dinputs
            layers = layers[1:]
        else:
            self.loss.backward(output, y)
        for layer in layers:
            layer.backward(layer.next.dinputs)

    def get_parameters(self) -> list[tuple[Any, Any]]:
        """Return weights and biases of each layer that has them."""
        self._require("get_parameters")
        return [layer.get_parameters() for layer in self.trainable_layers]

    def set_parameters(self, parameters: Sequence[tuple[Any, Any]]) -> None:
        """Put others in their place.

        Parameters
        ----------
        parameters : sequence of pairs of array
            What `get_parameters` returned, of a model of the same layers.

        Raises
        ------
        ValueError
            If they do not fit.
        """
        self._require("set_parameters")
        if len(parameters) != len(self.trainable_layers):
            raise ValueError(
                "Model.set_parameters expects a pair of weights and biases for each of its "
                f"{len(self.trainable_layers)} layers, got {len(parameters)}. Take them from a model of the same "
                "layers."
            )
        for layer, (weights, biases) in zip(self.trainable_layers, parameters, strict=True):
            layer.set_parameters(weights, biases)

    def save_parameters(self, path: str | PathLike[str]) -> None:
        """Write weights and biases to a file of safetensors, which holds data and no code.

        Parameters
        ----------
        path : path
            Where; a file that is there is replaced.
        """
        saving.save_parameters(self.get_parameters(), path)

    def load_parameters(self, path: str | PathLike[str]) -> None:
        """Read what `save_parameters` wrote, on any backend.

        Parameters
        ----------
        path : path
            The file.

        Raises
        ------
        nnbackend.interop.safetensors.ModelFileError
            If it is damaged or another kind of file.
        ValueError
            If its parameters do not fit.
        """
        self.set_parameters(saving.load_parameters(path))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a file of safetensors: layers, weights, and what training needs to go on.

        Parameters
        ----------
        path : path
            Where; a file that is there is replaced.

        Raises
        ------
        TypeError
            If a class of one's own is not registered with `nnbackend.register`.
        """
        saving.save_model(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Model:
        """Read what `save` wrote, on any backend.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        Model
            Finalized, if it was: it predicts the same, and training goes on from where it stood.

        Raises
        ------
        nnbackend.interop.safetensors.ModelFileError
            If the file is damaged, another kind of file, or uses classes that are not registered here.
        """
        return saving.load_model(Model(), path)

    def _placed(self, X: Any) -> Any:
        """Return samples as floating numbers on the backend in force."""
        return settings.real(X, settings.chosen_backend())

    def _predictions(self, output: Any) -> Any:
        return self.output_layer_activation.predictions(output)

    def _new_pass(self) -> None:
        self.loss.new_pass()
        self.accuracy.new_pass()

    def _require(self, what: str, *parts: str) -> None:
        """Refuse what cannot be done yet."""
        missing = [part for part in parts if getattr(self, part) is None]
        if missing:
            raise RuntimeError(
                f"Model.{what} needs {' and '.join(missing)}. Give them with set(...), then call finalize()."
            )
        if not hasattr(self, "input_layer"):
            raise RuntimeError(f"Model.{what} needs the layers tied together. Call finalize() first.")


def _cuts(count: int, batch_size: int | None) -> Iterator[slice]:
    """Yield the slices of the batches; the last one may be short."""
    size = max(count, 1) if batch_size is None else positive_integer("Model", "batch_size", batch_size)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _part(array: Any, cut: slice) -> Any:
    return functional.getitem(array, (cut, ...))
