import subprocess
from pathlib import Path

from tkd.provenance import git_state, tool_versions


def test_versions_name_what_is_installed_and_leave_out_what_is_not() -> None:
    versions = tool_versions(["numpy", "no-such-package-at-all"])
    assert set(versions) == {"tkd", "python", "numpy"}


def test_a_checkout_tells_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", ".")
    git("-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "one")
    clean = git_state(tmp_path)
    (tmp_path / "file").write_text("two")
    assert (len(clean["commit"]), clean["dirty"], git_state(tmp_path)["dirty"]) == (40, False, True)


def test_outside_a_checkout_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {}
