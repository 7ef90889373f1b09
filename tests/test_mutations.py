"""Each law can fail: one ingredient of the library is spoiled at a time, and the law that guards it must notice."""

import dataclasses

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem, jacobians, linearization, separable
from grassvp.features import OneHiddenLayer, mlp, protocol
from grassvp.features.neurons import PlainNeurons
from grassvp.projection import projection
from tests.cases import dense_case, mp_case
from tests.laws import reduced as laws

CASES = {
    "mpmath, one hidden layer": lambda: mp_case((3,), lam=1e-3),
    "mpmath, two hidden layers": lambda: mp_case((2, 3), lam=1e-3),
    "autodiff": lambda: dense_case("mlp-5-5", 1e-3),
}


def law(name):
    """A law by name, as a function of the case alone."""
    function = getattr(laws, f"{name}_law")
    extra = [np.random.default_rng(0)] if name in ("hessian_product", "matrix_free") else []
    return lambda case: function(fresh(case), case.theta, case.reference, *extra)


def fresh(case) -> ReducedProblem:
    """The problem rebuilt, so that nothing computed before the mutation is reused."""
    return ReducedProblem(case.reduced.problem)


def replace_result(module, name, change):
    """A patch of module.name whose result passes through `change`."""
    original = getattr(module, name)
    return module, name, lambda *args, **kwargs: change(original(*args, **kwargs))


def rows(name, change):
    """A patch of what a block of rows adds to G ("contraction"), E ("inside") or N ("adjoint")."""
    return replace_result(jacobians._Rows, name, change)


def curved(name, change):
    """A patch of the second derivatives, closed and automatic."""
    return replace_result(protocol, f"automatic_{name}", change), replace_result(OneHiddenLayer, name, change)


def directional(change):
    return replace_result(jacobians, "directional_factors", lambda found: change(*found))


def solved(**changes):
    """A patch of the projection after the solve: attribute -> function of the projection."""
    return replace_result(
        separable, "project", lambda p: dataclasses.replace(p, **{name: change(p) for name, change in changes.items()})
    )


def unweighted(rows, weights):
    return rows


MUTATIONS = {
    # name: (patch, laws that must notice)
    "N has the wrong sign": (rows("adjoint", torch.neg), ("jacobian", "hessian")),
    "N is dropped": (rows("adjoint", lambda N: 0 * N), ("jacobian", "hessian")),
    "E is dropped": (rows("inside", lambda E: 0 * E), ("jacobian", "kaufman")),
    "E of the Hessian is dropped": (
        replace_result(projection.Projection, "coordinates", lambda e: 0 * e),
        ("hessian", "hessian_product"),
    ),
    "G is doubled": (rows("contraction", lambda G: 2 * G), ("jacobian", "kaufman", "hessian")),
    "n has the wrong sign": (directional(lambda g, e, n: (g, e, -n)), ("hessian_product", "matrix_free")),
    "e is dropped": (directional(lambda g, e, n: (g, 0 * e, n)), ("hessian_product", "matrix_free")),
    "weights are dropped": (
        (jacobians, "weighted", unweighted),
        ("gradient", "jacobian", "hessian", "hessian_product", "matrix_free"),
    ),
    "the solve forgets the weights": (
        (SeparableProblem, "project", lambda self, Phi: projection.project(Phi, self.targets, self.regularization)),
        ("value", "gradient", "jacobian"),
    ),
    "the gradient forgets the weights": (
        (jacobians, "envelope_gradient", lambda d, p, w: -d.pullback(p.residual, p.coefficients)),
        ("gradient",),
    ),
    "the gradient has the wrong sign": (replace_result(jacobians, "envelope_gradient", torch.neg), ("gradient",)),
    "the gradient is off by one part in a million": (
        replace_result(jacobians, "envelope_gradient", lambda g: g * (1 + 1e-6)),
        ("gradient",),
    ),
    "the curvature is dropped": (curved("curvature", lambda H: 0 * H), ("hessian",)),
    "the curvature has the wrong sign": (curved("curvature", torch.neg), ("hessian",)),
    "the curvature product is dropped": (curved("curvature_product", lambda Hv: 0 * Hv), ("hessian_product",)),
    "the residual forgets the regularisation": (
        solved(residual_tail=lambda p: 0 * p.residual_tail),
        ("value", "residual", "four_forms"),
    ),
    "the tail of the basis is missing": (
        solved(tail=lambda p: None),
        ("jacobian", "kaufman", "matrix_free"),
    ),
    "the tail of the basis is zero": (solved(tail=lambda p: 0 * p.tail), ("jacobian", "kaufman", "matrix_free")),
    "the tail of the residual has the wrong sign": (solved(residual_tail=lambda p: -p.residual_tail), ("residual",)),
    "the residual keeps a part inside the span": (
        solved(residual=lambda p: p.residual + 1e-9 * p.basis @ torch.ones_like(p.coefficients)),
        ("residual",),
    ),
    "the coefficients are off by one part in a million": (
        solved(coefficients=lambda p: p.coefficients * (1 + 1e-6)),
        ("residual", "gradient", "jacobian"),
    ),
    "the pseudo-inverse factor is transposed": (
        solved(pseudo_factor=lambda p: p.pseudo_factor.T.contiguous()),
        ("jacobian", "hessian", "hessian_product", "matrix_free"),
    ),
    "lam is halved": (
        (separable, "project", lambda A, Y, lam, cut, **o: projection.project(A, Y, lam / 2, cut, **o)),
        ("value", "residual", "four_forms", "gradient", "jacobian"),
    ),
    "the Jacobian is flattened by columns": (
        replace_result(
            jacobians, "dense_jacobian", lambda J: J.view(-1, 3, J.shape[1]).transpose(0, 1).reshape(J.shape)
        ),
        ("jacobian", "kaufman"),
    ),
    "the kinds are exchanged": (
        (linearization, "JACOBIAN_KINDS", ("kaufman", "golub-pereyra")),
        ("jacobian_kinds",),
    ),
}


