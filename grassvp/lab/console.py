"""What the command prints: results on standard output, complaints on standard error."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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


def show_claims(claims: Sequence[Any], *, as_json: bool) -> None:
    """Claims with both their sides; one JSON object, a table on a terminal, or plain lines."""
    passed = sum(claim.passed for claim in claims)
    if as_json:
        entries = [asdict(claim) | {"passed": claim.passed} for claim in claims]
        print(to_json({"claims": entries, "passed": passed, "failed": len(claims) - passed}, "claims"), flush=True)
        return
    rows = [
        (
            claim.name,
            claim.statement,
            f"{claim.predicted:.6g}",
            f"{claim.measured:.6g}",
            f"{claim.error:.1e}",
            f"{claim.tolerance:.0e}",
            "ok" if claim.passed else "FAILED",
        )
        for claim in claims
    ]
    show_table(("claim", "statement", "predicted", "measured", "error", "allowed", ""), rows)
    print(f"{passed} of {len(claims)} claims hold")


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns of texts: a table on a terminal, aligned lines elsewhere."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        for row in (titles, *rows):
            print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row), style="bold red" if "FAILED" in row else "")
    Console().print(table)


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
