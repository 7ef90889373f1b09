"""Embedded critical points against mpmath and the wide problem's own derivatives; spoiled formulas are noticed."""

import dataclasses
from functools import lru_cache

import numpy as np
import pytest
import torch

import grassvp as gv
from grassvp import theory
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import differential_operator, from_function, mlp, under_operator
from grassvp.theory import copies, embeddings, joint_embeddings
from grassvp.theory.copies import distributions
from grassvp.theory.objectives import as_objective
from grassvp.theory.searches import settle
from tests.cases import variable_operator
from tests.oracles import mp_features, mp_reference


def random_problem(k=1, width=2, lam=1e-2, *, d=1, rows=9, seed=0, dtype=np.float64, operator=False, **options):
    """A weighted problem with Gaussian targets; its theta is random, hence critical for nothing."""
    rng = np.random.default_rng(seed)
    x, y, w = rng.uniform(-2, 2, (rows, d)), rng.standard_normal((rows, k)), rng.uniform(0.5, 2.0, rows)
    network = mlp(d, (width,), seed=seed + 1, **options)
    features = under_operator(network, differential_operator(rows, d, variable_operator(rows))) if operator else network
    problem = gv.SeparableProblem(features, x.astype(dtype), y.astype(dtype), weights=w, regularization=lam)
    return gv.ReducedProblem(problem), 1.5 * problem.initial_parameters.double().numpy()


def teacher_problem(k=1, lam=1e-2):
    """Two tanh neurons fitted to those of a teacher with noise, and the teacher's theta."""
    rng, x = np.random.default_rng(0), np.linspace(-1.0, 1.0, 20)
    weights, biases = np.array([3.0, 2.0]), np.array([1.0, -1.0])
    y = np.tanh(x[:, None] * weights + biases) @ np.array([[1.0, 0.5], [-2.0, 1.0]])[:, :k]
    y = y + 0.1 * rng.standard_normal(y.shape)
    problem = gv.SeparableProblem(mlp(1, (2,)), x[:, None], y, regularization=lam)
    return gv.ReducedProblem(problem), np.concatenate([weights, biases])


@lru_cache
def teacher_minimum(k, lam, r):
    """A minimum of the dilated teacher problem, found by descent and settled to the last digits."""
    reduced, near = teacher_problem(k, lam)
    narrow = theory.dilated(reduced, r)
    found = gv.solve(narrow.problem, gv.LevenbergMarquardt(), initial_parameters=near, max_iterations=300)
    objective = as_objective(narrow)
    return reduced, settle(objective, found.parameters.numpy(), 1e-17 * objective.scale).point


def relative(actual, expected):
    return float(np.linalg.norm(np.asarray(actual) - expected) / np.linalg.norm(expected))


# --- the formula -----------------------------------------------------------------------------------------------------


def mpmath_law(k, lam, r, theta=None, seed=0):
    """Value, coefficients, gradient and Hessian of the wide network at 90 digits, at a point that is not critical."""
    reduced, at = random_problem(k, len(r), lam, seed=seed)
    made = theory.embed(reduced, at if theta is None else theta, r)
    problem = reduced.problem
    reference = mp_reference(
        lambda p: mp_features(p, problem.inputs.tolist(), (sum(r),)),
        made.parameters,
        problem.targets.numpy(),
        problem.weights.numpy(),
        lam,
    )
    assert made.narrow.value(made.narrow_parameters) == pytest.approx(reference.value, rel=1e-12)
    assert relative(made.coefficients, reference.coefficients) < 1e-10
    assert made.gradient_norm == pytest.approx(np.linalg.norm(reference.gradient), rel=1e-10)
    assert relative(made.predicted_hessian(), reference.hessian) < 1e-11
    np.testing.assert_allclose(
        made.predicted_eigenvalues,
        np.linalg.eigvalsh(reference.hessian),
        atol=1e-11 * np.linalg.norm(reference.hessian),
    )


@pytest.mark.parametrize("lam", [1e-2, 1e-6])
@pytest.mark.parametrize(("k", "r"), [(1, (2, 1)), (2, (1, 3)), (3, (3,)), (1, (2, 2))], ids=str)
def test_predictions_against_mpmath(k, r, lam):
    mpmath_law(k, lam, r)


