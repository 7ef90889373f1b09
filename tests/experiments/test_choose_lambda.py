"""The experiment choose_lambda, small, through the lab: metrics, resumed attempts, figures and refused options."""

import dataclasses
import json
import math
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

import grassvp as gv
from grassvp.lab import Record, experiments
from grassvp.lab.cli import main
from grassvp.lab.running import RefusedConfigError, draw, execute, plain_config

ROOT = Path(__file__).parents[2]
LOADED = experiments.load("choose_lambda", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
TINY = {
    "problems": 12,
    "noises": (0.0, 0.1),
    "rows": (14, 20),
    "unseen": 60,
    "trained": 2,
    "trained_rows": 30,
    "iterations": 4,
    "starts": 1,
    "criterion_iterations": 3,
    "repeats": 2,
}
STAGES = ("fixed_features", "examples", "trained_networks")
FIGURES = {"shares.png", "ratios.png", "criteria.png", "trained.png"}
KNOWN_NOISE = ("discrepancy", "predictive-risk")


def run(directory, **changes):
    """The stored record of a small run, read back from its directory."""
    config = LOADED.config_type(**(TINY | changes))
    execute(LOADED, config, Record.create(directory, "choose_lambda", plain_config(config)))
    return Record.load(directory)


@pytest.fixture(scope="module", autouse=True)
def small_examples():
    """The examples with a quarter of their rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "EXAMPLES", tuple(dataclasses.replace(case, rows=25) for case in MODULE.EXAMPLES))
        yield


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return run(tmp_path_factory.mktemp("choose_lambda"))


def refuse(*_, **__):
    raise AssertionError("something was computed")


def ratios_of(name, record, key="ratios"):
    found = record.read_arrays("fixed")
    return found[key][:, found["rules"].tolist().index(name)]


def test_it_is_found_and_described():
    files = experiments.available(ROOT / "experiments")
    assert "choose_lambda" in files and len(experiments.summary(files["choose_lambda"])) > 20
    config = LOADED.config_type()
    assert config.seed == 0 and config.problems == 400
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


def test_metrics_follow_from_what_is_stored(record):
    assert record.status == "finished"
    found, metrics = record.read_arrays("fixed"), record.metrics
    assert set(found["rules"].tolist()) == {*gv.rules.RULES, "gcv-weighted"} and found["ratios"].shape == (12, 8)
    for name in found["rules"].tolist():
        ratios, key = ratios_of(name, record), name.replace("-", "_")
        loud, missing = found["noises"] == 0.1, np.isnan(ratios)
        assert missing.tolist() == (~loud if name in KNOWN_NOISE else 0 * loud).tolist(), "told no noise level"
        known = ratios[~missing]
        assert metrics[f"{key}_share"] == pytest.approx(np.mean(known <= 2.0))
        assert metrics[f"{key}_worst"] == known.max() and metrics[f"{key}_quantile_99"] <= known.max()
        assert metrics[f"{key}_share_noise_0.1"] == pytest.approx(np.mean(ratios[loud] <= 2.0))
        for shape, word in (("n < m", "fewer"), ("n = m", "equal"), ("n > m", "more")):
            of = (found["shapes"] == shape) & ~missing
            assert metrics[f"{key}_share_{word}"] == pytest.approx(np.mean(ratios[of] <= 2.0))
    assert metrics["passed"] is (metrics["auto_passed"] and metrics["gcv_passed"])


def test_ratios_are_those_of_the_problems(record):
    """One problem drawn again, with a finer search around the best lam of the grid."""
    config, found = LOADED.config_type(**TINY), record.read_arrays("fixed")
    for number in (1, 3, 5):
        fit = MODULE.fit_of(MODULE.design(config)[number], config.unseen, np.random.default_rng([0, 1, number]))
        assert (found["m"][number], found["n"][number]) == (fit.problem.rows, fit.problem.width)
        errors = fit.errors(fit.lams())
        assert found["best"][number] == errors.min()
        lams = found["lams"][number] * np.linalg.norm(fit.values.numpy(), 2) ** 2
        large = lams > 1e-20 * lams.max()
        np.testing.assert_allclose((fit.errors(lams) / errors.min())[large], found["ratios"][number][large], rtol=1e-4)


def shares(auto, gcv, discrepancy):
    """Metrics of made-up ratios: rules that are close to the best in so many of 100 problems."""
    noises = np.repeat([1e-6, 1e-2], 50)
    columns = [np.where(np.arange(100) >= count, 3.0, 1.5) for count in (auto, gcv)]
    columns.append(np.where(np.arange(100) >= 50 + discrepancy, 2.1, np.where(noises < 1e-2, 9.0, 2.0)))
    names = np.array(["auto", "gcv", "discrepancy"])
    return MODULE.summary(
        {"rules": names, "ratios": np.stack(columns, 1), "noises": noises, "shapes": np.repeat("n < m", 100)}
    )


@pytest.mark.parametrize(
    ("counts", "passed"),
    [
        ((95, 90, 48), (True, True, True, True)),
        ((94, 90, 48), (False, True, True, False)),
        ((95, 89, 48), (True, False, True, False)),
        ((95, 90, 47), (True, True, False, True)),
    ],
    ids=str,
)
def test_bars(counts, passed):
    metrics = shares(*counts)
    found = tuple(metrics[key] for key in ("auto_passed", "gcv_passed", "discrepancy_passed", "passed"))
    assert found == passed
    assert metrics["discrepancy_share_judged"] == counts[2] / 50, "above the noise level that it is judged from"
    assert metrics["auto_share_noise_1e-06"] == 1.0 and metrics["auto_worst"] == 3.0


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (3, 25), (94, 100)])
def test_intervals(hits, count):
    expected = scipy.stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert MODULE.interval(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_nothing_known_gives_no_share():
    assert math.isnan(MODULE.share(np.array([np.nan]))) and np.isnan(MODULE.interval(math.nan, 0)).all()
    assert MODULE.share(np.array([np.nan, 2.0, np.inf, 1.0])) == pytest.approx(2 / 3)


def test_trained_networks(record):
    found, metrics = record.read_arrays("trained"), record.metrics
    assert found["by_rule"].shape == (2, 8, 2) and found["by_criterion"].shape == (2, 3, 2)
    np.testing.assert_allclose(found["fixed"][:, :, 0], np.tile(np.logspace(-24, 0, 9), (2, 1)))
    assert found["noises"].tolist() == [0.0, 0.01] and found["time_ratios"].shape == (2, 2)
    assert metrics["trained_auto_time_ratio"] == np.median(found["time_ratios"]) > 0
    best = found["fixed"][:, :, 1].min(axis=1)
    for number, name in enumerate(found["rules"].tolist()):
        ratios, key = found["by_rule"][:, number, 1] / best, name.replace("-", "_")
        assert np.isnan(ratios).tolist() == [name in KNOWN_NOISE, False]
        assert metrics[f"trained_{key}_median"] == pytest.approx(np.nanmedian(ratios))
        assert metrics[f"trained_{key}_worst"] == pytest.approx(np.nanmax(ratios))
    for number, name in enumerate(("gcv", "gcv_weighted", "evidence")):
        ratios = found["by_criterion"][:, number, 1] / best
        assert metrics[f"minimized_{name}_median"] == pytest.approx(np.median(ratios))
        assert metrics[f"minimized_{name}_share"] == pytest.approx(np.mean(ratios <= 2))


def test_errors_of_trained_networks_are_those_at_unseen_points():
    """A solution whose prediction is a constant: the error is that of the constant against the exact function."""
    sample = MODULE.draw(MODULE.Case("kink", 0.1, "random", 30, "n < m", 1.0), 70, np.random.default_rng(0))
    training = MODULE.Training(sample, 5, LOADED.config_type(**TINY))
    constant = SimpleNamespace(regularization=6.0, predict=lambda x: np.full(len(x), 0.2))
    truth = np.abs(sample.unseen[:, 0] - 0.4)
    lam, error = training.outcome(constant)
    assert lam == 0.2 and error == pytest.approx(np.linalg.norm(0.2 - truth) / np.linalg.norm(truth))
    assert training.problem(0.5).regularization == 0.5 and training.problem(0.5).rows == 30
    np.testing.assert_array_equal(training.problem(0.5).targets[:, 0], sample.y)


def test_criteria_start_where_auto_ended(monkeypatch):
    """And what is minimised is the criterion that is named, on the same rows."""
    started, ended, original = [], [], (gv.solve, gv.minimize_criterion)

    def solve(problem, *given, **options):
        solution = original[0](problem, *given, **options)
        if problem.rule is gv.rules.RULES["auto"] and options["initial_parameters"] is None:
            ended.append(solution.parameters)
        return solution

    def minimize(problem, rule, **options):
        started.append((rule, options["initial_parameters"]))
        return original[1](problem, rule, **options)

    monkeypatch.setattr(gv, "solve", solve)
    monkeypatch.setattr(gv, "minimize_criterion", minimize)
    MODULE.trained_networks(LOADED.config_type(**TINY | {"trained": 1}))
    assert len(ended) == 1 and all((start == ended[0]).all() for _, start in started)
    assert [rule for rule, _ in started] == [gv.rules.GCV(), gv.rules.GCV(1.4), gv.rules.RULES["evidence"]]


def test_times_are_taken_in_turn_an_iteration(monkeypatch):
    """By rule 6 s for 3 iterations, fixed 2 s for 2: twice as long an iteration."""
    seen = []

    def solve(problem, **options):
        by_rule = problem.rule is not None
        seen.append((by_rule, problem.regularization if not by_rule else None, options["initial_parameters"]))
        found = {"elapsed": 6.0, "iterations": 3} if by_rule else {"elapsed": 2.0, "iterations": 2}
        return SimpleNamespace(regularization=0.125, status=gv.Status.CONVERGED, **found)

    sample = MODULE.draw(MODULE.Case("kink", 0.1, "random", 30, "n < m", 1.0), 70, np.random.default_rng(0))
    monkeypatch.setattr(gv, "solve", solve)
    training = MODULE.Training(sample, 5, LOADED.config_type(**TINY))
    ratios = training.time_ratios(gv.rules.RULES["auto"], np.random.default_rng(0))
    np.testing.assert_array_equal(ratios, [2.0, 2.0])
    assert [each[:2] for each in seen] == [(True, None)] + [(True, None), (False, 0.125)] * 2
    assert all((each[2] == seen[0][2]).all() for each in seen)


def test_examples(record):
    found = record.read_arrays("examples")
    assert found["errors"].shape == (4, 60) and found["curves"].shape == (4, 5, 60) and found["chosen"].shape == (4, 8)
    assert found["shapes"][:, 0].tolist() == [25] * 4
    assert [int(np.sign(n - m)) for m, n in found["shapes"]] == [-1, -1, 0, 1]
    curves = found["curves"].reshape(20, 60)
    curves = curves[~np.isnan(curves).all(axis=1)]
    assert len(curves) == 19, "one example has no noise, and predictive risk no level to go by"
    np.testing.assert_allclose(np.nanmin(curves, axis=1), 1.0)


def test_figures_come_from_the_record_alone(record, tmp_path, monkeypatch):
    """Drawn from a copy of the files while everything that could compute is broken."""
    shutil.copytree(record.directory, tmp_path / "copy")
    for part in STAGES:
        monkeypatch.setattr(MODULE, part, refuse)
    for part in ("solve", "minimize_criterion", "SeparableProblem"):
        monkeypatch.setattr(gv, part, refuse)
    files = draw(LOADED, Record.load(tmp_path / "copy"))
    assert {path.name for path in files} == FIGURES and all(path.stat().st_size > 10_000 for path in files)


def test_figures_of_what_there_is(tmp_path):
    record = Record.create(tmp_path, "choose_lambda", plain_config(LOADED.config_type(**TINY)))
    assert draw(LOADED, record) == []
    record.arrays("fixed", **MODULE.fixed_features(LOADED.config_type(**TINY | {"problems": 2, "noises": (0.0,)})))
    assert [path.name for path in draw(LOADED, record)] == ["ratios.png", "shares.png"]


def test_a_resumed_run_takes_up_what_is_stored(record, tmp_path, monkeypatch):
    shutil.copytree(record.directory, tmp_path / "copy")
    Record.load(tmp_path / "copy").finish("interrupted")
    for part in STAGES:
        monkeypatch.setattr(MODULE, part, refuse)
    again = Record.resume(tmp_path / "copy")
    execute(LOADED, LOADED.config(again.config), again)
    assert again.status == "finished" and dict(Record.load(tmp_path / "copy").metrics) == dict(record.metrics)


def test_an_interrupted_solve_ends_the_run_and_keeps_what_is_done(tmp_path, monkeypatch):
    original = gv.solve

    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gv, "solve", lambda *given, **options: original(*given, **options, callbacks=[stop]))
    record = run(tmp_path, problems=2)
    assert record.status == "interrupted" and set(record.files) == {"fixed.npz", "examples.npz"}


def test_problems_follow_the_seed(record):
    config = LOADED.config_type(**TINY | {"problems": 3})
    same, other = (MODULE.fixed_features(dataclasses.replace(config, seed=seed)) for seed in (0, 1))
    stored = record.read_arrays("fixed")
    np.testing.assert_array_equal(same["ratios"], stored["ratios"][:3], "whatever other problems there are")
    assert (same["best"] != other["best"]).all()


REFUSED = [
    ({"problems": 0}, "problems"),
    ({"noises": ()}, "noises must be one or more, each once, got \\(\\)"),
    ({"noises": (0.1, 0.1)}, "noises must be one or more, each once"),
    ({"noises": (-0.1,)}, "noises"),
    ({"rows": (9, 20)}, "rows"),
    ({"rows": (30, 20)}, "rows must be the least and the largest number"),
    ({"unseen": 0}, "unseen"),
    ({"weight": 0.0}, "weight must be > 0"),
    ({"weight": -1.0}, "weight"),
    ({"trained": 0}, "trained"),
    ({"trained_rows": 0}, "trained_rows"),
    ({"iterations": 0}, "iterations"),
    ({"starts": 0}, "starts"),
    ({"criterion_iterations": 0}, "criterion_iterations"),
    ({"repeats": 0}, "repeats"),
    ({"seed": -1}, "seed"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_bad_options_are_named_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(RefusedConfigError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_command_runs_it(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = ["--problems=2", "--noises", "0.1", "--rows", "12", "14", "--unseen=30", "--trained=1", "--trained-rows=20"]
    words += ["--iterations=2", "--starts=1", "--criterion-iterations=1", "--repeats=1", "--no-figures"]
    assert main(["run", "choose_lambda", *words, f"--out={tmp_path}", "--json"]) == 0
    result = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
    assert result["status"] == "finished" and result["config"]["rows"] == [12, 14]
    assert {"auto_share", "evidence_passed", "trained_auto_time_ratio", "passed"} <= set(result["metrics"])
