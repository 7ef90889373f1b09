"""check_gradient, check_hessian and check_invariance: right problems pass, small mistakes in them are noticed."""

import autograd.numpy as anp
import numpy as np
import pymanopt
import pymanopt.manifolds as pm
import pytest
import torch

from manifolds import Grassmann, RegularizedGrassmann
from manifolds.checks import check_gradient, check_hessian, check_invariance

RNG = np.random.default_rng(0)
A = np.diag(np.arange(1.0, 7.0)) + 0.1 * np.ones((6, 6))
B = RNG.standard_normal((6, 2))
ROTATION = np.array([[0.0, 1.0], [-1.0, 0.0]])
QUIET = "ignore:Casting complex values"


def problem(manifold, *, gradient=None, hessian=None, cost=None, scale=1.0, linear=0.0):
    """1/2 tr X^T A X + tr B^T X, with a Riemannian gradient and Hessian that pass through the given functions."""
    function = pymanopt.function.numpy(manifold)
    correct_gradient = lambda X: scale * manifold.euclidean_to_riemannian_gradient(X, A @ X + linear * B)  # noqa: E731

    def correct_hessian(X, V):
        return scale * manifold.euclidean_to_riemannian_hessian(X, A @ X + linear * B, A @ V, V)

    return pymanopt.Problem(
        manifold,
        function(cost or (lambda X: scale * (0.5 * np.sum(X * (A @ X)) + linear * np.sum(B * X)))),
        riemannian_gradient=function(lambda X: (gradient or (lambda X, g: g))(X, correct_gradient(X))),
        riemannian_hessian=function(lambda X, V: (hessian or (lambda X, V, h: h))(X, V, correct_hessian(X, V))),
    )


MANIFOLDS = {
    "ours": lambda: Grassmann(6, 2),
    "pymanopt's": lambda: pm.Grassmann(6, 2),
    "regularised": lambda: RegularizedGrassmann(6, 2, 0.3),
    "Stiefel": lambda: pm.Stiefel(6, 2),
    "Euclidean": lambda: pm.Euclidean(6, 2),
}
LINEAR = ("Stiefel", "Euclidean", "regularised")


def on(name, **changes):
    return problem(MANIFOLDS[name](), linear=float(name in LINEAR), **changes)


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_a_right_problem_passes(name, scale):
    for seed in range(2):
        for check in (check_gradient, check_hessian):
            report = check(on(name, scale=scale), rng=seed)
            assert report.passed, str(report)


def unit_across(manifold, X, gradient):
    """A unit tangent vector orthogonal to the gradient, the same at every call."""
    vector = manifold.projection(X, np.cos(np.arange(X.size, dtype=float)).reshape(X.shape))
    overlap = manifold.inner_product(X, vector, gradient) / manifold.inner_product(X, gradient, gradient)
    vector = vector - overlap * gradient
    return vector / manifold.norm(X, vector)


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize(("size", "scale"), [(1e-3, 1.0), (1e-4, 1.0), (1.0, 1.0), (1e-3, 1e-12), (1e-3, 1e12)])
def test_a_wrong_gradient_is_noticed(name, size, scale):
    M = MANIFOLDS[name]()
    mutants = {
        "longer": lambda X, g: (1 + size) * g,
        "shorter": lambda X, g: (1 - size) * g,
        "turned": lambda X, g: g + size * M.norm(X, g) * unit_across(M, X, g),
    }
    for mutant in mutants.values():
        report = check_gradient(on(name, gradient=mutant, scale=scale), rng=1)
        assert any(check.name.startswith("derivative") for check in report.failures), str(report)
        if size >= 1e-3:
            assert any(check.name.startswith("remainder") for check in report.failures), str(report)


def test_a_gradient_wrong_in_one_direction_of_hundreds_is_noticed():
    M, H = pm.Euclidean(400), np.linspace(1, 2, 400)
    function = pymanopt.function.numpy(M)
    spoiled = np.zeros(400)
    spoiled[17] = 1.0
    wrong = pymanopt.Problem(
        M,
        function(lambda x: 0.5 * np.sum(H * x * x)),
        euclidean_gradient=function(lambda x: H * x + 1e-3 * np.linalg.norm(H * x) * spoiled),
    )
    assert all(not check_gradient(wrong, rng=seed).passed for seed in range(5))


