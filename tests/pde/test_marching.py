"""Marches against exact solutions, in one to three dimensions, under every kind of condition; how marches end."""

import math
import re

import numpy as np
import pytest
import torch

from grassvp import features
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde import galerkin, spans, stepping
from grassvp.pde.conditions import dirichlet, neumann, periodic, robin
from grassvp.pde.domain import Box
from grassvp.pde.heat import Heat
from grassvp.pde.integrators import Exponential, Gauss, Radau
from grassvp.pde.marching import march
from grassvp.pde.trajectory import MarchStatus

PI = math.pi
LINE = Box({"x": (0.0, 1.0)})
SQUARE = Box({"x": (0.0, 1.0), "y": (0.0, 1.0)})
CUBE = Box({"x": (0.0, 1.0), "y": (0.0, 1.0), "z": (0.0, 1.0)})


def at_start(function):
    return lambda x: function(x | {"t": torch.zeros_like(x["x"])})


def bent(x):
    return torch.exp(-x["t"]) * torch.sin(2 * x["x"] + 0.3) + torch.cos(x["t"]) * x["x"] ** 2


def bent_slope(x):
    return 2 * torch.exp(-x["t"]) * torch.cos(2 * x["x"] + 0.3) + 2 * torch.cos(x["t"]) * x["x"]


def diffusivity(x):
    return 1 + 0.5 * torch.sin(3 * x["x"])


def bent_source(x):
    wave = torch.exp(-x["t"]) * torch.sin(2 * x["x"] + 0.3)
    second = -4 * wave + 2 * torch.cos(x["t"])
    rate = -wave - torch.sin(x["t"]) * x["x"] ** 2
    return rate - diffusivity(x) * second - 1.5 * torch.cos(3 * x["x"]) * bent_slope(x)


def line(conditions):
    return Heat(LINE, diffusivity=diffusivity, source=bent_source, conditions=conditions, initial=at_start(bent))


def wave(shape, rate, offset=0.0):
    return lambda x: offset + torch.exp(-rate * x["t"]) * shape(x)


def sines(x):
    return torch.sin(PI * x["x"]) * torch.sin(PI * x["y"])


def waves(x):
    return torch.cos(PI * x["x"]) * torch.cos(2 * PI * x["y"])


def cubic(x):
    return torch.sin(PI * x["x"]) * torch.cos(PI * x["y"]) * torch.cos(2 * PI * x["z"])


def moving_rim(x):
    return torch.exp(-0.02 * x["t"] - 0.1 * x["y"]) * torch.cos(x["x"] - 0.3 * x["t"]) + x["t"]


def moving_rim_source(x):
    u = torch.exp(-0.02 * x["t"] - 0.1 * x["y"]) * torch.cos(x["x"] - 0.3 * x["t"])
    drift = 0.3 * torch.exp(-0.02 * x["t"] - 0.1 * x["y"]) * torch.sin(x["x"] - 0.3 * x["t"])
    return -0.02 * u + drift + 1.0 - 0.2 * (0.01 - 1.0) * u


def moving_rim_across(x):
    return -0.1 * torch.exp(-0.02 * x["t"] - 0.1 * x["y"]) * torch.cos(x["x"] - 0.3 * x["t"])