SHAPES = {
    "plain": {"k": 2},
    "planar": {"k": 2, "d": 2, "rows": 14},
    "space": {"d": 3, "rows": 20, "width": 3},
    "without a constant": {"k": 3, "bias_feature": False},
    "gelu": {"activation": "gelu"},
    "more features than rows": {"rows": 4, "width": 3},
    "operator": {"d": 2, "k": 2, "rows": 14, "operator": True},
    "large ridge": {"lam": 10.0},
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SHAPES)
def test_the_wide_problem_has_the_predicted_derivatives(name, seed):
    reduced, theta = random_problem(**SHAPES[name], seed=seed)
    width = reduced.problem.features.module.shapes[0][0]
    for r in ([2] * width, [1, 4, 2][:width]):
        made = theory.embed(reduced, theta, r)
        now = made.wide.linearize(made.parameters)
        assert now.value == pytest.approx(made.narrow.value(theta), rel=1e-12)
        assert relative(now.coefficients, made.coefficients) < 1e-11
        assert float(torch.linalg.vector_norm(now.gradient)) == pytest.approx(made.gradient_norm, rel=1e-10)
        assert relative(now.hessian(), made.predicted_hessian()) < 1e-11
        assert made.predicted_eigenvalues.shape == (sum(r) * made.blocks[0].shape[0],)
        np.testing.assert_allclose(made.predicted_eigenvalues, np.linalg.eigvalsh(made.predicted_hessian()), atol=1e-10)


def test_single_precision():
    reduced, theta = random_problem(2, lam=0.1, dtype=np.float32)
    made = theory.embed(reduced, theta, (2, 1))
    assert made.wide.problem.targets.dtype == torch.float32
    assert relative(made.wide.hessian(made.parameters), made.predicted_hessian()) < 1e-4


def test_one_copy_of_each_is_the_narrow_problem():
    reduced, theta = random_problem(2, width=3)
    made = theory.embed(reduced, theta, (1, 1, 1))
    np.testing.assert_array_equal(made.parameters, theta)
    np.testing.assert_allclose(made.predicted_hessian(), reduced.hessian(theta), rtol=1e-12, atol=1e-12)
    assert made.wide.problem.width == reduced.problem.width


def test_layout_keeps_the_copies_of_a_neuron_next_to_each_other():
    reduced, _ = random_problem(d=2, width=2, rows=14)
    made = theory.embed(reduced, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (1, 2))
    np.testing.assert_array_equal(made.parameters, [1, 2, 3, 4, 3, 4, 5, 6, 6])
    assert made.multiplicities == (1, 2) and made.coefficients.shape == (4, 1)
    np.testing.assert_array_equal(made.coefficients[1], made.coefficients[2])
    assert "multiplicities (1, 2)" in repr(made)


def test_the_rank_tolerance_belongs_to_the_wide_problem():
    reduced, theta = random_problem(rows=4, width=2)
    made = theory.embed(reduced, theta, (5, 5))
    assert made.wide.problem.rank_tolerance == pytest.approx(11 * np.finfo(float).eps)


# --- what follows from it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("lam", [1e-1, 1e-4, 1e-8])
def test_a_critical_point_of_the_dilated_problem_is_one_of_the_wide_problem(k, lam):
    reduced, point = teacher_minimum(k, lam, (3, 2))
    made = theory.embed(reduced, point, (3, 2))
    report = theory.critical_point_report(made.wide, made.parameters)
    assert report.is_critical and made.gradient_norm < 1e-12 * report.scale
    assert (report.index, report.nullity) == (made.predicted_index, made.predicted_nullity) == (3, 0)
    np.testing.assert_allclose(
        report.hessian_eigenvalues, made.predicted_eigenvalues, atol=1e-12 * np.abs(made.predicted_eigenvalues).max()
    )


def test_a_critical_point_of_the_narrow_problem_is_none_with_a_ridge():
    reduced, point = teacher_minimum(1, 1e-1, (1, 1))
    made = theory.embed(reduced, point, (2, 1))
    assert np.linalg.norm(reduced.gradient(point)) < 1e-13 < 1e-4 < made.gradient_norm
    assert theory.critical_point_report(made.wide, made.parameters).kind == "regular"


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("lam", [1e-10, 1e-12, 1e-14, 1e-16])
def test_the_hessian_is_right_down_to_tiny_regularization(k, lam):
    reduced, point = teacher_minimum(k, lam, (3, 2))
    made = theory.embed(reduced, point, (3, 2))
    assert relative(made.wide.hessian(made.parameters), made.predicted_hessian()) < 1e-13


