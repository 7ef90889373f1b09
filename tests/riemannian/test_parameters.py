"""parameter_problem: the three backends agree, nothing of the caller is touched, spheres are laid out right."""

import numpy as np
import pytest
import torch
from torch import nn

from grassvp import ReducedProblem, SeparableProblem, features
from grassvp.errors import NonFiniteError
from grassvp.riemannian import NeuronSpheres, parameter_problem
from grassvp.riemannian.backends import AnalyticBackend, TorchBackend
from manifolds import check_gradient, check_hessian
from tests.riemannian.cases import central, exponentials, network

BACKENDS = ("analytic", "torch", "autograd")
EPS = 2.0**-52


def disagreement(first, second, theta, v):
    """Relative differences of value (to ||W Y||^2), gradient and Hessian product, in units of eps * condition."""
    unit = EPS * first.reduced.linearize(theta).condition
    value = abs(first.cost(theta) - second.cost(theta)) / first.scale
    pairs = [
        (first.riemannian_gradient(theta), second.riemannian_gradient(theta)),
        (first.riemannian_hessian(theta, v), second.riemannian_hessian(theta, v)),
    ]
    return [value / EPS, *(np.linalg.norm(a - b) / np.linalg.norm(a) / unit for a, b in pairs)]


@pytest.mark.parametrize("activation", ["tanh", "sin", "softplus", "gelu", "erf", "relu"])
@pytest.mark.parametrize("widths", [(4,), (3, 4)])
@pytest.mark.parametrize(("lam", "weighted"), [(0.0, False), (0.0, True), (1e-3, True)])
def test_backends_agree(activation, widths, lam, weighted):
    if activation == "relu" and lam == 0.0:
        widths = (2,)  # more of them include dead neurons, where only the first backend goes on
    problem = network(widths, lam, activation, weighted)
    theta = problem.initial_parameters.numpy()
    v = np.random.default_rng(0).standard_normal(theta.shape)
    problems = {name: parameter_problem(problem, backend=name) for name in BACKENDS}
    for name in BACKENDS[1:]:
        value, gradient, hessian = disagreement(problems["analytic"], problems[name], theta, v)
        assert value <= 100 and gradient <= 100 and hessian <= 2000, name


def test_agreement_degrades_with_the_conditioning_and_no_faster():
    problem = network((8,), 0.0)
    theta = problem.initial_parameters.numpy()
    theta[2:4] = theta[0:2] + 1e-4  # two neurons that are nearly the same
    theta[17] = theta[16] + 1e-4
    problems = {name: parameter_problem(problem, backend=name) for name in BACKENDS}
    assert problems["analytic"].reduced.linearize(theta).condition > 1e4
    v = np.random.default_rng(0).standard_normal(theta.shape)
    for name in BACKENDS[1:]:
        value, gradient, hessian = disagreement(problems["analytic"], problems[name], theta, v)
        condition = problems["analytic"].reduced.linearize(theta).condition
        assert value <= condition and gradient <= 1000 and hessian <= 1000 * condition, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("geometry", ["euclidean", "spheres"])
@pytest.mark.parametrize("widths", [(4,), (3, 2)])
def test_derivatives_match_finite_differences(backend, geometry, widths):
    problem = parameter_problem(network(widths), backend=backend, geometry=geometry)
    manifold, rng = problem.manifold, np.random.default_rng(3)
    X = problem.from_parameters(rng.standard_normal(problem.reduced.initial_parameters.shape))
    D = (
        manifold.projection(X, problem.spheres.matrices(rng.standard_normal(problem.spheres.size)))
        if (geometry == "spheres")
        else rng.standard_normal(X.shape)
    )
    D = D * (1 / manifold.norm(X, D))
    gradient, scale = problem.riemannian_gradient(X), problem.scale

    def moved(t):
        return manifold.exp(X, t * D)

    assert manifold.inner_product(X, gradient, D) == pytest.approx(
        central(lambda t: problem.cost(moved(t)), 1e-4), abs=1e-9 * scale
    )

    def slope(t):  # the velocity of a geodesic of these submanifolds, by differences of the curve itself
        step = 1e-5
        velocity = (1 / (2 * step)) * (flat(problem, moved(t + step)) - flat(problem, moved(t - step)))
        return flat(problem, problem.riemannian_gradient(moved(t))) @ velocity

    hessian = manifold.inner_product(X, problem.riemannian_hessian(X, D), D)
    assert hessian == pytest.approx(central(slope, 1e-4), abs=1e-6 * scale)


