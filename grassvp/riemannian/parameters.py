"""The reduced problem in the network's own parameters, as a pymanopt problem with a choice of derivatives."""

from typing import Any, Protocol

import numpy as np
import pymanopt
from pymanopt.manifolds import Euclidean

from grassvp.arrays import check_choice, safe_norm
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.features import is_plain_mlp
from grassvp.reduced import ReducedProblem, check_free
from grassvp.riemannian.autograd_backend import AutogradBackend
from grassvp.riemannian.backends import AnalyticBackend, TorchBackend
from grassvp.riemannian.memo import Memo
from grassvp.riemannian.spheres import NeuronSpheres
from grassvp.separable import SeparableProblem

__all__ = ["BACKENDS", "GEOMETRIES", "ParameterProblem", "parameter_problem"]

BACKENDS = {"analytic": AnalyticBackend, "torch": TorchBackend, "autograd": AutogradBackend}
GEOMETRIES = ("euclidean", "spheres")


class Backend(Protocol):
    """psi and its derivatives at theta (q,), as numpy arrays of their own."""

    def value(self, parameters: np.ndarray) -> float: ...

    def gradient(self, parameters: np.ndarray) -> np.ndarray: ...

    def hessian_vector_product(self, parameters: np.ndarray, direction: np.ndarray) -> np.ndarray: ...


class ParameterProblem(pymanopt.Problem):
    """A `pymanopt.Problem` made by `parameter_problem`.

    Attributes:
        reduced: the `ReducedProblem` behind it.
        backend: name of the backend.
        spheres: maps points to theta and back in the geometry "spheres", None in the Euclidean one.
        scale: ||W Y||_F^2, the unit of the value.
    """

    reduced: ReducedProblem
    backend: str
    spheres: NeuronSpheres | None
    scale: float

    def to_parameters(self, point: Any) -> np.ndarray:
        """The vector theta (q,) of a point."""
        return np.array(point, dtype=float) if self.spheres is None else self.spheres.to_parameters(point)

    def from_parameters(self, parameters: Any) -> Any:
        """The point of theta (q,); on spheres the lengths of the neurons are dropped."""
        theta = self.reduced.vector(parameters, "parameters").double().cpu().numpy().copy()
        return theta if self.spheres is None else self.spheres.from_parameters(theta)

    def value_rounding(self, value: float) -> float:
        """Size of the rounding error of a value."""
        return self.reduced.problem.value_rounding(max(value, 0.0))

    def is_differentiable(self, point: Any) -> bool:
        """Whether the value is differentiable there for certain: lam > 0, or features of full rank."""
        return self.reduced.linearize(self.to_parameters(point)).differentiable

    def __repr__(self) -> str:
        return f"ParameterProblem({self.reduced.problem!r}, {self.backend}, on {self.manifold})"


def parameter_problem(
    problem: SeparableProblem | ReducedProblem, *, backend: str = "analytic", geometry: str = "euclidean"
) -> ParameterProblem:
    """psi(theta) = min over C of 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2 for pymanopt's optimizers.

    The three backends agree to rounding; they share no derivative code:
      - "analytic": the envelope gradient and the exact Hessian of `ReducedProblem`, nothing differentiated through
        the solve. Any features, any rank.
      - "torch": torch's automatic differentiation through a QR factorisation of [W Phi; sqrt(lam) I].
      - "autograd": HIPS autograd through the features, written again, and a dense solve; plain `features.mlp` only.
    The last two need features of full column rank at lam = 0, and raise `NonFiniteError` elsewhere.

    Args:
        problem: the separable problem, or its reduction.
        backend: "analytic", "torch" or "autograd".
        geometry: "euclidean": points are theta (q,) on pymanopt's Euclidean(q). "spheres": incoming weights and bias
            of every neuron have unit length, see `NeuronSpheres`; for `features.mlp`.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    if not isinstance(problem, SeparableProblem | ReducedProblem):
        raise ArgumentTypeError(f"problem must be a SeparableProblem or ReducedProblem, got {type(problem).__name__}")
    reduced = problem if isinstance(problem, ReducedProblem) else ReducedProblem(problem)
    check_free(reduced)
    derivatives = BACKENDS[check_choice(backend, "backend", tuple(BACKENDS))](reduced)
    spheres = _spheres(reduced) if check_choice(geometry, "geometry", GEOMETRIES) == "spheres" else None
    built = _euclidean(reduced, derivatives) if spheres is None else _on_spheres(spheres, derivatives)
    built.reduced, built.backend, built.spheres = reduced, backend, spheres
    built.scale = safe_norm(reduced.problem.weighted_targets) ** 2
    return built


def _euclidean(reduced: ReducedProblem, backend: Backend) -> ParameterProblem:
    manifold = Euclidean(reduced.initial_parameters.numel())
    gradients = Memo(backend.gradient)  # pymanopt asks for the gradient again with every product with the Hessian

    @pymanopt.function.numpy(manifold)
    def cost(theta):
        return _value(backend, theta)

    @pymanopt.function.numpy(manifold)
    def gradient(theta):
        return gradients(theta).copy()

    @pymanopt.function.numpy(manifold)
    def hessian(theta, direction):
        return backend.hessian_vector_product(theta, direction)

    return ParameterProblem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


def _on_spheres(spheres: NeuronSpheres, backend: Backend) -> ParameterProblem:
    manifold, layers = spheres.manifold, len(spheres.shapes)
    gradients = Memo(backend.gradient)

    def theta(matrices: tuple[np.ndarray, ...]) -> np.ndarray:
        return spheres.to_parameters(matrices[0] if layers == 1 else matrices)

    @pymanopt.function.numpy(manifold)
    def cost(*point):
        return _value(backend, theta(point))

    @pymanopt.function.numpy(manifold)
    def gradient(*point):
        return spheres.matrices(gradients(theta(point)))

    @pymanopt.function.numpy(manifold)
    def hessian(*arguments):
        point, direction = arguments[:layers], arguments[layers:]
        return spheres.matrices(backend.hessian_vector_product(theta(point), theta(direction)))

    return ParameterProblem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


def _value(backend: Backend, theta: np.ndarray) -> float:
    """The value; infinite where the features are not finite."""
    try:
        return backend.value(theta)
    except NonFiniteError:
        return float("inf")


def _spheres(reduced: ReducedProblem) -> NeuronSpheres:
    module = getattr(reduced.problem.features, "module", None)
    if module is None or not is_plain_mlp(module):
        raise ArgumentError('geometry "spheres" needs features made by features.mlp: only their neurons are known')
    return NeuronSpheres(module.shapes)
