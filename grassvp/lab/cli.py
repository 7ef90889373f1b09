"""The command ``grassvp``: list, run and redraw experiments, verify the theory.

Results go to standard output, with ``--json`` as exactly one JSON object; everything else goes to standard error. Exit
status: 0 done, 1 failed, 2 the command or the configuration cannot be used, 130 interrupted.
"""

import dataclasses
import functools
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

import grassvp
from grassvp.errors import ArgumentError, ArgumentTypeError, GrassvpError
from grassvp.lab import console, experiments, running
from grassvp.lab.experiments import Experiment
from grassvp.lab.progress import live_line, live_status, silent
from grassvp.lab.records import UNFINISHED, Record

T = TypeVar("T")


@dataclass(frozen=True)
class RunOptions:
    """Where the results go."""

    out: Path | None = None
    """Directory of the record; by default results/EXPERIMENT-seedN-DATE-TIME."""
    json: FlagCreatePairsOff[bool] = False
    """Print the result as one JSON object."""
    no_figures: FlagCreatePairsOff[bool] = False
    """Draw no figures; 'grassvp figures DIR' draws them later."""
    overwrite: FlagCreatePairsOff[bool] = False
    """Replace the record that --out holds."""


@dataclass(frozen=True)
class ResumeOptions:
    """Continue an unfinished run with its own configuration, or print the result of a finished one."""

    resume: Path
    """Directory of the record."""
    json: FlagCreatePairsOff[bool] = False
    """Print the result as one JSON object."""
    no_figures: FlagCreatePairsOff[bool] = False
    """Draw no figures."""


def list_command(json: FlagCreatePairsOff[bool] = False) -> int:
    """List the experiments.

    Args:
        json: Print them as one JSON object.
    """
    directory = experiments.find_directory()
    files = experiments.available(directory)
    if not files:
        console.complain(f"there are no experiments in {directory}")
    console.show_experiments({name: experiments.summary(path) for name, path in files.items()}, files, as_json=json)
    return 0


def run_command(arguments: Sequence[str]) -> int:
    """Run an experiment: grassvp run EXPERIMENT [--field value ...]."""
    name, rest = _split_name(list(arguments))
    if any(argument.split("=", 1)[0] == "--resume" for argument in rest):
        return _resume(name, _parse(ResumeOptions, "grassvp run", "", rest))
    if name is None:
        names = ", ".join(experiments.available(experiments.find_directory())) or "none"
        if {"-h", "--help"} & set(rest):
            text = f"Run an experiment: grassvp run EXPERIMENT [OPTIONS]. There are: {names}. "
            text += "'grassvp run EXPERIMENT --help' lists its fields; 'grassvp run --resume DIR' continues a run."
            _parse(RunOptions, "grassvp run EXPERIMENT", text, ["--help"])
        raise ArgumentError(f"experiment must be named after 'grassvp run', got none. There are: {names}")
    experiment = _load(name)
    config, options = _parse_run(experiment, rest)
    values = running.plain_config(config)
    directory = options.out or running.default_directory(name, values["seed"])
    record = Record.create(
        directory, name, values, overwrite=options.overwrite, source=experiment.path.parent, reporter=_reporter()
    )
    return _execute(experiment, config, record, options)


def figures_command(directory: Positional[Path], json: FlagCreatePairsOff[bool] = False) -> int:
    """Draw the figures of a stored run again.

    Args:
        directory: Directory of the record.
        json: Print the files as one JSON object.
    """
    record = Record.load(directory)
    experiment = _load(record.experiment)
    with running.stdout_to_stderr():
        files = running.draw(experiment, record)
    console.show_files(files, record, as_json=json)
    return 0


