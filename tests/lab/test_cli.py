import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from grassvp.lab import Record


def test_list(command, run_json):
    assert command("list") == (0, "toy  Halve a number until it is small.\n", "")
    code, result = run_json("list")
    assert code == 0
    assert [(entry["name"], entry["summary"]) for entry in result["experiments"]] == [
        ("toy", "Halve a number until it is small.")
    ]


def test_version(command):
    code, out, err = command("--version")
    assert (code, err) == (0, "")
    assert out.startswith("grassvp ")


def test_run_prints_one_object_and_keeps_noise_out(workplace: Path, command):
    code, out, err = command("run", "toy", "--width", "4", "--seed=7", "--json")
    assert code == 0
    result = json.loads(out, parse_constant=pytest.fail)
    assert set(result) == {"experiment", "config", "status", "metrics", "seconds", "directory"}
    assert result["config"] == {"seed": 7, "width": 4, "fail": "", "data": None, "widths": [1, 2]}
    assert result["status"] == "converged"
    assert result["metrics"] == {"value": 0.0625, "start": 0, "undefined": None}
    assert "noise on standard output" in err
    directory = Path(result["directory"])
    assert directory.parent == workplace / "results"
    assert directory.name.startswith("toy-seed7-")
    assert sorted(os.listdir(directory)) == ["checkpoint.npz", "convergence.png", "history.csv", "record.json"]


def test_two_runs_in_one_second_get_two_directories(run_json):
    directories = {run_json("run", "toy", "--no-figures")[1]["directory"] for _ in range(3)}
    assert len(directories) == 3


def test_run_summary_for_people(command):
    code, out, _ = command("run", "toy", "--out", "here", "--no-figures")
    assert code == 0
    assert "converged" in out and "0.01562" in out and "here" in out
    assert not Path("here/convergence.png").exists()


def test_help_lists_the_fields_with_their_documentation(command):
    code, out, _ = command("run", "toy", "--help")
    assert code == 0
    for text in ("Halve a number", "--width INT", "Number of halvings", "--no-figures", "--out"):
        assert text in out
    assert command("--help")[0] == 0
    code, out, _ = command("run", "--help")
    assert code == 0 and "There are: toy" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "toy", "--width", "abc"], "--width"),
        (["run", "toy", "--widht", "3"], "--widht"),
        (["run", "toy", "stray"], "stray"),
        (["run", "toy", "--width"], "--width"),
        (["run", "toy", "--width", "0"], "width must be an integer >= 1, got 0"),
        (["run", "toy", "--fail", "early"], "ValueError: no such thing (toy.py, line"),
        (["run", "toy", "--data", "missing.csv"], "missing.csv"),
        (["run", "tooy"], "did you mean toy"),
        (["run"], "There are: toy"),
        (["run", "--resume", "nowhere"], "nowhere"),
        (["figures", "nowhere"], "nowhere"),
        (["frobnicate"], "frobnicate"),
        ([], "list, run, figures"),
    ],
)
def test_bad_usage_is_two_and_writes_nothing(workplace: Path, command, words: list[str], message: str):
    before = sorted(path for path in workplace.rglob("*") if "__pycache__" not in path.parts)
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert sorted(path for path in workplace.rglob("*") if "__pycache__" not in path.parts) == before


def test_an_experiment_that_fails_is_recorded(command):
    code, out, err = command("run", "toy", "--fail", "late", "--out", "here", "--json")
    assert code == 1
    assert json.loads(out)["status"] == "failed"
    assert "RuntimeError: it broke" in err
    record = Record.load("here")
    assert record.status == "failed"
    assert record.error == "RuntimeError: it broke"


def test_figures_that_fail_lose_no_result(workplace: Path, command):
    path = workplace / "experiments" / "toy.py"
    path.write_text(path.read_text().replace("figure, ax = plots.figure()", "raise RuntimeError('no ink')"))
    code, out, err = command("run", "toy", "--out", "here", "--json")
    assert code == 1
    assert json.loads(out)["status"] == "converged"
    assert "no ink" in err
    assert Record.load("here").status == "converged"


def test_an_interrupted_run_is_kept_and_continued(command, run_json):
    code, out, err = command("run", "toy", "--fail", "interrupt", "--out", "here", "--json")
    assert code == 130
    assert json.loads(out)["status"] == "interrupted"
    assert "--resume" in err
    code, result = run_json("run", "--resume", "here")
    assert code == 0
    assert (result["status"], result["metrics"]["start"]) == ("converged", 2)
    assert run_json("run", "toy", "--resume", "here") == (0, result)


def test_resume_refuses_another_experiment_and_other_fields(command):
    command("run", "toy", "--out", "here")
    assert command("run", "other", "--resume", "here")[0] == 2
    assert command("run", "--resume", "here", "--width", "3")[0] == 2


def test_a_record_is_overwritten_only_on_request(command):
    assert command("run", "toy", "--out", "here")[0] == 0
    before = Path("here/record.json").read_bytes()
    code, _, err = command("run", "toy", "--out", "here", "--width", "3")
    assert code == 2 and "another record" in err
    assert Path("here/record.json").read_bytes() == before
    assert command("run", "toy", "--out", "here", "--width", "0", "--overwrite")[0] == 2
    assert Path("here/record.json").read_bytes() == before
    assert command("run", "toy", "--out", "here", "--width", "3", "--overwrite")[0] == 0
    assert Record.load("here").config["width"] == 3


def test_options_may_stand_before_the_name(run_json):
    assert run_json("run", "--no-figures", "--out", "toy", "toy")[0] == 0
    assert Record.load("toy").experiment == "toy"


def test_figures_are_rebuilt_from_the_record(command, run_json):
    command("run", "toy", "--out", "here")
    png = Path("here/convergence.png")
    before = png.read_bytes()
    png.unlink()
    code, out, _ = command("figures", "here")
    assert (code, out) == (0, f"{png.resolve()}\n")
    assert png.read_bytes() == before
    assert run_json("figures", "here")[1]["figures"] == [str(png.resolve())]
    Path("here/history.csv").unlink()
    code, _, err = command("figures", "here")
    assert code == 1 and "history.csv: cannot be read" in err


def test_ctrl_c_in_a_real_process(workplace: Path):
    path = workplace / "experiments" / "toy.py"
    wait = "\n    print('ready', flush=True)\n    __import__('time').sleep(60)\n    steps = "
    path.write_text(path.read_text().replace("\n    steps = ", wait))
    words = [sys.executable, "-m", "grassvp", "run", "toy", "--out", "here", "--json"]
    # A shell's background jobs ignore SIGINT, and so would a child of a test run started as one.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, preexec_fn=heed, **streams) as process:
        assert process.stderr is not None
        while "ready" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["status"] == "interrupted"
    assert "Traceback" not in err
    last = Record.load("here").last_checkpoint
    assert last is not None and last["step"] == 2


def test_noise_of_child_processes_and_compiled_code_stays_out(workplace: Path):
    path = workplace / "experiments" / "toy.py"
    noise = "__import__('os').system('echo child')\n    __import__('ctypes').CDLL(None).puts(b'compiled')"
    path.write_text(path.read_text().replace("\n    steps = ", f"\n    {noise}\n    steps = "))
    words = [sys.executable, "-m", "grassvp", "run", "toy", "--no-figures", "--json"]
    answer = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["status"] == "converged"
    assert "child" in answer.stderr and "compiled" in answer.stderr
