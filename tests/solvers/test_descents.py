"""The Gauss-Newton model, its steps and the searches, against dense numpy formulas."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from grassvp.solvers.descents import GaussNewtonDescent, Step
from grassvp.solvers.searches import Backtracking, Control, GainRatioDamping


@dataclass
class Point:
    """A point that is nothing but a residual and a Jacobian."""

    residual: torch.Tensor
    matrix: torch.Tensor
    preferred_jacobian: str = "kaufman"

    def jacobian(self, kind):
        return self.matrix if kind == self.preferred_jacobian else 2.0 * self.matrix


def linear(rows, columns, *, deficient=False, spread=1.0, seed=0):
    """A point with column sizes from 1 to `spread`; `deficient` repeats its first column and has a column of zeros."""
    rng = np.random.default_rng(seed)
    J = rng.standard_normal((rows, columns)) * np.geomspace(1.0, spread, columns)
    if deficient:
        J[:, 1], J[:, 2] = 2.0 * J[:, 0], 0.0
    return Point(torch.from_numpy(rng.standard_normal((rows // 2, 2))), torch.from_numpy(J))


def scales(J):
    norms = np.linalg.norm(J, axis=0)
    return np.maximum(norms, 1e-8 * norms.max())


def parts(point):
    return point.matrix.numpy(), point.residual.numpy().ravel()


SHAPES = {
    "tall": linear(20, 5),
    "wide": linear(4, 7),
    "badly scaled": linear(20, 5, spread=1e6),
    "deficient": linear(20, 5, deficient=True),
}


@pytest.mark.parametrize("damping", [1e-8, 1e-3, 1.0, 1e5])
@pytest.mark.parametrize("name", SHAPES)
def test_damped_step_solves_the_stacked_least_squares_problem(name, damping):
    point = SHAPES[name]
    J, r = parts(point)
    D = scales(J)
    step = GaussNewtonDescent()(point, None).step(damping)
    stacked = np.concatenate([J, np.sqrt(damping) * np.diag(D)]) / D
    expected = np.linalg.lstsq(stacked, np.concatenate([-r, np.zeros(J.shape[1])]), rcond=None)[0] / D
    np.testing.assert_allclose(D * step.vector.numpy(), D * expected, atol=1e-10 * np.linalg.norm(D * expected))


@pytest.mark.parametrize("name", SHAPES)
def test_undamped_step_is_the_minimiser_of_least_scaled_norm(name):
    point = SHAPES[name]
    J, r = parts(point)
    D = scales(J)
    step = GaussNewtonDescent()(point, None).step(0.0)
    expected = np.linalg.pinv(J / D, rcond=1e-13) @ -r / D
    np.testing.assert_allclose(D * step.vector.numpy(), D * expected, atol=1e-11 * np.linalg.norm(D * expected))


def test_damped_step_keeps_the_digits_that_normal_equations_would_lose():
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((20, 4)))[0] for _ in range(2))
    J = U @ np.diag([1.0, 1.0, 1.0, 1e-8]) @ V[:4, :].T
    J /= np.linalg.norm(J, axis=0)
    r = rng.standard_normal(20)
    mu = 1e-19
    step = GaussNewtonDescent()(Point(torch.from_numpy(r[:, None]), torch.from_numpy(J)), None).step(mu)
    stacked, right = np.concatenate([J, np.sqrt(mu) * np.eye(4)]), np.concatenate([-r, np.zeros(4)])
    expected = np.linalg.lstsq(stacked, right, rcond=None)[0]
    normal = np.linalg.solve(J.T @ J + mu * np.eye(4), -J.T @ r)
    size = np.linalg.norm(expected)
    assert np.linalg.norm(step.vector.numpy() - expected) < 1e-6 * size
    assert np.linalg.norm(normal - expected) > 1e-3 * size


@pytest.mark.parametrize("damping", [0.0, 1e-3, 10.0])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("length", [1.0, 0.25, 1e-3])
def test_predicted_reduction_is_that_of_the_model(name, damping, length):
    point = SHAPES[name]
    J, r = parts(point)
    step = GaussNewtonDescent()(point, None).step(damping).scaled(length)
    p = step.vector.numpy()
    expected = 0.5 * r @ r - 0.5 * np.sum((r + J @ p) ** 2)
    assert step.predicted_reduction == pytest.approx(expected, rel=1e-10, abs=1e-13 * (r @ r))
    assert step.slope == pytest.approx(r @ J @ p, rel=1e-10)
    assert step.predicted_reduction > 0 > step.slope


def test_scaled_step_of_length_zero_and_one():
    step = Step(torch.tensor([1.0, -2.0]), 3.0, -4.0)
    whole, nothing = step.scaled(1.0), step.scaled(0.0)
    assert torch.equal(whole.vector, step.vector) and (whole.predicted_reduction, whole.slope) == (3.0, -4.0)
    assert not nothing.vector.any() and nothing.predicted_reduction == nothing.slope == 0.0


def test_column_scales_only_grow():
    first, second = linear(20, 4), linear(20, 4, seed=3)
    second.matrix[:, 0] *= 10
    second.matrix[:, 1] /= 10
    descent = GaussNewtonDescent()
    model = descent(second, descent(first, None))
    expected = np.maximum(scales(first.matrix.numpy()), scales(second.matrix.numpy()))
    np.testing.assert_allclose(model.scale, expected, rtol=1e-14)
    assert model.scale[0] > 5 * descent(first, None).scale[0]


@pytest.mark.parametrize(("kind", "factor"), [("auto", 1.0), ("kaufman", 1.0), ("golub-pereyra", 2.0)])
def test_the_descent_asks_for_its_jacobian(kind, factor):
    point = SHAPES["tall"]
    model = GaussNewtonDescent(kind)(point, None)
    np.testing.assert_allclose(model.scale, factor * scales(point.matrix.numpy()))


def test_a_jacobian_of_zeros_gives_no_step():
    point = Point(torch.ones(3, 2, dtype=torch.float64), torch.zeros(6, 2, dtype=torch.float64))
    for damping in (0.0, 1.0):
        step = GaussNewtonDescent()(point, None).step(damping)
        assert not step.vector.any() and step.predicted_reduction == 0.0


@pytest.mark.parametrize(
    ("ratio", "factor"),
    [(1.0, 1 / 3), (0.5, 1.0), (0.75, 0.875), (0.1, 1.512), (1e-9, 2.0), (0.9, 0.488), (5.0, 1 / 3), (1e300, 1 / 3)],
)
def test_gain_ratio_rule_accepts(ratio, factor):
    step = Step(torch.ones(1), 2.0, -3.0)
    accepted, control = GainRatioDamping().judge(step, 2.0 * ratio, Control(0.6, growth=16.0))
    assert accepted and control.level == pytest.approx(0.6 * factor, rel=1e-6) and control.growth == 2.0


@pytest.mark.parametrize(("reduction", "predicted"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0)])
def test_gain_ratio_rule_rejects_and_grows_faster_each_time(reduction, predicted):
    search, control, levels = GainRatioDamping(initial=1.0), Control(1.0), []
    for _ in range(4):
        accepted, control = search.judge(Step(torch.ones(1), predicted, -1.0), reduction, control)
        levels.append(control.level)
        assert not accepted
    assert levels == [2.0, 8.0, 64.0, 1024.0]
    assert search.exhausted(Control(2e16)) and not search.exhausted(control)
    assert search.judge(Step(torch.ones(1), 1.0, -1.0), 1.0, Control(1e-20))[1].level == 1e-20


@pytest.mark.parametrize(
    ("slope", "reduction", "accepted"),
    [(-1.0, 1e-4, True), (-1.0, 0.9e-4, False), (-1.0, -1.0, False), (0.0, 1.0, False), (-1.0, float("nan"), False)],
)
def test_armijo_rule(slope, reduction, accepted):
    search = Backtracking()
    success, control = search.judge(Step(torch.ones(1), 1.0, slope), reduction, Control(0.5))
    assert success is accepted and control.level == (1.0 if accepted else 0.25)
    assert search.exhausted(Control(1e-13)) and not search.exhausted(search.start())
