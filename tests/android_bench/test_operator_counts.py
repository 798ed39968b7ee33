"""Where instructions go: marks of an emulator become a record, and what does not fit together an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_bench.errors import RecordError, RunnerError
from android_bench.operator_counts import OperatorCounts, OperatorInstructions, operator_lines, parse_operators

END, BEGIN, FINISHED, CLOCK = range(4)


def op(row, name="CONV_2D", **changes):
    return {"name": name, "index": row, "subgraph": 0, "calls": 1, "row": row, **changes}


def text(whole, *marks):
    """What the plugin prints; a mark is (what, row, position), for a delegate's operator with its parts in the end."""
    marks = [(*mark, 1 if mark[0] == FINISHED else 0)[:4] for mark in marks]
    lines = [f"tkd-position {what} {row} {parts} {at}" for what, row, at, parts in marks]
    return "\n".join(["INFO: noise", *lines, f"tkd-instructions 4 0 {whole}", ""])


def taken(counts):
    return {each.index: each.instructions for each in counts.operators}


def test_an_operator_of_the_engine_takes_what_lies_between_its_marks():
    counts = parse_operators(text(100, (BEGIN, 0, 10), (END, 0, 40), (BEGIN, 1, 50), (END, 1, 90)), [op(0), op(1)], "m")

    assert taken(counts) == {0: 30, 1: 40}
    assert (counts.whole, counts.beside) == (100, 30)


def test_operators_of_a_delegate_lie_between_its_readings_of_the_clock():
    marks = [(CLOCK, 0, 5), (CLOCK, 0, 25), (CLOCK, 0, 60), (FINISHED, 0, 70), (FINISHED, 1, 75)]

    counts = parse_operators(text(80, *marks), [op(0), op(1)], "m")

    assert taken(counts) == {0: 20, 1: 35}
    assert counts.beside == 25


def test_an_operator_of_several_parts_takes_all_of_them():
    marks = [(CLOCK, 0, at) for at in (0, 1, 3, 7, 15)]

    counts = parse_operators(text(99, *marks, (FINISHED, 0, 20, 3), (FINISHED, 1, 21, 1)), [op(0), op(1)], "m")

    assert taken(counts) == {0: 7, 1: 8}


def test_two_parts_of_a_delegate_one_after_the_other_are_told_apart():
    first = [(CLOCK, 0, 0), (CLOCK, 0, 10), (FINISHED, 0, 12)]
    second = [(CLOCK, 0, 20), (CLOCK, 0, 50), (CLOCK, 0, 51), (FINISHED, 1, 60), (FINISHED, 2, 61)]

    counts = parse_operators(text(70, *first, *second), [op(0), op(1), op(2)], "m")

    assert taken(counts) == {0: 10, 1: 30, 2: 1}


def test_a_step_that_is_called_twice_is_counted_without_what_is_inside_it():
    step = [(BEGIN, 0, 0), (CLOCK, 0, 10), (CLOCK, 0, 40), (FINISHED, 1, 45), (END, 0, 50)]
    again = [(what, row, at + 100) for what, row, at in step]

    counts = parse_operators(text(200, *step, *again), [op(0, "IF", calls=2), op(1, subgraph=1, calls=2)], "m")

    assert taken(counts) == {0: 40, 1: 60}
    assert counts.beside == 100


@pytest.mark.parametrize(
    ("stderr", "ops", "message"),
    [
        ("", [], "counted 0 inferences of m by operators, expected 1: was it started with the plugin"),
        (text(9) + text(9), [], "counted 2 inferences of m by operators"),
        (text(9, (CLOCK, 0, 1), (FINISHED, 0, 2)), [op(0)], "ran 1 parts of operators of m and read the clock 1 times"),
        (text(9, (FINISHED, 0, 2)), [op(0)], "ran 1 parts of operators of m and read the clock 0 times"),
        (text(9, (BEGIN, 0, 1), (END, 1, 2)), [op(0), op(1)], "operator 1 of m ended while 0 was running"),
        (text(9, (END, 1, 2)), [op(1)], "operator 1 of m ended while -1 was running"),
        (text(9, (BEGIN, 0, 1)), [op(0)], "operator 0 of m began and did not end"),
        (text(9, (7, 0, 1)), [op(0)], "operator 0 of m ended"),
        (text(9, (BEGIN, 0, 1), (END, 0, 2)), [], r"did not name operators \[0\] of m"),
        (text(9), [op(0)], "impossible operators for m: KeyError"),
        (text(9, (BEGIN, 0, 1), (END, 0, 2)), [{"row": 0}], "impossible operators for m: KeyError"),
        (text(9, (BEGIN, 0, 1), (END, 0, 20)), [op(0)], "impossible operators for m: RecordError"),
    ],
)
def test_what_does_not_fit_together_is_an_error(stderr, ops, message):
    with pytest.raises(RunnerError, match=message):
        parse_operators(stderr, ops, "m")


@st.composite
def inferences(draw):
    """Marks of nested operators and parts of a delegate, their rows, and the position behind them."""
    marks, rows, at = [], 0, 0

    def part(depth):
        nonlocal rows, at
        for _ in range(draw(st.integers(0, 3))):
            at += draw(st.integers(0, 9))
            if depth < 3 and draw(st.booleans()):
                row, rows = rows, rows + 1
                marks.append((BEGIN, row, at))
                part(depth + 1)
                at += draw(st.integers(0, 9))
                marks.append((END, row, at))
            else:
                lengths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
                for _ in range(sum(lengths) + 1):
                    at += draw(st.integers(0, 9))
                    marks.append((CLOCK, 0, at))
                for parts in lengths:
                    at += 1
                    marks.append((FINISHED, rows, at, parts))
                    rows += 1

    part(0)
    return marks, rows, at


@given(inferences())
def test_no_instruction_is_lost_or_counted_twice(inference):
    marks, rows, at = inference

    counts = parse_operators(text(at + 5, *marks), [op(row) for row in range(rows)], "m")

    assert counts.beside + sum(taken(counts).values()) == at + 5
    assert min(taken(counts).values(), default=0) >= 0
    assert counts.beside >= 5


def test_a_record_whose_parts_are_more_than_the_whole_is_refused():
    one = OperatorInstructions(name="CONV_2D", index=0, subgraph=0, calls=1, instructions=11)

    with pytest.raises(RecordError, match="more than the whole"):
        OperatorCounts(whole=10, beside=-1, operators=(one,))


def test_the_table_adds_up_and_says_what_the_profiler_costs():
    counts = parse_operators(
        text(1000, (BEGIN, 0, 0), (END, 0, 250), (BEGIN, 1, 250), (END, 1, 900)),
        [op(0), op(1, "ADD", subgraph=2, index=7, calls=49)],
        "m",
    )

    lines = operator_lines(counts, 980)

    assert lines[1].split() == ["250", "25.0%", "1", "0", "CONV_2D"]
    assert lines[2].split() == ["650", "65.0%", "49", "2.7", "ADD"]
    assert "100   10.0%" in lines[3]
    assert lines[4].endswith("altogether; 980 without the profiler")
