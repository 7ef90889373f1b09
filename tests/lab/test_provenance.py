import subprocess
from pathlib import Path

import pytest
import torch

from grassvp.lab import provenance


def test_versions_name_python_and_the_libraries(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "not-a-package-of-anyone"))
    found = provenance.versions()
    assert found["python"] and str(found["torch"]).split("+")[0] == torch.__version__.split("+")[0]
    assert found["not-a-package-of-anyone"] is None


def test_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    found = provenance.threads()
    assert found["torch"] == torch.get_num_threads()
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("3", None)


def test_commit_of_a_source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit(tmp_path) is None
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]

    def git(*words: str) -> str:
        answer = subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return answer.stdout.strip()

    (tmp_path / "a").write_text("1")
    git("init", "-q")
    git("add", "a")
    git("commit", "-qm", "first")
    assert provenance.commit(tmp_path) == {"commit": git("rev-parse", "HEAD"), "modified": False}
    (tmp_path / "a").write_text("2")
    found = provenance.commit(tmp_path)
    assert found is not None and found["modified"]


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit(tmp_path) is None