def residual_slopes(made):
    """R^T W Dphi_j of each neuron, (k, d + 1), by differences of the features."""
    problem, theta = made.wide.problem, torch.as_tensor(made.narrow_parameters)
    narrow = made.narrow.problem.features.features
    R, w = made.narrow.linearize(theta).projection.residual, problem.weights
    left, step = (R if w is None else w[:, None] * R), 1e-6
    columns = []
    for move in step * torch.eye(theta.numel(), dtype=theta.dtype):
        slope = (narrow(theta + move, problem.inputs) - narrow(theta - move, problem.inputs)) / (2 * step)
        columns.append(left.T @ slope)
    stacked = torch.stack(columns, dim=-1).numpy()  # (k, n, q)
    width = len(made.multiplicities)
    return [stacked[:, j, [j, width + j]] for j in range(width)]


def test_one_output_has_no_term_in_the_inverse_of_lam():
    for lam in (1e-2, 1e-8):
        reduced, point = teacher_minimum(1, lam, (2, 1))
        made = theory.embed(reduced, point, (2, 1))
        assert max(np.abs(slopes).max() for slopes in residual_slopes(made)) < 1e-9
        assert max(np.abs(block).max() for block in made.blocks) < 0.1


def test_several_outputs_make_every_duplicate_a_saddle_for_small_lam():
    """The lowest eigenvalue of H_j goes like -||R^T W Dphi_j||^2 / lam, and along c_j the slope is zero."""
    for lam in (1e-6, 1e-10):
        reduced, point = teacher_minimum(2, lam, (2, 1))
        made = theory.embed(reduced, point, (2, 1))
        for slopes, c, block in zip(residual_slopes(made), made.coefficients[[0, 2]], made.blocks, strict=True):
            assert np.abs(c @ slopes).max() < 1e-8 < 1e-4 < np.linalg.norm(slopes, 2)
            lowest = np.linalg.eigvalsh(block)[0]
            assert lowest * lam == pytest.approx(-(np.linalg.norm(slopes, 2) ** 2), rel=1e-2 if lam > 1e-8 else 1e-4)
        assert made.predicted_index >= 1


@lru_cache
def gelu_census(k):
    """A problem with minima that stay minima, and others."""
    rng = np.random.default_rng(1)
    problem = gv.SeparableProblem(
        mlp(1, (2,), activation="gelu"),
        np.linspace(-1, 1, 12)[:, None],
        rng.standard_normal((12, k)),
        regularization=1e-2,
    )
    return theory.embedded_critical_points(gv.ReducedProblem(problem), 3, starts=6)


def census_law(found):
    """All that can be compared agrees, entry by entry."""
    assert found
    for each in found:
        assert each.agrees and each.eigenvalue_error < 1e-10, each
        assert each.wide.is_critical and each.narrow.is_critical
        assert each.wide.value == pytest.approx(each.narrow.value, rel=1e-11)
        positive = all(np.linalg.eigvalsh(block)[0] > 0 for block in duplicated(each.embedding))
        if each.narrow.kind == "minimum" and not each.narrow.nullity:
            assert (each.wide.kind == "minimum") == positive


def duplicated(made):
    return [block for block, r in zip(made.blocks, made.multiplicities, strict=True) if r > 1]


@pytest.mark.parametrize("k", [1, 2])
def test_census(k):
    found = gelu_census(k)
    census_law(found)
    assert [each.wide.value for each in found] == sorted(each.wide.value for each in found)
    assert {each.embedding.multiplicities for each in found} <= {(1, 2), (2, 1)}
    minima = [each for each in found if each.narrow.kind == "minimum"]
    kinds = {each.wide.kind for each in minima}
    assert "saddle" in kinds and ("minimum" in kinds or k == 2), "both fates are seen"
    assert repr(minima[0]).startswith("EmbeddedCriticalPoint((")