@pytest.mark.parametrize("name", ["ours", "pymanopt's", "Stiefel"])
def test_what_is_not_tangent_is_noticed(name):
    report = check_gradient(on(name, gradient=lambda X, g: g + 1e-4 * X), rng=0)
    assert [check.name for check in report.failures][:1] == ["gradient is tangent"], str(report)
    report = check_hessian(on(name, hessian=lambda X, V, h: h + 1e-4 * X * np.sum(V * V)), rng=0)
    assert {"Hessian, random 1 is tangent", "Hessian, random 2 is tangent"} <= {c.name for c in report.failures}


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize(("size", "scale"), [(1e-2, 1.0), (1e-3, 1.0), (1.0, 1.0), (1e-2, 1e-12), (1e-2, 1e12)])
def test_a_wrong_hessian_is_noticed(name, size, scale):
    for sign in (1, -1):
        report = check_hessian(on(name, hessian=lambda X, V, h, s=sign: (1 + s * size) * h, scale=scale), rng=1)
        failed = {check.name.split(",")[0] for check in report.failures}
        assert "second derivative" in failed, str(report)
        assert size < 1e-2 or "remainder" in failed, str(report)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_a_hessian_that_is_not_a_symmetric_linear_map_is_noticed(name):
    skew = check_hessian(on(name, hessian=lambda X, V, h: h + 1e-5 * V @ ROTATION), rng=0)
    assert "Hessian is symmetric" in [check.name for check in skew.failures], str(skew)
    M = MANIFOLDS[name]()
    bent = check_hessian(on(name, hessian=lambda X, V, h: M.norm(X, V) * h), rng=0)
    assert [check.name for check in bent.failures] == ["Hessian is linear"], str(bent)


def test_a_hessian_without_the_curvature_of_the_manifold_is_noticed():
    M, function = pm.Stiefel(6, 2), pymanopt.function.numpy(pm.Stiefel(6, 2))
    wrong = pymanopt.Problem(
        M,
        function(lambda X: 0.5 * np.sum(X * (A @ X))),
        euclidean_gradient=function(lambda X: A @ X),
        riemannian_hessian=function(lambda X, V: M.projection(X, A @ V)),
    )
    assert check_gradient(wrong, rng=0).passed
    assert not check_hessian(wrong, rng=0).passed


@pytest.mark.parametrize("name", ["ours", "pymanopt's"])
@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-8, 1e-4])
def test_at_and_near_a_critical_point_a_right_problem_passes(name, distance):
    M = MANIFOLDS[name]()
    critical = np.linalg.eigh(A)[1][:, [1, 4]]
    direction = M.projection(critical, np.sin(np.arange(12.0)).reshape(6, 2))
    point = M.exp(critical, distance * direction)
    for scale in (1.0, 1e-12):
        assert check_gradient(on(name, scale=scale), point=point, rng=0).passed
        assert check_hessian(on(name, scale=scale), point=point, rng=0).passed
    wrong = on(name, gradient=lambda X, g: g + 1e-3 * unit_across(M, X, M.random_tangent_vector(X)))
    assert not check_gradient(wrong, point=point, rng=0).passed


@pytest.mark.parametrize("value", [0.0, 5.0, -1e20])
def test_a_constant_cost_passes_with_the_gradient_zero_and_no_other(value):
    for gradient, right in ((lambda X, g: 0 * X, True), (lambda X, g: (abs(value) or 1.0) * 1e-3 * g, False)):
        constant = on("ours", cost=lambda X: value, gradient=gradient, hessian=lambda X, V, h: 0 * V)
        assert check_gradient(constant, rng=0).passed is right
        assert check_hessian(constant, rng=0).passed


def test_a_cost_that_is_constant_up_to_rounding_passes():
    M, function = pm.Grassmann(6, 2), pymanopt.function.numpy(pm.Grassmann(6, 2))
    constant = pymanopt.Problem(
        M,
        function(lambda X: np.sum(X * X)),
        euclidean_gradient=function(lambda X: 2 * X),
        euclidean_hessian=function(lambda X, V: 2 * V),
    )
    for seed in range(2):
        assert check_gradient(constant, rng=seed).passed
        assert check_hessian(constant, rng=seed).passed


