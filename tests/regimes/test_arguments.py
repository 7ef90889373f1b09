"""Features and regularisation that cannot be used are named; features that overflow are a status, not a crash."""

import numpy as np
import pytest
import torch

from grassvp import FirstOrder, LevenbergMarquardt, ReducedProblem, SeparableProblem, Status, TrustRegion, solve
from grassvp.errors import GrassvpError, NonFiniteError
from grassvp.features import from_function, mlp
from tests.regimes.quantities import everything

X = np.linspace(-1.0, 1.0, 8)[:, None]
Y = np.sin(3.0 * X[:, 0])


def problem(regularization=0.0, **options):
    return SeparableProblem(mlp(1, (3,)), X, Y, regularization=regularization, **options)


def spoiled(bad, when=2.0):
    """[x, p x^2] with an entry that is `bad` where p is above `when`."""

    def features(p, x):
        hit = (torch.arange(8) == 3) & (p[0] > when)
        column = torch.where(hit, torch.full_like(x[:, 0], bad), p[0] * x[:, 0] ** 2)
        return torch.stack([x[:, 0], column], dim=1)

    return features


@pytest.mark.parametrize("value", [-1e-300, -1.0, float("nan"), float("inf"), -float("inf")])
def test_regularization_that_is_no_size_is_refused_with_its_value(value):
    with pytest.raises(
        ValueError, match=r"regularization must be finite and >= 0, got -?(1e-300|1\.0|nan|inf)"
    ) as caught:
        problem(value)
    assert isinstance(caught.value, GrassvpError)


@pytest.mark.parametrize(
    "value", [True, False, "lots", "", "1e-3", "AUTO ", None, [1e-3], np.array([1e-3, 1.0]), 1 + 1j, {}], ids=repr
)
def test_regularization_of_a_wrong_kind_is_refused_by_name(value):
    with pytest.raises((ValueError, TypeError), match="regularization") as caught:
        problem(value)
    assert isinstance(caught.value, GrassvpError)


@pytest.mark.parametrize("value", [0, 1, np.float32(0.5), np.int64(2), torch.tensor(0.25), np.array(0.125)], ids=repr)
def test_numbers_of_every_kind_are_taken(value):
    assert problem(value).regularization == float(value)


@pytest.mark.parametrize("value", [-1e-3, 1.0, 2.0, float("nan"), True, "tight"])
def test_a_rank_tolerance_that_cannot_be_used_is_refused_by_name(value):
    with pytest.raises((ValueError, TypeError), match="rank_tolerance"):
        problem(rank_tolerance=value)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_column_scaling_is_a_flag(value):
    with pytest.raises(TypeError, match="column_scaling must be True or False"):
        problem(column_scaling=value)


@pytest.mark.parametrize("lam", [0.0, 1e-14, 1e-2])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite(bad, lam):
    """Every quantity raises one error that says what is wrong, and the value is infinite."""
    reduced = ReducedProblem(SeparableProblem(from_function(spoiled(bad), [1.0]), X, Y, regularization=lam))
    assert all(np.isfinite(found).all() for found in everything(reduced, np.array([1.0])).values())
    assert reduced.value([3.0]) == float("inf")
    for quantity in (reduced.linearize, reduced.gradient, reduced.jacobian, reduced.hessian):
        with pytest.raises(NonFiniteError, match="8 x 2 feature matrix has NaN or infinite entries"):
            quantity([3.0])


@pytest.mark.parametrize("method", [LevenbergMarquardt(), TrustRegion("exact"), FirstOrder("lbfgs")], ids=repr)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_solve_that_starts_there_has_a_status(bad, method):
    made = SeparableProblem(from_function(spoiled(bad), [1.0]), X, Y)
    solution = solve(made, method, initial_parameters=[3.0])
    assert solution.status is Status.NON_FINITE and np.isnan(solution.value) and solution.iterations == 0
    assert not solution.converged and solution.parameters.tolist() == [3.0]


@pytest.mark.parametrize("method", [LevenbergMarquardt(), TrustRegion(), FirstOrder("lbfgs")], ids=repr)
def test_a_solve_that_meets_it_on_the_way_turns_back(method):
    """The minimum lies at p = 1.9 or beyond the wall at 2; nothing that is returned is not finite."""

    def walled(p, x):
        return torch.stack([torch.exp(p[0] * x[:, 0]), spoiled(float("nan"))(p, x)[:, 1]], dim=1)

    made = SeparableProblem(from_function(walled, [1.0]), X, np.exp(3.0 * X[:, 0]))
    solution = solve(made, method, max_iterations=50)
    assert np.isfinite(solution.value) and solution.parameters[0] <= 2.0
    assert np.isfinite(solution.history["value"]).all() and solution.value < solution.history["value"][0]
