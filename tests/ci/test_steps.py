"""The steps' own shell, run as GitHub's runner does: with our commands, with a stand-in for GitHub's, and with git."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from android_bench.verdict_file import write_gate
from converters.bundle import find_bundles
from tests.android_bench.arm64_phone import NEEDS
from tests.android_bench.verdict_toys import example_gate, example_judgement
from tests.ci.steps import ACTION, COMMENT, GATE, ROOT, TREND, Runner, step_called

VIRTUAL = {"DEVICE": "virtual-pixel1", "FOLDER": "latency-report", "OPTIONS": ""}
OURS = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m android_bench.cli "$@"\n'
# `compare` puts a prepared verdict where it was told to and ends as it was told to; the rest is ours.
PREPARED = f"""#!/bin/bash
if [ "$1" = compare ]; then
  printf '%s\\n' "$@" > ../arguments
  while [ "$1" != --output ]; do shift; done
  if [ -f ../prepared.json ]; then
    mkdir -p "$2"; cp ../prepared.json "$2/compare.json"; echo '# REGRESSION' > "$2/report.md"
  fi
  exit "$CODE"
fi
{OURS.splitlines()[1]}
"""


@pytest.fixture
def runner(tmp_path) -> Runner:
    made = Runner(tmp_path)
    made.program("tkd-bench", PREPARED)
    return made


def prepare(runner: Runner, verdict: str) -> None:
    write_gate(runner.folder / "prepared.json", example_gate(example_judgement("virtual", verdict)))


def test_compare_hands_on_its_options_and_keeps_code_and_verdict(runner) -> None:
    prepare(runner, "REGRESSION")
    env = VIRTUAL | {"BASELINE": "a folder", "CANDIDATE": "b", "OPTIONS": "--max-slowdown 2 --report-only", "CODE": "1"}

    ran = runner.run(step_called(ACTION, "Compare"), **env)

    assert 0 == ran.code, ran.text
    assert {"exit-code": "1", "verdict": "REGRESSION"} == ran.outputs
    assert [
        *("compare", "--baseline", "a folder", "--candidate", "b", "--device", "virtual-pixel1"),
        *("--output", "latency-report", "--max-slowdown", "2", "--report-only"),
    ] == (runner.folder / "arguments").read_text().splitlines()


def test_a_comparison_that_was_not_made_has_no_verdict_and_says_so_in_the_summary(runner) -> None:
    env = VIRTUAL | {"BASELINE": "a", "CANDIDATE": "b", "CODE": "4", "TITLE": "", "COMMIT": ""}

    ran = runner.run(step_called(ACTION, "Compare"), **env)
    assert {"exit-code": "4", "verdict": "none"} == ran.outputs
    ran = runner.run(step_called(ACTION, "Report"), **env)

    assert 0 == ran.code, ran.text
    assert "## Instructions on virtual-pixel1 (emulated, not latency)" in ran.summary
    assert "No comparison was made: `tkd-bench compare` ended with exit code 4" in ran.summary


def test_report_writes_every_form_and_the_summary(runner) -> None:
    prepare(runner, "REGRESSION")
    env = VIRTUAL | {"BASELINE": "a", "CANDIDATE": "b", "CODE": "1", "TITLE": "", "COMMIT": "abc"}
    runner.run(step_called(ACTION, "Compare"), **env)

    ran = runner.run(step_called(ACTION, "Report"), **env)

    assert 0 == ran.code, ran.text
    folder = runner.folder / "work" / "latency-report"
    assert {
        *("compare.json", "report.md", "summary.md", "report.html", "junit.xml", "action-benchmark.json"),
        "history.jsonl",
    } == {path.name for path in folder.iterdir()}
    assert (folder / "summary.md").read_text() == ran.summary
    assert "### REGRESSION" in ran.summary
    assert "abc" == json.loads((folder / "history.jsonl").read_text())["commit"]
    assert "<h1>Instructions on virtual-pixel1 (emulated, not latency)</h1>" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("code", "ends", "says"),
    [
        ("0", 0, "REGRESSION on virtual-pixel1"),
        ("1", 1, "::error title=Latency gate::REGRESSION on virtual-pixel1"),
        ("2", 1, "::error title=Latency gate::tkd-bench compare ended with exit code 2"),
        ("3", 0, "::warning title=Latency gate::no answer on virtual-pixel1"),
        ("4", 0, "::warning title=Latency gate::virtual-pixel1 failed"),
        ("70", 1, "::error title=Latency gate::tkd-bench compare ended with exit code 70"),
        ("", 1, "::error title=Latency gate"),
    ],
)
def test_no_answer_and_a_failed_device_are_warnings_and_nothing_else_is(runner, code, ends, says) -> None:
    ran = runner.run(step_called(ACTION, "Verdict"), DEVICE="virtual-pixel1", CODE=code, VERDICT="REGRESSION")

    assert ends == ran.code
    assert ran.text.startswith(says)


def git_in(folder: Path, *words: str) -> str:
    options = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *options, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_the_baseline_is_the_merge_base_and_the_candidate_the_head(runner, arm) -> None:
    work = runner.folder / "work"
    git = partial(git_in, work)
    work.mkdir()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "base")
    base = git("rev-parse", "HEAD")
    git("checkout", "-q", "-b", "feature")
    git("commit", "-q", "--allow-empty", "-m", "candidate")
    head = git("rev-parse", "HEAD")
    git("checkout", "-q", "main")
    git("commit", "-q", "--allow-empty", "-m", "main has gone on")
    git("update-ref", "refs/remotes/origin/main", "HEAD")

    ran = runner.run(step_called(GATE, "Check out the ${{ matrix.arm }}"), ARM=arm, TARGET="origin/main", HEAD=head)

    assert 0 == ran.code, ran.text
    assert {"baseline": base, "candidate": head}[arm] == git("rev-parse", "HEAD")
    assert f"{arm}: " in ran.summary


def test_the_history_begins_grows_and_takes_a_verdict_once(runner) -> None:
    origin, work = runner.folder / "origin.git", runner.folder / "work"
    work.mkdir()
    git_in(runner.folder, "init", "-q", "--bare", "origin.git")
    git_in(work, "init", "-q")
    git_in(work, "remote", "add", "origin", str(origin))
    (work / "source").write_text("")
    git_in(work, "add", "source")
    git_in(work, "commit", "-qm", "main")

    for verdict, commit in (("PASS", "1" * 40), ("REGRESSION", "2" * 40), ("REGRESSION", "2" * 40)):
        prepare(runner, verdict)
        (work / "latency-report").mkdir(exist_ok=True)
        shutil.copy(runner.folder / "prepared.json", work / "latency-report" / "compare.json")
        ran = runner.run(step_called(TREND, "Add to the history"), COMMIT=commit)
        assert 0 == ran.code, ran.text
        git_in(work, "worktree", "remove", "--force", "history")
        if git_in(work, "branch", "--list", "latency-history"):
            git_in(work, "branch", "-D", "latency-history")

    assert "this verdict is in the history already" in ran.text
    assert ["Verdict on 222222222222", "Verdict on 111111111111"] == git_in(
        origin, "log", "--format=%s", "latency-history"
    ).splitlines()
    assert ["history.jsonl", "index.html"] == git_in(origin, "ls-tree", "--name-only", "latency-history").splitlines()
    rows = [json.loads(line) for line in git_in(origin, "show", "latency-history:history.jsonl").splitlines()]
    assert ["PASS", "REGRESSION"] == [row["verdict"] for row in rows]


@pytest.mark.slow
@pytest.mark.usefixtures("runner")
class TestOnAVirtualPhone:
    """The whole action, with our own commands and a virtual phone."""

    pytestmark = NEEDS

    def test_the_reference_against_itself_passes_and_every_form_is_there(self, runner) -> None:
        runner.program("tkd-bench", OURS)
        reference = ROOT / "benchmarks" / "reference"
        copy = runner.folder / "candidate"
        shutil.copytree(reference / "tcresnet8-int8", copy / "tcresnet8-int8")
        env = VIRTUAL | {"BASELINE": str(reference / "baseline.json"), "CANDIDATE": str(copy)}

        compared = runner.run(step_called(ACTION, "Compare"), **env)
        assert {"exit-code": "0", "verdict": "PASS"} == compared.outputs, compared.text
        reported = runner.run(step_called(ACTION, "Report"), **env, CODE="0", TITLE="", COMMIT="")

        assert 0 == reported.code, reported.text
        row = re.search(
            r"^\| instructions \| ([0-9,]+) \| ([0-9,]+) \| \+0.00 % \| exact ", reported.summary, re.MULTILINE
        )
        assert row is not None, reported.summary
        assert row[1] == row[2]


GH = """#!/usr/bin/env python3
import json, pathlib, shutil, sys
here = pathlib.Path(__file__).parents[1]
words = sys.argv[1:]
with (here / "calls").open("a") as stream:
    stream.write(json.dumps(words) + "\\n")
