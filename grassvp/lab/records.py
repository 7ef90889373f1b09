"""The record of a run: a directory that says what was computed, with what, and from where.

``record.json`` holds configuration, status, metrics, seeds and provenance; tables are ``NAME.csv``, arrays ``NAME.npz``
and figures ``NAME.png``. Every file is written whole or not at all, and nothing is written before the first result is
stored, so that a run that refuses its configuration leaves no trace.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Self

import numpy as np

from grassvp.errors import ArgumentError
from grassvp.lab import provenance
from grassvp.lab.folder import Folder, check_name
from grassvp.lab.progress import Callback, silent
from grassvp.lab.storage import RecordError, Values, read_csv, read_json, read_npz, to_csv, to_json, to_npz

__all__ = ["FILE", "UNFINISHED", "Record", "RecordError"]

FILE = "record.json"
CHECKPOINT = "checkpoint"
UNFINISHED = frozenset({"running", "interrupted", "failed"})
SOLUTION_FIELDS = ("status", "message", "value", "gradient_norm", "rank", "iterations", "elapsed", "regularization")
PROVENANCE = ("started", "versions", "threads", "platform", "git")
Reporter = Callable[[str, int | None], AbstractContextManager[Callback]]


class Record:
    """One run of an experiment and its directory; made by `create`, `load` or `resume`.

    Attributes:
        experiment: name of the experiment.
        config: its configuration as plain values.
        metrics: what the run measured: numbers, booleans and strings; NaN and infinities become null in JSON.
        counts: numbers of evaluations and the like.
        seeds: every seed that was used, by its purpose.
        solutions: status, value, iterations and the like of each stored solution.
        seconds: time spent, over all attempts where a run was resumed.
        error: what a failed run failed with.
        provenance: start time, versions, threads, platform and git commit.
        resumed: the directory with the files of an earlier attempt that this run continues, or None.
    """

    def __init__(self, directory: str | os.PathLike[str], experiment: str, config: Mapping[str, Any]) -> None:
        self._folder = Folder(directory)
        self.experiment = experiment
        self.config = dict(Values("config", config))
        self.metrics = Values("metrics")
        self.counts = Values("counts")
        self.seeds = Values("seeds", {"seed": config["seed"]} if "seed" in config else {})
        self.solutions = Values("solutions")
        self.seconds = 0.0
        self.error: str | None = None
        self.provenance: dict[str, Any] = {}
        self.resumed: Path | None = None
        self._status = "running"
        self._reporter: Reporter = silent
        self._clock_start: float | None = None
        self._stored = False

    @classmethod
    def create(
        cls,
        directory: str | os.PathLike[str],
        experiment: str,
        config: Mapping[str, Any],
        *,
        overwrite: bool = False,
        source: Path | None = None,
        reporter: Reporter = silent,
    ) -> Self:
        """A new record in a directory that holds none; the directory is made if need be.

        Args:
            directory: where to store.
            experiment: its name.
            config: its configuration, as plain values.
            overwrite: replace a record that is already there, once there is something to store.
            source: a directory of the source tree whose commit is recorded.
            reporter: what `progress` shows; by default nothing.

        Raises:
            ArgumentError: the directory holds a record and overwrite is false, or it cannot be made or written to.
        """
        record = cls(directory, experiment, config)
        if (record.directory / FILE).exists() and not overwrite:
            raise ArgumentError(f"directory must not hold another record, got {record.directory}: see --overwrite")
        record._folder.make()
        record._start(source, reporter)
        return record

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """The record stored in a directory.

        Raises:
            ArgumentError: there is no record in the directory.
            RecordError: ``record.json`` is damaged.
        """
        path = Path(directory) / FILE
        if not path.is_file():
            raise ArgumentError(f"directory must hold a record, got {str(directory)!r}: there is no {path}")
        content = read_json(path)
        kinds = {
            "experiment": str,
            "config": dict,
            "status": str,
            "metrics": dict,
            "seconds": int | float,
            "files": list,
        }
        for key, kind in kinds.items():
            if not isinstance(content.get(key), kind):
                raise RecordError(f"{path}: the entry {key!r} is missing or damaged; run the experiment again")
        record = cls(directory, content["experiment"], content["config"])
        record._status, record.seconds, record.error = content["status"], content["seconds"], content.get("error")
        record.files.extend(str(name) for name in content["files"])
        record.provenance = {key: content.get(key) for key in PROVENANCE}
        for name in ("metrics", "counts", "seeds", "solutions"):
            setattr(record, name, Values(name, content.get(name)))
        record._stored = True
        return record

    @classmethod
    def resume(
        cls, directory: str | os.PathLike[str], *, source: Path | None = None, reporter: Reporter = silent
    ) -> Self:
        """A record that continues the unfinished run stored in a directory, with the same configuration.

        Raises:
            ArgumentError: there is no record in the directory, or its run has finished.
            RecordError: ``record.json`` is damaged.
        """
        earlier = cls.load(directory)
        if earlier.status not in UNFINISHED:
            raise ArgumentError(
                f"directory must hold an unfinished run, got {directory}: its run is {earlier.status!r}"
            )
        record = cls(directory, earlier.experiment, earlier.config)
        record.seconds, record.resumed = earlier.seconds, earlier.directory
        record.files.extend(earlier.files)
        record._stored = True
        record._start(source, reporter)
        return record

    @property
    def directory(self) -> Path:
        """Where the files are, absolute."""
        return self._folder.path

    @property
    def files(self) -> list[str]:
        """Names of the files stored so far, without ``record.json``."""
        return self._folder.files

    @property
    def status(self) -> str:
        """Lower-case name of a `Status`; "running", "finished" (none was set), "interrupted" or "failed" otherwise."""
        return self._status

    @status.setter
    def status(self, status: str | Enum) -> None:
        self._status = str(status.name if isinstance(status, Enum) else status).lower()

    @property
    def stored(self) -> bool:
        """Whether anything has been stored yet."""
        return self._stored

    def table(self, name: str, columns: Mapping[str, Any]) -> None:
        """Store columns of equal length as ``NAME.csv``."""
        self._store(f"{check_name(name)}.csv", to_csv(columns))

    def arrays(self, name: str, /, **arrays: Any) -> None:
        """Store numpy arrays or torch tensors as ``NAME.npz``."""
        self._store(f"{check_name(name, CHECKPOINT)}.npz", to_npz(arrays))

    def figure(self, name: str, figure: Any) -> None:
        """Store a matplotlib figure as ``NAME.png``."""
        from grassvp.lab import plots  # matplotlib is loaded only where figures are drawn

        self._store(f"{check_name(name)}.png", plots.to_png(figure))

    def solution(self, name: str, solution: Any) -> None:
        """Store a solver's result: ``NAME.csv`` has its history, ``NAME.npz`` its parameters and coefficients.

        Status, value, iterations and the like go to `solutions`.
        """
        check_name(name, CHECKPOINT)
        found = {field: getattr(solution, field, None) for field in SOLUTION_FIELDS}
        self.solutions[name] = {field: value for field, value in found.items() if value is not None}
        arrays = {field: getattr(solution, field, None) for field in ("parameters", "coefficients")}
        self.arrays(name, **{field: value for field, value in arrays.items() if value is not None})
        if len(solution.history):
            self.table(name, solution.history)

    def checkpoint(self, **arrays: Any) -> None:
        """Store what a later attempt needs to continue from here; it replaces the last checkpoint."""
        self._store(f"{CHECKPOINT}.npz", to_npz(arrays))

    @property
    def last_checkpoint(self) -> dict[str, np.ndarray] | None:
        """Arrays of the last checkpoint, of this attempt or the one it continues; None where there is none."""
        name = f"{CHECKPOINT}.npz"
        return read_npz(self.directory / name) if name in self.files else None

    def read_table(self, name: str) -> dict[str, np.ndarray]:
        """The columns stored as ``NAME.csv``.

        Raises:
            RecordError: the file is missing or damaged.
        """
        return read_csv(self.directory / f"{check_name(name)}.csv")

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays stored as ``NAME.npz``.

        Raises:
            RecordError: the file is missing or damaged.
        """
        return read_npz(self.directory / f"{check_name(name)}.npz")

    def progress(self, label: str, total: int | None = None) -> AbstractContextManager[Callback]:
        """A context that gives a solver callback which shows how far a solve is; silent unless a reporter was given."""
        return self._reporter(label, total)

    def save(self) -> None:
        """Write ``record.json`` as things stand."""
        if self._clock_start is not None:
            now = time.perf_counter()
            self.seconds, self._clock_start = self.seconds + now - self._clock_start, now
            self.provenance["threads"] = provenance.threads()
        if not self._stored:
            self._remove_replaced()
            self._stored = True
        self._folder.write(FILE, (to_json(self.content(), "record", indent=2) + "\n").encode("utf-8"))

    def content(self) -> dict[str, Any]:
        """Everything that ``record.json`` says."""
        return {
            "experiment": self.experiment,
            "config": self.config,
            "status": self.status,
            "error": self.error,
            "metrics": dict(self.metrics),
            "counts": dict(self.counts),
            "seconds": self.seconds,
            "seeds": dict(self.seeds),
            "solutions": dict(self.solutions),
            **self.provenance,
            "files": self.files,
        }

    def finish(self, status: str | None = None, *, error: str | None = None) -> None:
        """End the run: stop the clock and store the final status, "finished" where none was set."""
        self.error = error
        self.status = status or ("finished" if self.status == "running" else self.status)
        self.save()
        self._clock_start = None

    def discard(self) -> None:
        """Remove the directories that were made for this record, if nothing was stored."""
        if not self._stored:
            self._folder.discard()

    def __repr__(self) -> str:
        files = f"{len(self.files)} files in {self.directory}"
        return f"Record({self.experiment!r}, {self.status}, {self.seconds:.1f} s, {files})"

    def _start(self, source: Path | None, reporter: Reporter) -> None:
        self._reporter, self._clock_start = reporter, time.perf_counter()
        self.provenance = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": provenance.versions(),
            "threads": provenance.threads(),
            "platform": provenance.machine(),
            "git": provenance.commit(source) if source is not None else None,
        }

    def _store(self, file: str, data: bytes) -> None:
        """Write a file; ``record.json`` is there before the first one, so that any run can be found again."""
        if not self._stored:
            self.save()
        self._folder.write(file, data)
        if file not in self.files:
            self.files.append(file)
            self.save()

    def _remove_replaced(self) -> None:
        """Remove the files of a record that this one replaces."""
        with contextlib.suppress(ArgumentError, RecordError):
            self._folder.remove(Record.load(self.directory).files)
