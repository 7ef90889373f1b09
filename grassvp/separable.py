"""The separable least-squares problem: features, data, row weights and regularisation, checked once."""

import copy
import math
from functools import cached_property

import torch
from torch import Tensor

from grassvp.arrays import check_count, check_nonnegative, safe_norm, to_tensor
from grassvp.bounds import Box, check_box
from grassvp.continuation import Continuation
from grassvp.errors import ArgumentError, ArgumentTypeError, GrassvpError
from grassvp.features import FeatureMap, as_feature_map
from grassvp.jacobians import model_coefficients
from grassvp.projection import Projection, bounded_projection, default_rank_tolerance, project

__all__ = ["MEMORY_LIMIT", "SeparableProblem"]

MEMORY_LIMIT = 2**31
"""Bytes that the derivatives of one linearisation may take by default."""

SMALLEST = 1e-130  # norm of the targets whose square, times the square of a rounding error, is still a normal number


class SeparableProblem:
    """min over theta and C of 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2, with W = diag(weights).

    Computed in float64, or in float32 when both inputs and targets are float32; on the device of the targets.
    """

    features: FeatureMap
    inputs: Tensor
    targets: Tensor
    weights: Tensor | None
    regularization: float
    continuation: Continuation | None
    rank_tolerance: float
    width: int
    bounds: Box | None
    coefficient_bounds: Box | None
    memory_limit: int

    def __init__(
        self,
        features: object,
        inputs: object,
        targets: object,
        *,
        weights: object = None,
        regularization: float | Continuation = 0.0,
        bounds: object = None,
        coefficient_bounds: object = None,
        rank_tolerance: float | None = None,
        column_scaling: bool = False,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        """Check the data and evaluate the features once.

        Args:
            features: a `torch.nn.Module` (m, d) -> (m, n) with independent rows, `features.from_function(...)`, or a
                feature map. A module is copied; its current parameters are the start of solvers that cannot sample.
            inputs: (m, d) or (m,) rows, numpy or torch; for `from_function` whatever shape the function expects.
            targets: (m,) or (m, k).
            weights: (m,) weights >= 0 that multiply the rows of Phi and Y; None for ones.
            regularization: lam >= 0 in the units of the weighted features squared, or a `Continuation` down to it.
            bounds: (lower, upper) for theta, numbers or (q,) arrays, None or inf where there is none. A minimum is then
                where the gradient vanishes but for entries that point out of the box.
            coefficient_bounds: (lower, upper) for C, numbers or arrays that broadcast to (n, k); (0, None) asks for
                nonnegative coefficients.
            rank_tolerance: singular values of W Phi at or below this times the largest count as zero. By default 1e-10
                at lam = 0 and rounding level at lam > 0. Smaller values let the coefficients grow like its inverse.
            column_scaling: judge the rank after scaling the columns of W Phi to one size; see `projection.project`.
            memory_limit: bytes that the derivatives of one linearisation may take. Solvers form Jacobians below it,
                in row blocks or not at all above it.

        Raises:
            ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
        """
        y = to_tensor(targets, "targets")
        if y.ndim not in (1, 2):
            raise ArgumentError(f"targets must have shape (rows,) or (rows, outputs), got {tuple(y.shape)}")
        self._squeeze = y.ndim == 1
        x = to_tensor(inputs, "inputs", device=y.device)
        dtype = torch.promote_types(x.dtype, y.dtype)
        self.targets = y.reshape(y.shape[0], -1).to(dtype)
        self.memory_limit = check_count(memory_limit, "memory_limit", least=2**20)
        self.features = as_feature_map(features).cast(dtype, y.device).limited(self.memory_limit // 8)
        self.inputs = self.features.prepare(x.to(dtype))
        self.weights = _check_weights(weights, self.targets)
        _check_size(self.weighted_targets)
        self.continuation = regularization if isinstance(regularization, Continuation) else None
        lam = regularization if self.continuation is None else self.continuation.stop
        self.regularization = check_nonnegative(lam, "regularization")
        self.width = self._check_features()
        self.bounds = check_box(bounds, self.features.initial, "bounds")
        coefficients = self.targets.new_empty(self.width, self.outputs)
        self.coefficient_bounds = check_box(coefficient_bounds, coefficients, "coefficient_bounds")
        self._given_rank_tolerance = rank_tolerance
        self.rank_tolerance = self._check_rank_tolerance(rank_tolerance)
        if not isinstance(column_scaling, bool):
            raise ArgumentTypeError(f"column_scaling must be True or False, got {column_scaling!r}")
        self.column_scaling = column_scaling

    @property
    def rows(self) -> int:
        """Number of rows m."""
        return self.targets.shape[0]

    @property
    def outputs(self) -> int:
        """Number of outputs k."""
        return self.targets.shape[1]

    @cached_property
    def constraints(self) -> tuple[str, ...]:
        """What keeps it from being free in theta and C: "offset", "bounds", "coefficient_bounds"."""
        columns = self.features.offset_columns(self.features.initial, self.inputs)
        present = {
            "offset": columns > 0,
            "bounds": self.bounds is not None,
            "coefficient_bounds": self.coefficient_bounds is not None,
        }
        return tuple(name for name, there in present.items() if there)

    @cached_property
    def weighted_targets(self) -> Tensor:
        """W Y, (m, k)."""
        return self.targets if self.weights is None else self.weights[:, None] * self.targets

    @cached_property
    def units(self) -> Tensor | None:
        """(q,) natural sizes of the parameters, where the features know them."""
        return self.features.units(self.inputs)

    @property
    def initial_parameters(self) -> Tensor:
        """(q,) parameters that the features came with."""
        return self.features.initial.clone()

    def with_features(self, features: FeatureMap) -> "SeparableProblem":
        """The same data with other features of the same inputs, which are taken as they are."""
        other = copy.copy(self)
        other.features = features
        with torch.no_grad():
            other.width = features(features.initial, self.inputs).shape[1]
        for known in ("units", "constraints"):
            vars(other).pop(known, None)
        return other

    def with_regularization(self, regularization: float) -> "SeparableProblem":
        """The same problem with another lam and the rank tolerance that goes with it, without continuation."""
        other = copy.copy(self)
        other.regularization, other.continuation = check_nonnegative(regularization, "regularization"), None
        other.rank_tolerance = other._check_rank_tolerance(self._given_rank_tolerance)
        return other

    def value_rounding(self, value: float) -> float:
        """Size of the rounding error of a value 1/2 ||r||^2: eps ||r|| ||W Y||, as r carries the errors of W Y."""
        targets = self.weighted_targets
        return torch.finfo(targets.dtype).eps * math.sqrt(2.0 * value) * float(torch.linalg.vector_norm(targets))

    def project(self, values: Tensor) -> Projection:
        """The linear solve for given feature values Phi, which are weighted here; an offset goes to the targets."""
        matrix = values if self.weights is None else self.weights[:, None] * values
        matrix, fixed = matrix[:, : self.width], matrix[:, self.width :]
        targets = self.weighted_targets - fixed if fixed.shape[1] else self.weighted_targets
        projection = project(
            matrix,
            targets,
            self.regularization,
            self.rank_tolerance,
            column_scaling=self.column_scaling,
        )
        if self.coefficient_bounds is None:
            return projection
        return bounded_projection(
            projection, matrix, targets, self.coefficient_bounds.lower, self.coefficient_bounds.upper
        )

    def fitted(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """Phi C and the offset, if any, (rows, k), for feature values with its columns behind those of Phi."""
        return values @ model_coefficients(values, coefficients)

    def predict(self, parameters: Tensor, coefficients: Tensor, inputs: object) -> Tensor:
        """Phi(theta; inputs) C, (rows,) or (rows, k) as the targets were; the features without any operator."""
        like = self.targets
        x = to_tensor(inputs, "inputs", dtype=like.dtype, device=like.device)
        model = self.features.model
        rows = model.prepare(x)
        try:
            with torch.no_grad():
                values = self.fitted(model(parameters, rows), coefficients)
        except RuntimeError as error:
            raise ArgumentError(f"inputs of shape {tuple(x.shape)} do not fit the features: {error}") from error
        return values[:, 0] if self._squeeze else values

    def _check_features(self) -> int:
        """Width n of Phi; raises unless the features are a matrix with as many rows as the targets."""
        theta = self.features.initial
        try:
            with torch.no_grad():
                Phi = self.features(theta, self.inputs)
        except GrassvpError:
            raise
        except Exception as error:
            raise ArgumentError(f"features failed on inputs of shape {tuple(self.inputs.shape)}: {error}") from error
        if not isinstance(Phi, Tensor):
            raise ArgumentTypeError(f"features must return a torch tensor, got {type(Phi).__name__}")
        if Phi.ndim != 2 or Phi.shape[0] != self.rows or Phi.shape[1] == 0:
            raise ArgumentError(
                f"features must return shape ({self.rows}, n), a row for each row of targets; got {tuple(Phi.shape)} "
                f"for inputs of shape {tuple(self.inputs.shape)}"
            )
        if Phi.dtype != self.targets.dtype or Phi.device != self.targets.device:
            raise ArgumentTypeError(
                f"features must return {self.targets.dtype} on {self.targets.device}, got {Phi.dtype} on {Phi.device}"
            )
        if self.features.row_by_row and self.rows > 1:
            self._check_independent_rows()
        self._check_differentiable()
        fixed = self.features.offset_columns(theta, self.inputs)
        if fixed not in (0, self.outputs):
            raise ArgumentError(
                f"features: the offset must have shape ({self.rows}, {self.outputs}), a column for each "
                f"output of the targets; got {fixed} columns"
            )
        return Phi.shape[1] - fixed

    def _check_rank_tolerance(self, value: object) -> float:
        if value is None:
            return default_rank_tolerance(self.rows, self.width, self.regularization, self.targets.dtype)
        tolerance = check_nonnegative(value, "rank_tolerance")
        if tolerance >= 1:
            raise ArgumentError(f"rank_tolerance must be < 1, got {tolerance}")
        return tolerance

    def _check_independent_rows(self) -> None:
        """Raise where the first or the last row of Phi changes when the other inputs are left out."""
        theta = self.features.initial
        theta = theta + 0.01 * (1 + theta.abs())  # a coupling may be switched off at the start
        try:
            together = self.features(theta, self.inputs)[[0, -1]]
            alone = torch.cat([self.features(theta, self.inputs[:1]), self.features(theta, self.inputs[-1:])])
            allowed = torch.finfo(together.dtype).eps ** 0.5 * (1 + together.abs())
            coupled = alone.shape != together.shape or bool(((alone - together).abs() > allowed).any())
        except Exception:
            coupled = True
        if coupled:
            raise ArgumentError(
                "features couples the rows, is random or keeps state: a row changes, or fails, when it is evaluated "
                "alone. Give such a model as features.from_function(function, parameters)"
            )

    def _check_differentiable(self) -> None:
        """Raise where torch.func cannot differentiate the features, for example because they leave torch."""
        zero, theta, features = self.targets.new_zeros, self.features.initial, self.features
        try:
            derivatives = features.derivatives(theta, self.inputs)
            derivatives.pullback(zero(self.rows, 1), zero(derivatives.values.shape[1], 1))
            if features.row_by_row:
                features.derivatives(theta, self.inputs[:2]).contract(zero(derivatives.values.shape[1], 1))
        except Exception as error:
            raise ArgumentError(
                "features cannot be differentiated by torch.func: write them with torch operations that change nothing "
                f"in place and do not branch on values ({error})"
            ) from error

    def __repr__(self) -> str:
        """Shapes and settings at a glance."""
        weights = "" if self.weights is None else ", weighted"
        return (
            f"SeparableProblem({self.rows} rows, {self.width} features, {self.outputs} outputs, "
            f"{self.features.initial.numel()} parameters, regularization {self.regularization:g}{weights})"
        )


def _check_size(weighted_targets: Tensor) -> None:
    """Raise where the square of the norm, which values and gradients go like, overflows or loses digits."""
    size = safe_norm(weighted_targets)
    if not (size == 0.0 or SMALLEST <= size <= 1.0 / SMALLEST):
        raise ArgumentError(
            f"targets, times their weights, have norm {size:.3g}, whose square float64 cannot hold to all digits: "
            f"it must be between {SMALLEST:g} and {1.0 / SMALLEST:g}; scale them"
        )


def _check_weights(weights: object, targets: Tensor) -> Tensor | None:
    if weights is None:
        return None
    w = to_tensor(weights, "weights", dtype=targets.dtype, device=targets.device)
    if w.shape != targets.shape[:1]:
        raise ArgumentError(f"weights must have shape ({targets.shape[0]},), got {tuple(w.shape)}")
    if bool((w < 0).any()) or not bool((w > 0).any()):
        raise ArgumentError(f"weights must be >= 0 and not all zero, got minimum {float(w.min())}")
    return w
