"""The NIST StRD sets: files and models against the formulas in the files, and all 54 fits against the certified values.

The oracle evaluates the formula that a file itself gives, in mpmath on the decimal digits of the data, and takes its
Jacobian by complex steps; it shares nothing with the models of `grassvp.lab.nist`.
"""

import dataclasses
import json
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch

import grassvp as gv
from grassvp.errors import ArgumentError
from grassvp.lab import Record, experiments, nist
from grassvp.lab.cli import main
from grassvp.lab.running import RefusedConfigError, draw, execute, plain_config

ROOT = Path(__file__).parents[2]
DATA = ROOT / "experiments" / "data" / "nist"
LOADED = experiments.load("nist", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
FUNCTIONS = ("exp", "cos", "sin", "log", "pi")


def run(directory, **options):
    """The stored record of a run, read back from its directory."""
    config = LOADED.config_type(**options)
    execute(LOADED, config, Record.create(directory, "nist", plain_config(config)))
    return Record.load(directory)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return run(tmp_path_factory.mktemp("nist"), joint_evaluations=0)


def read(name):
    return nist.read(DATA / f"{name}.dat")


def sides(data, b, table, arctan, functions):
    """Both sides of the formula in the file, for the columns y, x or y, x1, x2 of a table."""
    left, right = data.formula.replace("[", "(").replace("]", ")").split("=")
    y, *x = table
    names = {f"b{j}": value for j, value in enumerate(b, start=1)} | {f"x{j}": each for j, each in enumerate(x, 1)}
    scope = {name: getattr(functions, name) for name in FUNCTIONS} | names | {"y": y, "x": x[0], "arctan": arctan}
    return eval(left, scope), eval(right, scope)


def numpy_sides(data, b):
    inputs = data.inputs if data.inputs.ndim == 2 else data.inputs[:, None]
    return sides(data, b, [data.response, *inputs.T], np.arctan, np)


def jacobian(data, b):
    """Derivatives of the formula by complex steps, exact to rounding."""
    steps = 1e-30 * np.abs(b)
    return np.stack([numpy_sides(data, b + 1j * np.diag(steps)[j])[1].imag / steps[j] for j in range(len(b))], axis=1)


def exact_residual(data):
    """The residual at the certified parameters, computed in 40 digits from the decimals in the file."""
    text = (DATA / f"{data.name}.dat").read_text()
    rows = [line.split() for line in text.splitlines()[60:] if line.strip()]
    with mpmath.workdps(40):
        b = [mpmath.mpf(repr(float(value))) for value in data.parameters]
        both = [sides(data, b, [mpmath.mpf(entry) for entry in row], mpmath.atan, mpmath) for row in rows]
        return np.array([float(left - right) for left, right in both])


def test_all_files_are_there():
    assert sorted(path.stem for path in DATA.glob("*.dat")) == sorted(nist.MODELS) and len(nist.MODELS) == 27
    difficulties = [read(name).difficulty for name in nist.MODELS]
    assert difficulties == ["lower"] * 8 + ["average"] * 11 + ["higher"] * 8, "the order of NIST's pages"
    assert "public domain" in (DATA / "README.md").read_text()


@pytest.mark.parametrize("name", nist.MODELS)
def test_the_file_agrees_with_itself(name):
    """Certified values from the data and the formula in the same file; what is left of the residual along J is removed.

    The parameters are rounded to 11 digits, which moves the residual of Lanczos1 by far more than its size.
    """
    data = read(name)
    m, p = len(data.response), len(data.parameters)
    assert data.name == name and data.starts.shape == (2, p) and len(data.inputs) == m
    assert data.degrees_of_freedom == {"Rat43": 9}.get(name, m - p), "the file of Rat43 says 9, and means 11"
    J, r = jacobian(data, data.parameters), exact_residual(data)
    size = np.linalg.norm(J, axis=0)
    Q, R = np.linalg.qr(J / size)
    rss = np.sum((r - Q @ (Q.T @ r)) ** 2)
    assert rss == pytest.approx(data.residual_sum_of_squares, rel=1e-6 if name == "Lanczos1" else 6e-11)
    sigma = np.sqrt(data.residual_sum_of_squares / (m - p))
    assert sigma == pytest.approx(data.residual_standard_deviation, rel=6e-11)
    deviations = sigma * np.linalg.norm(np.linalg.inv(R), axis=1) / size
    np.testing.assert_allclose(deviations, data.standard_deviations, rtol=1e-8)


@pytest.mark.parametrize("name", nist.MODELS)
def test_the_model_is_the_formula(name):
    data, model = read(name), nist.MODELS[name]
    p = len(data.parameters)
    assert sorted([*model.nonlinear, *model.linear]) == list(range(1, p + 1))
    for b in (*data.starts, data.parameters):
        theta, C = model.split(torch.as_tensor(b))
        np.testing.assert_allclose(model.join(theta, C[:, None]), b, rtol=1e-15)
        left, right = numpy_sides(data, b)
        np.testing.assert_allclose(model.predict(torch.as_tensor(b), torch.as_tensor(data.inputs)), right, rtol=1e-10)
        np.testing.assert_array_equal(model.response(data.response), left)
    problem = model.problem(data, 2)
    assert problem.width == len(model.linear) and problem.regularization == 0.0
    np.testing.assert_array_equal(problem.initial_parameters, model.split(torch.as_tensor(data.starts[1]))[0])


def test_all_fits_reach_the_certified_values(everything):
    metrics, fits = everything.metrics, everything.read_table("fits")
    assert metrics["fits"] == metrics["solved"] == metrics["standard_deviations_solved"] == len(fits["set"]) == 54
    assert metrics["passed"] is True and metrics["worst_digits"] >= 6
    short = fits["digits_standard_deviations"] < 4
    assert set(fits["set"][short]) <= {"Lanczos1"} and metrics["worst_digits_of_standard_deviations"] >= 2
    assert (fits["digits_residual_standard_deviation"][~short] >= 8).all()
    assert (fits["digits_residual_sum_of_squares"][fits["set"] != "Lanczos1"] >= 8).all()
    assert set(fits["status"]) <= {"converged", "stalled"}
    assert everything.counts["iterations"] == fits["iterations"].sum() and (fits["evaluations"] > 3).all()


def test_digits_follow_from_the_parameters(everything):
    fits, estimates = everything.read_table("fits"), everything.read_table("parameters")
    assert len(estimates["set"]) == 2 * sum(len(read(name).parameters) for name in nist.MODELS)
    pairs = {"digits_parameters": "value", "digits_standard_deviations": "standard_deviation"}
    for column, key in pairs.items():
        with np.errstate(divide="ignore"):
            found = -np.log10(np.abs(estimates[key] / estimates[f"certified_{key}"] - 1))
        for name, start, digits in zip(fits["set"], fits["start"], fits[column], strict=True):
            mine = found[(estimates["set"] == name) & (estimates["start"] == start)]
            assert digits == pytest.approx(min(11, mine.min()), abs=1e-3), (name, start)


def test_special_sets_say_so(everything):
    fits = everything.read_table("fits")
    notes = dict(zip(fits["set"], fits["note"], strict=True))
    assert {name for name in notes if notes[name]} == {"Chwirut1", "Chwirut2", "Misra1d", "Nelson", "Roszman1"}
    limits = dict(zip(fits["set"], fits["attainable_digits"], strict=True))
    assert 2 < limits["Lanczos1"] < 3 < 9 < limits["Lanczos2"] < 10 < limits["Lanczos3"]


def test_the_same_run_gives_the_same_record(everything, tmp_path):
    names = ("Misra1a", "Kirby2")
    again = run(tmp_path, sets="Kirby2, Misra1a", joint_evaluations=0, seed=5).read_table("fits")
    fits = everything.read_table("fits")
    assert list(again["set"]) == ["Misra1a"] * 2 + ["Kirby2"] * 2
    kept = np.isin(fits["set"], names)
    for column in set(fits) - {"seconds"}:
        np.testing.assert_array_equal(again[column], fits[column][kept])


@pytest.mark.parametrize(("name", "groups"), [("MGH17", [(2, 3), (4, 5)]), ("Gauss2", [(3, 6), (4, 7), (5, 8)])])
def test_terms_that_changed_places_are_put_back(name, groups):
    model, certified = nist.MODELS[name], read(name).parameters
    np.testing.assert_array_equal(model.order(certified, certified), np.arange(len(certified)))
    exchanged = certified.copy()
    for first, second in groups:
        exchanged[[first - 1, second - 1]] = exchanged[[second - 1, first - 1]]
    assert MODULE.digits(exchanged, certified) < 1
    np.testing.assert_array_equal(exchanged[model.order(exchanged, certified)], certified)
    np.testing.assert_array_equal(nist.MODELS["MGH09"].order(certified[::-1], certified), np.arange(len(certified)))


def test_a_fit_with_exchanged_terms_is_the_same_model(tmp_path):
    """From the mirrored start the exponentials end the other way round."""
    data, model = read("MGH17"), nist.MODELS["MGH17"]
    mirrored = dataclasses.replace(data, starts=data.starts[:, [0, 2, 1, 4, 3]])
    row, parameters = MODULE.fit(LOADED.config_type(), mirrored, model, 2)
    assert row["reordered"] and row["digits_parameters"] > 9 and row["digits_standard_deviations"] > 9
    assert parameters[3]["parameter"] == "b4" and parameters[3]["value"] == pytest.approx(data.parameters[3], rel=1e-9)


@pytest.mark.parametrize(
    ("found", "digits"), [(2.0, 11), (2.0002, 4), (2.0 + 2e-8, 8), (30.0, 0), (float("nan"), 0), (float("inf"), 0)]
)
def test_digits(found, digits):
    assert MODULE.digits([1.0, found], np.array([1.0, 2.0])) == pytest.approx(digits, abs=1e-6)


def test_a_wrong_fit_shows_in_the_metrics(everything):
    fits = everything.read_table("fits")
    fits["digits_parameters"][4], fits["digits_standard_deviations"][7] = 5.9, 3.9
    summary = MODULE.summary(fits)
    assert summary["solved"] == summary["standard_deviations_solved"] == 53 and summary["passed"] is False
    assert summary["worst_set"] == f"{fits['set'][4]}, start 1" and summary["worst_digits"] == 5.9


def test_a_start_that_overflows_is_a_failure():
    """The pole of MGH10 put on a data point."""
    data, model = read("MGH10"), nist.MODELS["MGH10"]
    starts = np.array([[2.0, 4e5, -50.0], [2.0, 4e5, -50.0]])
    assert starts[0, 2] == -data.inputs[0]
    broken = dataclasses.replace(data, starts=starts)
    row, parameters = MODULE.fit(LOADED.config_type(), broken, model, 1)
    assert row["status"] == "non_finite" and row["digits_parameters"] == row["digits_standard_deviations"] == 0
    assert all(np.isnan(parameter["standard_deviation"]) for parameter in parameters)
    assert MODULE.joint_fit(broken, model, 1, 10) == {"joint_digits_parameters": 0.0, "joint_evaluations": 0}


def test_joint_least_squares_is_bounded():
    """MGH17 from start 1 needs more than the 100 evaluations a parameter that scipy allows by default."""
    data, model = read("MGH17"), nist.MODELS["MGH17"]
    joint = MODULE.joint_fit(data, model, 1, 20)
    assert joint == {"joint_digits_parameters": 0.0, "joint_evaluations": 20}
    assert MODULE.joint_fit(data, model, 2, 200)["joint_digits_parameters"] > 6
    fits = {name: np.array([value] * 2) for name, value in MODULE.fit(LOADED.config_type(), data, model, 2)[0].items()}
    fits |= {"joint_digits_parameters": np.array([9.0, 7.0]), "joint_evaluations": np.array([501, 500])}
    summary = MODULE.summary(fits)
    assert summary["joint_solved"] == 2 and summary["joint_solved_within_scipy_limit"] == 1


REFUSED = [
    ({"sets": "Misra1a,Misra2"}, "sets: there is no set 'Misra2': did you mean Misra1"),
    ({"sets": "gauss1"}, "did you mean Gauss1"),
    ({"sets": "zebra"}, "there is no set 'zebra': There are Misra1a, Chwirut2"),
    ({"seed": -1}, "seed"),
    ({"solver": "newton"}, "solver"),
    ({"max_iterations": -1}, "max_iterations"),
    ({"joint_evaluations": -1}, "joint_evaluations"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_bad_options_are_named_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(RefusedConfigError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_refused(tmp_path):
    path, text = tmp_path / "Misra1a.dat", (DATA / "Misra1a.dat").read_text()
    with pytest.raises(ArgumentError, match="there is no"):
        nist.read(path)
    path.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(ArgumentError, match="13 rows of data and 2 parameters, and says that there are 14 and 2"):
        nist.read(path)
    for wrong, right in (
        ("Residual Sum", "Sum"),
        ("77.6E0", "77,6"),
        ("Data:", "Numbers:"),
        ("b", "c"),
        ("Misra", "Misrä"),
    ):
        path.write_text(text.replace(wrong, right), encoding="utf-8")
        with pytest.raises(ArgumentError, match="is not a file of StRD"):
            nist.read(path)


def test_the_command_writes_record_and_figure(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["run", "nist", "--sets", "Misra1a,Roszman1", f"--out={tmp_path}", "--json"]) == 0
    out, _ = capfd.readouterr()
    result = json.loads(out, parse_constant=pytest.fail)
    metrics = result["metrics"]
    assert result["status"] == "finished" and result["config"]["sets"] == "Misra1a,Roszman1"
    assert metrics["fits"] == metrics["solved"] == metrics["joint_solved"] == 4
    assert {path.name for path in tmp_path.iterdir()} == {"record.json", "fits.csv", "parameters.csv", "digits.png"}


def test_the_figure_is_drawn_from_the_record_alone(everything):
    assert [path.name for path in draw(LOADED, everything)] == ["digits.png"]
    assert (everything.directory / "digits.png").stat().st_size > 50_000


def test_an_interrupted_run_ends(tmp_path, monkeypatch):
    """`solve` reports Ctrl-C as a status; the run must not go on with the next set."""
    original = gv.solve

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gv, "solve", lambda *a, **o: original(*a, **o, callbacks=[interrupt]))
    record = run(tmp_path, sets="Misra1a")
    assert record.status == "interrupted" and draw(LOADED, record) == []
