"""The separable least-squares problem: features, data, row weights and regularisation, checked once."""

import math
from functools import cached_property

import torch
from torch import Tensor

from grassvp.arrays import check_nonnegative, to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError, GrassvpError
from grassvp.features import FeatureMap, as_feature_map
from grassvp.projection import Projection, default_rank_tolerance, project

__all__ = ["SeparableProblem"]


class SeparableProblem:
    """min over theta and C of 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2, with W = diag(weights).

    Computed in float64, or in float32 when both inputs and targets are float32; on the device of the targets.
    """

    features: FeatureMap
    inputs: Tensor
    targets: Tensor
    weights: Tensor | None
    regularization: float
    rank_tolerance: float

    def __init__(
        self,
        features: object,
        inputs: object,
        targets: object,
        *,
        weights: object = None,
        regularization: float = 0.0,
        rank_tolerance: float | None = None,
        column_scaling: bool = False,
    ) -> None:
        """Check the data and evaluate the features once.

        Args:
            features: a `torch.nn.Module` (m, d) -> (m, n) with independent rows, `features.from_function(...)`, or a
                feature map. A module is copied; its current parameters are the start of solvers that cannot sample.
            inputs: (m, d) or (m,) rows, numpy or torch; for `from_function` whatever shape the function expects.
            targets: (m,) or (m, k).
            weights: (m,) weights >= 0 that multiply the rows of Phi and Y; None for ones.
            regularization: lam >= 0 in the units of the weighted features squared.
            rank_tolerance: singular values of W Phi at or below this times the largest count as zero. By default 1e-10
                at lam = 0 and rounding level at lam > 0. Smaller values let the coefficients grow like its inverse.
            column_scaling: judge the rank after scaling the columns of W Phi to one size; see `projection.project`.

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
        self.features = as_feature_map(features).cast(dtype, y.device)
        self.inputs = self.features.prepare(x.to(dtype))
        self.weights = _check_weights(weights, self.targets)
        self.regularization = check_nonnegative(regularization, "regularization")
        width = self._check_features()
        tolerance = default_rank_tolerance(y.shape[0], width, self.regularization, dtype)
        self.rank_tolerance = (
            tolerance if rank_tolerance is None else check_nonnegative(rank_tolerance, "rank_tolerance")
        )
        if self.rank_tolerance >= 1:
            raise ArgumentError(f"rank_tolerance must be < 1, got {self.rank_tolerance}")
        self.width = width
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
    def weighted_targets(self) -> Tensor:
        """W Y, (m, k)."""
        return self.targets if self.weights is None else self.weights[:, None] * self.targets

    @property
    def initial_parameters(self) -> Tensor:
        """(q,) parameters that the features came with."""
        return self.features.initial.clone()

    def value_rounding(self, value: float) -> float:
        """Size of the rounding error of a value 1/2 ||r||^2: eps ||r|| ||W Y||, as r carries the errors of W Y."""
        targets = self.weighted_targets
        return torch.finfo(targets.dtype).eps * math.sqrt(2.0 * value) * float(torch.linalg.vector_norm(targets))

    def project(self, values: Tensor) -> Projection:
        """The linear solve for given feature values Phi (m, n), which are weighted here."""
        matrix = values if self.weights is None else self.weights[:, None] * values
        return project(
            matrix,
            self.weighted_targets,
            self.regularization,
            self.rank_tolerance,
            column_scaling=self.column_scaling,
        )

    def predict(self, parameters: Tensor, coefficients: Tensor, inputs: object) -> Tensor:
        """Phi(theta; inputs) C, (rows,) or (rows, k) as the targets were; the features without any operator."""
        like = self.targets
        x = to_tensor(inputs, "inputs", dtype=like.dtype, device=like.device)
        model = self.features.model
        rows = model.prepare(x)
        try:
            with torch.no_grad():
                values = model(parameters, rows) @ coefficients
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
        return Phi.shape[1]

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


def _check_weights(weights: object, targets: Tensor) -> Tensor | None:
    if weights is None:
        return None
    w = to_tensor(weights, "weights", dtype=targets.dtype, device=targets.device)
    if w.shape != targets.shape[:1]:
        raise ArgumentError(f"weights must have shape ({targets.shape[0]},), got {tuple(w.shape)}")
    if bool((w < 0).any()) or not bool((w > 0).any()):
        raise ArgumentError(f"weights must be >= 0 and not all zero, got minimum {float(w.min())}")
    return w
