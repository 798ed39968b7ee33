"""The table says what it is, never cuts a number off, and calls the unclear unclear."""

import dataclasses
import io

import pytest
from rich.console import Console

from android_bench.measure import measure
from android_bench.records import Memory, Rejection, RunPlan, StageScore
from android_bench.report import duration, headline, markdown, remarks, rows, stage_rows, terminal
from converters.bundle import find_bundles
from tests.android_bench.bench_toys import FakeDevice


@pytest.fixture(scope="module")
def session(exports):
    return measure("host", FakeDevice(), find_bundles(exports), RunPlan(blocks=6))


def shown(session, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(terminal(session, width))
    return console.file.getvalue()


def with_model(session, **changes):
    first, *rest = session.measurements
    changed = dataclasses.replace(first, model=dataclasses.replace(first.model, **changes), blocks=(), memory=None)
    return dataclasses.replace(session, measurements=(changed, *rest))


def test_the_headline_says_device_clock_runner_and_that_it_is_no_phone(session):
    assert headline(session) == (
        "host: Fake CPU, 2 CPUs, 1 thread, a fake 1.0 with XNNPACK · wall-clock time on a fake; not a phone"
    )


def test_every_cell_has_its_unit(session):
    assert rows(session)[0].times == ("10.0 µs", "10.0 – 10.0 µs", "11.0 µs", "50.0 µs", "1.00 ms")
    assert rows(session)[0].sizes[1:2] == ("1.02 MB",)


@pytest.mark.parametrize("width", [80, 100, 112, 120, 200])
def test_no_number_is_ever_cut_off(session, width):
    text = shown(session, width)

    assert "…" not in text
    for row in rows(session):
        for cell in (row.name, *row.times, *row.sizes):
            assert cell in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width


def test_synthetic_data_is_marked_in_the_cell_and_in_a_sentence(session):
    assert all(row.sizes[2].endswith("% *") for row in rows(session))
    assert "* SYNTHETIC data: this accuracy says nothing about recorded audio" in remarks(session)
    assert "SYNTHETIC data" in markdown(session)


def test_real_data_has_no_such_mark(session):
    real = tuple(
        dataclasses.replace(item, model=dataclasses.replace(item.model, synthetic=False))
        for item in session.measurements
    )
    session = dataclasses.replace(session, measurements=real)

    assert "SYNTHETIC" not in markdown(session)
    assert not any("*" in row.sizes[2] for row in rows(session))


def test_the_ratio_and_the_paired_difference_have_intervals(session):
    text = shown(session, 80)

    assert "toy-int8 time" in text
    assert "0.800 ×" in text
    assert "0.800 – 0.800" in text
    assert "+0.0 points" in text
    assert "+0 −0 / 30" in text


def test_what_cannot_be_told_is_unclear(session):
    few = dataclasses.replace(
        session, measurements=tuple(dataclasses.replace(item, blocks=item.blocks[:5]) for item in session.measurements)
    )

    assert rows(few)[0].times[1] == "unclear"
    assert "unclear" in shown(few, 80)
    assert "toy-int8 against toy-float32: latency: 5 pairs of blocks, a 95 % interval needs 6" in remarks(few)


def test_what_was_not_measured_is_a_dash(session):
    bare = with_model(session, precision="int8")

    assert rows(bare)[0].times == ("–",) * 5
    assert rows(bare)[0].sizes[1] == "–"


def test_memory_that_may_be_older_than_the_model_is_unclear(session):
    memory = Memory(start_kb=9, init_kb=9, overall_kb=9, peak_kb=99, peak_is_ours=False)
    first = dataclasses.replace(session.measurements[0], memory=memory)

    assert rows(dataclasses.replace(session, measurements=(first,)))[0].sizes[1] == "unclear"


def test_other_parents_and_other_clips_are_said(session):
    remade = with_model(session, parents={"checkpoint": "other"})
    first, second = session.measurements
    clips = dataclasses.replace(first.predictions, ids=tuple(f"other{i}" for i in range(30)))
    other = dataclasses.replace(session, measurements=(dataclasses.replace(first, predictions=clips), second))

    assert any("made from different parents" in line for line in remarks(remade))
    assert any("hold different clips" in line for line in remarks(other))


def test_an_interruption_is_loud(session):
    assert "INTERRUPTED" in markdown(dataclasses.replace(session, interrupted=True))


def test_concerns_stand_under_every_table(session):
    assert "not clean: a fake: nothing is measured" in remarks(session)


def test_blocks_that_disagree_are_said(session):
    first = session.measurements[0]
    slow = dataclasses.replace(first.blocks[0], samples_ns=(20_000,))
    changed = dataclasses.replace(first, blocks=(slow, *first.blocks[1:]))

    lines = remarks(dataclasses.replace(session, measurements=(changed,)))

    assert "toy-float32: its blocks differ by 100 %, something disturbed them" in lines


def test_names_with_brackets_are_shown_as_they_are(session):
    assert "[bold]x" in shown(with_model(session, name="[bold]x"), 120)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.00034, "340 ns"),
        (0.005812, "5.81 µs"),
        (0.9996, "1000 µs"),
        (1.0, "1.00 ms"),
        (99.96, "100 ms"),
        (2e3, "2.00 s"),
    ],
)
def test_durations_have_three_digits_and_the_unit_that_fits(ms, text):
    assert duration(ms) == text


SCORED = tuple(
    StageScore(name=name, metric="accuracy", value=value, interval=interval, total=30)
    for name, value, interval in (
        ("torch", 0.9667, (0.8333, 0.9941)),
        ("onnx", 0.9667, None),
        ("tflite", 0.9333, (0.7868, 0.9815)),
    )
)


@pytest.mark.parametrize("width", [80, 120])
def test_the_devices_score_stands_beside_those_of_the_export(session, width):
    (row,) = stage_rows(with_model(session, stages=SCORED))
    text = shown(with_model(session, stages=SCORED), width)

    assert row == ("toy-float32", "96.7 (83.3 – 99.4)", "96.7", "93.3 (78.7 – 98.2)", "26.7 (14.2 – 44.4)")
    for cell in (*row, "torch", "onnx", "tflite", "device"):
        assert cell in text
    assert f"| {' | '.join(row)} |" in markdown(with_model(session, stages=SCORED))
    assert stage_rows(session) == []


def test_a_rejected_round_is_loud(session):
    rejection = Rejection(index=2, reasons=("load 9.0", "hot"), waited_s=120.0, at_utc="2026-01-01T00:00:00Z")

    lines = remarks(dataclasses.replace(session, rejected=(rejection,)))

    assert "REJECTED: round 3 after 120 s: load 9.0; hot" in lines


def test_means_are_called_means(session):
    def slow(item):
        blocks = [dataclasses.replace(each, samples_ns=(9_000, 9_000, 18_000)) for each in item.blocks]
        return dataclasses.replace(item, blocks=tuple(blocks))

    plan = RunPlan(blocks=6, statistic="mean")
    changed = dataclasses.replace(session, measurements=tuple(map(slow, session.measurements)), plan=plan)

    assert rows(changed)[0].times[0] == "12.0 µs"
    assert "| model | mean |" in markdown(changed)
    assert "the median of the blocks' means" in markdown(changed)