def flat(problem, value):
    return value if problem.spheres is None else problem.spheres.to_parameters(value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_manifolds_own_checks_pass(backend):
    problem = parameter_problem(network(), backend=backend)
    point = problem.reduced.initial_parameters.numpy()
    assert check_gradient(problem, point=point, rng=0).passed and check_hessian(problem, point=point, rng=0).passed


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_of_the_caller_is_touched(backend):
    module = features.mlp(2, (4,), seed=1)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    rng = np.random.default_rng(0)
    problem = parameter_problem(
        SeparableProblem(module, rng.standard_normal((9, 2)), rng.standard_normal(9)), backend=backend
    )
    theta = problem.reduced.initial_parameters.numpy()
    problem.cost(theta), problem.riemannian_gradient(theta), problem.riemannian_hessian(theta, theta)
    for parameter, old in zip(module.parameters(), before, strict=True):
        assert parameter.requires_grad and torch.equal(parameter, old)
        assert torch.equal(parameter.grad, torch.full_like(parameter, 7.0))


@pytest.mark.parametrize("lam", [0.0, 1e-2])
def test_torch_takes_any_features_and_leaves_tensors_of_a_closure_alone(lam):
    problem, shift = exponentials(lam)
    analytic, other = (parameter_problem(problem, backend=name) for name in ("analytic", "torch"))
    theta = np.array([0.5, 1.5, 2.5])
    value, gradient, hessian = disagreement(analytic, other, theta, np.array([1.0, -2.0, 0.5]))
    assert value <= 100 and gradient <= 1000 and hessian <= 1e5
    assert shift.grad is None


def test_modules_of_torch_take_the_first_two_backends():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).double()
    x = np.random.default_rng(0).standard_normal((12, 2))
    problem = SeparableProblem(module, x, x[:, 0] ** 2, regularization=1e-3)
    analytic, other = (parameter_problem(problem, backend=name) for name in ("analytic", "torch"))
    theta = problem.initial_parameters.numpy()
    assert max(disagreement(analytic, other, theta, np.ones_like(theta))[:2]) <= 1000
    with pytest.raises(ValueError, match=r'backend "autograd" needs features made by features\.mlp'):
        parameter_problem(problem, backend="autograd")
    with pytest.raises(ValueError, match="geometry"):
        parameter_problem(problem, geometry="spheres")


