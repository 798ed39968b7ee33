"""Workflows as data, and their steps' shell run as GitHub's runner does."""

import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
GATE = ROOT / ".github" / "workflows" / "latency.yml"
COMMENT = ROOT / ".github" / "workflows" / "latency-comment.yml"


class _Loader(yaml.SafeLoader):
    """YAML whose `on` is a word, as GitHub reads it."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if tag != "tag:yaml.org,2002:bool"]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))


def read(path: Path) -> dict:
    """The document at `path`."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)


def phone_jobs() -> dict:
    """The jobs of the gate that are commented out, as they are once the `# ` is taken away."""
    lines = GATE.read_text(encoding="utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if line == "  # export-for-phone:")
    return yaml.load("\n".join(line.replace("  # ", "  ", 1).replace("  #", "", 1) if not line.startswith("  # ") else
                               "  " + line[4:] for line in lines[start:]), Loader=_Loader)  # fmt: skip


def all_steps(document: dict) -> list[dict]:
    """The steps of a workflow's jobs, or of an action."""
    jobs = document.get("jobs", {}).values()
    return [step for job in jobs for step in job["steps"]] or list(document.get("runs", {}).get("steps", ()))


def step_called(path: Path, name: str) -> dict:
    """The step of this name."""
    return next(step for step in all_steps(read(path)) if step.get("name") == name)


@dataclass(frozen=True)
class Ran:
    """What a step left behind."""

    code: int
    text: str
    outputs: dict[str, str]
    summary: str


@dataclass(frozen=True)
class Runner:
    """A folder to run steps in, with programs of ours before those of the computer."""

    folder: Path

    def program(self, name: str, text: str) -> None:
        """Puts a program into the way of the steps."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, step: dict, **env: str) -> Ran:
        """Runs a step's shell with `env`, in the folder `work`."""
        files = {name: self.folder / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")}
        for path in files.values():
            path.write_text("")
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        script = self.folder / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        made = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/root"),
            "RUNNER_TEMP": str(self.folder),
            "GITHUB_REPOSITORY": "owner/repository",
            **{name: str(path) for name, path in files.items()},
            **env,
        }
        # As GitHub's runner starts `shell: bash`.
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=work,
            env=made,
            capture_output=True,
            text=True,
            timeout=300,
        )
        pairs = (line.partition("=") for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        return Ran(
            code=done.returncode,
            text=done.stdout + done.stderr,
            outputs={key: value for key, _, value in pairs},
            summary=files["GITHUB_STEP_SUMMARY"].read_text(),
        )
