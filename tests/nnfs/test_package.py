"""A program of the book gives the same bits here as with the package ``nnfs`` and plain NumPy."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import nnfs

#: A network's first step in plain NumPy, with the functions of NumPy that ``nnfs.init`` replaces.
THEIRS = """
import json
import numpy as np
import nnfs
from nnfs.datasets import spiral_data
nnfs.init()
X, y = spiral_data(samples=100, classes=3)
W1, b1 = 0.01 * np.random.randn(2, 64), np.zeros((1, 64))
W2, b2 = 0.01 * np.random.randn(64, 3), np.zeros((1, 3))
z = np.dot(X, W1) + b1
h = np.maximum(0, z)
o = np.dot(h, W2) + b2
d = np.sign(o) / len(X)
dW2, db2, dh = np.dot(h.T, d), np.sum(d, axis=0, keepdims=True), np.dot(d, W2.T)
dh[z <= 0] = 0
dW1 = np.dot(X.T, dh)
mask = np.random.binomial(1, 0.75, size=h.shape)
X_test, _ = spiral_data(samples=100, classes=3)
print(json.dumps({name: array.tolist() for name, array in
                  dict(o=o, dW2=dW2, db2=db2, dW1=dW1, mask=mask, X_test=X_test).items()}))
"""


def test_a_first_step_has_the_bits_of_the_package(book, backend):
    if importlib.util.find_spec("nnfs") is None:
        pytest.skip("nnfs is not installed")
    # in a process of its own: nnfs.init replaces functions of NumPy
    done = subprocess.run(
        [sys.executable, "-c", THEIRS], capture_output=True, text=True, check=True, timeout=120
    )
    theirs = json.loads(done.stdout)
    X, _ = nnfs.spiral_data(samples=100, classes=3)
    dense1, activation1, dense2 = nnfs.Layer_Dense(2, 64), nnfs.Activation_ReLU(), nnfs.Layer_Dense(64, 3)
    dense1.forward(X)
    activation1.forward(dense1.output)
    dense2.forward(activation1.output)
    output = nn.to_numpy(dense2.output)
    dense2.backward(np.sign(output) / np.float32(len(output)))
    activation1.backward(dense2.dinputs)
    dense1.backward(activation1.dinputs)
    dropout = nnfs.Layer_Dropout(0.25)
    dropout.forward(activation1.output)
    X_test, _ = nnfs.spiral_data(samples=100, classes=3)
    ours = {"o": output, "dW2": dense2.dweights, "dW1": dense1.dweights, "X_test": X_test}
    ours["mask"] = nn.to_numpy(dropout.binary_mask) > 0
    for name, array in ours.items():
        np.testing.assert_array_equal(nn.to_numpy(array), np.asarray(theirs[name], "float32"), err_msg=name)
    # this sum is taken in float32, in an order of each library's own
    np.testing.assert_allclose(nn.to_numpy(dense2.dbiases), np.asarray(theirs["db2"]), rtol=1e-5, atol=1e-7)
