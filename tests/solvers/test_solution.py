"""What a solve leaves behind: predictions, history against independent computations, load_into, repr."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from torch import nn

from grassvp import FirstOrder, LevenbergMarquardt, ReducedProblem, SeparableProblem, Solution, Status, features, solve
from tests.solvers.problems import Recorder, double_exponential, joint_value, wave, weighted

COLUMNS = ("iteration", "value", "gradient_norm", "step_norm", "damping", "rank", "condition", "distance")
MORE = ("seconds", "evaluations", "regularization")
CASES = {
    "network": lambda: wave(regularization=1e-8),
    "network, lam = 0": lambda: wave(4),
    "decays, weights, 3 outputs": lambda: double_exponential(
        0.05, outputs=3, weights=np.linspace(0.5, 2.0, 60), regularization=0.05
    ),
}


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, list], ids=["numpy", "torch", "list"])
@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 3)], ids=str)
def test_predict_answers_in_kind_with_the_targets_dimensions(kind, shape):
    x = np.linspace(0.0, 1.0, 40)
    y = np.sin(3 * x).reshape(40, -1)[:, [0] * (shape[1] if len(shape) > 1 else 1)].reshape(shape)
    solution = solve(
        SeparableProblem(features.mlp(1, (5,)), x, y, regularization=1e-10), seed=0, starts=1, max_iterations=20
    )
    new = np.linspace(0.1, 0.9, 7)
    for points in (new, new[:, None]):
        prediction = solution.predict(kind(points))
        assert isinstance(prediction, torch.Tensor if kind is torch.as_tensor else np.ndarray)
        assert prediction.shape == (7, *shape[1:]) and np.asarray(prediction).dtype == np.float64
        truth = np.sin(3 * new) if len(shape) == 1 else np.sin(3 * new)[:, None]
        np.testing.assert_allclose(np.asarray(prediction), np.broadcast_to(truth, prediction.shape), atol=1e-3)
    assert solution.predict(np.array([0, 1])).shape == (2, *shape[1:])


@pytest.mark.parametrize(
    "points", [np.zeros((4, 2)), np.array([np.nan]), np.array(["a"])], ids=["shape", "nan", "text"]
)
def test_predict_names_inputs_that_it_cannot_use(points):
    with pytest.raises((ValueError, TypeError), match="inputs"):
        solve(wave(), seed=0, max_iterations=0).predict(points)


def test_predict_at_the_training_points_is_the_fit():
    problem = CASES["decays, weights, 3 outputs"]()
    solution = solve(problem)
    Phi = np.exp(-problem.inputs.numpy()[:, None] * solution.parameters.numpy())
    np.testing.assert_allclose(solution.predict(problem.inputs), Phi @ solution.coefficients.numpy(), rtol=1e-12)


def test_operator_features_predict_the_function_itself():
    """u' = cos x with u(0) = 0: the prediction is sin x."""
    x = np.linspace(0.0, 3.0, 41)
    rows = np.concatenate([[0.0], x])
    start = np.arange(42) == 0
    operator = features.differential_operator(42, 1, {(): start, (0,): ~start})
    network = features.under_operator(features.mlp(1, (8,)), operator)
    problem = SeparableProblem(network, rows, np.where(start, 0.0, np.cos(rows)), regularization=1e-16)
    solution = solve(problem, seed=0, max_iterations=60)
    new = np.linspace(0.0, 3.0, 17)
    np.testing.assert_allclose(solution.predict(new), np.sin(new), atol=1e-5)
    assert solution.predict(torch.from_numpy(new)[:, None]).shape == (17,)


@pytest.mark.parametrize("method", [LevenbergMarquardt(), FirstOrder("lbfgs"), FirstOrder("adam")], ids=repr)
@pytest.mark.parametrize("name", CASES)
def test_history_against_independent_computations(name, method):
    problem, keep = CASES[name](), Recorder()
    solution = solve(problem, method, seed=0, max_iterations=15, callbacks=[keep])
    history, path = solution.history, keep.parameters
    assert set(history) == {*COLUMNS, *MORE} and (history["regularization"] == problem.regularization).all()
    assert {column.shape for column in history.values()} == {(solution.iterations + 1,)}
    np.testing.assert_array_equal(history["iteration"], np.arange(len(path)))
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    np.testing.assert_allclose(history["step_norm"][1:], steps, rtol=1e-6, atol=1e-14)
    assert history["step_norm"][0] == history["distance"][0] == 0.0
    assert (np.diff(history["seconds"]) >= 0).all() and history["seconds"][-1] <= solution.elapsed
    evaluations = history["evaluations"]
    assert evaluations[0] == 1 and (np.diff(evaluations) >= 1).all()
    bases = []
    for i, theta in enumerate(torch.from_numpy(path)):
        A = augmented(problem, theta)
        s = np.linalg.svd(A, compute_uv=False)
        assert history["rank"][i] == np.linalg.matrix_rank(weighted(problem, theta)[0].numpy(), rtol=1e-10)
        assert history["condition"][i] == pytest.approx(s[0] / s[-1], rel=1e-6)
        C = torch.from_numpy(np.linalg.lstsq(A, padded(problem, A), rcond=None)[0])
        at = theta.clone().requires_grad_()
        value = joint_value(problem, at, C)
        assert history["value"][i] == pytest.approx(float(value.detach()), rel=1e-7)
        (gradient,) = torch.autograd.grad(value, at)
        assert history["gradient_norm"][i] == pytest.approx(float(gradient.norm()), rel=1e-5, abs=1e-12)
        bases.append(np.linalg.qr(A)[0])
    angles = [np.linalg.norm(subspace_angles(a, b)) for a, b in pairwise(bases)]
    np.testing.assert_allclose(history["distance"][1:], angles, rtol=1e-5, atol=1e-9)


