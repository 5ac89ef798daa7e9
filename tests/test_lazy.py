"""Packages import a module when one of its names is first asked for, and offer what type checkers are told."""

import ast
import importlib
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import nnbackend as nn
from nnbackend.lazy import lazily, offered
from tests.test_import import run

FOLDER = Path(nn.__file__).parent
#: Read from the files, so that nothing is imported before a test asks for it.
PACKAGES = sorted(
    ".".join(("nnbackend", *path.parent.relative_to(FOLDER).parts))
    for path in FOLDER.rglob("__init__.py")
    if re.search(r"^_?lazily\(", path.read_text(encoding="utf-8"), re.MULTILINE)
)


def names_bound(package: ModuleType) -> set[str]:
    """Return the names that an ``__init__`` lets others import: at once, or under ``if TYPE_CHECKING``."""
    found = set()
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    blocks = [
        node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    for node in (*tree.body, *(each for block in blocks for each in block.body)):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.names[0].name == "*":
            found |= set(importlib.import_module(node.module).__all__)
        else:  # written so that checkers let others import it
            found |= {name.name for name in node.names if name.asname == name.name}
    return found


def test_the_rooms_that_offer_much_are_lazy():
    lazy = {name.partition(".")[2] for name in PACKAGES}
    assert lazy >= {
        "",
        "callbacks",
        "data",
        "functional",
        "layers",
        "losses",
        "metrics",
        "models",
        "optimizers",
        "plotting",
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_in_a_table_is_there(name):
    package = importlib.import_module(name)
    for each, home in package._homes.items():
        assert getattr(package, each) is getattr(importlib.import_module(home), each)
    for each in package.__all__:
        assert getattr(package, each) is not None
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_are_told_what_is_offered(name):
    package = importlib.import_module(name)
    defined = {
        each for each in package.__all__ if getattr(getattr(package, each), "__module__", None) == name
    }
    told = names_bound(package)
    assert told | defined == set(package.__all__)


def test_names_are_sorted_and_stand_once():
    for name in PACKAGES:
        names = importlib.import_module(name).__all__
        assert names == sorted(set(names), key=lambda each: (not each.isupper(), each))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("nnbackend.functional.linear", "nn.functional.linear"),
        ("nnbackend.functional.einsum", "nn.functional.einsum"),
        ("nnbackend.elementwise", "nn.elementwise"),
    ],
)
def test_a_function_keeps_its_name_where_a_module_has_the_same(first, then):
    for program in (
        f"import {first}; import nnbackend as nn",
        f"import nnbackend as nn; {then}; import {first}",
    ):
        assert run(f"{program}; print(callable({then}))").strip() == "True"


def test_modules_are_found_by_name_without_being_imported_before():
    program = "import nnbackend as nn; print(nn.models.sequential.__name__, nn.optimizers.schedules.__name__)"
    assert run(program).split() == ["nnbackend.models.sequential", "nnbackend.optimizers.schedules"]


def test_all_names_come_with_a_star():
    assert run(
        "from nnbackend import *; print(Dense.__name__, Sequential.__name__, layers.__name__)"
    ).split() == [
        "Dense",
        "Sequential",
        "nnbackend.layers",
    ]


def test_an_unknown_name_is_an_attribute_error_that_python_can_mend():
    with pytest.raises(AttributeError, match=r"module 'nnbackend\.layers' has no attribute 'Dens'") as caught:
        nn.layers.Dens  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("Dens", nn.layers)
    assert not any(hasattr(nn.functional, name) for name in ("__wrapped__", "add.reduce", "", "relu.x"))
    with pytest.raises(ImportError, match="cannot import name 'Dens'"):
        from nnbackend import Dens  # noqa: F401


