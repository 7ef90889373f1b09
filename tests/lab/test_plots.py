import io
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from grassvp.errors import ArgumentError
from grassvp.lab import plots, progress


def test_drawing_changes_nothing_outside():
    before = dict(matplotlib.rcParams)
    figure, axes = plots.figure(1, 3, title="All")
    x = np.linspace(0, 1, 5)
    plots.convergence(axes[0], {"a": (x, x), "b": (x, 2 * x)}, log_x=True)
    plots.heatmap(axes[1], x, x[:4], np.zeros((5, 4)), "error", diverging=True)
    plots.curves(axes[2], x, {"u": x**2}, title="u")
    png = plots.to_png(figure)
    assert dict(matplotlib.rcParams) == before
    assert imread(io.BytesIO(png)).shape[:2] == (round(3.2 * plots.DPI), round(3 * 4.2 * plots.DPI))


def test_figures_are_the_same_every_time():
    def draw() -> bytes:
        figure, ax = plots.figure()
        plots.convergence(ax, {"value": (np.arange(3), [1.0, 0.1, 0.01])})
        return plots.to_png(figure)

    first = draw()
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        assert draw() == first


def test_a_logarithm_leaves_out_what_it_cannot_show():
    _, ax = plots.figure()
    plots.convergence(ax, {"value": (np.arange(5), [1.0, 0.0, np.nan, -1.0, 0.5])})
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, 4])


def test_a_diverging_map_is_centred_on_zero():
    _, ax = plots.figure()
    plots.heatmap(ax, [0.0, 1.0], [0.0, 1.0], [[1.0, -3.0], [np.nan, 0.0]], diverging=True)
    assert ax.collections[0].get_clim() == (-3.0, 3.0)


def test_shapes_are_checked():
    _, ax = plots.figure()
    with pytest.raises(ArgumentError, match=r"curves\['a'\] must be two 1-D arrays"):
        plots.convergence(ax, {"a": ([1, 2], [1.0])})
    with pytest.raises(ArgumentError, match=r"values must have shape \(2, 3\)"):
        plots.heatmap(ax, [0, 1], [0, 1, 2], np.zeros((3, 2)))


def test_matplotlib_is_loaded_only_for_figures_and_pyplot_never():
    program = (
        "import sys, grassvp.lab.cli; assert 'matplotlib' not in sys.modules; "
        "import grassvp.lab.plots; assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_progress_line_says_what_is_known():
    iterate = SimpleNamespace(iteration=3, value=1.5e-9, gradient_norm=np.float64(2e-4), rank=17)
    line = progress.describe("fit", iterate, 50, 1.25)
    assert line == "fit:  iteration 3/50  value 1.500e-09  gradient 2.000e-04  rank 17  1.2 s"
    assert progress.describe("fit", SimpleNamespace(rank=float("nan")), None, 0.0) == "fit:  iteration ?  0.0 s"


def test_the_live_line_goes_to_standard_error(capsys: pytest.CaptureFixture[str]):
    with progress.live_line("fit [1]") as callback:
        callback(SimpleNamespace(iteration=1, value=0.5))
    out, err = capsys.readouterr()
    assert out == ""
    assert "fit [1]:  iteration 1  value 5.000e-01" in err
