"""The separable least-squares problem: features, data, row weights and regularisation, checked once."""

import copy
import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import check_count, check_nonnegative, to_tensor
from grassvp.bounds import Box, check_box
from grassvp.continuation import Continuation
from grassvp.data import check_features, check_noise_level, check_size, check_weights
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.features import FeatureMap, as_feature_map
from grassvp.jacobians import model_coefficients
from grassvp.projection import (
    Choice,
    Data,
    Projection,
    Rule,
    Spectrum,
    bounded_projection,
    check_rule,
    default_rank_tolerance,
    generalized,
    project,
)

__all__ = ["MEMORY_LIMIT", "SeparableProblem"]

MEMORY_LIMIT = 2**31
"""Bytes that the derivatives of one linearisation may take by default."""


class SeparableProblem:
    """min over theta and C of 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2, with W = diag(weights).

    Computed in float64, or in float32 when both inputs and targets are float32; on the device of the targets.

    Attributes:
        origin: what the data were made from, for whoever made them, such as the collocation of an equation; or None.
        linearized: the nonlinear problem that this is a linearisation of, at the state where it is one, which a solve
            linearises again on its way; see `grassvp.relinearizing`. None for a problem that is linear in C.
    """

    origin: Any = None
    linearized: Any = None

    features: FeatureMap
    inputs: Tensor
    targets: Tensor
    weights: Tensor | None
    regularization: float
    least_regularization: float
    continuation: Continuation | None
    rule: Rule | None
    until: Rule | None
    noise_level: float | None
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
        regularization: float | str | Rule | Continuation = 0.0,
        noise_level: float | None = None,
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
            regularization: lam >= 0 in the units of the weighted features squared; or how it is chosen: "auto", "gcv",
                "evidence", "discrepancy", "predictive-risk", "l-curve", "cross-validation", or a rule of
                `grassvp.rules`; or a `Continuation` down to it. A rule chooses at the features' own parameters here,
                and a solve chooses again at its iterates.
            noise_level: standard deviation > 0 of an entry of the targets, for the rules that need it.
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
        self.weights = check_weights(weights, self.targets)
        check_size(self.weighted_targets)
        self.noise_level = check_noise_level(noise_level)
        self.continuation = regularization if isinstance(regularization, Continuation) else None
        self.rule = check_rule(regularization, self.noise_level) if isinstance(regularization, str | Rule) else None
        lam = regularization if self.continuation is None else self.continuation.stop
        self.regularization = 0.0 if self.rule is not None else check_nonnegative(lam, "regularization")
        self.least_regularization = 0.0
        until = None if self.continuation is None else self.continuation.until
        self.until = None if until is None else check_rule(until, self.noise_level, "until")
        self.width = check_features(self.features, self.inputs, self.targets)
        self.bounds = check_box(bounds, self.features.initial, "bounds")
        coefficients = self.targets.new_empty(self.width, self.outputs)
        self.coefficient_bounds = check_box(coefficient_bounds, coefficients, "coefficient_bounds")
        self._given_rank_tolerance = rank_tolerance
        self.rank_tolerance = self._check_rank_tolerance(rank_tolerance)
        if not isinstance(column_scaling, bool):
            raise ArgumentTypeError(f"column_scaling must be True or False, got {column_scaling!r}")
        self.column_scaling = column_scaling
        self._choose()

    @property
    def rows(self) -> int:
        """Number of rows m."""
        return self.targets.shape[0]

    @cached_property
    def counted_rows(self) -> int:
        """Number of rows whose weight is not zero."""
        return self.rows if self.weights is None else int((self.weights != 0).sum())

    @property
    def outputs(self) -> int:
        """Number of outputs k."""
        return self.targets.shape[1]

    @property
    def cuts(self) -> bool:
        """Whether singular values are cut at a level of its own, and not where rounding makes it necessary."""
        return self._given_rank_tolerance is not None

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
        other.rank_tolerance = other._check_rank_tolerance(self._given_rank_tolerance)
        for known in ("units", "constraints"):
            vars(other).pop(known, None)
        return other

    def with_rows(self, features: FeatureMap, inputs: Tensor, targets: Tensor, weights: Tensor) -> "SeparableProblem":
        """The same options for other rows (m,) of one output, which are taken as they are."""
        other = copy.copy(self)
        for known in ("units", "constraints", "counted_rows", "weighted_targets"):
            vars(other).pop(known, None)
        like = self.targets
        other.features = as_feature_map(features).cast(like.dtype, like.device).limited(self.memory_limit // 8)
        other.inputs = other.features.prepare(inputs.to(like))
        other.targets, other.weights = targets[:, None].to(like), weights.to(like)
        other.rank_tolerance = other._check_rank_tolerance(self._given_rank_tolerance)
        return other

    def with_regularization(self, regularization: float) -> "SeparableProblem":
        """The same problem with this lam and the rank tolerance that goes with it, without a rule or continuation."""
        other = copy.copy(self)
        other.regularization = check_nonnegative(regularization, "regularization")
        other.continuation = other.rule = other.until = None
        other.rank_tolerance = other._check_rank_tolerance(self._given_rank_tolerance)
        return other

    def barely_regularized(self) -> "SeparableProblem":
        """The same problem and rule with the smallest lam that rounding leaves a meaning to."""
        other = copy.copy(self)
        other.regularization = self.least_regularization
        return other

    def regularized_like(self, other: "SeparableProblem") -> "SeparableProblem":
        """The same problem with the lam, the rule and the continuation of another one."""
        same = copy.copy(self)
        same.regularization, same.rank_tolerance = other.regularization, other.rank_tolerance
        same.rule, same.continuation, same.until = other.rule, other.continuation, other.until
        return same

    def chosen(self, values: Tensor, projection: Projection, rule: Rule) -> Choice:
        """What a rule chooses for given feature values Phi and their projection, whatever lam that has."""
        fixed = values[:, self.width :]
        fixed = fixed if self.weights is None else self.weights[:, None] * fixed
        targets = self.weighted_targets - fixed if fixed.shape[1] else self.weighted_targets
        return rule.choose(Data(self.spectrum(projection, targets), targets, self.weights, self.noise_level))

    def spectrum(self, projection: Projection, targets: Tensor) -> Spectrum:
        """The spectrum of weighted features, cut where a solve with lam > 0 cuts it, and weighted targets in it."""
        given = None if self.column_scaling else self._given_rank_tolerance
        return Spectrum.of(projection, targets, self.counted_rows, given)

    def cross_validated(self, projection: Projection) -> float:
        """Generalised cross-validation m RSS / (m - freedom)^2 of a solution over the rows that count."""
        m, misfit = self.counted_rows, projection.residual.double() ** 2
        return float(generalized(m, misfit.sum(), misfit.new_tensor(m - projection.freedom)))

    def rounded(self, regularization: float) -> float:
        """Lam rounded to quarters of an octave, so that a rule applied to its own result comes back to it."""
        if regularization == 0.0:
            return 0.0
        unit = 1.0 if self.weights is None else float(torch.sum(self.weights.double() ** 2)) / self.counted_rows
        return unit * 2.0 ** (round(4.0 * math.log2(regularization / unit)) / 4.0)

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
        """Phi(theta; inputs) C, (rows,) or (rows, k) as the targets were; the features without any operator.

        (rows, unknowns) where the features are those of a system and stand for several unknowns.
        """
        like = self.targets
        x = to_tensor(inputs, "inputs", dtype=like.dtype, device=like.device)
        model = self.features.model
        rows = model.prepare(x)
        try:
            with torch.no_grad():
                values = model.outputs(model(parameters, rows), coefficients)
        except RuntimeError as error:
            raise ArgumentError(f"inputs of shape {tuple(x.shape)} do not fit the features: {error}") from error
        return values[:, 0] if self._squeeze and values.shape[1] == 1 else values

    def _choose(self) -> None:
        """Take the lam that the rule chooses at the features' own parameters, 0 where they are not finite."""
        if self.coefficient_bounds is not None and (self.rule or self.until) is not None:
            raise ArgumentError(
                "regularization: the rules choose lam for free coefficients and the problem has coefficient_bounds; "
                "give a number"
            )
        if self.rule is None:
            return
        with torch.no_grad():
            values = self.features(self.features.initial, self.inputs)
        try:
            projection = self.with_regularization(1.0).project(values)
        except NonFiniteError:
            return
        check_size(projection.triangle, "features, times the weights, for which a rule chooses lam,")
        self.regularization = self.rounded(self.chosen(values, projection, self.rule).regularization)
        noise = default_rank_tolerance(self.rows, self.width, 1.0, self.targets.dtype)
        self.least_regularization = self.rounded((noise * float(torch.linalg.norm(projection.triangle))) ** 2)
        self.rank_tolerance = self._check_rank_tolerance(self._given_rank_tolerance)

    def _check_rank_tolerance(self, value: object) -> float:
        if value is None:
            return default_rank_tolerance(self.rows, self.width, self.regularization, self.targets.dtype)
        tolerance = check_nonnegative(value, "rank_tolerance")
        if tolerance >= 1:
            raise ArgumentError(f"rank_tolerance must be < 1, got {tolerance}")
        return tolerance

    def __repr__(self) -> str:
        """Shapes and settings at a glance."""
        weights = "" if self.weights is None else ", weighted"
        rule = "" if self.rule is None else f" by {self.rule.name}"
        return (
            f"SeparableProblem({self.rows} rows, {self.width} features, {self.outputs} outputs, "
            f"{self.features.initial.numel()} parameters, regularization {self.regularization:g}{rule}{weights})"
        )