def test_a_module_that_fails_is_tried_again(tmp_path, monkeypatch):
    folder = tmp_path / "lazy_example"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from nnbackend.lazy import lazily\nlazily(__name__, {'inner': ['answer']}, ['own'])\nown = 1\n"
    )
    (folder / "inner.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = importlib.import_module("lazy_example")
    try:
        with pytest.raises(RuntimeError, match="not today"):
            package.answer  # noqa: B018
        (folder / "inner.py").write_text("answer = 42\n")
        importlib.invalidate_caches()
        assert (package.answer, package.own, package.__all__) == (42, 1, ["answer", "own"])
        assert offered("lazy_example", "answer") == 42
        assert (
            offered("lazy_example", "own") is None
        )  # not in the table: whoever reads a file's names gets none of it
    finally:
        for name in ("lazy_example", "lazy_example.inner"):
            sys.modules.pop(name, None)


def test_packages_are_modules_as_any_others():
    for name in PACKAGES:  # or what sends functions to other processes by value does not know how
        assert type(importlib.import_module(name)) is ModuleType


def test_completion_offers_names_and_modules_and_nothing_else():
    assert {"Dense", "layers", "models", "interop"} <= set(dir(nn))
    shown = {name for name in dir(nn.plotting) if not name.startswith("__")}
    modules = {info.name for info in pkgutil.iter_modules(nn.plotting.__path__)}
    assert shown == set(nn.plotting.__all__) | modules


def test_what_stands_in_for_a_name_for_a_while_is_not_kept():
    program = """
from unittest import mock
import nnbackend as nn
with mock.patch("nnbackend.layers.Dense") as fake:
    assert nn.layers.Dense is fake and nn.Dense is not fake
with mock.patch("nnbackend.layers.core.Dense", 1), mock.patch("nnbackend.losses.regression.Huber", 2):
    nn.layers.Dense, nn.losses.Huber
with mock.patch("nnbackend.functional.relu") as fake:
    assert nn.activations.get("relu") is not fake and nn.functional.relu is fake
print(nn.Dense.__name__, nn.layers.Dense.__name__, nn.losses.Huber.__name__, nn.functional.relu.name)
"""
    assert run(program).split() == ["Dense", "Dense", "Huber", "relu"]


def test_a_wrapper_from_elsewhere_is_not_kept():
    program = """
import functools
from unittest import mock
from nnbackend.data import splitting
original = splitting.train_test_split
@functools.wraps(original)
def spy(*arguments, **options):
    return original(*arguments, **options)
import nnbackend as nn
with mock.patch.object(splitting, "train_test_split", spy):
    assert nn.data.train_test_split is spy
print(nn.data.train_test_split is original)
"""
    assert run(program).strip() == "True"


def test_all_is_imported_at_once_where_the_environment_says_so():
    program = """
import sys
import nnbackend as nn
nn.get_backend()
before = set(sys.modules)
model = nn.Sequential([nn.Dense(2, "relu"), nn.Dense(1)])
model.compile("adam", "mse", ["mae"])
x, y = [[1.0, 2.0]], [[1.0]]
model.fit(x, y, verbose=0, callbacks=[nn.callbacks.EarlyStopping("loss")])
model.apply(model.get_parameters(), x), model.profile(x, y, repeats=1), model.summary()
nn.metrics.get("auc")
print("new", *sorted(name for name in set(sys.modules) - before if name.partition(".")[0] == "nnbackend"))
"""
    assert run(program, EAGER_IMPORT="1").splitlines()[-1] == "new"
    assert "nnbackend.models.profiling" in run(program).splitlines()[-1].split()


def test_a_name_that_stands_in_a_table_twice_is_refused():
    with pytest.raises(
        ValueError, match="nnbackend.layers offers 'Dense' twice, from nnbackend.layers.core and from"
    ):
        lazily("nnbackend.layers", {"core": ["Dense"], "merging": ["Dense"]})


def test_threads_that_ask_at_once_get_the_same():
    program = """
import threading, nnbackend as nn
names = ["Sequential", "Dense", "load_model", "functional", "Tensor", "MultiHeadAttention"] * 4
barrier, found = threading.Barrier(len(names)), []
def ask(name):
    barrier.wait()
    found.append((name, id(getattr(nn, name))))
threads = [threading.Thread(target=ask, args=(name,)) for name in names]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
print(len(found), len(set(found)))
"""
    assert run(program).split() == ["24", "6"]


def test_every_class_that_a_file_may_name_is_found_by_a_program_that_used_none():
    program = """
import nnbackend as nn
from nnbackend import config
from nnbackend.lazy import import_all
import_all(nn)
print(*sorted(config._objects))
"""
    keys = [key for key in run(program).split() if ">" in key]
    assert len(keys) > 250
    for some in (keys, keys[::-1]):
        program = (
            f"import nnbackend; from nnbackend import config; [config._look_up(key) for key in {some!r}]"
        )
        run(program)
    for key in ("nnbackend>celu", "nnbackend.models>Graph", "nnbackend.optimizers>CosineDecay"):
        run(f"import nnbackend; from nnbackend import config; config._look_up({key!r})")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("nnbackend.layers>GroupNormalisation", "nnbackend.layers>GroupNormalization"),
        ("nnbackend>rellu", "nnbackend>relu"),
        ("nnbackend.losses>Hubert", "nnbackend.losses>Huber"),
    ],
)
def test_a_name_written_wrong_in_a_file_gets_the_nearest_even_if_it_was_not_used_yet(written, meant):
    program = f"""
from nnbackend import config
try:
    config.restore({{"function": {written!r}}})
except ValueError as error:
    print(error)
"""
    assert f"Did you mean {meant!r}?" in run(program)


@pytest.mark.parametrize(
    "package", ["nnbackend.__main__", "os", "nnbackend.no_such_room", "antigravity", "", "nnbackend."]
)
def test_a_file_imports_nothing_but_this_librarys_rooms(package):
    program = f"""
import sys, nnbackend
from nnbackend import config
before = set(sys.modules)
try:
    config.restore({{"function": {package + ">thing"!r}}})
except ValueError as error:
    print(sorted(set(sys.modules) - before - {{"difflib", "heapq", "_heapq"}}))
"""
    assert run(program).strip() == "[]"


def test_lazily_is_for_packages_that_are_being_imported():
    with pytest.raises(KeyError):
        lazily("no_such_package", {})


def test_a_graph_is_loaded_by_a_program_that_made_none(tmp_path):
    inputs = nn.Input((3,))
    nn.Model(inputs, nn.Dense(2, name="only")(inputs)).save(tmp_path / "graph")
    path = next(tmp_path.iterdir())
    assert (
        run(f"import nnbackend as nn; print(nn.load_model({str(path)!r}).layers[-1].name)").strip() == "only"
    )
