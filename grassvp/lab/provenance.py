"""Where a result came from: versions, threads, platform and commit."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import grassvp

PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "pymanopt",
    "autograd",
    "array-api-compat",
    "matplotlib",
    "tyro",
    "rich",
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that a result depends on; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "grassvp": grassvp.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def threads() -> dict[str, Any]:
    """Numbers of threads: torch's, if torch has been imported, and those that the environment asks for."""
    torch = sys.modules.get("torch")
    counts = {"torch": torch.get_num_threads() if torch is not None else None}
    return counts | {name: os.environ.get(name) for name in THREAD_VARIABLES}


def machine() -> dict[str, Any]:
    """Operating system, architecture and number of cores."""
    return {"system": platform.platform(), "machine": platform.machine(), "cores": os.cpu_count()}


def commit(directory: Path) -> dict[str, Any] | None:
    """The git commit of a source tree, and whether tracked files differ from it; None outside a repository."""
    head = _git(directory, "rev-parse", "HEAD")
    if not head:
        return None
    return {"commit": head, "modified": bool(_git(directory, "status", "--porcelain", "--untracked-files=no"))}


def _git(directory: Path, *arguments: str) -> str | None:
    """What a git command prints, or None when there is no git, no repository, or no answer in time."""
    command = ["git", "-C", str(directory), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
