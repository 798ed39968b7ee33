"""Files are known by the format they name; what is damaged, edited or of another version is refused in a sentence."""

import json
import shutil

import pytest

from android_bench.counts_file import read_counts
from android_bench.errors import RecordError
from android_bench.evidence import gather
from android_bench.history import append
from android_bench.session_file import write_session
from android_bench.verdict_file import gate_to_json, write_gate
from tests.android_bench.report_toys import history_rows, session
from tests.android_bench.verdict_toys import example_gate, example_judgement

COUNTS = {
    "format": "tkd.instructions/1",
    "device": "virtual-pixel1",
    "context": {"model": "Pixel", "fingerprint": "google/sailfish"},
    "started_utc": "2026-11-21T15:00:00Z",
    "interrupted": False,
    "concerns": ["emulated: instructions are exact, times mean nothing"],
    "measurements": [
        {
            "model": "ds-cnn-s-int8",
            "sha256": "a" * 64,
            "size_bytes": 1000,
            "synthetic": True,
            "instructions": {"init": 3, "first": 2, "inference": 1, "runs": 5, "counted_by": {"threads": 1}},
            "predictions": {"ids": ["a"], "predicted": [1], "expected": [1]},
            "failure": None,
        },
        {
            "model": "lost-int8",
            "student": "lost",
            "precision": "int8",
            "sha256": "b" * 64,
            "size_bytes": 1000,
            "synthetic": True,
            "instructions": None,
            "predictions": None,
            "failure": {"kind": "device", "message": "gone"},
        },
    ],
}
SMALL = (("tcresnet8", "int8", 10.6, 227),)


@pytest.fixture
def folder(tmp_path, exports):
    """A folder with one of each."""
    write_session(tmp_path / "session.json", session(SMALL, blocks=6))
    (tmp_path / "instructions.json").write_text(json.dumps(COUNTS))
    write_gate(tmp_path / "compare.json", example_gate(example_judgement()))
    append(tmp_path / "history.jsonl", history_rows(3))
    for bundle in exports.iterdir():
        shutil.copytree(bundle, tmp_path / bundle.name)
    return tmp_path


def test_a_folder_stands_for_all_of_ours_in_it(folder) -> None:
    found = gather([folder])

    assert (1, 6, 1, 1, 2) == tuple(
        len(part) for part in (found.gates, found.history, found.sessions, found.counted, found.exports)
    )
    assert found.notes == ()
    assert not found.is_empty
    assert {"tkd.compare/1", "tkd.history/1", "tkd.bench/1", "tkd.instructions/1", "tkd.bundle/1"} == {
        source.format for source in found.sources
    }
    assert all(len(source.sha256) == 64 for source in found.sources)


def test_what_is_read_is_what_was_written(folder) -> None:
    assert gather([folder / "session.json"]).sessions == (session(SMALL, blocks=6),)
    assert set(gather([folder / "history.jsonl"]).history) == set(history_rows(3))


def test_a_file_that_is_named_twice_is_shown_once(folder, tmp_path_factory) -> None:
    copy = tmp_path_factory.mktemp("copy") / "session.json"
    shutil.copy(folder / "session.json", copy)

    assert 1 == len(gather([folder / "session.json", folder / "session.json", copy]).sessions)


def test_counts_of_an_earlier_version_tell_student_and_precision_by_the_name(folder) -> None:
    first, lost = read_counts(folder / "instructions.json").models

    assert ("ds-cnn-s", "int8", 1) == (first.student, first.precision, first.instructions.inference)
    assert lost.instructions is None
    assert "gone" == lost.failure.message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("session.json", "{", r"session\.json is damaged \(not JSON"),
        ("session.json", "[]", r"has format None, expected one of tkd\.compare/1, tkd\.history/1, tkd\.bench/1"),
        ("session.json", '{"format": "tkd.bench/9"}', r"has format 'tkd\.bench/9', .*; update this toolkit"),
        ("session.json", '{"format": "else/1"}', r"has format 'else/1', expected one of [^;]*$"),
        ("session.json", '{"format": "tkd.bench/1"}', "is damaged"),
        ("session.json", "", "is damaged"),
        ("instructions.json", '{"format": "tkd.instructions/1"}', r"is damaged \(KeyError"),
        ("history.jsonl", "nonsense\n", "is damaged"),
        ("history.jsonl", '{"format": "tkd.history/2"}\n', r"has format 'tkd\.history/2', .*; update this toolkit"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(folder, name, text, message) -> None:
    (folder / name).write_text(text)

    with pytest.raises(RecordError, match=message):
        gather([folder / name])


def test_a_verdict_with_an_edited_sample_is_refused(folder) -> None:
    document = gate_to_json(example_gate(example_judgement()))
    document["judgements"][0]["latency"]["sessions"][0]["blocks"][0]["value_ns"] *= 0.9
    (folder / "compare.json").write_text(json.dumps(document))

    with pytest.raises(RecordError, match="was edited after it was written"):
        gather([folder])


def test_a_path_that_is_not_there_or_holds_nothing_of_ours_is_said(tmp_path) -> None:
    with pytest.raises(RecordError, match=r"there is no .*nowhere; expected files or folders"):
        gather([tmp_path / "nowhere"])
    with pytest.raises(RecordError, match="holds nothing that a report is made from"):
        gather([tmp_path])


def test_an_empty_history_and_one_cut_off_are_notes(tmp_path) -> None:
    (tmp_path / "history.jsonl").write_text("")
    assert gather([tmp_path]).is_empty
    assert gather([tmp_path]).notes == ("history.jsonl holds no verdict yet",)

    append(tmp_path / "history.jsonl", history_rows(2))
    text = (tmp_path / "history.jsonl").read_text()
    (tmp_path / "history.jsonl").write_text(text[:-20])
    found = gather([tmp_path])
    assert 3 == len(found.history)
    assert "the last line of history.jsonl was cut off" in found.notes[0]


def test_rows_of_several_histories_are_in_the_order_of_time_and_once(tmp_path) -> None:
    rows = history_rows(3)
    append(tmp_path / "a.jsonl", rows[3:])
    append(tmp_path / "b.jsonl", rows[:4])

    found = gather([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]).history

    assert set(rows) == set(found)
    assert [row.finished_utc for row in found] == sorted(row.finished_utc for row in rows)


def test_counts_with_a_number_that_cannot_be_are_refused(folder) -> None:
    bad = json.loads(json.dumps(COUNTS))
    bad["measurements"][0]["instructions"]["inference"] = 0
    (folder / "instructions.json").write_text(json.dumps(bad))

    with pytest.raises(RecordError, match="instruction counts are"):
        gather([folder / "instructions.json"])


def test_a_missing_file_of_counts_is_named(tmp_path) -> None:
    with pytest.raises(RecordError, match="no session at"):
        read_counts(tmp_path / "instructions.json")
