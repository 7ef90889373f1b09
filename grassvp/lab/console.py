"""What the command prints: results on standard output, complaints on standard error."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grassvp.lab.records import Record
from grassvp.lab.storage import to_json


def complain(message: str) -> None:
    """One message on standard error."""
    print(f"grassvp: {message}", file=sys.stderr)


def show_result(record: Record, *, as_json: bool) -> None:
    """The result of a run: one JSON object, a table on a terminal, or plain lines."""
    result = {
        "experiment": record.experiment,
        "config": record.config,
        "status": record.status,
        "metrics": dict(record.metrics),
        "seconds": record.seconds,
        "directory": str(record.directory),
    }
    if as_json:
        print(to_json(result, "result"), flush=True)
        return
    rows = {"status": record.status} | {name: _text(value) for name, value in record.metrics.items()}
    rows |= {"seconds": f"{record.seconds:.1f}", "directory": str(record.directory)}
    show_rows(record.experiment, rows)


def show_experiments(summaries: Mapping[str, str], files: Mapping[str, Path], *, as_json: bool) -> None:
    """The experiments and the first lines of their descriptions."""
    if as_json:
        entries = [{"name": name, "summary": text, "path": str(files[name])} for name, text in summaries.items()]
        print(to_json({"experiments": entries}, "experiments"))
        return
    show_rows("experiments", summaries)


def show_files(files: Sequence[Path], record: Record, *, as_json: bool) -> None:
    """The files that were drawn."""
    if as_json:
        result = {"directory": str(record.directory), "figures": [str(path) for path in files]}
        print(to_json(result, "result"))
        return
    for path in files:
        print(path)


def show_rows(title: str, rows: Mapping[str, str]) -> None:
    """Names and texts: a table on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        width = max(map(len, rows), default=0)
        for name, text in rows.items():
            print(f"{name:<{width}}  {text}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, style="bold"), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        table.add_row(Text(name, style="cyan"), Text(text))
    Console().print(table)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
