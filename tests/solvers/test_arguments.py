"""Arguments that cannot be used: each exception names its argument, and a plausible one passes."""

import re

import numpy as np
import pytest
import torch

from grassvp import FirstOrder, GaussNewton, LevenbergMarquardt, ReducedProblem, solve
from grassvp.errors import GrassvpError
from tests.solvers.problems import double_exponential, wave

BAD = {
    "solver": ["lm", LevenbergMarquardt, FirstOrder, 3, print],
    "tolerance": [-1e-9, float("nan"), float("inf"), "small", True, [1e-9], 1j],
    "max_iterations": [-1, 1.5, "many", None, True, float("inf")],
    "starts": [0, -2, 1.5, None, "four"],
    "max_time": [-1.0, float("nan"), "1 s", True, [1.0]],
    "seed": [-1, 1.5, "seed"],
    "callbacks": [print, [3], None, ["print"]],
    "initial_parameters": [
        [1.0],
        [[0.2, 4.0]],
        1.0,
        "start",
        [0.2, "four"],
        np.zeros(3),
        torch.zeros(0),
        np.zeros(2, complex),
        [[1.0], [2.0, 3.0]],
    ],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values], ids=repr
)
def test_solve_names_the_argument(name, value):
    problem = wave(3) if name == "seed" else double_exponential()
    options = {"max_iterations": 2} | {name: value}
    with pytest.raises((ValueError, TypeError), match=name):
        solve(problem, **options)


@pytest.mark.parametrize("problem", [None, "heat", np.zeros(3), ReducedProblem(double_exponential())], ids=type)
def test_solve_names_the_problem(problem):
    with pytest.raises(TypeError, match="problem must be a SeparableProblem"):
        solve(problem)


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": 0},
        {"tolerance": np.float32(1e-6)},
        {"tolerance": torch.tensor(1e-6)},
        {"max_iterations": np.int64(1)},
        {"max_time": 10},
        {"max_time": None},
        {"starts": np.int32(2)},
        {"seed": np.random.SeedSequence(3)},
        {"callbacks": ()},
        {"callbacks": [lambda record: None]},
        {"initial_parameters": [1, 2]},
        {"initial_parameters": np.array([1.0, 2.0], np.float32)},
        {"initial_parameters": torch.tensor([1.0, 2.0], requires_grad=True)},
    ],
    ids=lambda options: re.sub(" at 0x[0-9a-f]+", "", repr(options)),
)
def test_what_one_might_well_pass_works(options):
    assert solve(double_exponential(), **({"max_iterations": 2} | options)).value < 1.0


@pytest.mark.parametrize(
    ("method", "options", "name"),
    [
        (FirstOrder, {"optimizer": "sgd"}, "optimizer.*'adam'.*'lbfgs'.*'sgd'"),
        (FirstOrder, {"optimizer": None}, "optimizer"),
        (FirstOrder, {"objective": "both"}, "objective.*'reduced'.*'joint'"),
        (FirstOrder, {"coefficients": "random"}, "coefficients.*'zero'.*'projected'"),
        (FirstOrder, {"learning_rate": 0.0}, "learning_rate"),
        (FirstOrder, {"learning_rate": -1.0}, "learning_rate"),
        (FirstOrder, {"learning_rate": float("inf")}, "learning_rate"),
        (FirstOrder, {"learning_rate": "fast"}, "learning_rate"),
        (LevenbergMarquardt, {"jacobian": "exact"}, "jacobian.*'golub-pereyra'.*'kaufman'"),
        (LevenbergMarquardt, {"initial_damping": -1.0}, "initial_damping"),
        (LevenbergMarquardt, {"initial_damping": float("nan")}, "initial_damping"),
        (GaussNewton, {"jacobian": 3}, "jacobian"),
    ],
    ids=str,
)
def test_methods_name_their_options(method, options, name):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        method(**options)
    assert isinstance(caught.value, GrassvpError)


def test_reprs_of_the_methods_say_their_options():
    assert repr(FirstOrder("lbfgs", objective="joint")).startswith("FirstOrder(optimizer='lbfgs', objective='joint'")
    assert "jacobian='kaufman'" in repr(GaussNewton("kaufman"))
    assert FirstOrder() == FirstOrder("adam") != FirstOrder("lbfgs")