def torch_cost(dtype):
    T = torch.tensor(A, dtype=dtype)
    return lambda X: 0.5 * torch.sum(X.to(dtype) * (T @ X.to(dtype)))


def autograd_cost(X):
    return 0.5 * anp.sum(X * (anp.array(A) @ X))


BACKENDS = {
    "autograd": lambda M: pymanopt.function.autograd(M)(autograd_cost),
    "torch": lambda M: pymanopt.function.pytorch(M)(torch_cost(torch.float64)),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_the_backends_of_pymanopt(name):
    M = pm.Grassmann(6, 2)
    case = pymanopt.Problem(M, BACKENDS[name](M))
    for check in (check_gradient, check_hessian, check_invariance):
        report = check(case, rng=0)
        assert report.passed, str(report)


def test_a_cost_in_single_precision_passes_and_its_mutants_do_not():
    M = pm.Grassmann(6, 2)
    single = pymanopt.function.pytorch(M)(torch_cost(torch.float32))
    hidden = pymanopt.function.numpy(M)(lambda X: float(torch_cost(torch.float32)(torch.from_numpy(X))))
    for seed in range(2):
        assert check_gradient(pymanopt.Problem(M, single), rng=seed).passed
        assert check_invariance(pymanopt.Problem(M, single), rng=seed).passed
        for factor in (1.0, 1.001, 2.0):
            gradient = pymanopt.function.numpy(M)(lambda X, c=factor: c * A @ X)
            hessian = pymanopt.function.numpy(M)(lambda X, V, c=factor: (1 + 10 * (c - 1)) * A @ V)
            for cost in (single, hidden):
                case = pymanopt.Problem(M, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)
                assert check_gradient(case, rng=seed).passed is (factor == 1.0)


def test_what_cannot_be_measured_fails_and_says_so():
    noise = np.random.default_rng(0)
    report = check_gradient(on("ours", cost=lambda X: noise.standard_normal()), rng=0)
    assert not report.passed and "cannot be measured" in str(report)


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize(
    "manifold",
    [
        pm.ComplexCircle(5),
        pm.PoincareBall(4),
        pm.Product([pm.Sphere(4), Grassmann(5, 2)]),
        pm.FixedRankEmbedded(6, 5, 2),
        pm.Elliptope(6, 3),
    ],
    ids=str,
)
def test_problems_on_other_kinds_of_points(manifold):
    def cost(*arrays):
        total = 0.0
        for array in arrays:
            weights = anp.arange(1.0, 1.0 + array.shape[0])
            weights = weights if array.ndim == 1 else weights[:, None]
            total = total + anp.sum(weights * anp.real(array * anp.conj(array)) ** (2 if array.ndim == 1 else 1))
        return total

    function = pymanopt.function.autograd(manifold)
    case = pymanopt.Problem(manifold, function(cost))
    for seed in range(2):
        report = check_gradient(case, rng=seed)
        assert report.passed, str(report)


def test_a_geodesic_that_leaves_the_chart_shortens_the_steps():
    M = RegularizedGrassmann(4, 2, 1e-2)
    far = 30.0 * M.random_point(0)
    function = pymanopt.function.numpy(M)
    target = np.linspace(-1, 1, 8).reshape(4, 2)
    case = pymanopt.Problem(
        M,
        function(lambda P: 0.5 * np.sum((P - target) ** 2)),
        euclidean_gradient=function(lambda P: P - target),
        euclidean_hessian=function(lambda P, V: V),
    )
    for seed in range(2):
        assert check_gradient(case, point=far, rng=seed).passed
        assert check_hessian(case, point=far, rng=seed).passed


def test_a_given_direction_is_looked_at():
    M, X = pm.Euclidean(6, 2), B
    direction = np.zeros((6, 2))
    direction[3, 1] = 7.0
    report = check_gradient(on("Euclidean"), point=X, tangent_vector=direction, rng=0)
    assert "derivative, given" in {check.name for check in report.checks}
    spoiled = on("Euclidean", hessian=lambda X, V, h: h + 0.3 * direction * np.sum(direction * V))
    report = check_hessian(spoiled, point=X, tangent_vector=direction, rng=0)
    assert "second derivative, given" in {check.name for check in report.failures}
    assert M.dim == 12


def cost_with_representative(size):
    return lambda X: 0.5 * np.sum(X * (A @ X)) + size * (X[0, 0] + X[2, 1] * X[1, 0])


INVARIANT = {
    "ours": lambda: Grassmann(6, 2),
    "pymanopt's": lambda: pm.Grassmann(6, 2),
    "regularised": lambda: RegularizedGrassmann(6, 2, 0.3),
    "semidefinite": lambda: pm.PSDFixedRank(6, 2),
    "elliptope": lambda: pm.Elliptope(6, 2),
}


@pytest.mark.parametrize("name", INVARIANT)
def test_an_invariant_cost_passes_and_a_broken_one_does_not(name):
    M = INVARIANT[name]()
    for seed in range(2):
        for scale in (1.0, 1e12, 1e-12):
            report = check_invariance(problem(M, scale=scale), rng=seed)
            assert report.passed and len(report.checks) == 6, str(report)
        for size in (1e-5, 1e-7):
            report = check_invariance(problem(M, cost=cost_with_representative(size)), rng=seed)
            assert sum(check.name.startswith("value") for check in report.failures) >= 2, str(report)


def test_signs_determinants_and_the_gradient_are_each_looked_at():
    M = Grassmann(6, 2)

    def failed(**changes):
        return {check.name for check in check_invariance(problem(M, **changes), rng=0).failures}

    assert "value, signs of columns" in failed(cost=lambda X: np.sum(X))
    only_reflections = failed(cost=lambda X: np.linalg.det(X[:2]) * 1e-5 + 0.5 * np.sum(X * (A @ X)))
    assert {"value, X Q, det Q = -1"} <= only_reflections and "value, X Q, det Q = +1" not in only_reflections
    assert {name.split(",")[0] for name in failed(gradient=lambda X, g: g * np.array([1.0, 1.01]))} == {"gradient"}


def test_complex_symmetries():
    M = pm.ComplexGrassmann(6, 2)
    for size, passes in ((0.0, True), (1e-5, False)):
        function = pymanopt.function.numpy(M)
        case = pymanopt.Problem(
            M,
            function(lambda X, s=size: 0.5 * np.real(np.vdot(X, A @ X)) + s * np.sum(X.real**2 @ [1, 2])),
            euclidean_gradient=function(lambda X: A @ X),
        )
        assert check_invariance(case, rng=0).passed is passes


def test_an_action_of_the_caller():
    M, function = pm.Sphere(5), pymanopt.function.numpy(pm.Sphere(5))
    even = pymanopt.Problem(M, function(lambda x: np.sum(x**2 * np.arange(5))))
    odd = pymanopt.Problem(M, function(lambda x: np.sum(x**2 * np.arange(5)) + 1e-5 * x[0]))
    assert check_invariance(even, action=lambda x, rng: -x, rng=0).passed
    assert not check_invariance(odd, action=lambda x, rng: -x, rng=0).passed
    with pytest.raises(ValueError, match="action must be given for Sphere"):
        check_invariance(even)


def test_a_cost_of_the_representative_is_told_by_the_gradient_check_too():
    report = check_gradient(problem(pm.Grassmann(6, 2), cost=lambda X: float(X[0, 0] > 0) + X[1, 1]), rng=0)
    assert not report.passed


def test_arguments():
    right = on("ours")
    X = right.manifold.random_point(0)
    for check in (check_gradient, check_hessian, check_invariance):
        with pytest.raises(TypeError, match="problem must be a pymanopt Problem, got Grassmann"):
            check(right.manifold)
        with pytest.raises(TypeError, match="rng must be"):
            check(right, rng=1.5)
    with pytest.raises(TypeError, match="action must be a function"):
        check_invariance(right, action=3)
    for check in (check_gradient, check_hessian):
        with pytest.raises(ValueError, match="tangent_vector needs the point"):
            check(right, tangent_vector=B)
        with pytest.raises(ValueError, match="tangent_vector must have a finite length > 0"):
            check(right, point=X, tangent_vector=0 * B)
    bare = pymanopt.Problem(pm.Sphere(3), pymanopt.function.numpy(pm.Sphere(3))(lambda x: x[0]))
    with pytest.raises(ValueError, match="problem must have a gradient"):
        check_gradient(bare)
    with pytest.raises(ValueError, match="problem must have a Hessian"):
        check_hessian(bare)
