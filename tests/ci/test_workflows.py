"""The workflows keep the rules that make them safe to copy: what they may, what they run, and what they are titled."""

import re

import pytest

from tests.ci.steps import ACTION, COMMENT, GATE, all_steps, phone_jobs, read

DOCUMENTS = {path.name: path for path in (ACTION, GATE, COMMENT)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_shell_has_an_expression_in_it(name) -> None:
    for step in all_steps(read(DOCUMENTS[name])):
        assert "${{" not in step.get("run", ""), step.get("name")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_shell_says_which_and_has_a_name(name) -> None:
    scripts = [step for step in all_steps(read(DOCUMENTS[name])) if "run" in step]

    assert scripts
    assert all(step["shell"] == "bash" and step["name"] for step in scripts)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_actions_of_others_are_pinned_to_a_version(name) -> None:
    for step in all_steps(read(DOCUMENTS[name])):
        uses = step.get("uses", "./")
        assert uses == "./" or re.fullmatch(r"actions/[a-z-]+@v\d+", uses)


def test_the_gate_may_read_and_nothing_else() -> None:
    gate = read(GATE)

    assert {"contents": "read"} == gate["permissions"]
    assert not any("permissions" in job for job in gate["jobs"].values())
    assert "pull_request_target" not in gate["on"]
    assert "secrets" not in GATE.read_text()
    for step in all_steps(gate):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_the_gate_of_virtual_phones_is_titled_instructions() -> None:
    gate = read(GATE)

    assert "Latency gate (instructions)" == gate["name"]
    assert "instructions on ${{ matrix.device }} (emulated, not latency)" == gate["jobs"]["instructions"]["name"]
    assert all(device.startswith("virtual-") for device in gate["jobs"]["instructions"]["strategy"]["matrix"]["device"])


def test_the_judge_is_the_merge_bases_and_both_arms_have_jobs_of_their_own() -> None:
    jobs = read(GATE)["jobs"]

    assert ["baseline", "candidate"] == jobs["export"]["strategy"]["matrix"]["arm"]
    (checkout,) = (
        step for step in jobs["instructions"]["steps"] if step.get("uses", "").startswith("actions/checkout")
    )
    assert checkout["with"]["ref"].startswith("${{ github.event.pull_request.base.sha")
    assert not any("tkd-export" in step.get("run", "") for step in jobs["instructions"]["steps"])


def test_what_one_job_uploads_another_one_downloads() -> None:
    gate = GATE.read_text()

    assert "name: bundles-${{ matrix.arm }}" in gate
    assert "baseline: bundles/bundles-baseline" in gate
    assert "candidate: bundles/bundles-candidate" in gate
    assert "name: latency-report-${{ matrix.device }}" in gate
    assert "--pattern 'latency-report-*'" in COMMENT.read_text()


def test_the_comment_follows_the_gate_by_its_name_and_runs_nothing_of_a_fork() -> None:
    comment = read(COMMENT)

    assert [read(GATE)["name"]] == comment["on"]["workflow_run"]["workflows"]
    assert {"actions": "read", "pull-requests": "write"} == comment["permissions"]
    steps = all_steps(comment)
    assert all("uses" not in step for step in steps)
    programs = " ".join(step["run"] for step in steps)
    assert not re.search(r"\b(pip|python3?|npm|make|bash|sh|source|eval|git|tkd-\w+)\b", programs)


def test_the_phones_job_is_for_one_phone_one_label_and_no_fork() -> None:
    jobs = phone_jobs()
    export, phone = jobs["export-for-phone"], jobs["phone"]

    assert "github.event.label.name == 'latency: pixel1'" in export["if"]
    assert "github.event.pull_request.head.repo.full_name == github.repository" in export["if"]
    assert "export-for-phone" == phone["needs"]
    assert ["self-hosted", "pixel1"] == phone["runs-on"]
    assert {"group": "phone-pixel1", "cancel-in-progress": False} == phone["concurrency"]
    (checkout,) = (step for step in phone["steps"] if step.get("uses", "").startswith("actions/checkout"))
    assert "${{ github.event.pull_request.base.sha }}" == checkout["with"]["ref"]
    assert "pixel1" == next(step for step in phone["steps"] if step.get("uses") == "./")["with"]["device"]


def test_the_actions_outputs_are_those_of_its_step() -> None:
    action = read(ACTION)

    for output in action["outputs"].values():
        name = re.fullmatch(r"\$\{\{ steps\.compare\.outputs\.([a-z-]+) \}\}", output["value"]).group(1)
        (compare,) = (step for step in action["runs"]["steps"] if step.get("id") == "compare")
        assert f"{name}=" in compare["run"]
    used = set(re.findall(r"inputs\.([a-z]+)", ACTION.read_text()))
    assert used == set(action["inputs"])
