"""docs/devices.md is headed by exact messages: each must be one that the code can say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/devices.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^### (.+)$", PAGE.split("## When it does not work")[1], flags=re.MULTILINE)
# What stands for a name, an address or a number in a heading, or is the phone's own word.
BLANKS = r"…|no phone\b|No space left on device|\b[A-Z]+:PORT\b|127\.0\.0\.1:5037|, twice"


def sources() -> str:
    """All string literals of the package in one line, with their placeholders gone."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "android_bench").rglob("*.py")))
    joined = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"\{[^{}]*\}", "…", joined)


def test_the_page_has_headings():
    assert len(HEADINGS) > 8


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_message_in_a_heading_is_said_somewhere(heading):
    said = sources()
    pieces = [piece.strip(" :;.()") for piece in re.split(BLANKS, heading)]

    missing = [
        piece for piece in pieces
        for part in re.split(r"\. Seen: | \(connection refused\)|: unauthorized", piece)
        if len(part) > 8 and part.strip(" :;.()") not in said
    ]  # fmt: skip

    assert missing == []