def test_along_a_negative_block_the_value_falls_and_along_a_positive_one_it_rises():
    for each in gelu_census(1):
        made = each.embedding
        for j, block in enumerate(made.blocks):
            if made.multiplicities[j] == 2 and each.narrow.kind == "minimum":
                values, vectors = np.linalg.eigh(block)
                for value, v in zip(values, vectors.T, strict=True):
                    step = 1e-2 * apart(made, j, v)
                    change = made.wide.value(made.parameters + step) - made.wide.value(made.parameters)
                    assert np.sign(change) == np.sign(value) or abs(value) < 1e-3
                    if abs(value) > 1e-2:
                        assert change == pytest.approx(0.5e-4 * value, rel=0.2)


def apart(made, j, v):
    """The direction that moves the two copies of neuron j by v and -v, of length 1."""
    total, first = sum(made.multiplicities), sum(made.multiplicities[:j])
    rows = np.zeros((total, 2))
    rows[first], rows[first + 1] = v / np.sqrt(2), -v / np.sqrt(2)
    return rows.T.ravel()


def test_the_census_covers_every_distribution_and_follows_given_points():
    reduced, near = teacher_problem(1, 1e-2)
    found = theory.embedded_critical_points(reduced, 4, starts=0, initial_points=[near])
    assert {each.embedding.multiplicities for each in found} == {(1, 3), (2, 2), (3, 1)}
    census_law(found)
    same = theory.embedded_critical_points(reduced, 2, starts=0, initial_points=[near])
    assert [each.embedding.multiplicities for each in same] == [(1, 1)] * len(same) and same[0].wide.kind == "minimum"
    assert not theory.embedded_critical_points(reduced, 3, starts=0)


def test_distributions():
    assert list(distributions(4, 2)) == [(1, 3), (2, 2), (3, 1)]
    assert list(distributions(3, 1)) == [(3,)] and list(distributions(3, 3)) == [(1, 1, 1)]
    found = list(distributions(7, 3))
    assert len(set(found)) == len(found) == 15 and {sum(each) for each in found} == {7}


def test_the_tolerance_decides_what_counts_as_zero():
    reduced, point = teacher_minimum(2, 1e-12, (3, 2))
    coarse, fine = (theory.embed(reduced, point, (3, 2), tolerance=each) for each in (1e-10, 1e-14))
    assert coarse.predicted_nullity == 6 and fine.predicted_nullity == 0
    for made in (coarse, fine):
        report = theory.critical_point_report(made.wide, made.parameters, eigenvalue_tolerance=made.tolerance)
        assert (report.index, report.nullity) == (made.predicted_index, made.predicted_nullity)


# --- the joint problem at lam = 0 ------------------------------------------------------------------------------------

SPLITS = {
    "inside": ((2, 1), [[0.3, 0.7], [1.0]]),
    "outside": ((2, 1), [[1.5, -0.5], [1.0]]),
    "a dead copy": ((1, 2), [[1.0], [0.0, 1.0]]),
    "equal": ((2, 2), None),
    "many": ((3, 4), [[0.3, -0.5, 1.2], [0.0, 0.5, -1.0, 1.5]]),
}


