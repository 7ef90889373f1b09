"""A monitor that follows a solve whose network and lam change on the way."""

import numpy as np

import grassvp as gv
from grassvp.rank import RankMonitor
from grassvp.surgery import Surgery


def doubled_problem(regularization):
    """Twelve neurons of which three are copies, at that theta."""
    x = np.linspace(0.0, 1.0, 80)
    problem = gv.SeparableProblem(gv.features.mlp(1, (12,)), x, np.sin(6 * x), regularization=regularization)
    theta = problem.initial_parameters.numpy().copy()
    for copy, original in ((1, 0), (5, 4), (7, 4)):
        theta[[copy, 12 + copy]] = theta[[original, 12 + original]]
    return problem, theta


def followed(regularization):
    problem, theta = doubled_problem(regularization)
    monitor = RankMonitor(problem)
    solution = gv.solve(problem, initial_parameters=theta, max_iterations=25, callbacks=[monitor, Surgery(every=5)])
    return monitor, solution


def test_rows_of_a_narrower_network_are_padded_and_nothing_is_compared_across():
    monitor, solution = followed(1e-6)
    columns = monitor.columns()
    assert solution.operations and solution.problem.width < 13
    widths = np.isfinite(columns["singular_values"]).sum(axis=1)
    assert widths[0] == 13 and widths[-1] == solution.problem.width
    np.testing.assert_array_equal(columns["iteration"], np.arange(solution.iterations + 1))
    changes = {int(columns["iteration"][i]) for i in np.flatnonzero(np.diff(widths)) + 1}
    assert changes and not changes & {event.iteration for event in monitor.events}


def test_lam_of_every_row_is_that_of_the_history():
    monitor, solution = followed("gcv")
    np.testing.assert_array_equal(monitor.columns()["regularization"], solution.history["regularization"])
    assert len(set(solution.history["regularization"])) > 1
