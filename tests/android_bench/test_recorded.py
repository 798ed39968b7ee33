"""Two recorded results: compared where they can be, refused with what differs, and never judged when damaged."""

import json
from dataclasses import replace

import pytest

from android_bench.cli import main
from android_bench.recorded import compare_files
from android_bench.records import RunPlan
from android_bench.session_file import write_session
from android_bench.verdict import GateSettings
from android_bench.verdict_file import read_gate
from tests.android_bench.pair_toys import measurement, session, times

SETTINGS = GateSettings()


def written(path, ratio, *, anchor=True, drift=1.0, seed=1, sha256="a" * 64, blocks=15, **changes):
    """A session of one model, and of an anchor that drifts with it."""
    reference, values = times(ratio, blocks, seed=seed)
    parts = [measurement("toy", values * drift, sha256=sha256)]
    if anchor:
        parts.append(measurement("reference", reference * drift, place=1, sha256="f" * 64))
    write_session(path, replace(session(*parts), **changes))
    return path


@pytest.fixture
def files(tmp_path):
    return tmp_path / "old.json", tmp_path / "new.json"


def compared(files, index=0):
    return compare_files(files, SETTINGS)[index]


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "PASS"), (1.1, "REGRESSION"), (0.9, "IMPROVED")])
def test_a_model_in_both_sessions_takes_out_what_changed_between_them(files, ratio, verdict) -> None:
    written(files[0], 1.0)
    written(files[1], ratio, drift=1.5, seed=2, sha256="b" * 64)
    found = compared(files)
    assert (verdict, "anchored") == (found.verdict, found.latency.design)
    assert abs(found.latency.looks[0].ratio - ratio) < 0.015


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "INCONCLUSIVE"), (1.1, "INCONCLUSIVE"), (1.3, "REGRESSION")])
def test_sessions_with_nothing_in_common_see_large_changes_only(files, ratio, verdict) -> None:
    written(files[0], 1.0, anchor=False)
    written(files[1], ratio, anchor=False, seed=2, sha256="b" * 64)
    found = compared(files)
    assert (verdict, "two sessions") == (found.verdict, found.latency.design)
    assert "measure both models in one session" in found.notes[0]


def test_few_blocks_are_no_answer(files) -> None:
    written(files[0], 1.0, anchor=False, blocks=5)
    written(files[1], 3.0, anchor=False, blocks=5, sha256="b" * 64)
    assert "INCONCLUSIVE" == compared(files).verdict


def test_two_devices_are_not_compared_and_exit_with_3(files, tmp_path, capsys) -> None:
    written(files[0], 1.0)
    written(files[1], 1.0, device="pixel1", plan=RunPlan(blocks=15, threads=2))
    code = main(["compare", *map(str, files), "--output", str(tmp_path / "out"), "-q"])
    said = capsys.readouterr().out
    assert 3 == code
    assert "NOT COMPARABLE: toy" in said
    assert "why: device: host and pixel1" in said
    assert "why: threads: 1 and 2" in said
    assert "NOT COMPARABLE" == read_gate(tmp_path / "out" / "compare.json").verdict


def counts(path, inference, **changes):
    by = {"engine_sha256": "e" * 64, "emulator": "7.2", "threads": 1}
    row = {
        "model": "toy",
        "sha256": "a" * 64,
        "size_bytes": 1000,
        "synthetic": True,
        "instructions": {"init": 5, "first": 5, "inference": inference, "runs": 5, "counted_by": by | changes},
        "predictions": None,
        "failure": None,
    }
    document = {
        "format": "tkd.instructions/1",
        "title": "emulated, instructions, not latency",
        "device": "virtual-pixel1",
        "context": {"model": "Pixel", "fingerprint": "x", "stands_for": "instructions"},
        "concerns": [],
        "measurements": [row],
    }
    path.write_text(json.dumps(document), "utf-8")


@pytest.mark.parametrize(("inference", "verdict"), [(1000, "PASS"), (1005, "PASS"), (1006, "REGRESSION")])
def test_counts_are_compared_exactly(files, inference, verdict) -> None:
    counts(files[0], 1000)
    counts(files[1], inference)
    assert verdict == compared(files).verdict


def test_counts_of_two_engines_are_not_compared(files) -> None:
    counts(files[0], 1000)
    counts(files[1], 1000, engine_sha256="d" * 64)
    found = compared(files)
    assert "NOT COMPARABLE" == found.verdict
    assert f"engine_sha256: {'e' * 64} and {'d' * 64}" == found.reasons[0]


def edit_samples(document):
    document["measurements"][0]["blocks"][0]["samples_ns"][0] += 1


def edit_answers(document):
    document["measurements"][0]["predictions"]["predicted"][0] = 1


@pytest.mark.parametrize("edit", [edit_samples, edit_answers])
def test_an_edited_session_is_refused(files, tmp_path, capsys, edit) -> None:
    for path in files:
        written(path, 1.0)
    document = json.loads(files[1].read_text("utf-8"))
    edit(document)
    files[1].write_text(json.dumps(document), "utf-8")
    code = main(["compare", *map(str, files), "--output", str(tmp_path / "out")])
    assert 2 == code
    assert "was edited after it was measured (samples_sha256 does not fit)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": "tkd.bench/9"}', "has format 'tkd.bench/9', expected"),
        ('{"format": "tkd.bench/9"}', "update this toolkit"),
        ('{"format": "tkd.compare/1"}', "has format 'tkd.compare/1', expected 'tkd.bench/1' or 'tkd.instructions/1'"),
        ('{"format": "tkd.bench/1"}', "is damaged"),
        ("[]", "has format None"),
        ('{"format": "tkd.bench/1", "measure', "is damaged (not JSON"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_result_is_refused_with_what_was_seen(files, tmp_path, capsys, text, message) -> None:
    written(files[0], 1.0)
    if text is not None:
        files[1].write_text(text, "utf-8")
    code = main(["compare", *map(str, files), "--output", str(tmp_path / "out")])
    assert 2 == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_times_and_instructions_are_not_compared(files, capsys) -> None:
    written(files[0], 1.0)
    counts(files[1], 1000)
    assert 2 == main(["compare", *map(str, files)])
    assert "expected two files of one kind" in capsys.readouterr().err


def test_damaged_counts_are_refused(files, capsys) -> None:
    counts(files[0], 1000)
    files[1].write_text('{"format": "tkd.instructions/1", "measurements": [{"model": "toy"}]}', "utf-8")
    assert 2 == main(["compare", *map(str, files)])
    assert "is damaged" in capsys.readouterr().err


def test_files_without_a_model_in_common_are_refused(files, capsys) -> None:
    written(files[0], 1.0)
    write_session(files[1], session(measurement("p", times(1, 9)[0]), measurement("q", times(1, 9)[1])))
    assert 2 == main(["compare", *map(str, files)])
    assert "expected models of one name, or one model in each" in capsys.readouterr().err