def verify_command(claims: str | None = None, seed: int = 0, json: FlagCreatePairsOff[bool] = False) -> int:
    """Check the claims of the theory, each a prediction beside an independent measurement; exit status 1 if one fails.

    Args:
        claims: Names such as A1,C3; a letter alone means all its claims. All by default.
        seed: Of the random inputs.
        json: Print the claims as one JSON object.
    """
    from grassvp.theory.verification import each_claim, select  # scipy's integrators take a while to import

    try:
        names = select(claims)
    except ValueError as error:
        raise ArgumentError(str(error)) from error
    if seed < 0:
        raise ArgumentError(f"seed must be an integer >= 0, got {seed}")
    found, code = [], 0
    reporter = live_status if sys.stderr.isatty() else silent
    with running.stdout_to_stderr(), reporter("verify") as report:
        try:
            for claim in each_claim(names, seed=seed):
                found.append(claim)
                report(claim.name)
        except KeyboardInterrupt:
            code = 130
    if code:
        console.complain(f"interrupted after {len(found)} claims")
    console.show_claims(found, as_json=json)
    return code or int(not all(claim.passed for claim in found))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``grassvp``; returns its exit status.

    Args:
        arguments: what stands behind the command's name; by default those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except (ArgumentError, ArgumentTypeError) as error:
        console.complain(str(error))
        return 2
    except GrassvpError as error:
        console.complain(str(error))
        return 1
    except KeyboardInterrupt:
        console.complain("interrupted")
        return 130
    except SystemExit as stop:  # how tyro ends after a help text or a usage error
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        print(f"grassvp {grassvp.__version__}")
        return 0
    if words[:1] == ["run"]:
        return run_command(words[1:])

    def run() -> int:
        return run_command([])

    run.__doc__ = run_command.__doc__
    return tyro.extras.subcommand_cli_from_dict(
        {"list": list_command, "run": run, "figures": figures_command, "verify": verify_command},
        prog="grassvp",
        description="Variable projection for neural networks: experiments and their records. --version: the version.",
        args=words,
    )


def _split_name(words: list[str]) -> tuple[str | None, list[str]]:
    """The experiment's name and the other words; the name may stand behind options if it is that of an experiment."""
    if words and not words[0].startswith("-"):
        return words[0], words[1:]
    if words and not {"-h", "--help"} & set(words):
        names = experiments.available(experiments.find_directory())
        for index, word in enumerate(words):
            if word in names and words[index - 1] not in ("--out", "--resume"):
                return word, words[:index] + words[index + 1 :]
    return None, words


def _parse(kind: type[T] | Any, prog: str, description: str, words: Sequence[str]) -> T:
    """The words as a dataclass; a constructor that refuses a value is a bad argument."""
    try:
        return tyro.cli(kind, prog=prog, description=description, args=list(words))
    except (ValueError, TypeError) as error:
        raise ArgumentError(str(error)) from error


def _parse_run(experiment: Experiment, words: Sequence[str]) -> tuple[Any, RunOptions]:
    """Configuration and options of ``grassvp run EXPERIMENT``."""
    flat = functools.partial(tyro.conf.arg, name="")
    fields = [("config", Annotated[experiment.config_type, flat()]), ("options", Annotated[RunOptions, flat()])]
    parsed: Any = _parse(
        dataclasses.make_dataclass("Run", fields, frozen=True),
        f"grassvp run {experiment.name}",
        experiment.description,
        words,
    )
    return parsed.config, parsed.options


def _load(name: str) -> Experiment:
    with running.stdout_to_stderr():
        return experiments.load(name)


def _reporter() -> Any:
    return live_line if sys.stderr.isatty() else silent


def _resume(name: str | None, options: ResumeOptions) -> int:
    """Continue the run in a directory, or print its result if it has finished."""
    stored = Record.load(options.resume)
    if name not in (None, stored.experiment):
        raise ArgumentError(f"experiment must be {stored.experiment!r}, that of {options.resume}, got {name!r}")
    if stored.status not in UNFINISHED:
        console.show_result(stored, as_json=options.json)
        return 0
    experiment = _load(stored.experiment)
    config = experiment.config(stored.config)
    record = Record.resume(options.resume, source=experiment.path.parent, reporter=_reporter())
    return _execute(experiment, config, record, options)


def _execute(experiment: Experiment, config: Any, record: Record, options: RunOptions | ResumeOptions) -> int:
    """Run, draw, show the result; the exit status."""
    code = 0
    with running.stdout_to_stderr():
        try:
            running.execute(experiment, config, record)
            code = 130 if record.status == "interrupted" else 0
            if code == 0 and not options.no_figures:
                running.draw(experiment, record)
        except running.RefusedConfigError:
            raise
        except KeyboardInterrupt:
            code = 130
        except Exception as error:
            code = _report_failure(experiment, error)
    if code == 130:
        console.complain(f"interrupted; 'grassvp run --resume {record.directory}' continues")
    console.show_result(record, as_json=options.json)
    return code


def _report_failure(experiment: Experiment, error: Exception) -> int:
    """Say on standard error what went wrong, with a traceback unless grassvp raised it on purpose; the exit status."""
    if not isinstance(error, GrassvpError):
        traceback.print_exception(error, file=sys.stderr)
    console.complain(f"{experiment.name} failed: {error or type(error).__name__}")
    return 2 if isinstance(error, ArgumentError | ArgumentTypeError) else 1
