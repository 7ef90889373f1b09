"""A toy experiment in a directory of its own, and the command run in it."""

import json
from pathlib import Path

import pytest

import grassvp
from grassvp.lab.cli import main

TOY = '''"""Halve a number until it is small.

The rest of the description.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grassvp.errors import ArgumentError
from grassvp.lab import plots


@dataclass(frozen=True)
class Config:
    """Settings."""

    seed: int = 0
    """Seed of the start."""
    width: int = 6
    """Number of halvings."""
    fail: str = ""
    """What to raise, and when."""
    data: Path | None = None
    widths: tuple[int, ...] = (1, 2)


def run(config, record):
    print("noise on standard output")
    if config.width < 1:
        raise ArgumentError(f"width must be an integer >= 1, got {config.width}")
    if config.fail == "early":
        raise ValueError("no such thing")
    if config.data is not None:
        config.data.read_text()
    last = record.last_checkpoint
    start = int(last["step"]) if last else 0
    record.checkpoint(step=start + 2)
    if config.fail == "interrupt" and not last:
        raise KeyboardInterrupt
    if config.fail == "late":
        raise RuntimeError("it broke")
    steps = np.arange(config.width)
    record.table("history", {"iteration": steps, "value": 0.5**steps})
    record.metrics.update(value=np.float64(0.5**config.width), start=start, undefined=np.nan)
    record.status = "CONVERGED"


def figures(record):
    history = record.read_table("history")
    figure, ax = plots.figure()
    plots.convergence(ax, {"value": (history["iteration"], history["value"])})
    record.figure("convergence", figure)
'''


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with the experiment toy."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "toy.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(grassvp.__file__).parents[1]))
    return tmp_path


@pytest.fixture
def command(workplace: Path, capfd: pytest.CaptureFixture[str]):
    """Run the command there: its exit status, standard output and standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def run_json(command):
    """Run the command with --json: its exit status and the object it printed."""

    def call(*words: str) -> tuple[int, dict]:
        code, out, _ = command(*words, "--json")
        assert out.count("\n") == 1
        return code, json.loads(out)

    return call
