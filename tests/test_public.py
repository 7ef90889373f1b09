"""The public contract: names and signatures that users rely on, and what importing the package costs."""

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import grassvp
import manifolds

ROOT = Path(__file__).parents[1]
KEYWORD, POSITIONAL = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
NO_DEFAULT = inspect.Parameter.empty


def arguments(positional, **keywords):
    """name -> (kind, default) from "a, b=None" and keyword-only arguments."""
    expected = {}
    for text in filter(None, positional.split(", ")):
        name, _, default = text.partition("=")
        expected[name] = (POSITIONAL, eval(default) if default else NO_DEFAULT)
    return expected | {name: (KEYWORD, default) for name, default in keywords.items()}


ANY = object()  # a default that the contract leaves open
SIGNATURES = {
    "solve": arguments(
        "problem, solver=None",
        initial_parameters=None,
        seed=None,
        max_iterations=ANY,
        tolerance=ANY,
        callbacks=(),
    ),
    "SeparableProblem": arguments("features, inputs, targets", weights=None, regularization=0.0),
    "ReducedProblem": arguments("problem"),
    "ReducedProblem.value": arguments("self, parameters"),
    "ReducedProblem.gradient": arguments("self, parameters"),
    "ReducedProblem.jacobian": arguments("self, parameters, kind='golub-pereyra'"),
    "ReducedProblem.hessian": arguments("self, parameters"),
    "ReducedProblem.hessian_vector_product": arguments("self, parameters, direction"),
    "ReducedProblem.linearize": arguments("self, parameters"),
    "Solution.predict": arguments("self, inputs"),
    "Solution.load_into": arguments("self, module"),
    "FirstOrder": arguments("optimizer='adam'"),
    "features.mlp": arguments("in_features, widths", activation="tanh", bias_feature=True, seed=0),
    "features.from_function": arguments("function, parameters"),
}
SOLUTION = "status message converged parameters coefficients value gradient_norm rank iterations elapsed history"
STATUSES = "CONVERGED STALLED MAX_ITERATIONS MAX_TIME NON_FINITE RANK_DEFICIENT INTERRUPTED"


def resolve(path):
    found = grassvp
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures_of_the_contract(path):
    found = inspect.signature(resolve(path)).parameters
    for name, (kind, default) in SIGNATURES[path].items():
        assert name in found, f"{path} lacks {name}"
        assert found[name].kind is kind, f"{path}: {name} is {found[name].kind.description}"
        assert default is ANY or found[name].default == default, f"{path}: {name}={found[name].default!r}"
    positional = [name for name, (kind, _) in SIGNATURES[path].items() if kind is POSITIONAL]
    assert list(found)[: len(positional)] == positional
    more = [parameter for name, parameter in found.items() if name not in SIGNATURES[path]]
    assert all(parameter.default is not NO_DEFAULT for parameter in more), "what is added must have a default"


def test_methods_need_no_arguments():
    for method in (grassvp.LevenbergMarquardt(), grassvp.GaussNewton(), grassvp.FirstOrder("lbfgs")):
        assert callable(method.iterate)


@pytest.fixture(scope="module")
def solution():
    x = np.linspace(0.0, 1.0, 20)
    problem = grassvp.SeparableProblem(grassvp.features.mlp(1, (3,)), x, np.exp(x))
    return problem, grassvp.solve(problem, seed=0, max_iterations=5)


def test_attributes_of_a_solution(solution):
    problem, found = solution
    for name in [*SOLUTION.split(), "regularization"]:
        assert getattr(found, name) is not None, name
    assert found.parameters.shape == (6,) and found.coefficients.shape == (4, 1)
    assert isinstance(found, grassvp.Solution) and isinstance(found.status, grassvp.Status)
    assert isinstance(found.message, str) and isinstance(found.converged, bool) and isinstance(found.iterations, int)
    assert all(isinstance(getattr(found, name), float) for name in ("value", "gradient_norm", "elapsed"))
    assert grassvp.ReducedProblem(problem).initial_parameters.shape == (6,)


def test_statuses():
    assert set(STATUSES.split()) <= set(grassvp.Status.__members__)


@pytest.mark.parametrize("module", [grassvp, grassvp.features, grassvp.errors], ids=lambda m: m.__name__)
def test_every_exported_name_is_there_and_documented(module):
    assert len(set(module.__all__)) == len(module.__all__) > 0
    for name in module.__all__:
        assert inspect.getdoc(getattr(module, name)), name


def test_errors_are_the_builtin_ones_too():
    errors = grassvp.errors
    assert issubclass(errors.ArgumentError, ValueError) and issubclass(errors.ArgumentTypeError, TypeError)
    assert all(issubclass(getattr(errors, name), errors.GrassvpError) for name in errors.__all__)


HEAVY = "matplotlib sklearn pymanopt autograd rich tyro pandas"


def test_importing_and_solving_loads_nothing_that_it_does_not_need():
    code = f"""
import sys
import numpy as np
import grassvp
x = np.linspace(0, 1, 9)
grassvp.solve(grassvp.SeparableProblem(grassvp.features.mlp(1, (2,)), x, x), seed=0, max_iterations=1)
print(sorted(set(sys.modules) & set("{HEAVY}".split())))
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("package", [grassvp, manifolds], ids=lambda p: p.__name__)
def test_packages_are_typed_and_named_in_the_distribution(package):
    assert (Path(package.__file__).parent / "py.typed").is_file()
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert setup["tool"]["setuptools"]["package-data"][package.__name__] == ["py.typed"]
    include = setup["tool"]["setuptools"]["packages"]["find"]["include"]
    assert any(pattern.rstrip("*") == package.__name__ for pattern in include)
    assert setup["project"]["version"] == grassvp.__version__ and set(setup["project"]["optional-dependencies"]) == {
        "test",
        "docs",
        "sklearn",
    }