def test_a_changed_mlp_is_not_taken_for_a_plain_one():
    module = features.mlp(2, (3,))
    module.layers[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
    problem = SeparableProblem(module, np.ones((5, 2)) * np.arange(5)[:, None], np.arange(5.0), regularization=0.1)
    with pytest.raises(ValueError, match="autograd"):
        parameter_problem(problem, backend="autograd")


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_rank_deficiency_is_said(backend):
    problem = network((4,), 0.0)
    theta = problem.initial_parameters.numpy()
    theta[2:4], theta[9] = theta[0:2], theta[8]  # two equal neurons
    built = parameter_problem(problem, backend=backend)
    with pytest.raises(NonFiniteError, match="rank-deficient"):
        built.riemannian_gradient(theta)
    assert np.isfinite(parameter_problem(problem).riemannian_gradient(theta)).all()
    assert not built.is_differentiable(theta)


@pytest.mark.parametrize("backend", BACKENDS)
def test_overflowing_features_have_an_infinite_value(backend):
    rng = np.random.default_rng(0)
    module = features.mlp(1, (2,), activation="softplus")
    problem = SeparableProblem(module, 1e3 * rng.standard_normal(6), rng.standard_normal(6), regularization=0.1)
    built = parameter_problem(problem, backend=backend)
    theta = np.full(built.reduced.initial_parameters.shape, 1e307)
    assert built.cost(theta) == np.inf
    with pytest.raises(NonFiniteError):
        built.riemannian_gradient(theta)


def test_one_linearisation_serves_value_gradient_and_hessian(monkeypatch):
    calls, original = [], ReducedProblem.linearize
    monkeypatch.setattr(ReducedProblem, "linearize", lambda self, theta: calls.append(1) or original(self, theta))
    problem = parameter_problem(network())
    theta = problem.reduced.initial_parameters.numpy()
    problem.cost(theta), problem.riemannian_gradient(theta)
    for v in np.eye(len(theta))[:3]:
        problem.riemannian_hessian(theta, v)
    assert len(calls) == 1
    theta[0] += 0.1
    changed = problem.cost(theta)
    assert len(calls) == 2 and changed == problem.reduced.value(theta)


def test_a_wrong_factor_in_a_backend_is_noticed(monkeypatch):
    """The agreement can fail: one part in a million is enough."""
    problem = network()
    theta = problem.initial_parameters.numpy()
    original = AnalyticBackend.gradient
    monkeypatch.setattr(AnalyticBackend, "gradient", lambda self, at: original(self, at) * (1 + 1e-6))
    pair = parameter_problem(problem), parameter_problem(problem, backend="torch")
    assert disagreement(*pair, theta, theta)[1] > 1e4
    product = TorchBackend.hessian_vector_product
    monkeypatch.setattr(TorchBackend, "hessian_vector_product", lambda self, at, v: product(self, at, v) * (1 + 1e-6))
    assert disagreement(*pair, theta, theta)[2] > 1e5


@pytest.mark.parametrize("shapes", [[(4, 2)], [(3, 2), (5, 3)]])
def test_spheres_lay_theta_out_as_torch_does(shapes):
    spheres = NeuronSpheres(shapes)
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(spheres.size)
    np.testing.assert_array_equal(spheres.to_parameters(spheres.matrices(theta)), theta)
    point = spheres.from_parameters(theta)
    layers = [nn.Linear(inside, outside).double() for outside, inside in shapes]
    nn.utils.vector_to_parameters(
        torch.from_numpy(spheres.to_parameters(point)), [p for layer in layers for p in layer.parameters()]
    )
    for layer in layers:
        lengths = torch.sum(layer.weight**2, 1) + layer.bias**2
        np.testing.assert_allclose(lengths.detach().numpy(), 1.0, rtol=1e-14)
    again = spheres.from_parameters(3.0 * spheres.to_parameters(point))
    np.testing.assert_allclose(spheres.to_parameters(again), spheres.to_parameters(point), rtol=1e-14)
    with pytest.raises(ValueError, match="parameters"):
        spheres.from_parameters(np.zeros(spheres.size))
    with pytest.raises(ValueError, match="parameters"):
        spheres.from_parameters(theta[1:])


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"backend": "jax"}, ValueError, "backend"),
        ({"geometry": "torus"}, ValueError, "geometry"),
        ({"problem": None}, TypeError, "problem"),
    ],
)
def test_bad_arguments_are_named(arguments, error, name):
    arguments = {"problem": network()} | arguments
    with pytest.raises(error, match=name):
        parameter_problem(arguments.pop("problem"), **arguments)


def test_a_reduced_problem_is_kept_as_it_is():
    reduced = ReducedProblem(network())
    problem = parameter_problem(reduced)
    assert problem.reduced is reduced and "analytic" in repr(problem)
    theta = reduced.initial_parameters
    np.testing.assert_array_equal(problem.to_parameters(problem.from_parameters(theta)), theta.numpy())