if words[:2] == ["run", "download"]:
    if not (here / "artifacts").exists():
        sys.exit(1)
    shutil.copytree(here / "artifacts", words[words.index("--dir") + 1])
elif "PATCH" in words or "POST" in words:
    shutil.copy(words[words.index("--input") + 1], here / "sent.json")
elif words[-1].endswith("/comments"):
    print((here / "comments.json").read_text())
elif any(word.endswith("/pulls") for word in words):
    print((here / "pulls.json").read_text())
else:
    sys.exit(f"gh was not expected to be called with {words}")
"""
EVENT = {
    "RUN_ID": "7",
    "RUN_URL": "https://github.invalid/run/7",
    "HEAD_SHA": "f" * 40,
    "HEAD_OWNER": "someone",
    "HEAD_BRANCH": "faster",
    "NUMBER": "12",
}
MARKER = "<!-- tkd latency gate -->"


@pytest.fixture
def hub(runner) -> Path:
    """GitHub as its command sees it: two open pull requests of one branch, no comment yet, one report."""
    if not shutil.which("jq"):
        pytest.skip("jq is not here (Debian: jq); GitHub's runners have it")
    runner.program("gh", GH)
    pulls = [{"number": 11, "head": {"sha": "0" * 40}}, {"number": 12, "head": {"sha": "f" * 40}}]
    (runner.folder / "pulls.json").write_text(json.dumps(pulls))
    (runner.folder / "comments.json").write_text(json.dumps([{"id": 1, "user": {"type": "User"}, "body": MARKER}]))
    report = runner.folder / "artifacts" / "latency-report-virtual-pixel1"
    report.mkdir(parents=True)
    (report / "summary.md").write_text("## Instructions\n\nPASS, says @octocat <!-- and hides this\n")
    return runner.folder


def sent(hub: Path) -> str:
    return json.loads((hub / "sent.json").read_text())["body"]


def test_the_first_result_is_a_comment_that_calls_nobody_and_hides_nothing(runner, hub) -> None:
    assert {"found": "yes"} == runner.run(step_called(COMMENT, "Get the reports"), **EVENT).outputs
    assert {"number": "12"} == runner.run(step_called(COMMENT, "Find the pull request"), **EVENT).outputs
    ran = runner.run(step_called(COMMENT, "Post or replace the comment"), **EVENT)

    assert (0, "commented on pull request 12\n") == (ran.code, ran.text)
    assert sent(hub).startswith(f"{MARKER}\n## Instructions\n")
    assert "@octocat" not in sent(hub)
    assert "&lt;!-- and hides this" in sent(hub)
    assert f"Of commit {'f' * 40}, made by [this run](https://github.invalid/run/7)" in sent(hub)


def test_a_later_result_replaces_the_comment_of_ours(runner, hub) -> None:
    comments = [
        {"id": 1, "user": {"type": "User"}, "body": f"{MARKER} so says a person"},
        {"id": 2, "user": {"type": "Bot"}, "body": "another bot"},
        {"id": 3, "user": {"type": "Bot"}, "body": f"{MARKER}\nold"},
    ]
    (hub / "comments.json").write_text(json.dumps(comments))
    runner.run(step_called(COMMENT, "Get the reports"), **EVENT)

    ran = runner.run(step_called(COMMENT, "Post or replace the comment"), **EVENT)

    assert (0, "replaced comment 3 of pull request 12\n") == (ran.code, ran.text)
    last = json.loads((hub / "calls").read_text().splitlines()[-1])
    assert "repos/owner/repository/issues/comments/3" in last


def test_a_report_that_is_a_link_or_too_long_does_not_get_out(runner, hub) -> None:
    report = hub / "artifacts" / "latency-report-virtual-mi5"
    report.mkdir()
    (report / "summary.md").symlink_to("/etc/passwd")
    (hub / "artifacts" / "latency-report-virtual-pixel1" / "summary.md").write_text("x" * 100_000)
    runner.run(step_called(COMMENT, "Get the reports"), **EVENT)
    copy = hub / "work" / "reports" / "latency-report-virtual-mi5" / "summary.md"
    copy.unlink()
    copy.symlink_to("/etc/passwd")

    runner.run(step_called(COMMENT, "Post or replace the comment"), **EVENT)

    assert "root:" not in sent(hub)
    assert len(sent(hub)) < 16_000


def test_a_run_without_a_report_and_a_pull_request_that_has_gone_on_end_quietly(runner, hub) -> None:
    shutil.rmtree(hub / "artifacts")
    ran = runner.run(step_called(COMMENT, "Get the reports"), **EVENT)
    assert (0, {}) == (ran.code, ran.outputs)
    assert "::notice title=Latency comment::run 7 has no report" in ran.text

    ran = runner.run(step_called(COMMENT, "Find the pull request"), **EVENT | {"HEAD_SHA": "a" * 40})
    assert (0, {"number": ""}) == (ran.code, ran.outputs)
    assert "no open pull request" in ran.text


def test_the_reference_is_whole_and_is_the_one_that_is_named() -> None:
    from android_bench.baseline import baseline_bundles

    reference = ROOT / "benchmarks" / "reference"

    assert [bundle.name for bundle in find_bundles(reference)] == [
        bundle.name for bundle in baseline_bundles(reference / "baseline.json")
    ]
    assert all(bundle.synthetic for bundle in find_bundles(reference))
