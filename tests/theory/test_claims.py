"""Every claim holds on random inputs, and fails when one of its two sides is spoiled."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from grassvp.errors import ArgumentError
from grassvp.reduced import ReducedProblem
from grassvp.theory import verification
from grassvp.theory.claims import grassmann, limits, networks, parametrisation, regularized, trajectories
from grassvp.theory.claims.claim import Claim, compare, first_difference, same, second_difference
from grassvp.theory.verification import CLAIMS, each_claim, select, verify
from manifolds import RegularizedGrassmann


def scaled(module, name, factor=1.001):
    """A patch that multiplies what a function returns."""
    original = getattr(module, name)
    return module, name, lambda *args, **kwargs: factor * original(*args, **kwargs)


def changed(module, name, change):
    """A patch that passes what a function returns through `change`."""
    original = getattr(module, name)
    return module, name, lambda *args, **kwargs: change(original(*args, **kwargs))


def replaced(**changes):
    """A frozen result with some attributes as functions of it."""
    return lambda result: dataclasses.replace(result, **{name: change(result) for name, change in changes.items()})


def each(change):
    return lambda results: [change(result) for result in results]


def spoiled_problem(name):
    """The problem with one of its derivatives off by one part in ten thousand."""

    def spoil(problem):
        functions = ("cost", "riemannian_gradient", "riemannian_hessian")
        parts = {key: getattr(problem, key) for key in ("manifold", *functions)}
        parts[name] = lambda *args: 1.0001 * getattr(problem, name)(*args)
        return SimpleNamespace(**parts)

    return spoil


def slower(study):
    """Fluctuations that shrink like n^(-0.3)."""
    return study.limit + (study.values - study.limit) * study.widths[:, None] ** 0.2


def values_off(forms):
    return forms._replace(kernel=forms.kernel * (1 + 1e-6))


MUTATIONS = {
    "A1 gradient": ("A1", lambda: (grassmann.riemannian, "subspace_problem", spoiled_gradient)),
    "A1 Hessian": ("A1", lambda: (grassmann.riemannian, "subspace_problem", spoiled_hessian)),
    "A1 the formula": ("A1", lambda: scaled(grassmann, "first_difference")),
    "A2 index": ("A2", lambda: changed(grassmann, "critical_classes", each(replaced(index=lambda c: c.index + 1)))),
    "A2 nullity": (
        "A2",
        lambda: changed(grassmann, "critical_classes", each(replaced(nullity=lambda c: c.nullity + 1))),
    ),
    "A2 a class is missing": ("A2", lambda: changed(grassmann, "critical_classes", lambda found: found[:-1])),
    "A2 one that is not found": ("A2", lambda: changed(grassmann, "find_critical_points", lambda found: found[1:])),
    "A3 a spurious minimum": (
        "A3",
        lambda: changed(grassmann.riemannian, "run", replaced(value=lambda r: 1.001 * r.value + 1e-9)),
    ),
    "A4 another rate": ("A4", lambda: scaled(trajectories, "logistic_cosines", 0.999)),
    "A4 the flow ends early": (
        "A4",
        lambda: changed(trajectories, "gradient_flow", replaced(distances=lambda f: f.distances + 1e-6)),
    ),
    "A5 another limit": ("A5", lambda: scaled(trajectories, "flow_values")),
    "B1 one form": ("B1", lambda: changed(RegularizedGrassmann, "value_forms", values_off)),
    "B2 the metric": ("B2", lambda: scaled(RegularizedGrassmann, "inner_product")),
    "B3 the gradient": ("B3", lambda: scaled(RegularizedGrassmann, "euclidean_to_riemannian_gradient")),
    "B4 the limit": ("B4", lambda: scaled(trajectories, "flow_values")),
    "B4 no maximum": (
        "B4",
        lambda: changed(
            regularized, "critical_point_report", replaced(hessian_eigenvalues=lambda r: -r.hessian_eigenvalues)
        ),
    ),
    "B5 the bound": (
        "B5",
        lambda: changed(regularized, "project", replaced(coefficients=lambda p: 1.01 * p.coefficients)),
    ),
    "B6 not invariant": ("B6", lambda: (regularized, "value_of", lopsided)),
    "C1 the gradient": ("C1", lambda: scaled(ReducedProblem, "gradient")),
    "C2 the Jacobian": ("C2", lambda: scaled(ReducedProblem, "jacobian")),
    "C2 the Hessian": ("C2", lambda: scaled(ReducedProblem, "hessian")),
    "C2 the product": ("C2", lambda: scaled(ReducedProblem, "hessian_vector_product")),
    "C3 the index": (
        "C3",
        lambda: changed(
            networks,
            "compare_inertia",
            replaced(joint=lambda c: dataclasses.replace(c.joint, negative=c.joint.negative + 1)),
        ),
    ),
    "C3 the complement": (
        "C3",
        lambda: changed(networks, "compare_inertia", replaced(schur_defect=lambda c: c.schur_defect + 1e-6)),
    ),
    "C4 not onto": (
        "C4",
        lambda: changed(
            networks, "critical_point_report", replaced(differential_rank=lambda r: r.differential_rank - 1)
        ),
    ),
    "C4 nothing found": ("C4", lambda: (networks, "find_critical_points", lambda *args, **kwargs: [])),
    "C5 another curve": (
        "C5",
        lambda: changed(limits, "natural_gradient_flow", replaced(values=lambda f: 1.001 * f.values)),
    ),
    "C6 another rate": ("C6", lambda: changed(limits, "linear_rate", replaced(measured=lambda r: 0.98 * r.measured))),
    "C6 not quadratic": ("C6", lambda: changed(limits, "newton_rate", replaced(order=lambda r: 1.9))),
    "C7 another order": ("C7", lambda: changed(limits, "two_time_scales", replaced(gaps=lambda s: s.gaps**0.8))),
    "C9 another order": ("C9", lambda: changed(limits, "width_study", replaced(values=slower))),
    "C8 not critical": (
        "C8",
        lambda: changed(parametrisation, "critical_problem", lambda made: (made[0], 1.01 * made[1], made[2])),
    ),
    "C8 a block of the copies": (
        "C8",
        lambda: changed(parametrisation, "embed", replaced(blocks=lambda e: tuple(1.001 * b for b in e.blocks))),
    ),
    "C8 the metric of copies": (
        "C8",
        lambda: changed(
            parametrisation,
            "embed",
            replaced(symmetric_block=lambda e: np.asarray(e.narrow.hessian(e.narrow_parameters))),
        ),
    ),
    "C8 the index of the copies": (
        "C8",
        lambda: changed(parametrisation, "critical_point_report", replaced(index=lambda r: r.index + 1)),
    ),
    "C8 targets that make nothing critical": ("C8", lambda: scaled(parametrisation, "layout")),
    "C8 shares": (
        "C8",
        lambda: changed(parametrisation, "embed_joint", replaced(coefficients=lambda e: 1.001 * e.coefficients)),
    ),
    "C8 the count of shared weights": (
        "C8",
        lambda: changed(parametrisation, "embed_joint", replaced(narrow=lambda e: (e.narrow[0] + 1, e.narrow[1]))),
    ),
}


def spoiled_gradient(*args, original=grassmann.riemannian.subspace_problem, **kwargs):
    return spoiled_problem("riemannian_gradient")(original(*args, **kwargs))


def spoiled_hessian(*args, original=grassmann.riemannian.subspace_problem, **kwargs):
    return spoiled_problem("riemannian_hessian")(original(*args, **kwargs))


def lopsided(Phi, Y, lam, original=regularized.value_of):
    return original(Phi, Y, lam) * (1 + 1e-6 * Phi[0, 0])


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds(name):
    found = verify(claims=name, seed=1)
    assert found and all(claim.name.startswith(name + " ") for claim in found)
    assert [claim for claim in found if not claim.passed] == []
    assert len({claim.name for claim in found}) == len(found)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_noticed(mutation, monkeypatch):
    name, patch = MUTATIONS[mutation]
    monkeypatch.setattr(*patch())
    assert not all(claim.passed for claim in each_claim(name, seed=1))


def test_claims_depend_on_the_seed_and_on_nothing_else():
    first, again, other = (verify(claims="A1,B5", seed=seed) for seed in (3, 3, 4))
    assert first == again and first != other
    assert verify(claims=["b5"], seed=3) == [claim for claim in first if claim.name.startswith("B5")]


def test_selection():
    assert select(None) == list(CLAIMS) and select("B") == ["B1", "B2", "B3", "B4", "B5", "B6"]
    assert select(" c3, a1 ") == ["A1", "C3"]
    for bad in ("A9", "", [], "A1,,B2", "D"):
        with pytest.raises(ValueError, match="claims must be among"):
            select(bad)
    for seed in (-1, 1.5, True):
        with pytest.raises(ValueError, match="seed"):
            verify(claims="B5", seed=seed)


def test_nothing_passes_on_nan():
    assert not compare("X", "", 1.0, math.nan, 1e-3).passed
    assert not Claim("X", "", 1.0, 1.0, math.nan, 1.0).passed
    assert not same("X", "", np.zeros(3), np.zeros(2), 1.0).passed
    assert compare("X", "", 0.0, 0.0, 0.0).passed


def test_differences():
    assert first_difference(math.sin) == pytest.approx(1.0, abs=1e-12)
    assert second_difference(math.cos) == pytest.approx(-1.0, abs=1e-11)
    assert verification.__all__
    assert limits.__all__


def test_a_claim_that_cannot_be_measured_fails(monkeypatch):
    def refuse(rng):
        raise ArgumentError("rng must be luckier")

    monkeypatch.setitem(CLAIMS, "B5", (refuse,))
    (claim,) = verify(claims="B5")
    assert not claim.passed and claim.name == "B5 not measured" and "luckier" in claim.statement
