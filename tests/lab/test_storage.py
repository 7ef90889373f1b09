import json
import os
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.lab import storage
from grassvp.lab.storage import RecordError, Values


class Colour(Enum):
    RED = 1


def test_writing_replaces_the_whole_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    storage.write_bytes(path, b"old, longer")
    storage.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_no_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str):
    path = tmp_path / "a.txt"
    storage.write_bytes(path, b"old")
    seen = []

    def fail(*_: object) -> None:
        seen.extend(name for name in os.listdir(tmp_path) if name.endswith(".tmp"))
        raise OSError("disk full")

    monkeypatch.setattr(storage.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        storage.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(seen) == 1
    assert os.listdir(tmp_path) == ["a.txt"]


def test_plain_values():
    value = {
        "float": np.float32(0.5),
        "bool": np.bool_(True),
        "tensor": torch.tensor([1, 2]),
        "path": Path("a") / "b",
        "tuple": (1, None),
        "enum": Colour.RED,
    }
    expected = {"float": 0.5, "bool": True, "tensor": [1, 2], "path": "a/b", "tuple": [1, None], "enum": "red"}
    assert storage.plain(value, "value") == expected


def test_json_is_strict():
    text = storage.to_json({"a": [np.nan, 1.0], "b": {"c": -np.inf}})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, 1.0], "b": {"c": None}}


@pytest.mark.parametrize("value", [object(), 1j, np.array(1j), {1, 2}])
def test_values_refuse_what_json_cannot_hold(value: object):
    values = Values("metrics")
    with pytest.raises(ArgumentTypeError, match=r"metrics\['error'\]"):
        values["error"] = value
    with pytest.raises(ArgumentTypeError, match=r"metrics\['error'\]"):
        values.update(error=value)
    assert not values


def test_csv_keeps_every_digit_and_every_kind(tmp_path: Path):
    columns = {
        "float": np.array([0.1, 1 / 3, 1e-300, np.nan, -np.inf]),
        "integer": np.array([1, -2, 3, 4, 2**62]),
        "bool": np.array([True, False, True, True, False]),
        "text": np.array(["a,b", 'c"', "d", "e\nf", ""]),
    }
    path = tmp_path / "t.csv"
    path.write_bytes(storage.to_csv(columns))
    back = storage.read_csv(path)
    assert list(back) == list(columns)
    for name, column in columns.items():
        np.testing.assert_array_equal(back[name], column)
        assert back[name].dtype.kind == column.dtype.kind


def test_csv_of_tensors_and_of_no_rows(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes(storage.to_csv({"x": torch.zeros(0, dtype=torch.float64, requires_grad=True)}))
    assert storage.read_csv(path)["x"].shape == (0,)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({}, ArgumentError, "columns must have at least one"),
        ({"a": [1, 2], "b": [1]}, ArgumentError, "columns must have equal lengths"),
        ({"a": [[1, 2]]}, ArgumentError, r"columns\['a'\] must be one-dimensional"),
        ({"a": [1j]}, ArgumentTypeError, r"columns\['a'\] must be real"),
        ({"a": [None]}, ArgumentTypeError, r"columns\['a'\] must hold numbers"),
        ({"a": [[1], [1, 2]]}, ArgumentTypeError, r"columns\['a'\] must be an array"),
    ],
)
def test_csv_refuses(columns: dict, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        storage.to_csv(columns)


def test_npz_keeps_shapes_types_and_any_name(tmp_path: Path):
    arrays = {
        "file": np.float32(3),
        "C": torch.ones(2, 3),
        "F": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "z": [1j],
    }
    path = tmp_path / "t.npz"
    path.write_bytes(storage.to_npz(arrays))
    back = storage.read_npz(path)
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], np.asarray(array))
        assert back[name].dtype == np.asarray(array).dtype


@pytest.mark.parametrize("arrays", [{}, {"a": [object()]}])
def test_npz_refuses(arrays: dict):
    with pytest.raises((ArgumentError, ArgumentTypeError), match="arrays"):
        storage.to_npz(arrays)


@pytest.mark.parametrize(
    ("read", "damages"),
    [
        (storage.read_json, [b"", b"[1]", b'{"a": ', b"\xff"]),
        (storage.read_csv, [b"", b"a,b\n1\n", b'a\n"1', b"\xff"]),
        (storage.read_npz, [b"", b"text", b"PK\x03\x04rest"]),
    ],
)
def test_missing_and_damaged_files_are_named(tmp_path: Path, read, damages: list[bytes]):
    path = tmp_path / "it.x"
    with pytest.raises(RecordError, match=r"it\.x: cannot be read"):
        read(path)
    for damage in damages:
        path.write_bytes(damage)
        with pytest.raises(RecordError, match=r"it\.x: "):
            read(path)


def test_a_truncated_archive_is_damaged(tmp_path: Path):
    path = tmp_path / "t.npz"
    path.write_bytes(storage.to_npz({"a": np.random.default_rng(0).normal(size=100)})[:-30])
    with pytest.raises(RecordError, match=r"t\.npz: is not an NPZ archive"):
        storage.read_npz(path)
