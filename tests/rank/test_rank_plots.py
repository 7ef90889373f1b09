"""What the drawings of ranks show, and what they refuse; they read arrays and change nothing outside."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from grassvp.errors import ArgumentError
from grassvp.lab import plots
from grassvp.lab.rank_plots import EVENT_STYLE, kept_ranks, passing_paths, rank_trajectory, shared_legend
from grassvp.rank.events import KINDS


def columns(**changes):
    """Six records of two runs, with a singular value that falls below the level."""
    s = np.array([[2.0, 1.0, small] for small in (0.5, 1e-12, 0.0, 1.0, 1.0, 1.0)])
    return {
        "iteration": np.array([0, 1, 2, 0, 1, 2]),
        "run": np.array([0, 0, 0, 1, 1, 1]),
        "rank": np.array([3, 2, 2, 3, 3, 3]),
        "level": np.full(6, 2e-10),
        "singular_values": s,
    } | changes


EVENTS = {"iteration": [1, 1, 2], "kind": ["merged", "fell", "died"], "run": [0, 0, 0]}


def drawn(run, **changes):
    figure, axes = plots.figure(2, 1)
    rank_trajectory(axes, columns(**changes), EVENTS, run=run, title="here")
    return figure, axes


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_every_kind_of_event_has_a_style():
    assert set(EVENT_STYLE) == set(KINDS) and len({tuple(each) for each in EVENT_STYLE.values()}) == len(KINDS)


def test_one_run_is_drawn_with_its_events():
    _, (upper, lower) = drawn(0)
    values = [line for line in upper.lines if line.get_color() == plots.PALETTE[0]]
    assert [line.get_ydata().tolist() for line in values[:2]] == [[2.0] * 3, [1.0] * 3]
    assert values[2].get_ydata().tolist() == [0.5, 1e-12, 2e-17], "a zero is drawn at the foot"
    below = [line for line in upper.lines if line.get_color() == plots.PALETTE[1] and line.get_marker() == "."]
    assert [line.get_xdata().tolist() for line in below] == [[1, 2]]
    assert labels(upper) == ["singular values", "at or below the level", "level"] and upper.get_yscale() == "log"
    assert (
        labels(lower) == ["rank", "neurons merged", "rank fell", "neurons died"] and upper.get_title("left") == "here"
    )
    marks = {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in lower.lines}
    assert marks["rank fell"] == ([1], [2]) and marks["neurons died"] == ([2], [2])
    stems = [line.get_xdata()[0] for line in upper.lines if line.get_linestyle() == ":"]
    assert stems == [1, 2], "one line for each iterate with events"


def test_the_last_run_is_drawn_by_default():
    _, (upper, lower) = drawn(None)
    assert labels(upper) == ["singular values", "level"] and labels(lower) == ["rank"]


def test_nothing_seen_gives_empty_panels():
    figure, axes = plots.figure(2, 1)
    nothing = {name: column[:0] for name, column in columns().items()}
    rank_trajectory(axes, nothing)
    assert plots.to_png(figure)


@pytest.mark.parametrize(
    ("changes", "events", "message"),
    [
        ({"rank": np.zeros(5)}, None, "columns must have equal lengths"),
        ({}, {"iteration": [1], "kind": ["exploded"]}, "events must be of the kinds fell, .* got exploded"),
        ({}, {"iteration": [1]}, "events must have 'iteration', 'kind', got no 'kind'"),
        ({}, {"iteration": [1, 2], "kind": ["fell"]}, "events must have equal lengths"),
    ],
)
def test_refused(changes, events, message):
    _, axes = plots.figure(2, 1)
    with pytest.raises(ArgumentError, match=message):
        rank_trajectory(axes, columns(**changes), events)
    with pytest.raises(ArgumentError, match="axes must be two panels, got 1"):
        rank_trajectory(axes[:1], columns())
    with pytest.raises(ArgumentError, match="got no 'level'"):
        rank_trajectory(axes, {name: column for name, column in columns().items() if name != "level"})


def test_a_shared_legend_has_each_label_once():
    figure, axes = plots.figure(1, 3)
    for ax, names in zip(axes, (("a", "b"), ("b", "c"), ()), strict=True):
        for name in names:
            ax.plot([0, 1], [0, 1], label=name)
    shared_legend(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


def test_paths_and_flows_are_drawn_from_arrays():
    t, before = np.linspace(-1.0, 1.0, 21), dict(matplotlib.rcParams)
    grid = np.broadcast_to(t, (2, 2, 21))
    figure, axes = plots.figure(2, 2)
    paths = {
        **{"lams": np.array([0.0, 1e-2]), "offsets": np.array([0.1, 1e-4]), "bounds": np.array([np.inf, 3.0])},
        **{"times": grid, "lengths": grid + 1, "closed_lengths": grid + 1, "gradients": grid**2 + 1},
        **{"through_times": t, "through_values": np.stack([0.3 * (t == 0), np.exp(-(t**2))])},
    }
    passing_paths(list(axes.flat), paths, lambda lam: f"lam {lam:g}")
    near, far, gradient, through = axes.flat
    assert labels(near) == labels(far) == ["lam 0", "lam 0.01"] and near.get_title("left") == "passing at d = 1e-04"
    assert len(gradient.lines) == 3, "two curves and the one bound that is finite"
    point = [line for line in through.lines if line.get_marker() == "o"]
    assert [(line.get_xdata(), line.get_ydata()) for line in point] == [([0.0], [0.3])], "the value that jumps"
    assert np.isnan(through.lines[1].get_ydata()[10]) and not np.isnan(through.lines[2].get_ydata()).any()
    assert imread(io.BytesIO(plots.to_png(figure))).shape[2] == 4
    figure, axes = plots.figure(1, 3)
    flow = {
        **{"times": t + 1, "ranks": np.array([1, 2]), "singular": np.ones((2, 21, 2))},
        **{"values": np.ones((2, 21)), "closed_values": np.ones((2, 21))},
    }
    kept_ranks(axes, flow)
    assert labels(axes[0]) == ["within the rank of the start", "beyond it (rounding)"]
    assert labels(axes[1]) == ["within the rank of the start"] * 2 and len(labels(axes[2])) == 2
    assert dict(matplotlib.rcParams) == before
