"""Tries an installed wheel: the nox session ``build`` runs this outside the checkout."""

from importlib.metadata import files, version
from pathlib import Path

import nnbackend as nn

PACKAGES = {
    "nnbackend",
    "nnbackend_cupy",
    "nnbackend_jax",
    "nnbackend_numpy",
    "nnbackend_strict",
    "nnbackend_torch",
}


def check_files() -> None:
    """The wheel holds the six packages, each with its types, and nothing beside them."""
    installed = {path for path in files("nnbackend") or [] if "__pycache__" not in path.parts}
    rooms = {path.parts[0] for path in installed if not path.parts[0].startswith(("nnbackend-", ".."))}
    assert rooms == PACKAGES, f"The wheel installs {sorted(rooms)}, expected {sorted(PACKAGES)}."
    for package in sorted(PACKAGES):
        assert any(path.parts == (package, "py.typed") for path in installed), f"{package} lacks py.typed."
    assert version("nnbackend") == nn.__version__
    checkout = Path(__file__).resolve().parents[1]
    sources = {path.name for path in installed if path.parts[:2] == ("nnbackend_cupy", "cuda")}
    missing = {path.name for path in (checkout / "backends/nnbackend_cupy/cuda").iterdir()} - sources
    assert not missing, f"The wheel lacks the CUDA sources {sorted(missing)}."
    assert checkout not in Path(nn.__file__).resolve().parents, "The checkout was imported, not the wheel."


def learn_xor() -> None:
    """Two layers learn what one cannot."""
    x = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    y = [0.0, 1.0, 1.0, 0.0]
    model = nn.Sequential([nn.Dense(8, activation="tanh"), nn.Dense(1, activation="sigmoid")], seed=0)
    model.compile(optimizer=nn.optimizers.Adam(0.05), loss="binary_crossentropy")
    model.fit(x, [[label] for label in y], epochs=300, batch_size=4, verbose=0)
    answers = [float(row[0]) for row in model.predict(x)]
    assert [round(answer) for answer in answers] == y, f"XOR was not learned: {answers}"


if __name__ == "__main__":
    check_files()
    learn_xor()
    print(f"nnbackend {nn.__version__} is installed and learns XOR.")