def joint_law(k, name):
    """Critical, of the narrow value, and with the predicted inertia, by autodiff and by differences of the gradient."""
    reduced, point = teacher_minimum(k, 0.0, (1, 1))
    r, splits = SPLITS[name]
    made = theory.embed_joint(reduced, point, r, splits)
    scale = float(np.sum(reduced.problem.targets.numpy() ** 2))
    assert made.gradient_norm < 1e-12 * scale
    assert made.wide.linearize(made.point).value == pytest.approx(reduced.value(point), rel=1e-12)
    measured = made.inertia
    assert measured.gap > 1e6 and (measured.negative, measured.zero) == (made.predicted_index, made.predicted_nullity)
    step, H = 1e-5, made.hessian()
    for i in (0, len(H) // 2, len(H) - 1):
        move = step * torch.eye(len(H), dtype=torch.float64)[i]
        ahead, behind = (made.wide.linearize(made.point + s * move).gradient.numpy() for s in (1, -1))
        np.testing.assert_allclose(H[:, i], (ahead - behind) / (2 * step), atol=1e-6)


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("k", [1, 2])
def test_split_neurons_of_the_joint_problem(k, name):
    joint_law(k, name)


def test_one_output_has_the_counts_of_fukumizu_and_amari():
    """S_j is indefinite here, so that both kinds of shares give one negative direction; the shares move freely."""
    reduced, point = teacher_minimum(1, 0.0, (1, 1))
    counts = {
        name: theory.embed_joint(reduced, point, r, splits)
        for name, (r, splits) in SPLITS.items()
        if name in ("inside", "outside", "a dead copy")
    }
    assert [each.predicted_index for each in counts.values()] == [1, 1, 0]
    assert [each.predicted_nullity for each in counts.values()] == [1, 1, 3]
    one = theory.embed_joint(reduced, point, (1, 1))
    assert (one.predicted_index, one.predicted_nullity) == (0, 0) == (one.inertia.negative, one.inertia.zero)
    assert "predicted index 0" in repr(one)


def test_a_definite_block_makes_minima_inside_and_saddles_outside_or_the_other_way_round():
    """Fukumizu and Amari 2000; an activation that is nearly quadratic makes the block definite."""
    rng = np.random.default_rng(1)
    x, y = np.linspace(-1, 1, 12)[:, None], rng.standard_normal((12, 1))
    reduced = gv.ReducedProblem(gv.SeparableProblem(mlp(1, (1,), activation="gelu"), x, y))
    minima = [r for r in theory.find_critical_points(reduced, starts=20) if r.kind == "minimum"]
    seen = set()
    for report in minima:
        inside, outside = (
            theory.embed_joint(reduced, report.point, (2,), [split]) for split in ([0.4, 0.6], [1.4, -0.4])
        )
        fates = tuple((each.inertia.negative, each.inertia.zero) for each in (inside, outside))
        assert fates == tuple((each.predicted_index, each.predicted_nullity) for each in (inside, outside))
        seen.add(fates)
    assert seen & {((0, 1), (2, 1)), ((2, 1), (0, 1))}


# --- refusals --------------------------------------------------------------------------------------------------------


def free(lam=1e-2, **options):
    return gv.ReducedProblem(
        gv.SeparableProblem(mlp(1, (2,)), np.arange(9.0), np.ones(9), regularization=lam, **options)
    )


def with_features(features):
    return gv.ReducedProblem(gv.SeparableProblem(features, np.arange(1.0, 10.0), np.ones(9), regularization=1e-2))


REFUSED = [
    (lambda: theory.embed(free(), np.ones(4), (2,)), ArgumentError, "multiplicities must have one entry .* 2 neurons"),
    (lambda: theory.embed(free(), np.ones(4), (2, 0)), ArgumentError, "multiplicities must be an integer >= 1, got 0"),
    (lambda: theory.embed(free(), np.ones(4), (2, 1.5)), ArgumentTypeError, "multiplicities"),
    (lambda: theory.embed(free(), np.ones(4), 3), ArgumentTypeError, "multiplicities must be a sequence"),
    (lambda: theory.embed(free(), np.ones(3), (2, 1)), ArgumentError, "parameters must have shape"),
    (lambda: theory.embed(free(0.0), np.ones(4), (2, 1)), ArgumentError, "regularization > 0.*embed_joint"),
    (lambda: theory.embed(free().problem, np.ones(4), (2, 1)), ArgumentTypeError, "ReducedProblem"),
    (lambda: theory.embed(free(bounds=(-9, 9)), np.ones(4), (2, 1)), ArgumentError, "bounds"),
    (lambda: theory.embed(free(), np.ones(4), (2, 1), tolerance=-1.0), ArgumentError, "tolerance"),
    (lambda: theory.dilated(with_features(mlp(1, (2, 2))), (2, 1)), ArgumentError, "one hidden layer, got DeepMLP"),
    (
        lambda: theory.dilated(with_features(from_function(lambda p, x: x[:, None] * p, [1.0])), (1,)),
        ArgumentError,
        "one hidden layer",
    ),
    (lambda: theory.embedded_critical_points(free(), 1), ArgumentError, "width must be an integer >= 2, got 1"),
    (lambda: theory.embedded_critical_points(free(0.0), 3), ArgumentError, "regularization > 0"),
    (lambda: theory.embedded_critical_points(free(), 3, starts=-1), ArgumentError, "starts"),
    (lambda: theory.embed_joint(free(), np.ones(4), (2, 1)), ArgumentError, "regularization 0, got 0.01.*use embed"),
    (lambda: theory.embed_joint(free(0.0), np.ones(4), (2, 1)), ArgumentError, "rank"),
    (lambda: split([[1.0, 0.0]]), ArgumentError, "splits must have one entry for each of 2"),
    (lambda: split([[1.0], [1.0]]), ArgumentError, "splits must give 2 shares"),
    (lambda: split([[0.5, 0.6], [1.0]]), ArgumentError, "splits must have sum 1"),
    (lambda: split([[np.nan, 1.0], [1.0]]), ArgumentError, "splits"),
    (lambda: split(0.5), ArgumentTypeError, "splits must be a sequence"),
]


def split(splits):
    return theory.embed_joint(free(0.0), [1.0, 2.0, 0.3, -0.5], (2, 1), splits)


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_bad_arguments_are_named(number):
    call, error, words = REFUSED[number]
    with pytest.raises(error, match=words):
        call()


# --- mutations -------------------------------------------------------------------------------------------------------


def spoiled_terms(change):
    original = copies.copy_terms
    return lambda *args: change(*original(*args))


TERMS = {
    "the curvature is dropped": lambda S, U: ([0 * s for s in S], U),
    "the curvature has the wrong sign": lambda S, U: ([-s for s in S], U),
    "the slopes are dropped": lambda S, U: (S, [0 * u for u in U]),
    "the slopes are off by one part in a million": lambda S, U: (S, [(1 + 1e-6) * u for u in U]),
    "the neurons are exchanged": lambda S, U: (S[::-1], U[::-1]),
}


@pytest.mark.parametrize("mutation", TERMS)
def test_a_spoiled_block_is_noticed(mutation, monkeypatch):
    monkeypatch.setattr(embeddings, "copy_terms", spoiled_terms(TERMS[mutation]))
    with pytest.raises(AssertionError):
        mpmath_law(2, 1e-2, (2, 2))


def test_wrong_scales_are_noticed(monkeypatch):
    original = embeddings.dilated
    monkeypatch.setattr(embeddings, "dilated", lambda reduced, r: original(reduced, [n * n for n in r]))
    with pytest.raises(AssertionError):
        mpmath_law(1, 1e-2, (2, 1))


SPOILED = {
    "the metric factor is forgotten": lambda made: dataclasses.replace(
        made, symmetric_block=np.asarray(made.narrow.hessian(made.narrow_parameters))
    ),
    "a block is counted once too often": lambda made: dataclasses.replace(
        made, multiplicities=tuple(r + (r > 1) for r in made.multiplicities)
    ),
    "the blocks have the wrong sign": lambda made: dataclasses.replace(made, blocks=tuple(-b for b in made.blocks)),
}


@pytest.mark.parametrize("mutation", SPOILED)
def test_a_spoiled_prediction_does_not_agree(mutation):
    original = gelu_census(1)
    spoiled = [dataclasses.replace(each, embedding=SPOILED[mutation](each.embedding)) for each in original]
    with pytest.raises((AssertionError, ValueError)):
        census_law(spoiled)


JOINT = {
    "the rank of the slopes": (2, "many", lambda S, U: (S, [0 * u for u in U])),
    "the sign of the curvature": (1, "inside", lambda S, U: ([np.eye(2) for _ in S], U)),
    "the neurons": (1, "many", lambda S, U: (S, [np.eye(1, 2), 0 * U[1]])),
}


@pytest.mark.parametrize("mutation", JOINT)
def test_a_spoiled_count_of_the_joint_problem_is_noticed(mutation, monkeypatch):
    k, name, change = JOINT[mutation]
    monkeypatch.setattr(joint_embeddings, "copy_terms", spoiled_terms(change))
    with pytest.raises(AssertionError):
        joint_law(k, name)


def test_shares_that_do_not_add_up_are_not_critical(monkeypatch):
    monkeypatch.setattr(joint_embeddings, "SUM_TOLERANCE", 1.0)
    monkeypatch.setitem(SPLITS, "wrong", ((2, 1), [[0.5, 0.6], [1.0]]))
    with pytest.raises(AssertionError):
        joint_law(1, "wrong")