# name: (heat, exact solution, width, steps or None, bar on the largest relative error)
CASES = {
    "1-D values that move": (lambda: line([dirichlet("boundary", bent)]), bent, 30, 12, 1e-9),
    "1-D flux and Robin": (
        lambda: line(
            [
                neumann(("x", "lower"), lambda x: -bent_slope(x)),
                robin(("x", "upper"), 2.0, 0.5, lambda x: 2 * bent(x) + 0.5 * bent_slope(x)),
            ]
        ),
        bent,
        30,
        24,
        2e-8,
    ),
    "1-D Neumann": (
        lambda: Heat(LINE, conditions=[neumann("boundary")], initial=lambda x: 2.0 + torch.cos(PI * x["x"])),
        wave(lambda x: torch.cos(PI * x["x"]), PI**2, 2.0),
        40,
        None,
        1e-9,
    ),
    "2-D Dirichlet": (
        lambda: Heat(SQUARE, diffusivity=0.1, conditions=[dirichlet("boundary")], initial=sines),
        wave(sines, 0.2 * PI**2),
        150,
        8,
        1e-8,
    ),
    "2-D Neumann": (
        lambda: Heat(SQUARE, diffusivity=0.1, conditions=[neumann("boundary")], initial=waves),
        wave(waves, 0.5 * PI**2),
        200,
        8,
        1e-6,
    ),
    "2-D values and fluxes that move": (
        lambda: Heat(
            SQUARE,
            diffusivity=0.2,
            source=moving_rim_source,
            conditions=[
                dirichlet(("x", "both"), moving_rim),
                neumann(("y", "lower"), lambda x: -moving_rim_across(x)),
                neumann(("y", "upper"), moving_rim_across),
            ],
            initial=at_start(moving_rim),
        ),
        moving_rim,
        60,
        3,
        1e-7,
    ),
    "3-D one of each": (
        lambda: Heat(
            CUBE,
            diffusivity=0.1,
            conditions=[dirichlet(("x", "both"), 1.0), neumann(("y", "both")), periodic("z")],
            initial=lambda x: 1.0 + cubic(x),
        ),
        wave(cubic, 0.6 * PI**2, 1.0),
        250,
        4,
        5e-3,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_exact_solutions_are_reached_and_estimates_are_honest(name):
    build, exact, width, steps, bar = CASES[name]
    step = None if steps is None else 1.0 / steps
    trajectory = march(build(), width, until=1.0, step=step, tolerance=1e-9, training_iterations=0, exact=exact)
    assert trajectory.steps == (20 if steps is None else steps) and trajectory.times[-1] == 1.0
    assert trajectory.errors.max() <= bar, trajectory.errors
    # the estimate is of what the span misses, which is the error where time steps and rounding do not hide it
    if trajectory.errors[0] > 1e-10:
        ratio = trajectory.estimates[0] / trajectory.errors[0]
        assert 0.1 < ratio < 10.0, ratio


@pytest.mark.parametrize("seed", [1, 2])
def test_the_bar_is_met_with_any_number_of_steps(seed):
    """2-D periodic, D = 0.1, T = 4: relative L2 error 1e-9, the same after 10, 100 and 1,000 steps."""
    modes = [(1, 0, 1.0), (0, 1, 0.7), (2, 1, 0.5)]

    def exact(x):
        return sum(
            a * torch.exp(-0.1 * (k * k + m * m) * x["t"]) * torch.cos(k * x["x"] + m * x["y"]) for k, m, a in modes
        )

    box = Box({"x": (0.0, 2 * PI), "y": (0.0, 2 * PI)})
    heat = Heat(box, diffusivity=0.1, conditions=[periodic("x"), periodic("y")], initial=at_start(exact))
    span, ends = 300, []
    for count in (10, 100, 1000) if seed == 1 else (10, 100):
        run = march(heat, span, until=4.0, step=4.0 / count, training_iterations=0, exact=exact, seed=seed)
        span, ends = run.spans[0], [*ends, run.errors[-1]]
        assert run.steps == count and run.errors[-1] < 1e-9 and run.seconds_per_step > 0
        assert 0.1 < run.estimates[-1] / run.errors[-1] < 10.0
    assert max(ends) <= 1.01 * min(ends)


def oscillating(w=6.0):
    def exact(x):
        return (1 + torch.cos(w * x["t"])) * torch.sin(x["x"])

    def source(x):
        return exact(x) - w * torch.sin(w * x["t"]) * torch.sin(x["x"])

    circle = Box({"x": (0.0, 2 * PI)})
    heat = Heat(circle, source=source, conditions=[periodic("x")], initial=lambda x: 2 * torch.sin(x["x"]))
    return heat, exact


@pytest.mark.parametrize("method", [Exponential(2), Gauss(2), Gauss(3), Radau(2), Radau(3)], ids=repr)
def test_order_in_time_with_a_moving_source(method):
    heat, exact = oscillating()
    span, errors = 20, []
    for count in (4, 8):
        run = march(heat, span, until=1.0, step=1.0 / count, integrator=method, training_iterations=0, exact=exact)
        span, errors = run.spans[0], [*errors, run.errors[-1]]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(method.order, abs=0.35)


@pytest.mark.parametrize("integrator", ["exponential", "gauss", "radau"])
def test_controlled_steps_keep_to_the_tolerance(integrator):
    heat, exact = oscillating(20.0)
    for tolerance in (1e-5, 1e-9):
        run = march(heat, 20, until=1.0, tolerance=tolerance, integrator=integrator, training_iterations=0, exact=exact)
        assert run.errors[-1] < tolerance and run.status is MarchStatus.REACHED
        assert run.times[0] == 0.0 and run.times[-1] == 1.0 and (np.diff(run.times) > 0).all()


def test_prediction_between_steps_is_as_good_as_at_them():
    heat, exact = oscillating()
    run = march(heat, 20, until=1.0, step=0.125, training_iterations=0, exact=exact)
    points = torch.linspace(0, 2 * PI, 17, dtype=torch.float64)[:, None]
    times = torch.tensor([0.0, 0.03, 0.25, 0.711, 1.0], dtype=torch.float64)
    found = run.predict(times, points)
    wanted = torch.stack([exact({"x": points[:, 0], "t": t}) for t in times])
    assert found.shape == (5, 17)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(run.predict(0.711, points), found[3], rtol=1e-12, atol=1e-12)
    as_numpy = run.predict(0.711, points.numpy())
    assert isinstance(as_numpy, np.ndarray) and np.allclose(as_numpy, found[3].numpy())
    assert run.error(0.711, exact) < 1e-7
    for t, x, message in (
        (1.1, points, "t must lie between 0 and 1"),
        (-0.1, points, "t must lie"),
        (0.5, points + 7, "points"),
    ):
        with pytest.raises(ArgumentError, match=message):
            run.predict(t, x)


def test_results_scale_with_the_data_and_follow_the_seed():
    def heat(size):
        return Heat(
            LINE, source=size, conditions=[dirichlet("boundary")], initial=lambda x: size * torch.sin(PI * x["x"])
        )

    small, large = (march(heat(size), 20, until=0.5, training_iterations=5, seed=3) for size in (1e-8, 1e8))
    assert small.estimates == pytest.approx(large.estimates, rel=1e-2, abs=1e-14)
    points = np.linspace(0, 1, 9)[:, None]
    np.testing.assert_allclose(1e16 * small.predict(0.5, points), large.predict(0.5, points), rtol=1e-8, atol=1e-2)
    again = march(heat(1e8), 20, until=0.5, training_iterations=5, seed=3)
    np.testing.assert_array_equal(again.predict(0.5, points), large.predict(0.5, points))


def test_a_solution_that_grows_from_zero_reaches_its_steady_state():
    heat = Heat(LINE, source=2.0, conditions=[dirichlet("boundary")], initial=0.0)
    run = march(heat, 20, until=3.0, tolerance=1e-8, training_iterations=0)
    x = np.linspace(0, 1, 11)[:, None]
    np.testing.assert_allclose(run.predict(3.0, x), (x * (1 - x))[:, 0], atol=1e-9)
    assert np.isfinite(run.estimates).all()


@pytest.mark.parametrize(("name", "width"), [("2-D Dirichlet", 15), ("2-D Neumann", 30)])
def test_training_moves_the_span_and_lowers_the_error(name, width):
    heat, exact = CASES[name][0](), CASES[name][1]
    random, trained = (
        march(heat, width, until=0.5, step=0.1, training_iterations=k, exact=exact, tolerance=1e-9) for k in (0, 25)
    )
    assert trained.errors[-1] < 0.05 * random.errors[-1]
    assert trained.spans[0].distance(random.spans[0]) > 0.1
    assert random.status is trained.status is MarchStatus.INACCURATE and "exceeded the tolerance" in trained.message


def pulse():
    def place(x):
        return (x["x"] - 2.5 - 2.0 * x["t"]) / 0.5

    def exact(x):
        return torch.exp(-(place(x) ** 2))

    def source(x):
        s = place(x)
        return torch.exp(-(s**2)) * (8.0 * s - 0.05 * (4 * s**2 - 2) / 0.25)

    heat = Heat(
        Box({"x": (0.0, 10.0)}),
        diffusivity=0.05,
        source=source,
        conditions=[dirichlet("boundary")],
        initial=at_start(exact),
    )
    return heat, exact


def test_the_estimate_has_the_span_trained_again_on_the_way():
    heat, exact = pulse()
    options = {"until": 1.0, "step": 0.05, "tolerance": 1e-5, "exact": exact}
    random = march(heat, 30, training_iterations=0, **options)
    moving = march(heat, 30, training_iterations=25, **options)
    assert len(random.spans) == 1 and len(random.distances) == 0
    assert len(moving.spans) > 1 and len(moving.distances) == len(moving.span_times) - 1 == len(moving.spans) - 1
    measured = [a.distance(b) for a, b in zip(moving.spans[1:], moving.spans, strict=False)]
    np.testing.assert_allclose(moving.distances, measured)
    assert (moving.distances > 0.1).all() and moving.errors.max() < 0.3 * random.errors.max()
    for run in (random, moving):  # the estimate keeps what came before the spans changed
        ratios = run.errors / run.estimates
        assert 0.3 < np.median(ratios) < 1.1 and ratios.max() < 1.5, ratios
    x = np.linspace(2.0, 6.0, 9)[:, None]
    for time in (0.0, *moving.span_times[1:], 1.0):
        wanted = exact({"x": torch.from_numpy(x[:, 0]), "t": torch.tensor(time)}).numpy()
        np.testing.assert_allclose(moving.predict(time, x), wanted, atol=3 * moving.errors.max())


def test_callbacks_see_every_time_and_stop_the_march():
    heat = Heat(LINE, conditions=[neumann("boundary")], initial=lambda x: torch.cos(PI * x["x"]))
    seen = []
    run = march(heat, 15, until=1.0, step=0.1, training_iterations=0, callbacks=[seen.append])
    assert [record.index for record in seen] == list(range(11)) and seen[-1].time == 1.0
    np.testing.assert_array_equal(run.history["norm"], [record.norm for record in seen])
    stopped = march(heat, 15, until=1.0, step=0.1, training_iterations=0, callbacks=[lambda record: record.time > 0.35])
    assert stopped.status is MarchStatus.STOPPED and stopped.steps == 4
    assert repr(stopped).startswith("Trajectory(STOPPED, time 0.4, 4 steps, 1 spans")


def test_an_interrupt_keeps_the_steps_so_far():
    heat = Heat(LINE, conditions=[neumann("boundary")], initial=lambda x: torch.cos(PI * x["x"]))

    def interrupt(record):
        if record.index == 3:
            raise KeyboardInterrupt

    run = march(heat, 15, until=1.0, step=0.1, training_iterations=0, callbacks=[interrupt])
    assert run.status is MarchStatus.INTERRUPTED and run.steps == 3
    assert np.isfinite(run.predict(0.3, np.array([[0.5]]))).all()


def test_an_interrupt_of_the_first_training_keeps_the_random_span(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    heat = Heat(LINE, conditions=[neumann("boundary")], initial=lambda x: torch.cos(9 * PI * x["x"]))
    monkeypatch.setattr(spans, "solve", interrupted)
    run = march(heat, 5, until=1.0, training_iterations=3)
    assert run.status is MarchStatus.INTERRUPTED and run.steps == 0 and len(run.spans) == 1
    assert math.isnan(run.seconds_per_step)


def test_what_is_not_finite_on_the_way_ends_the_march():
    heat = Heat(
        LINE,
        source=lambda x: x["x"] / torch.clamp(0.55 - x["t"], min=0.0),
        conditions=[dirichlet("boundary")],
        initial=0.0,
    )
    run = march(heat, 15, until=1.0, step=0.1, training_iterations=0)
    assert run.status is MarchStatus.NON_FINITE and run.times[-1] == pytest.approx(0.5)
    growing = Heat(LINE, reaction=1e4, conditions=[neumann("boundary")], initial=1.0)
    blown = march(growing, 15, until=1.0, step=0.05, training_iterations=0)
    assert blown.status is MarchStatus.NON_FINITE and np.isfinite(blown.history["norm"]).all()


def test_a_network_of_ones_own_is_used_and_an_earlier_span_taken_up():
    heat = Heat(LINE, conditions=[dirichlet("boundary")], initial=lambda x: torch.sin(PI * x["x"]))
    for network in (
        features.mlp(1, (8, 12), seed=1),
        torch.nn.Sequential(torch.nn.Linear(1, 12), torch.nn.Tanh()).double(),
    ):
        before = [each.detach().clone() for each in network.parameters()]
        run = march(heat, network, until=0.2, step=0.1, training_iterations=2)
        assert run.steps == 2 and all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    first = march(heat, 12, until=0.2, training_iterations=0, seed=5)
    second = march(heat, first.spans[0], until=0.2, training_iterations=0)
    assert torch.equal(first.spans[0].parameters, second.spans[0].parameters)


def simple(**changes):
    heat = Heat(LINE, conditions=[neumann("boundary")], initial=1.0)
    return march(**({"heat": heat, "features": 5, "until": 1.0, "training_iterations": 0} | changes))


def corner():
    return Heat(SQUARE, conditions=[dirichlet(("x", "both"), 1.0), dirichlet(("y", "both"), 0.0)], initial=0.0)


def rough(x):
    return torch.from_numpy(np.sin(x["x"].numpy()))


REFUSED = {
    "heat must be a pde.Heat": ({"heat": 3}, ArgumentTypeError),
    "until must be > 0, got 0": ({"until": 0}, ArgumentError),
    "until must be finite and >= 0, got -1": ({"until": -1.0}, ArgumentError),
    "step must be > 0, got 0": ({"step": 0.0}, ArgumentError),
    "step must be finite and >= 0, got -0.1": ({"step": -0.1}, ArgumentError),
    "step must leave at most 1000000 steps": ({"step": 1e-9}, ArgumentError),
    "tolerance must be > 0": ({"tolerance": 0.0}, ArgumentError),
    "integrator must be one of": ({"integrator": "leapfrog"}, ArgumentError),
    "features must be a number of neurons": ({"features": "many"}, ArgumentTypeError),
    "features must be an integer >= 1": ({"features": 0}, ArgumentError),
    "features must take 1 inputs, (x)": ({"features": features.mlp(3, (5,))}, ArgumentError),
    "features must be twice differentiable": ({"features": features.mlp(1, (5,), activation="relu")}, ArgumentError),
    "training_iterations": ({"training_iterations": -1}, ArgumentError),
    "seed must be": ({"seed": "x"}, ArgumentError),
    "exact must be a number or have shape": ({"exact": lambda x: torch.ones(3)}, ArgumentError),
    "callbacks must be a sequence": ({"callbacks": 3}, ArgumentTypeError),
    "disagree there at time 0": ({"heat": corner()}, ArgumentError),
    "initial must be made of torch operations": (
        {"heat": Heat(LINE, conditions=[neumann("boundary")], initial=rough)},
        ArgumentError,
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    changes, kind = REFUSED[message]
    with pytest.raises(kind, match=re.escape(message)):
        simple(**changes)


def test_periodic_coordinates_are_counted_twice_among_the_inputs():
    heat = Heat(SQUARE, conditions=[periodic("x"), neumann("boundary")], initial=1.0)
    with pytest.raises(ArgumentError, match=re.escape("features must take 3 inputs, (cos(x), sin(x), y)")):
        simple(heat=heat, features=features.mlp(2, (5,)))


MUTATIONS = {
    "the flux of time is dropped": (galerkin.Galerkin, "sources", lambda f: lambda self, t: 0.9 * f(self, t)),
    "rates are off by one part in a thousand": (
        galerkin.Galerkin,
        "propagator",
        lambda f: lambda self, i, h: f(self, i, h * 1.001),
    ),
    "the lift is left out of the projection": (
        galerkin.Galerkin,
        "project",
        lambda f: lambda self, u, t: self.analyse(u),
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_noticed(mutation, monkeypatch):
    owner, name, change = MUTATIONS[mutation]
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    with pytest.raises(AssertionError):
        test_exact_solutions_are_reached_and_estimates_are_honest("1-D values that move")


def test_an_estimate_that_is_too_small_is_noticed(monkeypatch):
    norm = spans.Stage.error_norm.fget
    monkeypatch.setattr(spans.Stage, "error_norm", property(lambda self: 1e-2 * norm(self)))
    with pytest.raises(AssertionError):
        test_exact_solutions_are_reached_and_estimates_are_honest("2-D Neumann")


def test_step_control_that_sleeps_is_noticed(monkeypatch):
    monkeypatch.setattr(stepping, "ROUNDINGS", 1e15)
    with pytest.raises(AssertionError):
        test_controlled_steps_keep_to_the_tolerance("radau")
