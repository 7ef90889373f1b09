"""The experiment surfaces, small, through the lab: its functions, what it stores, and resumed attempts."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import grassvp as gv
from grassvp.lab import Record, experiments
from grassvp.lab.cli import main
from grassvp.lab.running import RefusedConfigError, draw, execute, plain_config

ROOT = Path(__file__).parents[2]
LOADED = experiments.load("surfaces", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
TINY = {"surfaces": ("peaks", "friedman"), "width": 5, "deep": (4, 3), "rows": 40, "validation": 30, "seconds": 0.05}
PAIRS = ("peaks_shallow", "peaks_deep", "friedman_shallow", "friedman_deep")
JOINT = ("adam", "lbfgs", "adam_zero", "lbfgs_zero")
METHODS = ("varpro", *JOINT)


def run(directory, **changes):
    """The stored record of a small run, read back from its directory."""
    config = LOADED.config_type(**(TINY | changes))
    execute(LOADED, config, Record.create(directory, "surfaces", plain_config(config)))
    return Record.load(directory)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return run(tmp_path_factory.mktemp("surfaces"))


POINTS = {
    # values by hand, for peaks at the middle and at a corner of its square
    "peaks": [([0.5, 0.5], 8 / (3 * np.e)), ([1.0, 1.0], 35 / 3 * np.exp(-25) + 2694 * np.exp(-18))],
    "franke": [([2 / 9, 2 / 9], 0.75 + 0.75 * np.exp(-9 / 49 - 0.3) + 0.5 * np.exp(-6.5) - 0.2 * np.exp(-29))],
    "friedman": [([0.5, 1.0, 0.5, 0.0, 0.0], 10.0), ([0.0, 0.3, 0.0, 1.0, 1.0], 20.0)],
}  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_the_functions_have_their_values(name):
    function, d = MODULE.SURFACES[name]
    for point, value in POINTS[name]:
        assert len(point) == d and function(np.array([point]))[0] == pytest.approx(value, rel=1e-12)


def test_peaks_has_the_range_of_matlabs():
    axis = np.linspace(0, 1, 301)
    values = MODULE.peaks(np.stack([grid.ravel() for grid in np.meshgrid(axis, axis)], 1))
    assert values.max() == pytest.approx(8.1062, abs=2e-3) and values.min() == pytest.approx(-6.5511, abs=2e-3)


def test_metrics_follow_from_what_is_stored(record):
    assert record.status == "finished" and set(record.files) == {f"{pair}.npz" for pair in PAIRS}
    for pair in PAIRS:
        fits, metrics = record.read_arrays(pair), record.metrics
        losses, errors = ({m: float(fits[f"{m}_{key}"]) for m in METHODS} for key in ("loss", "validation"))
        assert metrics[f"{pair}_loss"] == losses["varpro"] and metrics[f"{pair}_validation"] == errors["varpro"]
        ratio = min(losses[name] for name in JOINT) / losses["varpro"]
        assert metrics[f"{pair}_loss_ratio"] == pytest.approx(ratio, rel=1e-12)
        ratio = min(errors[name] for name in JOINT) / errors["varpro"]
        assert metrics[f"{pair}_validation_ratio"] == pytest.approx(ratio, rel=1e-12)
        assert losses["varpro"] <= metrics[f"{pair}_random_features_loss"] == float(fits["random_features_loss"])
        for method in METHODS:
            values, seconds = fits[f"{method}_value"], fits[f"{method}_seconds"]
            assert len(values) == len(seconds) <= 400 and (np.diff(values) <= 0).all() and (np.diff(seconds) >= 0).all()
            assert losses[method] == pytest.approx(values[-1], rel=1e-6), "the last record is kept"
            assert record.counts[f"{pair}_{method}_iterations"] >= len(values) - 1


def test_validation_errors_are_those_of_unseen_points(monkeypatch):
    """A solve whose prediction is a constant: the error is that of the constant, at points of a draw of its own."""
    seen, original = [], gv.solve

    class Constant:
        def __init__(self, problem, solution):
            vars(self).update(vars(solution))
            self.problem, self.iterations = problem, solution.iterations

        def predict(self, x):
            seen.append((self.problem.inputs.numpy(), x))
            return np.full(len(x), 2.0)

    monkeypatch.setattr(gv, "solve", lambda problem, *a, **o: Constant(problem, original(problem, *a, **o)))
    config = LOADED.config_type(**TINY)
    fits = MODULE.compare(config, Record("nowhere", "surfaces", {}), "friedman", (4,))
    training, unseen = seen[0]
    assert training.shape == (40, 5) and unseen.shape == (30, 5)
    assert not np.isin(unseen, training).any() and (unseen >= 0).all() and (unseen <= 1).all()
    truth = MODULE.friedman(unseen)
    for method in METHODS:
        assert float(fits[f"{method}_validation"]) == pytest.approx(np.linalg.norm(2.0 - truth) / np.linalg.norm(truth))


def test_joint_methods_start_from_the_best_random_features(record):
    for pair in PAIRS:
        fits = record.read_arrays(pair)
        for method in ("adam", "lbfgs"):
            assert fits[f"{method}_value"][0] == pytest.approx(float(fits["random_features_loss"]), rel=1e-6)
            assert fits[f"{method}_zero_value"][0] > float(fits["random_features_loss"])


def test_points_and_starts_follow_the_seed(record, tmp_path):
    first, other = (run(tmp_path / str(s), seed=s, surfaces=("friedman",), seconds=0.01) for s in (0, 1))
    for pair in PAIRS[2:]:
        key = f"{pair}_random_features_loss"
        assert first.metrics[key] == record.metrics[key] != other.metrics[key], "whatever other surfaces there are"


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        ((2.0, 6.0, 4.0, 8.0, 5.0), (2.0, 2.0)),
        ((4.0, 9.0, 8.0, 7.0, 1.0), (4.0, 0.25)),
        ((0.0, 1.0, 2.0, 1.0, 2.0), (0.0, np.inf)),
    ],
)
def test_ratios(fits, expected):
    values = dict(zip(METHODS, fits, strict=True))
    stored = {f"{m}_{key}": np.array(v) for m, v in values.items() for key in ("loss", "validation")}
    found = MODULE.summary(stored | {"random_features_loss": np.array(9.0)})
    for key in ("loss", "validation"):
        assert (found[key], found[f"{key}_ratio"]) == expected
    assert found["random_features_loss"] == 9.0


def test_the_figure_is_drawn_from_the_record_alone(record):
    assert [path.name for path in draw(LOADED, record)] == ["losses.png"]
    assert (record.directory / "losses.png").stat().st_size > 20_000


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(tmp_path, monkeypatch):
    """Ctrl-C in the second network of the first surface: `solve` reports it as a status, and it is not stored."""
    compare = MODULE.compare

    def interrupt(config, record, surface, widths):
        if widths == (4, 3):
            monkeypatch.setattr(gv, "solve", lambda *a, **o: original(*a, **(o | {"callbacks": [stop]})))
        return compare(config, record, surface, widths)

    def stop(_):
        raise KeyboardInterrupt

    original = gv.solve
    monkeypatch.setattr(MODULE, "compare", interrupt)
    record = run(tmp_path)
    assert record.status == "interrupted" and record.files == ["peaks_shallow.npz"]
    assert [path.name for path in draw(LOADED, record)] == ["losses.png"], "of what there is"
    done = record.read_arrays("peaks_shallow")
    monkeypatch.undo()
    again = Record.resume(tmp_path)
    execute(LOADED, LOADED.config_type(**TINY), again)
    again = Record.load(tmp_path)
    assert again.status == "finished" and {f"{pair}.npz" for pair in PAIRS} <= set(again.files)
    np.testing.assert_array_equal(again.read_arrays("peaks_shallow")["varpro_seconds"], done["varpro_seconds"])


def test_a_run_without_results_has_no_figure(tmp_path):
    record = Record.create(tmp_path, "surfaces", plain_config(LOADED.config_type(**TINY)))
    assert draw(LOADED, record) == []


REFUSED = [
    ({"surfaces": ("peak",)}, "surfaces must be one of 'peaks', 'franke', 'friedman', got 'peak'"),
    ({"surfaces": ()}, "surfaces must have at least one entry"),
    ({"deep": ()}, "deep must have at least one entry"),
    ({"deep": (4, 0)}, "deep must be an integer >= 1"),
    ({"width": 0}, "width"),
    ({"rows": 0}, "rows"),
    ({"validation": 0}, "validation"),
    ({"seconds": 0.0}, "seconds must be > 0"),
    ({"seconds": -1.0}, "seconds"),
    ({"learning_rate": 0.0}, "learning_rate must be > 0"),
    ({"regularization": -1.0}, "regularization"),
    ({"seed": -1}, "seed"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_bad_options_are_named_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(RefusedConfigError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_command_runs_it(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = ["--surfaces=franke", "--width=4", "--deep", "3", "3", "--rows=30", "--validation=20", "--seconds=0.02"]
    assert main(["run", "surfaces", *words, f"--out={tmp_path}", "--json"]) == 0
    result = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
    assert result["status"] == "finished" and result["config"]["deep"] == [3, 3]
    assert {"franke_shallow_loss_ratio", "franke_deep_validation"} <= set(result["metrics"])
    assert {path.name for path in tmp_path.iterdir()} == {
        "record.json", "losses.png", "franke_shallow.npz", "franke_deep.npz"
    }  # fmt: skip
