"""Surgery on the last hidden layer of a network: neurons that add nothing are merged, dropped or placed anew."""

from grassvp.surgery.effects import leave_one_out
from grassvp.surgery.policy import Surgery
from grassvp.surgery.removal import drop_dependent, merge_duplicates, prune
from grassvp.surgery.result import Operation, SurgeryResult
from grassvp.surgery.seeding import reseed

__all__ = [
    "Operation",
    "Surgery",
    "SurgeryResult",
    "drop_dependent",
    "leave_one_out",
    "merge_duplicates",
    "prune",
    "reseed",
]
