"""The import rules of the packages, read from their syntax trees; every rule is shown to catch a planted violation."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# experiments -> lab -> {theory, pde, riemannian, ...} -> {reduced, solvers, solve} -> {features, projection} -> errors.
# A module imports from its own layer or a lower one. The packages' own __init__ and __main__ stand outside.
LAYERS = {
    **dict.fromkeys(["errors", "arrays", "bounds", "callbacks", "continuation"], 0),
    **dict.fromkeys(["features", "projection"], 1),
    **dict.fromkeys(["data", "separable", "jacobians", "linearization", "reduced", "joint", "solvers", "starts"], 2),
    **dict.fromkeys(["solving", "schedules", "scheduling", "operating", "multistarts", "growing", "relinearizing"], 2),
    **dict.fromkeys(["streaming", "statistics"], 2),
    **dict.fromkeys(["criterion", "selecting", "rank", "surgery"], 2),
    **dict.fromkeys(["theory", "pde", "riemannian", "estimator", "distributed"], 3),
    "lab": 4,
}
KNOWN = [[name] for name in LAYERS]
OUTSIDE_LAYERS = ("__init__", "__main__")
SOLVERS_NEVER = {
    *["features", "data", "reduced", "linearization", "separable", "jacobians", "joint", "projection"],
    *["solving", "schedules", "scheduling", "operating", "starts", "multistarts", "growing", "relinearizing"],
    *["criterion", "selecting", "rank", "surgery"],
}
FORBIDDEN_CALLS = {
    "torch.set_default_dtype",
    "torch.set_default_device",
    "torch.manual_seed",
    "torch.set_num_threads",
    "torch.set_num_interop_threads",
    "numpy.random.seed",
    "random.seed",
}


def library_files(root: Path) -> list[Path]:
    return sorted([*(root / "grassvp").rglob("*.py"), *(root / "manifolds").rglob("*.py")])


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names of everything imported anywhere in the module, relative imports resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            if base != "grassvp":  # from grassvp import reduced names a module, not the package
                yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that the module calls, with its import aliases resolved."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            head, *rest = ast.unparse(node.func).split(".")
            yield ".".join([aliases.get(head, head), *rest])


def violations(root: Path) -> list[str]:
    """Every breach of a rule, as 'file: what'."""
    found, autograd_files = [], []
    for path in library_files(root):
        parts = path.relative_to(root).with_suffix("").parts
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = ".".join(parts[:-1])
        names = set(imported(tree, package))
        tops = {name.split(".")[0] for name in names}
        inside = {name.split(".")[1] for name in names if name.startswith("grassvp.")} & {*LAYERS, *OUTSIDE_LAYERS}
        where, unit = "/".join(parts), parts[1]
        breaches = []
        if parts[0] == "manifolds":
            breaches += ["manifolds imports grassvp"] if "grassvp" in tops else []
        else:
            breaches += layer_breaches(unit, inside, names)
            if "pymanopt" in tops and unit != "riemannian":
                breaches.append("pymanopt belongs to manifolds and riemannian")
        if "experiments" in tops and unit != "lab":
            breaches.append("the library imports an experiment")
        if "matplotlib" in tops and parts[:2] != ("grassvp", "lab"):
            breaches.append("matplotlib belongs to grassvp/lab")
        if unit == "solvers" and parts[0] == "grassvp" and ("manifolds" in tops or inside & SOLVERS_NEVER):
            breaches.append(f"solvers import {sorted(inside & SOLVERS_NEVER) or 'manifolds'}")
        autograd_files += [where] if "autograd" in tops else []
        calls = set(called(tree))
        breaches += [f"calls {name}" for name in sorted(calls & FORBIDDEN_CALLS)]
        if "print" in calls and unit not in ("lab", "__main__"):
            breaches.append("the library prints")
        found += [f"{where}: {breach}" for breach in breaches]
    if len(autograd_files) > 1:
        found.append(f"autograd is imported in {len(autograd_files)} files: {', '.join(autograd_files)}")
    return found


def layer_breaches(unit: str, inside: set[str], names: set[str]) -> Iterator[str]:
    if unit in OUTSIDE_LAYERS:
        return
    if unit not in LAYERS:
        yield f"has no layer: add {unit!r} to LAYERS in tests/test_architecture.py"
        return
    if unit != "lab" and any(f"{name}.".startswith("grassvp.") and name.split(".")[1:2] not in KNOWN for name in names):
        yield "imports the whole package: import the module that is meant"
    yield from (f"imports the higher layer {other}" for other in inside - {unit} if LAYERS.get(other, 9) > LAYERS[unit])


def test_the_packages_keep_the_rules():
    assert violations(ROOT) == []


def test_every_rule_is_read_from_real_files():
    names = {path.relative_to(ROOT).as_posix() for path in library_files(ROOT)}
    assert {"grassvp/linearization.py", "grassvp/solvers/loop.py", "manifolds/grassmann.py"} <= names
    tree = ast.parse((ROOT / "grassvp/linearization.py").read_text(encoding="utf-8"))
    assert {"grassvp.projection.Projection", "manifolds.subspaces", "torch"} <= set(imported(tree, "grassvp"))


PLANTED = {
    "solvers/a.py": [
        ("from grassvp.features import mlp", "solvers import"),
        ("import grassvp.reduced", "solvers import"),
        ("from .. import reduced", "solvers import"),
        ("from grassvp import features", "solvers import"),
        ("from manifolds.subspaces import principal_angles", "solvers import manifolds"),
        ("def f():\n    from grassvp.theory import claims", "higher layer theory"),
    ],
    "features/a.py": [
        ("from grassvp.reduced import ReducedProblem", "higher layer reduced"),
        ("from ..separable import SeparableProblem", "higher layer separable"),
        ("from grassvp import SeparableProblem", "whole package"),
    ],
    "errors.py": [("from grassvp.arrays import to_tensor\nfrom grassvp import lab", "higher layer lab")],
    "theory/a.py": [
        ("from grassvp.lab import records", "higher layer lab"),
        ("import pymanopt", "pymanopt belongs"),
        ("from pymanopt.manifolds import Grassmann", "pymanopt belongs"),
        ("import experiments.heat", "an experiment"),
    ],
    "pde/a.py": [("def f():\n    import matplotlib.pyplot as plt", "matplotlib belongs"), ("print('x')", "prints")],
    "unheard_of.py": [("x = 1", "has no layer")],
    "reduced.py": [
        ("import torch\ntorch.set_default_dtype(torch.float64)", "calls torch.set_default_dtype"),
        ("import torch as t\nt.manual_seed(0)", "calls torch.manual_seed"),
        ("from torch import set_num_threads\nset_num_threads(1)", "calls torch.set_num_threads"),
        ("import numpy as np\nnp.random.seed(0)", "calls numpy.random.seed"),
        ("from numpy import random\nrandom.seed(0)", "calls numpy.random.seed"),
    ],
    "../manifolds/a.py": [("import grassvp", "manifolds imports"), ("import matplotlib", "matplotlib belongs")],
}


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / "grassvp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [(name, text, message) for name, cases in PLANTED.items() for text, message in cases],
    ids=lambda value: value.replace("\n", " ")[:50],
)
def test_a_planted_violation_is_caught(tmp_path, name, text, message):
    (tmp_path / "manifolds").mkdir()
    plant(tmp_path, {name: text})
    found = violations(tmp_path)
    assert any(re.search(message, line) for line in found), found


def test_autograd_in_two_files_is_caught(tmp_path):
    plant(tmp_path, {"riemannian.py": "import autograd.numpy as anp"})
    assert violations(tmp_path) == []
    plant(tmp_path, {"theory/a.py": "from autograd import grad"})
    assert len(violations(tmp_path)) == 1 and "autograd is imported in 2 files" in violations(tmp_path)[0]


def test_what_is_allowed_passes(tmp_path):
    plant(
        tmp_path,
        {
            "lab/a.py": "import grassvp, matplotlib\nfrom grassvp.theory import claims\nprint('x')",
            "riemannian.py": "import pymanopt\nfrom manifolds import Grassmann\nfrom grassvp import reduced",
            "solvers/a.py": "from grassvp import errors\nfrom .status import Status\nimport torch.autograd",
            "reduced.py": "import torch\ntorch.Generator().manual_seed(0)\nfrom manifolds import subspaces",
            "__init__.py": "from grassvp.solving import solve",
            "../manifolds/a.py": "import pymanopt",
        },
    )
    assert violations(tmp_path) == []
