"""The reduced problem psi(theta) = min over C of the separable objective."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import in_kind_of
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.joint import JointProblem
from grassvp.linearization import JACOBIAN_KINDS, Linearization
from grassvp.separable import SeparableProblem

__all__ = ["ReducedProblem", "check_free"]


class ReducedProblem:
    """The problem in theta alone: psi(theta) = min over C of 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2.

    Methods take theta (q,) as numpy or torch and answer in kind; `linearize` returns torch tensors. A derivative at a
    theta whose features overflow raises `NonFiniteError`; the value there is infinite.
    At lam = 0 the value is differentiable where the rank of Phi is locally constant. A rule's lam is the one that it
    chose at the features' own parameters; `chosen_at` takes another.
    """

    def __init__(self, problem: SeparableProblem) -> None:
        """Reduce `problem`."""
        if not isinstance(problem, SeparableProblem):
            raise ArgumentTypeError(f"problem must be a SeparableProblem, got {type(problem).__name__}")
        self.problem = problem

    @property
    def initial_parameters(self) -> Tensor:
        """(q,) parameters that the features came with."""
        return self.problem.initial_parameters

    def linearize(self, parameters: Any) -> Linearization:
        """The linear solve at theta, from which everything else follows without evaluating the features again.

        Raises:
            NonFiniteError: the features at theta are not finite.
            ArgumentError: `parameters` has the wrong shape.
        """
        theta = self.vector(parameters, "parameters").clone()
        problem = self.problem
        with torch.no_grad():
            derivatives = problem.features.derivatives(theta, problem.inputs)
        return Linearization(theta, problem, derivatives, problem.project(derivatives.values))

    def chosen_at(self, parameters: Any) -> "ReducedProblem":
        """The problem with the lam that its rule chooses at theta, rounded as a solve does; itself without a rule.

        Where the features at theta are not finite it keeps the lam that it has.
        """
        problem = self.problem
        if problem.rule is None:
            return self
        try:
            point = parameters if isinstance(parameters, Linearization) else self.linearize(parameters)
        except NonFiniteError:
            return self
        lam = problem.rounded(point.chosen(problem.rule).regularization)
        return ReducedProblem(problem.with_regularization(lam))

    def value(self, parameters: Any) -> float:
        """psi(theta); infinite where the features are not finite."""
        try:
            return self.linearize(parameters).value
        except NonFiniteError:
            return float("inf")

    def gradient(self, parameters: Any) -> Any:
        """Gradient of psi, (q,)."""
        return in_kind_of(parameters)(self.linearize(parameters).gradient)

    def jacobian(self, parameters: Any, kind: str = JACOBIAN_KINDS[0]) -> Any:
        """Jacobian of the augmented residual, see `Linearization.jacobian`."""
        return in_kind_of(parameters)(self.linearize(parameters).jacobian(kind))

    def hessian(self, parameters: Any) -> Any:
        """Exact Hessian of psi, (q, q)."""
        return in_kind_of(parameters)(self.linearize(parameters).hessian())

    def hessian_vector_product(self, parameters: Any, direction: Any) -> Any:
        """Exact Hessian of psi times v, (q,)."""
        v = self.vector(direction, "direction")
        return in_kind_of(parameters)(self.linearize(parameters).hessian_vector_product(v))

    @cached_property
    def joint(self) -> JointProblem:
        """The same problem in (theta, C), without the elimination."""
        return JointProblem(self.problem)

    def vector(self, value: Any, name: str) -> Tensor:
        """`value` as a (q,) tensor in the working type, or an exception that names it `name`."""
        like = self.problem.features.initial
        try:
            if value.is_complex() if isinstance(value, Tensor) else np.iscomplexobj(value):
                raise TypeError("it is complex")
            array = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=float))
            vector = array.to(dtype=like.dtype, device=like.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentTypeError(f"{name} must be an array of {like.numel()} numbers: {error}") from error
        if vector.shape != like.shape:
            raise ArgumentError(f"{name} must have shape {tuple(like.shape)}, got {tuple(vector.shape)}")
        return vector

    def __repr__(self) -> str:
        """The problem behind it."""
        return f"ReducedProblem({self.problem!r})"


def check_free(problem: object) -> None:
    """Raise unless `problem` is a reduced problem whose theta and C are free, as the theory of the manifold has it.

    Raises:
        ArgumentTypeError: it is no `ReducedProblem`.
        ArgumentError: it has an offset or bounds.
    """
    if not isinstance(problem, ReducedProblem):
        raise ArgumentTypeError(f"problem must be a ReducedProblem, got {type(problem).__name__}")
    if problem.problem.constraints:
        raise ArgumentError(
            f"problem has {' and '.join(problem.problem.constraints)}, with which its value is no function of a "
            "subspace alone and its critical points are not those of the theory: build it without"
        )
