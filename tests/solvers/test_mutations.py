"""Each ingredient of the solvers and of their starts is spoiled once, and the test that guards it must notice."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from grassvp import Continuation, LevenbergMarquardt, jacobians, schedules, scheduling, solving
from grassvp.projection import bounded
from grassvp.solvers import compression, descents, iteration, models
from grassvp.solvers.models import LeastSquaresModel
from grassvp.solvers.scaling import Scale
from grassvp.solvers.searches import Accelerated, Control, GainRatioDamping, TrustRadius
from grassvp.starts import data, growth, start
from grassvp.starts import random as drawing
from tests.projection import test_bounded, test_systems
from tests.solvers import (
    test_accelerated,
    test_bounded_solve,
    test_compression,
    test_continuation,
    test_descents,
    test_methods,
    test_models,
    test_quadratic,
    test_restarts,
    test_scaling,
    test_searches,
)
from tests.starts import test_data, test_growth, test_random

QR = torch.linalg.qr


def through(owner, name, change):
    """A patch of owner.name whose result passes through `change`."""
    original = getattr(owner, name)
    return owner, name, lambda *args, **options: change(original(*args, **options))


def given(owner, name, change):
    """A patch of owner.name whose positional arguments pass through `change`."""
    original = getattr(owner, name)
    return owner, name, lambda *args, **options: original(*change(*args), **options)


def krylov(**changes):
    """A patch of the bidiagonalisation that has other options."""
    return descents, "bidiagonalize", lambda *args, **given: compression.bidiagonalize(*args, **(given | changes))


def krylov_adjoint(product, adjoint, residual, **options):
    return compression.bidiagonalize(product, lambda u: 2.0 * adjoint(u), residual, **options)


def flipped(A, mode="reduced"):
    """A QR of the 5 columns of 9 outputs whose first basis vector has lost its sign."""
    Q, R = QR(A, mode=mode)
    return (Q * torch.tensor([-1.0, 1, 1, 1, 1]), R) if tuple(A.shape) == (9, 5) else (Q, R)


def judged(change):
    """A gain-ratio rule that is told another reduction."""
    return given(GainRatioDamping, "judge", lambda self, step, reduction, c: (self, step, change(step, reduction), c))


def frozen_damping(self, step, reduction, control):
    return reduction > 0, Control(control.level if reduction > 0 else 2.0 * control.level)


def all_free(S, right, lower, upper):
    C = torch.linalg.lstsq(S, right).solution
    return C, torch.ones_like(C, dtype=torch.bool)


def scale_of_one(norms, held, previous):
    return Scale(torch.ones_like(norms), held)


def scale_without_memory(norms, held, previous):
    return original_column_scale(norms, held, None)


original_column_scale, original_run = descents.column_scale, scheduling.Run
original_restriction, original_neurons = bounded._restriction, data._neurons


def first_start(reduced, method, begin, rule, seconds):
    """A run that starts where the first stage did."""
    return original_run(reduced, method, torch.tensor(test_continuation.START).double(), rule, seconds)


def turned(x, gradients, power, count, rng):
    centres, directions = original_neurons(x, gradients, power, count, rng)
    return centres, np.roll(directions, 1, axis=1)


def unprojected(Z, Q, R):
    return ((R.T @ Z) ** 2).sum(0) / (Z * Z).sum(0)


def undivided(Z, Q, R):
    return ((R.T @ Z) ** 2).sum(0)


LM = test_scaling.METHODS["LM columns"]
NONNEGATIVE = test_bounded.BOUNDS["nonnegative"]
MUTATIONS = {
    # name: (patch, the test that must notice)
    "columns are not scaled": (
        (descents, "column_scale", scale_of_one),
        lambda: test_scaling.test_iterates_do_not_depend_on_the_units_of_the_parameters(LM, [1e3, 3e-3]),
    ),
    "column scales forget": (
        (descents, "column_scale", scale_without_memory),
        lambda: test_descents.test_column_scales_only_grow("dense"),
    ),
    "parameters are not scaled by their units": (
        given(descents, "parameter_scale", lambda p, units, *rest: (p, torch.ones_like(p), *rest)),
        lambda: test_scaling.test_iterates_do_not_depend_on_the_units_of_the_inputs(
            test_scaling.METHODS["LM parameters"], 1000.0
        ),
    ),
    "every step is accepted": (
        judged(lambda step, reduction: abs(reduction) + 1.0),
        lambda: test_searches.test_gain_ratio_rule_rejects_and_grows_faster_each_time(
            GainRatioDamping(initial=1.0), -1.0, 1.0
        ),
    ),
    "the gain ratio is that of the prediction": (
        judged(lambda step, reduction: step.predicted_reduction if reduction > 0 else reduction),
        lambda: test_methods.test_levenberg_marquardt_against_its_definition({}, (3.0, 3.2), "kaufman"),
    ),
    "the damping never falls": (
        (GainRatioDamping, "judge", frozen_damping),
        lambda: test_searches.test_gain_ratio_rule_accepts(GainRatioDamping(), 1.0, 1 / 3),
    ),
    "a step that raises the value counts": (
        through(iteration, "_reduction", abs),
        lambda: test_methods.test_the_value_falls_at_every_step(LevenbergMarquardt()),
    ),
    "the bend has the wrong sign": (
        through(LeastSquaresModel, "correction", torch.neg),
        lambda: test_accelerated.test_the_step_is_bent_by_half_the_damped_answer_to_the_second_derivative(1.0),
    ),
    "the bend is left out": (
        through(LeastSquaresModel, "correction", lambda a: 0 * a),
        lambda: test_accelerated.test_the_step_is_bent_by_half_the_damped_answer_to_the_second_derivative(1.0),
    ),
    "no bend is too large": (
        through(Accelerated, "propose", lambda found: (replace(found[0], refused=False), found[1])),
        lambda: test_accelerated.test_the_step_is_refused_where_the_second_order_is_too_large(1.01, True),
    ),
    "the dogleg ends beyond the radius": (
        (models, "to_boundary", lambda begin, direction, radius: direction),
        lambda: test_models.test_dogleg_is_powells_path("tall", "dense", 0.99),
    ),
    "the dogleg takes the first leg alone": (
        (models, "to_boundary", lambda begin, direction, radius: 0 * direction),
        lambda: test_models.test_dogleg_is_powells_path("tall", "dense", 0.99),
    ),
    "the exact subproblem is damped twice": (
        through(models, "damping_at", lambda mu: 2 * mu),
        lambda: test_models.test_within_minimises_over_the_ball("tall", "dense", 0.5),
    ),
    "the radius never changes": (
        (TrustRadius, "judge", lambda self, step, reduction, control: (reduction > 0, control)),
        lambda: test_searches.test_trust_radius_rule(1.0, 2.0, True, 4.0),
    ),
    "conjugate gradients ignore the radius": (
        given(models, "steihaug", lambda g, product, radius, *rest: (g, product, math.inf, *rest)),
        lambda: test_models.test_steihaug_stops_on_the_boundary(0.3),
    ),
    "conjugate gradients ignore negative curvature": (
        given(models, "steihaug", lambda g, product, radius, *rest: (g, lambda s: s, radius, *rest)),
        lambda: test_quadratic.test_negative_curvature_goes_to_the_boundary("indefinite", 50.0),
    ),
    "conjugate gradients stop too early": (
        given(models, "steihaug", lambda g, product, radius, tol, count: (g, product, radius, 10 * tol, count)),
        lambda: test_models.test_steihaug_leaves_the_stated_gradient(1e-2),
    ),
    "a QR of blocks forgets the blocks before": (
        given(compression, "_triangle", lambda R, blocks: (None, blocks)),
        lambda: test_compression.test_tall([10, 10, 10, 10]),
    ),
    "the dual form is not scaled": (
        given(descents, "dual", lambda J, r, inverse: (J, r, torch.ones_like(inverse))),
        lambda: test_descents.test_damped_step_solves_the_stacked_least_squares_problem("wide", 1e-3, "dual"),
    ),
    "the dual form has another residual": (
        given(descents, "dual", lambda J, r, inverse: (J, r.flip(0), inverse)),
        lambda: test_descents.test_damped_step_solves_the_stacked_least_squares_problem("wide", 1e-3, "dual"),
    ),
    "bidiagonalisation with the wrong adjoint": (
        (descents, "bidiagonalize", krylov_adjoint),
        lambda: test_descents.test_damped_step_solves_the_stacked_least_squares_problem("wide", 1e-3, "matrix-free"),
    ),
    "bidiagonalisation stops too early": (
        krylov(tolerance=0.5),
        lambda: test_descents.test_a_matrix_free_model_leaves_the_stated_gradient(1e-3, True),
    ),
    "bidiagonalisation takes any number of products": (
        krylov(limit=10**6),
        lambda: test_descents.test_a_matrix_free_model_stays_within_its_products_and_its_memory(),
    ),
    "compressed outputs lose a sign": (
        (torch.linalg, "qr", flipped),
        lambda: test_systems.test_more_outputs_than_features_are_compressed("mlp-4", 0.0),
    ),
    "outputs are not compressed": (
        (jacobians, "compresses", lambda *_: False),
        lambda: test_systems.test_more_outputs_than_features_are_compressed("mlp-4", 0.0),
    ),
    "no coefficient is held at its bound": (
        (bounded, "_solve_within", all_free),
        lambda: test_bounded.test_solution_of_every_output_is_scipys("full", 0.0, *NONNEGATIVE),
    ),
    "the restriction forgets what is held": (
        (bounded, "_restriction", lambda S, free, *rest: original_restriction(S, torch.ones_like(free), *rest)),
        lambda: test_bounded.test_conditions_of_optimality_and_the_restriction_that_goes_with_them(
            "full", 0.0, *NONNEGATIVE
        ),
    ),
    "derivatives forget what is held": (
        (bounded, "_restriction", lambda S, free, *rest: original_restriction(S, torch.ones_like(free), *rest)),
        lambda: test_bounded_solve.test_the_joint_bounded_minimum_of_scipy("nonnegative", 0.0),
    ),
    "continuation has its last stage alone": (
        (schedules, "Descending", lambda problem, path: schedules.Fixed(schedules.ReducedProblem(problem))),
        lambda: test_continuation.test_each_stage_starts_where_the_one_before_it_ended(),
    ),
    "continuation goes the other way": (
        (Continuation, "stages", property(lambda self: [self.stop, self.start])),
        lambda: test_continuation.test_stages_fall_by_the_factor_and_end_at_stop(Continuation(1.0, 0.9), [1.0, 0.9]),
    ),
    "every stage starts from the beginning": (
        (scheduling, "Run", first_start),
        lambda: test_continuation.test_every_step_leads_from_one_record_to_the_next_across_stages(),
    ),
    "a restart starts where the best run ended": (
        (solving, "perturbed", lambda reduced, theta, rng: theta),
        lambda: test_restarts.test_a_restart_leaves_a_local_minimum(),
    ),
    "starts are not judged by least squares": (
        (drawing, "start_at", lambda reduced, theta, origin, scale: start.Start(theta, scale, origin, scale)),
        lambda: test_random.test_draws_are_the_seeds_and_their_values_those_of_lstsq(test_random.MAKES["d = 1"]),
    ),
    "growth scores without the projection": (
        (growth, "_gains", unprojected),
        lambda: test_growth.test_scores_are_reductions_of_the_squared_residual(test_growth.MAKES["d = 1"]),
    ),
    "growth prefers large neurons": (
        (growth, "_gains", undivided),
        lambda: test_growth.test_each_neuron_is_the_candidate_that_lowers_the_residual_most(
            test_growth.MAKES["relu"], 0
        ),
    ),
    "growth lets dead neurons count": (
        (growth, "_orthonormal", lambda Phi: QR(Phi).Q),
        lambda: test_growth.test_a_dead_neuron_does_not_count(-3.0),
    ),
    "growth forgets the weights": (
        given(growth, "_gains", lambda Z, Q, R: (Z / torch.from_numpy(test_growth.WEIGHTS)[:, None], Q, R)),
        lambda: test_growth.test_scores_are_reductions_of_the_squared_residual(test_growth.MAKES["3 outputs, weights"]),
    ),
    "nothing is polished": (
        (growth, "_polished", lambda problem, theta, steps: theta),
        lambda: test_growth.test_the_network_is_polished_between_neurons(2),
    ),
    "the target is as steep everywhere": (
        through(data, "local_gradients", np.ones_like),
        lambda: test_data.test_neurons_gather_where_the_target_is_steep(0.3, 1),
    ),
    "neurons look elsewhere": (
        (data, "_neurons", turned),
        lambda: test_data.test_in_several_dimensions_they_look_along_the_gradient_at_points_of_the_data(1),
    ),
    "slopes have the units of the inputs": (
        given(data, "_parameters", lambda c, g, slope, low, half: (c, g, slope * half[0], low, half)),
        lambda: test_data.test_the_units_of_the_inputs_do_not_matter(test_data.SHAPES["d = 1"], 2.0**10, 0.0),
    ),
    "centres forget where the box begins": (
        given(data, "_parameters", lambda c, g, slope, low, half: (c, g, slope, 0 * low, half)),
        lambda: test_data.test_the_units_of_the_inputs_do_not_matter(test_data.SHAPES["d = 1"], 1.0, 4.0),
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_noticed(mutation, monkeypatch):
    patch, guard = MUTATIONS[mutation]
    with monkeypatch.context() as patched:
        patched.setattr(*patch)
        with pytest.raises(AssertionError):
            guard()
    guard()
