"""Experiments, their records and figures, and the command line.

`grassvp.lab.records` keeps what a run did, `grassvp.lab.plots` draws in one style, `grassvp.lab.cli` is the command.
"""

from grassvp.lab.records import Record, RecordError

__all__ = ["Record", "RecordError"]
