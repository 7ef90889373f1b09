"""Experiments: one file each, found by name, loaded alone.

An experiment is a file ``experiments/NAME.py`` with a docstring, a frozen dataclass `Config`, and two functions:
``run(config, record)`` computes and stores, ``figures(record)`` draws from what is stored.
"""

import ast
import dataclasses
import difflib
import importlib.util
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from grassvp.errors import ArgumentError, GrassvpError

OPTIONS = ("out", "json", "no_figures", "overwrite", "resume", "help")


class ExperimentError(GrassvpError):
    """The file of an experiment cannot be used; the message names it and what is wrong with it."""


@dataclass(frozen=True)
class Experiment:
    """A loaded experiment."""

    name: str
    path: Path
    description: str
    config_type: type[Any]
    run: Callable[[Any, Any], None]
    figures: Callable[[Any], None]

    def config(self, values: Mapping[str, Any]) -> Any:
        """The configuration that a record holds as plain values.

        Raises:
            ArgumentError: the experiment's fields have changed since, or a value does not fit.
        """
        return _revive(self.config_type, values, "config")


def find_directory() -> Path:
    """The experiments' directory: ``experiments`` in the current directory, else beside the package's source tree.

    Raises:
        ArgumentError: there is neither.
    """
    places = [Path.cwd() / "experiments", Path(__file__).resolve().parents[2] / "experiments"]
    for place in places:
        if place.is_dir():
            return place
    raise ArgumentError(f"experiments must be a directory, found none: looked for {places[0]} and {places[1]}")


def available(directory: Path) -> dict[str, Path]:
    """Files of the experiments in a directory, by name; files whose names start with ``_`` are none."""
    return {path.stem: path for path in sorted(directory.glob("*.py")) if not path.stem.startswith("_")}


def summary(path: Path) -> str:
    """The first line of a file's docstring, read without running the file."""
    try:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError, ValueError) as error:
        return f"(cannot be read: {error})"
    return text.strip().split("\n", 1)[0]


def load(name: str, directory: Path | None = None) -> Experiment:
    """Load one experiment.

    Args:
        name: its name, that of its file without ``.py``.
        directory: where to look; by default what `find_directory` finds.

    Raises:
        ArgumentError: there is no experiment of that name.
        ExperimentError: its file fails as it is loaded, or lacks a part.
    """
    directory = find_directory() if directory is None else Path(directory)
    files = available(directory)
    if name not in files:
        close = difflib.get_close_matches(name, files, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        names = ", ".join(files) or "none"
        raise ArgumentError(f"experiment must be one of those in {directory}, got {name!r}: {hint}There are: {names}")
    module = _import(name, files[name])
    return Experiment(name, files[name], (module.__doc__ or "").strip(), *_parts(module, files[name]))


def _import(name: str, path: Path) -> types.ModuleType:
    """The file as a module that dataclasses, pickle and `inspect` can find again."""
    identifier = f"grassvp_experiment_{name}"
    spec = importlib.util.spec_from_file_location(identifier, path)
    if spec is None or spec.loader is None:
        raise ExperimentError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[identifier] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[identifier]
        raise ExperimentError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _parts(module: types.ModuleType, path: Path) -> tuple[Any, Any, Any]:
    """Config, run and figures of an experiment's module."""
    config_type = getattr(module, "Config", None)
    if not (isinstance(config_type, type) and dataclasses.is_dataclass(config_type)):
        raise ExperimentError(f"{path}: needs a frozen dataclass Config, got {config_type!r}")
    if not config_type.__dataclass_params__.frozen:  # pyright: ignore[reportAttributeAccessIssue]
        raise ExperimentError(f"{path}: Config must be frozen: write @dataclass(frozen=True)")
    names = [field.name for field in dataclasses.fields(config_type)]
    if "seed" not in names:
        raise ExperimentError(f"{path}: Config needs a field seed: int = 0, got {', '.join(names) or 'no fields'}")
    taken = [name for name in names if name in OPTIONS]
    if taken:
        raise ExperimentError(
            f"{path}: Config must not have a field named {taken[0]}: it is an option of 'grassvp run'"
        )
    run, figures = (getattr(module, part, None) for part in ("run", "figures"))
    if not (callable(run) and callable(figures)):
        raise ExperimentError(f"{path}: needs the functions run(config, record) and figures(record)")
    return config_type, run, figures


def _revive(kind: Any, value: Any, name: str) -> Any:
    """The value of the annotated type that was stored as a plain value."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        unknown = set(value) - {field.name for field in dataclasses.fields(kind)}
        if unknown:
            raise ArgumentError(f"{name} has entries that the experiment does not know: {', '.join(sorted(unknown))}")
        return kind(**{key: _revive(hints[key], item, f"{name}.{key}") for key, item in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _revive(next(a for a in arguments if a is not type(None)), value, name)
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[-1:] == (...,) else arguments
        return tuple(_revive(part, item, name) for part, item in zip(kinds, value, strict=True))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(member for member in kind if member.name.lower() == value)
    if value is None and kind is float:
        raise ArgumentError(f"{name} was not finite, and JSON keeps no such number: start the run anew")
    convert: Any = kind if kind in (Path, float) else (lambda same: same)
    return convert(value)