def augmented(problem, theta):
    """[W Phi; sqrt(lam) I]."""
    A = weighted(problem, theta)[0].numpy()
    lam = problem.regularization
    return np.concatenate([A, math.sqrt(lam) * np.eye(A.shape[1])]) if lam else A


def padded(problem, A):
    """W Y over zeros."""
    b = problem.weighted_targets.numpy()
    return np.concatenate([b, np.zeros((len(A) - len(b), b.shape[1]))])


def test_the_value_never_rises_beyond_rounding():
    for problem in (wave(regularization=1e-8), double_exponential(0.05), double_exponential()):
        solution = solve(problem, seed=0, max_iterations=100)
        value = solution.history["value"]
        noise = 4e-16 * np.sqrt(2 * value[:-1]) * float(problem.weighted_targets.norm())
        assert (np.diff(value) <= noise).all()


def test_the_history_of_a_joint_method_has_no_subspace():
    solution = solve(wave(), FirstOrder("adam", objective="joint"), seed=0, max_iterations=3)
    for name in ("rank", "condition", "distance"):
        assert np.isnan(solution.history[name][1:]).all()
    assert math.isnan(solution.rank) and "rank nan" in repr(solution)


def test_attributes_say_where_it_ended():
    problem = CASES["decays, weights, 3 outputs"]()
    method = LevenbergMarquardt("kaufman")
    solution = solve(problem, method, tolerance=1e-10)
    point = ReducedProblem(problem).linearize(solution.parameters)
    assert isinstance(solution, Solution) and isinstance(solution.status, Status) and solution.converged
    assert solution.value == point.value and torch.equal(solution.coefficients, point.coefficients)
    assert solution.gradient_norm == pytest.approx(float(point.gradient.norm()))
    assert (solution.rank, solution.regularization) == (2, 0.05)
    assert solution.method == replace(method, linear_algebra="dense") and solution.choice.startswith("dense: QR")
    assert solution.iterations == len(solution.history["value"]) - 1 and solution.elapsed > 0
    assert not solution.parameters.requires_grad
    with pytest.raises(AttributeError):
        solution.value = 0.0


def test_repr_and_message():
    solution = solve(double_exponential(), max_iterations=2)
    assert repr(solution).startswith("Solution(MAX_ITERATIONS, value ") and "2 iterations, rank 2" in repr(solution)
    assert (
        solution.message.startswith("the iteration limit was reached (value ") and "gradient norm" in solution.message
    )
    assert len(repr(solution)) < 120
    assert all(len(status.value.split()) > 3 for status in Status)


def tanh_network(dtype=torch.float64):
    return nn.Sequential(nn.Linear(1, 5), nn.Tanh()).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_load_into_writes_the_parameters(dtype):
    x, y = np.linspace(0.0, 1.0, 30)[:, None], np.linspace(0.0, 1.0, 30) ** 2
    torch.manual_seed(0)
    module = tanh_network(dtype)
    solution = solve(SeparableProblem(module, x, y, regularization=1e-8), max_iterations=10)
    target = tanh_network(dtype).train()
    for parameter in target.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert solution.load_into(target) is None
    tight = 1e-6 if dtype is torch.float32 else 1e-14
    found = nn.utils.parameters_to_vector(target.parameters())
    assert found.dtype == dtype and found.requires_grad and target.training
    np.testing.assert_allclose(found.detach().double(), solution.parameters, rtol=tight)
    assert all(bool((parameter.grad == 1).all()) for parameter in target.parameters())
    with torch.no_grad():
        Phi = target.double()(torch.from_numpy(x))
    scale = float((Phi.abs() @ solution.coefficients.abs()).max())
    np.testing.assert_allclose((Phi @ solution.coefficients)[:, 0], solution.predict(x), atol=10 * tight * scale)


@pytest.mark.parametrize(
    ("module", "error"), [(nn.Linear(1, 2), ValueError), (nn.Tanh(), ValueError), ("m", TypeError), (None, TypeError)]
)
def test_load_into_names_a_module_that_does_not_fit(module, error):
    solution = solve(wave(), seed=0, max_iterations=0)
    with pytest.raises(error, match="module"):
        solution.load_into(module)
