import json
import os
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.lab import Record, RecordError, storage


class Status(Enum):
    MAX_ITERATIONS = "stopped"


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record.create(tmp_path / "deep" / "run", "toy", {"seed": 3, "data": Path("d.csv")})


def read(record: Record) -> dict:
    return json.loads((record.directory / "record.json").read_text(), parse_constant=pytest.fail)


def test_nothing_is_written_before_the_first_result(record: Record):
    assert os.listdir(record.directory) == []
    record.discard()
    assert not record.directory.parent.exists()


def test_discarding_keeps_what_was_stored_and_what_was_there(tmp_path: Path):
    record = Record.create(tmp_path, "toy", {})
    record.discard()
    assert tmp_path.is_dir()
    record.table("t", {"a": [1]})
    record.discard()
    assert sorted(os.listdir(tmp_path)) == ["record.json", "t.csv"]


def test_a_record_says_where_the_result_came_from(record: Record):
    record.arrays("a", a=1)
    assert read(record)["status"] == "running"
    record.metrics["error"] = np.nan
    record.counts["evaluations"] = 12
    record.status = Status.MAX_ITERATIONS
    record.finish()
    content = read(record)
    assert content["experiment"] == "toy"
    assert content["config"] == {"seed": 3, "data": "d.csv"}
    assert content["status"] == "max_iterations"
    assert content["metrics"] == {"error": None}
    assert content["counts"] == {"evaluations": 12}
    assert content["seeds"] == {"seed": 3}
    assert content["seconds"] > 0
    assert content["threads"]["torch"] == torch.get_num_threads()
    assert content["versions"]["numpy"] == np.__version__
    assert content["platform"]["cores"] == os.cpu_count()
    assert content["started"].endswith("+00:00")
    assert content["files"] == ["a.npz"]


def test_a_record_reads_back(record: Record):
    record.table("history", {"value": np.array([1.0, 0.1])})
    record.arrays("field", u=torch.ones(2, 2))
    record.metrics["error"] = 0.25
    record.finish()
    back = Record.load(record.directory)
    assert (back.experiment, back.status, back.seconds) == ("toy", "finished", record.seconds)
    assert back.metrics == {"error": 0.25}
    assert back.content() == read(record)
    np.testing.assert_array_equal(back.read_table("history")["value"], [1.0, 0.1])
    np.testing.assert_array_equal(back.read_arrays("field")["u"], np.ones((2, 2)))
    assert "toy" in repr(back) and "finished" in repr(back)


def test_a_solution_is_stored_with_its_history(record: Record):
    solution = SimpleNamespace(
        status=Status.MAX_ITERATIONS,
        value=np.float64(2.0),
        rank=3,
        parameters=torch.arange(4.0, requires_grad=True),
        coefficients=torch.ones(2, 1),
        history={"iteration": np.arange(2), "value": np.array([3.0, 2.0])},
    )
    record.solution("fit", solution)
    np.testing.assert_array_equal(record.read_table("fit")["value"], [3.0, 2.0])
    assert set(record.read_arrays("fit")) == {"parameters", "coefficients"}
    assert read(record)["solutions"] == {"fit": {"status": "max_iterations", "value": 2.0, "rank": 3}}


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "-x", 3])
def test_names_that_cannot_be_files_are_refused(record: Record, name):
    with pytest.raises(ArgumentError, match="name must be"):
        record.table(name, {"a": [1]})
    assert not record.stored


def test_the_checkpoint_has_its_name_for_itself(record: Record):
    with pytest.raises(ArgumentError, match="checkpoint"):
        record.arrays("checkpoint", a=1)


def test_refused_data_leave_no_file(record: Record):
    with pytest.raises(ArgumentTypeError):
        record.arrays("a", a=[object()])
    assert os.listdir(record.directory) == []


def test_another_record_is_not_overwritten_unasked(record: Record):
    record.table("old", {"a": [1]})
    (record.directory / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="another record"):
        Record.create(record.directory, "toy", {})
    new = Record.create(record.directory, "toy", {}, overwrite=True)
    assert (record.directory / "old.csv").exists()
    new.table("new", {"a": [1]})
    assert sorted(os.listdir(record.directory)) == ["new.csv", "notes.txt", "record.json"]


def test_overwriting_removes_nothing_outside_the_directory(record: Record):
    outside = record.directory.parent / "outside.csv"
    outside.write_text("mine")
    record.finish()
    content = read(record)
    content["files"] = ["../outside.csv", str(outside)]
    (record.directory / "record.json").write_text(json.dumps(content))
    Record.create(record.directory, "toy", {}, overwrite=True).finish()
    assert outside.read_text() == "mine"


def test_a_file_is_no_directory(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="directory must be one that can be made"):
        Record.create(tmp_path / "file" / "run", "toy", {})


def test_loading_what_is_not_there(tmp_path: Path):
    with pytest.raises(ArgumentError, match="directory must hold a record"):
        Record.load(tmp_path)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"experiment": "toy", "config": 3}', '{"experiment": "to'])
def test_a_damaged_record_is_named(tmp_path: Path, damage: str):
    (tmp_path / "record.json").write_text(damage)
    with pytest.raises(RecordError, match=r"record\.json: "):
        Record.load(tmp_path)


def test_a_full_disk_is_reported_and_leaves_no_half_file(record: Record, monkeypatch: pytest.MonkeyPatch):
    record.finish()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", fail)
    with pytest.raises(RecordError, match=r"t\.csv: cannot be written \(No space left"):
        record.table("t", {"a": [1]})
    assert os.listdir(record.directory) == ["record.json"]


def test_a_resumed_run_continues_from_its_checkpoint(record: Record):
    assert record.last_checkpoint is None
    record.checkpoint(step=5)
    record.metrics["half"] = 1
    record.finish("interrupted")
    again = Record.resume(record.directory)
    assert again.resumed == record.directory
    assert again.config == record.config
    assert again.status == "running"
    assert not again.metrics
    last = again.last_checkpoint
    assert last is not None and last["step"] == 5
    again.finish("converged")
    assert again.seconds > record.seconds
    with pytest.raises(ArgumentError, match="unfinished"):
        Record.resume(record.directory)


def test_progress_is_silent_unless_a_reporter_is_given(record: Record, capsys: pytest.CaptureFixture[str]):
    with record.progress("fit", 3) as callback:
        assert callback(SimpleNamespace(iteration=1)) is None
    assert capsys.readouterr() == ("", "")
