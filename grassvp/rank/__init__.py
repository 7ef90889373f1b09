"""Rank diagnostics: how many features are independent at a theta, which are not and why, and how that changes.

`rank_report` looks at one iterate, `RankMonitor` follows a solve; `numerical_rank`, `matrix_rank`, `duplicate_columns`
and `dependent_columns` serve any matrix.
"""

from grassvp.rank.circuits import Circuit, dependent_columns
from grassvp.rank.duplicates import DuplicateGroup, duplicate_columns
from grassvp.rank.events import RankEvent
from grassvp.rank.monitor import RankMonitor
from grassvp.rank.neurons import NeuronReport, examine_neurons
from grassvp.rank.numerical import NumericalRank, matrix_rank, numerical_rank
from grassvp.rank.passing import PassingPath
from grassvp.rank.report import RankReport, rank_report

__all__ = [
    "Circuit",
    "DuplicateGroup",
    "NeuronReport",
    "NumericalRank",
    "PassingPath",
    "RankEvent",
    "RankMonitor",
    "RankReport",
    "dependent_columns",
    "duplicate_columns",
    "examine_neurons",
    "matrix_rank",
    "numerical_rank",
    "rank_report",
]
