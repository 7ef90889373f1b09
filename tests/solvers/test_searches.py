"""Searches: what is accepted, and what is tried next."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from grassvp.solvers.models import Step
from grassvp.solvers.searches import Accelerated, Backtracking, Control, GainRatioDamping, TrustRadius
from tests.solvers.points import least_squares_model, linear, parts, quadratic_model


def promise(predicted, slope=-1.0, length=1.0):
    return Step(torch.ones(1), predicted, slope, length)


@pytest.mark.parametrize(
    ("ratio", "factor"),
    [(1.0, 1 / 3), (0.5, 1.0), (0.75, 0.875), (0.1, 1.512), (1e-9, 2.0), (0.9, 0.488), (5.0, 1 / 3), (1e300, 1 / 3)],
)
@pytest.mark.parametrize("search", [GainRatioDamping(), Accelerated(GainRatioDamping())], ids=type)
def test_gain_ratio_rule_accepts(search, ratio, factor):
    accepted, control = search.judge(promise(2.0, -3.0), 2.0 * ratio, Control(0.6, growth=16.0))
    assert accepted and control.level == pytest.approx(0.6 * factor, rel=1e-6) and control.growth == 2.0


@pytest.mark.parametrize(("reduction", "predicted"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0)])
@pytest.mark.parametrize(
    "search", [GainRatioDamping(initial=1.0), Accelerated(GainRatioDamping(initial=1.0))], ids=type
)
def test_gain_ratio_rule_rejects_and_grows_faster_each_time(search, reduction, predicted):
    control, levels = search.start(), []
    for _ in range(4):
        accepted, control = search.judge(promise(predicted), reduction, control)
        levels.append(control.level)
        assert not accepted
    assert levels == [2.0, 8.0, 64.0, 1024.0]
    assert search.exhausted(Control(2e16)) and not search.exhausted(control)
    assert search.judge(promise(1.0), 1.0, Control(1e-20))[1].level == 1e-20


@pytest.mark.parametrize(
    ("slope", "reduction", "accepted"),
    [(-1.0, 1e-4, True), (-1.0, 0.9e-4, False), (-1.0, -1.0, False), (0.0, 1.0, False), (-1.0, float("nan"), False)],
)
def test_armijo_rule(slope, reduction, accepted):
    search = Backtracking()
    success, control = search.judge(promise(1.0, slope), reduction, Control(0.5))
    assert success is accepted and control.level == (1.0 if accepted else 0.25)
    assert search.exhausted(Control(1e-13)) and not search.exhausted(search.start())


def test_a_longer_step_doubles_where_it_was_accepted():
    """From the length at which a line of the slope would be at zero, up to `longest` times it."""
    search, model = Backtracking(longest=3.0), quadratic_model([3.0, 4.0], np.eye(2))
    model = dataclasses.replace(model, point=dataclasses.make_dataclass("Point", ["value"])(50.0))
    step, control = search.propose(model, search.start())
    unit = 50.0 / 25.0
    assert control.level == unit == control.unit and step.slope == pytest.approx(-50.0)
    levels = []
    for _ in range(3):
        _, control = search.judge(promise(1.0), 1.0, control)
        levels.append(control.level / unit)
    assert levels == [2.0, 3.0, 3.0]
    assert search.exhausted(Control(1e-13 * unit, unit=unit)) and not search.exhausted(Control(1e-11 * unit, unit=unit))


def test_backtracking_shortens_the_step_of_either_model():
    J, r = parts(linear(8, 3))
    step, control = Backtracking().propose(least_squares_model(J, r), Control(0.25))
    whole = least_squares_model(J, r).damped(0.0)
    assert torch.equal(step.vector, 0.25 * whole.vector) and control == Control(0.25)
    assert step.slope == 0.25 * whole.slope and step.predicted_reduction != -step.slope
    metric = quadratic_model(J.T @ r, J.T @ J)
    step, _ = Backtracking(damping=1e-3).propose(metric, Control(0.25))
    assert step.predicted_reduction == -step.slope > 0, "a metric predicts the slope alone"
    torch.testing.assert_close(step.vector, 0.25 * metric.solved(1e-3, 0.0, 9).vector, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(
    ("ratio", "length", "accepted", "radius"),
    [
        (1.0, 2.0, True, 4.0),
        (1.0, 1.99, True, 4.0),
        (1.0, 1.9, True, 2.0),
        (0.7, 2.0, True, 2.0),
        (0.3, 2.0, True, 2.0),
        (0.2, 2.0, True, 0.5),
        (0.2, 1.0, True, 0.25),
        (1e-5, 2.0, False, 0.5),
        (-3.0, 2.0, False, 0.5),
        (math.nan, 2.0, False, 0.5),
    ],
)
def test_trust_radius_rule(ratio, length, accepted, radius):
    search = TrustRadius("exact")
    success, control = search.judge(promise(4.0, length=length), 4.0 * ratio, Control(2.0))
    assert success is accepted and control.level == radius


def test_a_trust_region_that_promises_nothing_shrinks():
    search = TrustRadius("exact")
    assert search.judge(promise(0.0), 1.0, Control(2.0)) == (False, Control(0.25))
    assert search.exhausted(Control(1e-19)) and not search.exhausted(Control(1e-17))


def test_the_first_radius_is_relative_to_the_length_of_the_parameters():
    point = linear(8, 3, parameters=torch.tensor([3.0, 0.0, -4.0], dtype=torch.float64))
    model = least_squares_model(*parts(point), D=[1.0, 5.0, 2.0])
    model.point.parameters = point.parameters
    search = TrustRadius("exact", initial=0.5)
    assert math.isnan(search.start().level) and not search.exhausted(search.start())
    _, control = search.propose(model, search.start())
    assert control.level == pytest.approx(0.5 * math.sqrt(3.0**2 + 5.0**2 + 8.0**2))
    model.point.units = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    _, control = search.propose(model, search.start())
    assert control.level == pytest.approx(0.5 * math.sqrt(4.0**2 + 10.0**2 + 8.0**2))
    assert search.propose(model, Control(0.125))[1] == Control(0.125)


def test_each_subproblem_is_asked_of_the_model():
    J, r = parts(linear(20, 5))
    least, quadratic = least_squares_model(J, r), quadratic_model(J.T @ r, J.T @ J)
    radius = 0.3 * float(least.damped(0.0).length)
    proposed = {
        name: TrustRadius(name, tolerance=0.0).propose(least, Control(radius))[0] for name in ("exact", "dogleg")
    }
    assert torch.equal(proposed["exact"].vector, least.within(radius).vector)
    assert torch.equal(proposed["dogleg"].vector, least.dogleg(radius).vector)
    assert not torch.allclose(proposed["exact"].vector, proposed["dogleg"].vector)
    truncated = TrustRadius("steihaug", tolerance=0.9).propose(least, Control(1e9))[0]
    assert torch.equal(truncated.vector, least.steihaug(1e9, 0.9, 200).vector)
    for name in ("exact", "dogleg"):
        assert torch.equal(
            TrustRadius(name).propose(quadratic, Control(radius))[0].vector, quadratic.within(radius).vector
        )