def jacobian_kinds_law(problem, theta, reference):
    """The kinds by name: golub-pereyra is the derivative, kaufman is not."""
    exact, approximate = (problem.jacobian(theta, kind=kind) for kind in ("golub-pereyra", "kaufman"))
    laws.close(exact, reference.jacobian, laws.allowed(reference, "jacobian"), "golub-pereyra")
    assert laws.norm(approximate - reference.jacobian) > 1e-3 * laws.norm(reference.jacobian)


@pytest.mark.parametrize("name", CASES)
def test_the_laws_hold_without_a_mutation(name):
    case = CASES[name]()
    laws.law_suite(fresh(case), case.theta, case.reference)
    laws.four_forms_law(fresh(case), case.theta, case.reference)
    jacobian_kinds_law(fresh(case), case.theta, case.reference)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_noticed(mutation, name, monkeypatch):
    case = CASES[name]()
    patch, guards = MUTATIONS[mutation]
    for each in patch if isinstance(patch[0], tuple) else [patch]:
        monkeypatch.setattr(*each)
    for guard in guards:
        check = (
            law(guard) if guard != "jacobian_kinds" else lambda c: jacobian_kinds_law(fresh(c), c.theta, c.reference)
        )
        with pytest.raises(AssertionError):
            check(case)


def test_a_slope_of_the_closed_form_that_is_wrong_is_noticed(monkeypatch):
    case = mp_case((3,), lam=1e-3)
    contract = PlainNeurons.contract
    monkeypatch.setattr(PlainNeurons, "contract", lambda self, C: contract(self, C).roll(1, dims=2))
    with pytest.raises(AssertionError, match="J_GP"):
        law("jacobian")(case)


def test_one_projection_instead_of_two_is_noticed():
    """The residual of large targets near the span: one pass leaves a part inside it that the law does not forgive."""
    rng = np.random.default_rng(0)
    A = torch.from_numpy(rng.standard_normal((20, 4)))
    once = dataclasses.replace(
        projection.project(A, A @ torch.ones(4, 1, dtype=A.dtype)),
        residual=torch.from_numpy(1e-11 * A.numpy() @ np.ones((4, 1))),
    )
    with pytest.raises(AssertionError, match=r"A\^T r"):
        laws.orthogonal_residual_law(once, A, A @ torch.ones(4, 1, dtype=A.dtype))


def test_a_basis_that_is_not_orthonormal_is_noticed():
    made = ReducedProblem(SeparableProblem(mlp(1, (3,)), np.arange(6.0), np.arange(6.0), regularization=1e-2))
    good = made.linearize(made.initial_parameters).projection
    laws.orthonormal_basis_law(good)
    with pytest.raises(AssertionError, match="orthonormality"):
        laws.orthonormal_basis_law(dataclasses.replace(good, orthonormal=good.orthonormal * (1 + 1e-12)))
