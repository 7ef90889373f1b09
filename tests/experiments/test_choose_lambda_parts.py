"""Parts of the experiment choose_lambda against dense formulas, and each law noticing what is spoiled."""

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

import grassvp as gv
from grassvp.lab import experiments
from grassvp.projection.folds import fold_errors

ROOT = Path(__file__).parents[2]
LOADED = experiments.load("choose_lambda", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
KNOWN_NOISE = ("discrepancy", "predictive-risk")
CASES = [
    MODULE.Case("waves", 0.1, "random", 30, "n < m", 4.0),
    MODULE.Case("kink", 0.0, "grid", 24, "n = m", 2.0),
    MODULE.Case("crease", 0.01, "random", 25, "n > m", 1.0),
]


def fit_of(case, seed=0):
    return MODULE.fit_of(case, 50, np.random.default_rng(seed))


def parameters(fit, scale, seed=0):
    """The theta of a fit and its generator's draws before it, by hand."""
    rng = np.random.default_rng(seed)
    case = next(each for each in CASES if each.scale == scale)
    MODULE.draw(case, 50, rng), rng.uniform()
    return fit.problem.features.sample(rng, fit.problem.inputs, scale).numpy()


def dense_features(theta, x):
    """[tanh(x W^T + b), 1]."""
    d = x.shape[1]
    n = len(theta) // (d + 1)
    return np.column_stack([np.tanh(x @ theta[: n * d].reshape(n, d).T + theta[n * d :]), np.ones(len(x))])


POINTS = {
    # values by hand
    "waves": [([0.25], 0.5), ([0.0], 0.5), ([0.75], -1.5)],
    "runge": [([0.5], 1.0), ([0.6], 0.5), ([1.0], 1 / 26)],
    "growing": [([0.5], 0.0), ([1.0], np.e * np.sin(3.0)), ([0.0], -np.sin(3.0) / np.e)],
    "franke": [([2 / 9, 2 / 9], 0.75 + 0.75 * np.exp(-9 / 49 - 0.3) + 0.5 * np.exp(-6.5) - 0.2 * np.exp(-29))],
    "step": [([0.47], 0.0), ([0.49], np.tanh(1.0)), ([0.0], -1.0)],
    "kink": [([0.4], 0.0), ([0.0], 0.4), ([1.0], 0.6)],
    "three": [([0.25], 1.7), ([0.75], -1.7), ([0.5], 0.0)],
    "crease": [([0.5, 0.4], 0.0), ([1.0, 1.0], 1.1), ([0.0, 0.1], 0.8)],
}


def test_targets_have_their_values():
    assert set(POINTS) == set(MODULE.FUNCTIONS)
    for name, values in POINTS.items():
        for point, value in values:
            assert len(point) == (2 if name in MODULE.PLANE else 1)
            assert MODULE.FUNCTIONS[name](np.array([point]))[0] == pytest.approx(value, abs=1e-9)


def test_the_design_is_balanced():
    config = LOADED.config_type(problems=96)
    cases = MODULE.design(config)
    kinds = {name: kind for kind, names in MODULE.TARGETS.items() for name in names}
    for noise in config.noises:
        of = [case for case in cases if case.noise == noise]
        counts = {shape: sum(case.shape == shape for case in of) for shape in MODULE.SHAPE_KEYS}
        assert counts == {"n < m": 16, "n = m": 4, "n > m": 4}, "4 : 1 : 1"
        for shape in MODULE.SHAPE_KEYS:
            cells = [(kinds[case.target], case.layout) for case in of if case.shape == shape]
            assert {cells.count(cell) for cell in set(cells)} == {len(cells) // 4}, "kind by layout"
    assert {case.target for case in cases} == set(MODULE.FUNCTIONS)
    assert all(40 <= case.rows <= 160 for case in cases) and {case.scale for case in cases} == set(MODULE.SCALES)
    assert len(MODULE.design(LOADED.config_type())) == 400
    assert cases == MODULE.design(config) != MODULE.design(dataclasses.replace(config, seed=1))


def sample_law(case, make):
    """Exact rows and noise of the stated size, points in the box of the rows, and the exact function there."""
    sample = make(dataclasses.replace(case, rows=2500), 300, np.random.default_rng(4))
    function, (m, d) = MODULE.FUNCTIONS[case.target], sample.x.shape
    assert m == 2500 and d == (2 if case.target in MODULE.PLANE else 1)
    away, exact = sample.y - function(sample.x), function(sample.x)
    assert away.std() == pytest.approx(case.noise * exact.std(), rel=0.1)
    assert sample.noise_level == (None if case.noise == 0 else pytest.approx(case.noise * exact.std(), rel=1e-12))
    np.testing.assert_array_equal(sample.truth, function(sample.unseen))
    assert sample.unseen.shape == (300, d)
    assert (sample.unseen >= sample.x.min(0)).all() and (sample.unseen <= sample.x.max(0)).all()
    steps = np.diff(np.unique(sample.x[:, 0]))
    assert (np.ptp(steps) < 1e-12) == (case.layout == "grid")


@pytest.mark.parametrize("case", [*CASES, MODULE.Case("franke", 0.01, "grid", 9, "n < m", 1.0)], ids=str)
def test_samples(case):
    sample_law(case, MODULE.draw)


@pytest.mark.parametrize(("case", "seed"), [(case, seed) for case in CASES for seed in range(3)], ids=str)
def test_widths(case, seed):
    fit = fit_of(case, seed)
    low, high = {"n < m": (0.1, 0.8), "n = m": (1.0, 1.0), "n > m": (1.25, 2.0)}[case.shape]
    m, n = fit.values.shape
    assert (fit.problem.rows, fit.problem.width) == (m, n) and m * low - 1 <= n <= m * high + 1
    assert {"n < m": n < m, "n = m": n == m, "n > m": n > m}[case.shape]


def errors_law(case):
    """Errors of ridge fits by least squares of [A; sqrt(lam) I], with features by hand."""
    fit = fit_of(case)
    theta = parameters(fit, case.scale)
    A, B = dense_features(theta, fit.sample.x), dense_features(theta, fit.sample.unseen)
    np.testing.assert_allclose(fit.values.numpy(), A, atol=1e-12)
    size = np.linalg.norm(A, 2) ** 2
    lams = size * np.array([1e-6, np.nan, 1e-3, 1.0])
    found = fit.errors(lams)
    assert np.isnan(found[1])
    for lam, error in zip(lams[[0, 2, 3]], found[[0, 2, 3]], strict=True):
        stacked = np.vstack([A, math.sqrt(lam) * np.eye(A.shape[1])])
        C = np.linalg.lstsq(stacked, np.append(fit.sample.y, np.zeros(A.shape[1])))[0]
        truth = MODULE.FUNCTIONS[case.target](fit.sample.unseen)
        assert error == pytest.approx(np.linalg.norm(B @ C - truth) / np.linalg.norm(truth), rel=1e-8)
    assert fit.lams()[0] == pytest.approx(1e-26 * size) and fit.lams()[-1] == pytest.approx(10 * size)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_errors(case):
    errors_law(case)


def chosen_law(case):
    """The lam of a problem that is given the rule, at features whose own parameters are those of the fit."""
    fit = fit_of(case)
    for name, rule in MODULE.all_rules(LOADED.config_type()).items():
        if name in KNOWN_NOISE and case.noise == 0:
            assert math.isnan(fit.chosen(rule))
            continue
        network = gv.features.mlp(fit.sample.x.shape[1], (fit.problem.width - 1,))
        torch.nn.utils.vector_to_parameters(torch.from_numpy(parameters(fit, case.scale)), network.parameters())
        given = {"regularization": rule, "noise_level": fit.sample.noise_level}
        problem = gv.SeparableProblem(network, fit.sample.x, fit.sample.y, **given)
        assert fit.chosen(rule) == pytest.approx(problem.regularization, rel=1e-12), name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_choices_are_those_of_a_problem(case):
    chosen_law(case)


def criteria_law():
    """The curves against hat matrices and the density of a normal distribution, without any decomposition."""
    fit = fit_of(CASES[0])
    A, y, m = fit.values.numpy(), fit.sample.y, fit.problem.rows
    lams = fit.data.spectrum.largest**2 * np.array([1e-4, 1e-2, 1.0])
    expected = {name: [] for name in ("gcv", "predictive-risk", "evidence")}
    for lam in lams:
        H = A @ np.linalg.solve(A.T @ A + lam * np.eye(A.shape[1]), A.T)
        misfit = float(np.sum((y - H @ y) ** 2))
        expected["gcv"].append(math.sqrt(misfit) / (m - np.trace(H)))
        expected["predictive-risk"].append(math.sqrt(misfit + 2 * fit.sample.noise_level**2 * np.trace(H)))
        K = np.eye(m) + A @ A.T / lam
        sigma = math.sqrt(y @ np.linalg.solve(K, y) / m)
        density = scipy.stats.multivariate_normal(np.zeros(m), sigma**2 * K).logpdf(y)
        expected["evidence"].append(math.exp(-density / m))
    for name, values in expected.items():
        curve = MODULE.estimate(name, MODULE.all_rules(LOADED.config_type())[name], fit, lams)
        np.testing.assert_allclose(curve, np.array(values) / min(values), rtol=1e-6)


def test_criteria():
    criteria_law()


def test_auto_is_the_geometric_mean_of_weighted_gcv_and_the_mean_of_the_parts():
    fit, rules = fit_of(CASES[0]), MODULE.all_rules(LOADED.config_type())
    lams = torch.from_numpy(fit.lams())
    parts = fold_errors(fit.data.spectrum, fit.data.targets, lams).numpy()
    gcv = MODULE.estimate("gcv", gv.rules.GCV(weight=1.2), fit, fit.lams())
    mean = np.sqrt(gcv * np.exp(np.log(parts).mean(axis=1) / 2))
    np.testing.assert_allclose(MODULE.estimate("auto", rules["auto"], fit, fit.lams()), mean / mean.min(), rtol=1e-9)
    without = fit_of(CASES[1])
    assert np.isnan(MODULE.estimate("predictive-risk", rules["predictive-risk"], without, without.lams())).all()


def changed(change):
    """A mutation of `draw` that changes what it makes."""
    return lambda old: lambda *given: change(old(*given))


def doubled(old):
    """A mutation of `draw` whose noise is twice what is asked for."""
    return lambda case, *rest: old(dataclasses.replace(case, noise=2 * case.noise), *rest)


MUTATIONS = {
    # name: (owner, attribute, what it makes of the original, law)
    "twice the noise": (MODULE, "draw", doubled, lambda: sample_law(CASES[0], MODULE.draw)),
    "points beyond the rows": (
        MODULE,
        "draw",
        changed(lambda s: dataclasses.replace(s, unseen=s.unseen + 1, truth=MODULE.FUNCTIONS["kink"](s.unseen + 1))),
        lambda: sample_law(CASES[1], MODULE.draw),
    ),
    "errors are squared": (
        MODULE.Sample,
        "error",
        lambda old: lambda *given: old(*given) ** 2,
        lambda: errors_law(CASES[0]),
    ),
    "errors are measured against other values": (
        MODULE,
        "draw",
        changed(lambda s: dataclasses.replace(s, truth=s.truth + 1e-3)),
        lambda: errors_law(CASES[0]),
    ),
    "lam is moved": (
        MODULE.Fit,
        "chosen",
        lambda old: lambda *given: 1.01 * old(*given),
        lambda: chosen_law(CASES[0]),
    ),
    "a criterion is squared": (MODULE, "estimate", lambda old: lambda *given: old(*given) ** 2, criteria_law),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_laws_notice(name, monkeypatch):
    owner, attribute, change, law = MUTATIONS[name]
    law()
    monkeypatch.setattr(owner, attribute, change(getattr(owner, attribute)))
    with pytest.raises(AssertionError):
        law()
