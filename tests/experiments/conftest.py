"""Figures at a coarser resolution than a user's: most of what they cost is the writing of pixels."""

import pytest

from grassvp.lab import plots


@pytest.fixture(autouse=True)
def coarse_figures(monkeypatch):
    monkeypatch.setattr(plots, "DPI", 80)
