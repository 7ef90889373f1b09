from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from grassvp.errors import ArgumentError
from grassvp.lab import experiments
from grassvp.lab.experiments import ExperimentError

PARTS = {
    "head": "from dataclasses import dataclass\n",
    "config": "@dataclass(frozen=True)\nclass Config:\n    seed: int = 0\n",
    "run": "def run(config, record): pass\n",
    "figures": "def figures(record): pass\n",
}


def write(directory: Path, name: str, **changes: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.py").write_text("".join((PARTS | changes).values()))


def test_the_current_directory_comes_first(workplace: Path):
    assert experiments.find_directory() == workplace / "experiments"


def test_without_a_directory_the_error_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, "__file__", str(tmp_path / "site" / "grassvp" / "lab" / "experiments.py"))
    with pytest.raises(ArgumentError, match="experiments must be a directory, found none"):
        experiments.find_directory()


def test_listing_reads_without_running(tmp_path: Path):
    write(tmp_path, "b", head='"""First line.\n\nMore."""\nraise SystemExit\n')
    write(tmp_path, "a")
    write(tmp_path, "_helper")
    (tmp_path / "broken.py").write_text("def (")
    files = experiments.available(tmp_path)
    assert list(files) == ["a", "b", "broken"]
    assert experiments.summary(files["b"]) == "First line."
    assert experiments.summary(files["a"]) == ""
    assert "cannot be read" in experiments.summary(files["broken"])


def test_an_unknown_name_gets_a_suggestion(workplace: Path):
    with pytest.raises(ArgumentError, match=r"got 'tooy': did you mean toy\? There are: toy"):
        experiments.load("tooy")


@pytest.mark.parametrize("name", ["../toy", "toy.py", "", "_x"])
def test_other_files_are_not_loaded(workplace: Path, name: str):
    with pytest.raises(ArgumentError, match="experiment must be one of"):
        experiments.load(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "import nowhere_to_be_found\n"}, "cannot be loaded: ModuleNotFoundError"),
        ({"head": "def (\n"}, "cannot be loaded: SyntaxError"),
        ({"config": ""}, "needs a frozen dataclass Config"),
        ({"config": "@dataclass\nclass Config:\n    seed: int = 0\n"}, "Config must be frozen"),
        ({"config": "@dataclass(frozen=True)\nclass Config:\n    width: int = 0\n"}, "needs a field seed"),
        ({"config": PARTS["config"] + "    out: int = 0\n"}, "must not have a field named out"),
        ({"run": ""}, r"needs the functions run\(config, record\)"),
        ({"figures": "figures = 3\n"}, r"needs the functions run\(config, record\)"),
    ],
)
def test_an_unusable_file_is_named(tmp_path: Path, changes: dict[str, str], message: str):
    write(tmp_path, "bad", **changes)
    with pytest.raises(ExperimentError, match=rf"bad\.py: .*{message}"):
        experiments.load("bad", tmp_path)


class Kind(Enum):
    FAST = 1


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True)
class Config:
    seed: int = 0
    data: Path | None = None
    widths: tuple[int, ...] = ()
    span: tuple[float, str] = (0.0, "")
    kind: Kind = Kind.FAST
    inner: Inner = Inner()
    tolerance: float = 0.0


def test_a_stored_configuration_comes_back():
    import dataclasses

    from grassvp.lab.storage import plain

    config = Config(3, Path("d.csv"), (4, 5), (1.0, "a"), Kind.FAST, Inner(0.25), 1e-9)
    experiment = experiments.Experiment("x", Path("x.py"), "", Config, print, print)
    stored = plain(dataclasses.asdict(config), "config")
    assert experiment.config(stored) == config
    assert experiment.config({}) == Config()
    with pytest.raises(ArgumentError, match=r"config has entries .*: colour"):
        experiment.config(stored | {"colour": 1})
    with pytest.raises(ArgumentError, match=r"config\.tolerance was not finite"):
        experiment.config(stored | {"tolerance": None})
