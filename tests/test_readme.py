"""The README: its quick start runs, and its two commands are those of .ci/run."""

import re
import shlex
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = {"sh", "bash", "shell", "console"}


def blocks(*languages):
    """The fenced blocks of README.md in these languages, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [body for language, body in FENCE.findall(text) if language in languages]


def commands(text):
    """The words of each simple command of a shell text, without comments and prompts."""
    joined = text.replace("\\\n", " ")
    lines = [re.sub(r"^\$ ", "", line) for line in joined.splitlines() if not line.lstrip().startswith("#")]
    parts = [part for line in lines for part in re.split(r"&&|;|\|\|", line)]
    words = []
    for part in parts:
        try:
            words.append(shlex.split(part, comments=True))
        except ValueError:  # a part of a script that is no simple command
            continue
    return [w for w in words if w]


def installs(text):
    """The arguments of every pip install, without its path and --quiet."""
    found = []
    for words in commands(text):
        pip = next((i for i, word in enumerate(words) if Path(word).name in ("pip", "pip3")), None)
        if pip is not None and words[pip + 1 : pip + 2] == ["install"]:
            found.append([word for word in words[pip + 2 :] if word not in ("--quiet", "-q")])
    return found


def runs(text, program):
    """The arguments of every call of `grassvp`, or of `python -m` something."""
    return [words[1:] for words in commands(text) if Path(words[0]).name == program]


def test_the_quick_start_runs(tmp_path, monkeypatch, capsys):
    code = blocks("python")[0]
    assert 5 <= len(code.rstrip().splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(code, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "Solution(" in out, "it shows what was found"
    assert list(tmp_path.iterdir()) == []
    solution = names["solution"]
    assert solution.value < 1e-6 * float((names["y"] ** 2).sum()), "it fits what it set out to fit"


@pytest.mark.parametrize("index", range(1, 6))
def test_the_other_examples_run(index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[index], "README.md", "exec"), {})
    assert len(blocks("python")) == 6 and list(tmp_path.iterdir()) == []


def test_the_two_commands_install_and_run():
    first, second = [body.strip() for body in blocks(*SHELLS)[:2]]
    for command in (first, second):
        assert "\n" not in command.replace("\\\n", " "), "one command each"
        assert command.startswith("python3 -m venv") and len(installs(command)) == 1
    (job,) = runs(first, "grassvp")
    assert job[:2] == ["run", "heat"] and runs(second, "python")[-1][:2] == ["-m", "pytest"]
    assert installs(first)[0][-2:] == ["-e", "."] or installs(first)[0][-2:] == ["-e", ".[test]"]


def test_ci_does_the_same():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    first, second = blocks(*SHELLS)[:2]
    assert installs(script) == installs(second), "the second command's installation, word for word"
    assert installs(first)[0][:-1] == installs(second)[0][:-1], "the first one's but for the extra"
    assert (ROOT / "constraints.txt").is_file() and "constraints.txt" in installs(second)[0]
    assert [words[:2] for words in runs(script, "grassvp")] == [["run", "heat"]]
    assert ["-m", "pytest"] in [words[:2] for words in runs(script, "python")]


def test_every_command_of_the_readme_is_one_that_exists():
    from grassvp.lab import cli, experiments

    source = Path(cli.__file__).read_text(encoding="utf-8")
    known = experiments.available(ROOT / "experiments")
    words = [call for body in blocks(*SHELLS) for call in runs(body, "grassvp")]
    assert len(words) >= 2
    for call in words:
        assert f'"{call[0]}"' in source, call
        assert call[0] != "run" or call[1] in known, call


@pytest.mark.parametrize("pattern", [r"\]\((?!https?://|#)([^)#\s]+)", r'src="(?!https?://)([^"]+)"'])
def test_links_lead_to_files(pattern):
    text = FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    missing = [link for link in re.findall(pattern, text) if not (ROOT / link).exists()]
    assert missing == []


def test_no_figure_of_the_readme_waits_to_be_filled_in():
    table = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert not re.findall(r"\|\s*(?:[A-Z]{4,}|TODO|TBD|\?+)\s*(?=\|)", "\n".join(table))


def test_the_readers_of_commands_can_tell_them_apart():
    text = 'python3 -m venv v && v/bin/pip install -q -c c.txt -e ".[test]" && \\\n v/bin/grassvp run heat # x\n'
    assert installs(text) == [["-c", "c.txt", "-e", ".[test]"]] and runs(text, "grassvp") == [["run", "heat"]]
    assert installs("# pip install x\npip uninstall y") == []
