"""What is shown while files go to a phone."""

import io

import pytest

from android_bench.cli_pushing import Pushing

MB = 1_000_000


class Terminal(io.StringIO):
    def isatty(self):
        return True


def pushed(stream, *steps):
    """Pushes in steps of (seconds since the last one, file, bytes, bytes in all)."""
    now = 0.0
    pushing = Pushing(stream, lambda: now)
    for seconds, *step in steps:
        now += seconds
        pushing(*step)
    return stream.getvalue()


def test_what_takes_less_than_two_seconds_is_not_shown():
    assert pushed(io.StringIO(), (0, "a", MB, 3 * MB), (0.9, "a", MB, 3 * MB), (0.9, "a", MB, 3 * MB)) == ""


def test_a_slow_push_says_a_line_every_five_seconds_and_its_end():
    steps = [(1, "a.so", MB, 14 * MB)] * 14

    assert pushed(io.StringIO(), *steps).splitlines() == [
        "pushing a.so: 6.0 of 14.0 MB",
        "pushing a.so: 11.0 of 14.0 MB",
        "pushing a.so: 14.0 of 14.0 MB",
    ]


def test_many_short_files_are_one_long_push():
    steps = [(1, f"{number}.so", MB, MB) for number in range(4)]

    assert pushed(io.StringIO(), *steps) == "pushing 2.so: 1.0 of 1.0 MB\n"


def test_a_file_that_is_pushed_again_begins_again():
    steps = [(6, "a", MB, MB), (3, "a", MB, 2 * MB), (3, "a", MB, 2 * MB)]

    assert pushed(io.StringIO(), *steps).splitlines()[-1] == "pushing a: 2.0 of 2.0 MB"


@pytest.mark.parametrize("steps", [3, 4])
def test_on_a_terminal_a_bar_is_drawn_and_taken_away(steps, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    seen = pushed(Terminal(), *[(1.5, "a.so", MB, 4 * MB)] * steps)

    assert "pushing a.so" in seen
    assert "3.0/4.0 MB" in seen
