"""Files of a record: strict JSON, CSV tables and NPZ arrays, written whole or not at all."""

import contextlib
import csv
import io
import json
import math
import os
import secrets
import zipfile
from collections import UserDict
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from grassvp.errors import ArgumentError, ArgumentTypeError, GrassvpError


class RecordError(GrassvpError):
    """A stored file is missing, damaged, or cannot be written; the message names it."""


class Values(UserDict[str, Any]):
    """A dictionary of what JSON can hold; numpy and torch scalars become Python numbers as they are stored."""

    def __init__(self, name: str, values: Mapping[str, Any] | None = None) -> None:
        self.name = name
        super().__init__(values or {})

    def __setitem__(self, key: str, item: Any) -> None:
        super().__setitem__(str(key), plain(item, f"{self.name}[{key!r}]"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: a reader sees the old content or all of the new.

    The data go to a scratch file ending in ``.tmp`` beside the target, are flushed to the disk, and take the target's
    name in one step. A write that fails leaves neither half a file nor the scratch file.

    Raises:
        OSError: the file cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with scratch.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def plain(value: Any, name: str) -> Any:
    """The value as booleans, numbers, strings, lists and dictionaries.

    Numpy and torch scalars become Python numbers, arrays and tuples lists, paths strings, enumerations their lower-case
    names.

    Raises:
        ArgumentTypeError: the value has no such form; ``name`` says in the message where it stood.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, np.generic) or hasattr(value, "detach") or isinstance(value, np.ndarray):
        converted = value.tolist()
        if type(converted) in (bool, int, float, str, list):
            return plain(converted, name)
    raise ArgumentTypeError(f"{name} must hold numbers, booleans, strings or lists of them, got {type(value).__name__}")


def _finite(value: Any) -> Any:
    """The value with None in place of NaN and infinities, which strict JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def to_json(value: Any, name: str = "value", indent: int | None = None) -> str:
    """Strict JSON text of a value that `plain` accepts; NaN and infinities become null."""
    return json.dumps(_finite(plain(value, name)), allow_nan=False, indent=indent)


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        RecordError: the file is missing, unreadable, or holds something else.
    """
    try:
        content = json.loads(_read(path).decode("utf-8"))
    except ValueError as error:
        raise RecordError(
            f"{path}: is not a JSON file ({error}); it may be damaged, run the experiment again"
        ) from error
    if not isinstance(content, dict):
        raise RecordError(f"{path}: holds a JSON {type(content).__name__}, needs an object")
    return content


def to_csv(columns: Mapping[str, Any]) -> bytes:
    """CSV of columns of equal length with a header line; floating-point numbers keep all their digits.

    Raises:
        ArgumentError: there are no columns, or their lengths differ, or one is not 1-D.
    """
    if not columns:
        raise ArgumentError("columns must have at least one entry, got none")
    arrays = {str(name): as_array(column, f"columns[{name!r}]") for name, column in columns.items()}
    for name, array in arrays.items():
        if array.dtype.kind == "c":
            raise ArgumentTypeError(f"columns[{name!r}] must be real, got {array.dtype}: store it with arrays instead")
        if array.ndim != 1:
            raise ArgumentError(f"columns[{name!r}] must be one-dimensional, got shape {array.shape}")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ArgumentError(f"columns must have equal lengths, got {lengths}")
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(arrays)
    writer.writerows(zip(*(array.tolist() for array in arrays.values()), strict=True))
    return stream.getvalue().encode("utf-8")


def read_csv(path: Path) -> dict[str, np.ndarray]:
    """The columns of a CSV file: integers, floats, booleans or strings, whichever fits all entries of a column.

    Raises:
        RecordError: the file is missing or its rows differ in length from its header.
    """
    try:
        rows = list(csv.reader(io.StringIO(_read(path).decode("utf-8"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise RecordError(f"{path}: is not a CSV file ({error})") from error
    if not rows:
        raise RecordError(f"{path}: is empty, needs a header line")
    header, body = rows[0], rows[1:]
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise RecordError(f"{path}: line {number} has {len(row)} entries, needs {len(header)} as in the header")
    return {name: _column([row[index] for row in body]) for index, name in enumerate(header)}


def _column(entries: Sequence[str]) -> np.ndarray:
    """The entries as the narrowest kind that all of them have."""
    if entries and set(entries) <= {"True", "False"}:
        return np.array([entry == "True" for entry in entries])
    for kind in (int, float):
        with contextlib.suppress(ValueError, OverflowError):
            return np.array(
                [kind(entry) for entry in entries], dtype=np.int64 if entries and kind is int else np.float64
            )
    return np.array(entries)


def as_array(value: Any, name: str) -> np.ndarray:
    """The value (array, torch tensor, number or list) as a numpy array of numbers, booleans or strings.

    Raises:
        ArgumentTypeError: its entries are none of these.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentTypeError(f"{name} must be an array, got rows of different lengths") from error
    if array.dtype.kind not in "biufcUS":
        raise ArgumentTypeError(f"{name} must hold numbers, booleans or strings, got {array.dtype}")
    return array


def to_npz(arrays: Mapping[str, Any]) -> bytes:
    """A compressed NPZ archive of named arrays or tensors, as `numpy.load` reads it."""
    if not arrays:
        raise ArgumentError("arrays must have at least one entry, got none")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            array = as_array(value, f"arrays[{name!r}]")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    return stream.getvalue()


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an NPZ archive.

    Raises:
        RecordError: the file is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(_read(path)), allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise RecordError(f"{path}: is not an NPZ archive ({error}); it may be damaged") from error


def _read(path: Path) -> bytes:
    """The content of a file of a record."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror or error})") from error
