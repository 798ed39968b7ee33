"""Where a file that we write came from: tool versions and the state of the checkout.

Tested in `tests/tkd/test_provenance.py`.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import tkd

_GIT_TIMEOUT_S = 5.0


def synthetic_words(data: Mapping[str, Any]) -> str:
    """What is said of a synthetic data set wherever a number made with it is shown; `data` is its description.

    >>> synthetic_words({"multi_label": False})
    "SYNTHETIC speech (espeak-ng): these numbers say nothing about people's voices"
    """
    if data.get("multi_label"):
        return "SYNTHETIC sound events (made by recipes): these numbers say nothing about recordings"
    return "SYNTHETIC speech (espeak-ng): these numbers say nothing about people's voices"


def tool_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of tkd, Python and those of `packages` that are installed."""
    versions = {"tkd": tkd.__version__, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """{"commit": 40 digits, "dirty": bool} of the checkout this package runs from; {} where there is none.

    Args:
        folder: the checkout to ask; by default the one that holds this package.
    """
    root = Path(__file__).parent if folder is None else folder
    commit = _git(root, "rev-parse", "HEAD")
    # A package installed into somebody else's repository must not report that repository's commit.
    tracked = commit and _git(root, "ls-files", "--error-unmatch", "." if folder else Path(__file__).name)
    if not tracked:
        return {}
    return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
