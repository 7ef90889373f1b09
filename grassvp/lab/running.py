"""Run an experiment and keep what it did, whatever happens."""

import ctypes
import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.lab.experiments import Experiment
from grassvp.lab.records import Record


class RefusedConfigError(ArgumentError):
    """The experiment refused its configuration before it had stored anything."""


def execute(experiment: Experiment, config: Any, record: Record) -> None:
    """Run an experiment into a record and end the record: with the status that the run set, "interrupted" or "failed".

    Raises:
        RefusedConfigError: a ValueError, TypeError or OSError came before anything was stored; nothing is left behind.
        Exception: whatever else the run raised, after the record says so.
    """
    try:
        experiment.run(config, record)
    except KeyboardInterrupt:
        record.finish("interrupted")
    except Exception as error:
        if not record.stored and is_refusal(error):
            record.discard()
            raise RefusedConfigError(f"{experiment.name}: {_sentence(error)}") from error
        record.finish("failed", error=f"{type(error).__name__}: {error}")
        raise
    else:
        record.finish()


def draw(experiment: Experiment, record: Record) -> list[Path]:
    """Draw an experiment's figures from its record, in the house style; returns their files."""
    from grassvp.lab import plots  # matplotlib is loaded only where figures are drawn

    with plots.style():
        experiment.figures(record)
    return sorted(record.directory / name for name in record.files if name.endswith(".png"))


def plain_config(config: Any) -> dict[str, Any]:
    """The fields of a configuration, nested dataclasses as dictionaries."""
    return dataclasses.asdict(config)


def default_directory(experiment: str, seed: Any) -> Path:
    """``results/EXPERIMENT-seedN-DATE-TIME`` in the current directory, with a number behind it where that exists."""
    stem = f"{experiment}-seed{seed}-{datetime.now():%Y%m%d-%H%M%S}"
    candidate, number = Path("results") / stem, 1
    while candidate.exists():
        number += 1
        candidate = Path("results") / f"{stem}-{number}"
    return candidate


def is_refusal(error: Exception) -> bool:
    """Whether an exception says that an argument cannot be used; a factorisation that fails does not."""
    return isinstance(error, ValueError | TypeError | OSError) and not isinstance(error, np.linalg.LinAlgError)


def _sentence(error: Exception) -> str:
    """The message of an exception, and for one that grassvp did not raise on purpose where it came from."""
    if isinstance(error, ArgumentError | ArgumentTypeError):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {error}{where}"


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send standard output to standard error, also that of compiled libraries and child processes."""
    sys.stdout.flush()
    saved = None
    with suppress(OSError):
        saved = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        with suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).fflush(None)  # what C code has buffered must not come out after the switch back
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)
