"""The page says what its numbers are, draws no emulated time, escapes everything, and loads nothing."""

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from android_bench.evidence import Evidence
from android_bench.page.axes import NARROW, Label, linear_scale, log_scale, place
from android_bench.page.front import costs_of_counts, costs_of_session, front, hues
from android_bench.page.markup import tag
from android_bench.page.samples import drift, spreads
from android_bench.page.whole import Imprint, page
from tests.android_bench.report_toys import context, counted, everything, export, history_rows, model, session
from tests.android_bench.verdict_toys import example_gate, example_judgement

IMPRINT = Imprint(title="A report <of> ours", written_utc="2026-11-21T15:00:00Z", version="0.1.0")


@pytest.fixture(scope="module")
def text() -> str:
    return page(everything(), IMPRINT)


def shown(**parts) -> str:
    return page(Evidence(**parts), IMPRINT)


def test_every_element_is_closed_in_its_place(text) -> None:
    void = re.sub(r"<(meta[^>]*)>", r"<\1/>", text.removeprefix("<!doctype html>\n"))
    plain = re.sub(r" (open)(?=[ >])", r' \1=""', void)

    assert "html" == ElementTree.fromstring(plain).tag


def test_names_are_never_taken_for_markup(text) -> None:
    assert "<b>bold</b>" not in text
    assert "&lt;b&gt;bold&lt;/b&gt;-int8" in text
    assert "<title>A report &lt;of&gt; ours</title>" in text


def test_nothing_is_loaded_and_no_script_is_there(text) -> None:
    assert "default-src &#x27;none&#x27;" in text
    assert re.findall(r"<(?:script|link|img|iframe|object|video|image)\b", text) == []
    targets = set(re.findall(r'(?:href|src|url)\s*[=(]\s*"?([^">)]+)', text))
    assert {target for target in targets if not target.startswith("#")} == set()
    assert "http://" not in text
    assert "https://" not in text


def test_every_id_is_there_once_and_every_reference_leads_to_one(text) -> None:
    ids = re.findall(r' id="([^"]+)"', text)
    wanted = {part for value in re.findall(r'aria-labelledby="([^"]+)"', text) for part in value.split()}
    wanted |= {target[1:] for target in re.findall(r'href="(#[^"]+)"', text)}

    assert len(ids) == len(set(ids))
    assert wanted <= set(ids)


def test_every_chart_has_a_title_and_a_sentence_for_those_who_cannot_see_it(text) -> None:
    for chart in re.findall(r'<svg role="img".*?</desc>', text):
        assert re.fullmatch(r".*<title[^>]*>[^<]{5,}</title><desc[^>]*>[^<]{10,}</desc>", chart)
    assert text.count('<svg role="img"') >= 15


def test_synthetic_and_emulated_stand_at_the_top_and_beside_the_numbers(text) -> None:
    top = text[: text.index("<main")]

    assert "SYNTHETIC data" in top
    assert "EMULATED" in top
    assert "94.2 % *" in text
    assert "* SYNTHETIC data: this accuracy says nothing about recorded audio" in text


def test_real_data_on_a_real_device_has_no_such_words() -> None:
    made = session(models=(("tcresnet8", "int8", 10.6, 227),))
    real = dataclasses.replace(made.measurements[0], model=model("tcresnet8", "int8", synthetic=False))
    shown_text = shown(sessions=(dataclasses.replace(made, measurements=(real,)),))

    assert "SYNTHETIC" not in shown_text
    assert "EMULATED" not in shown_text
    assert "94.6 %" in shown_text
    assert " *" not in re.sub(r"<style>.*?</style>", "", shown_text, flags=re.DOTALL)


def test_times_of_an_emulated_phone_are_not_drawn() -> None:
    emulated = session(context=context(kind="phone", emulated=True), device="pixel1")
    shown_text = shown(sessions=(emulated,))

    assert "Its times are no latency and are not drawn" in shown_text
    assert 'role="img"' not in shown_text
    assert costs_of_session(emulated).models == ()


def test_counts_are_called_instructions_and_nothing_else() -> None:
    shown_text = shown(counted=(counted(),))
    body = re.sub(r"<(style|details)>.*?</\1>", "", shown_text, flags=re.DOTALL)

    assert "instructions of one inference (emulated, not latency)" in body
    assert not re.search(r"\d (ns|µs|ms|s)\b", body)
    for sentence in re.findall(r"[^.>]*\blatency\b[^.<]*", body):
        assert re.search(r"\b(no|not|never) latency", sentence), sentence


def test_the_front_holds_the_models_that_no_other_one_beats() -> None:
    costs = costs_of_session(session())

    assert ["tcresnet8-int8", "tcresnet-kws-int8", "mhatt-rnn-float32"] == [point.name for point in front(costs.models)]


def test_of_two_equally_good_models_the_cheaper_one_is_on_the_front() -> None:
    points = costs_of_counts(counted((("a", "int8", 2.0, 200), ("b", "int8", 1.0, 200)))).models

    assert ["b-int8"] == [point.name for point in front(points)]


def test_a_model_that_was_not_scored_stands_in_the_table_only() -> None:
    made = session(models=(("tcresnet8", "int8", 10.6, 227),))
    bare = dataclasses.replace(made.measurements[0], predictions=None)
    shown_text = shown(sessions=(dataclasses.replace(made, measurements=(bare,)),))

    assert "Accuracy against latency, host" not in shown_text
    assert "tcresnet8-int8" in shown_text
    assert front(costs_of_session(dataclasses.replace(made, measurements=(bare,))).models) == []


def test_a_session_without_a_block_says_so() -> None:
    made = session()
    empty = tuple(dataclasses.replace(each, blocks=()) for each in made.measurements)

    assert "No block was measured to its end." in shown(sessions=(dataclasses.replace(made, measurements=empty),))


def test_one_block_of_one_sample_is_drawn_and_its_interval_is_unclear() -> None:
    made = session(models=(("tcresnet8", "int8", 10.6, 227),), blocks=1)
    block = dataclasses.replace(made.measurements[0].blocks[0], samples_ns=(10_600,))
    one = dataclasses.replace(made.measurements[0], blocks=(block,))
    shown_text = shown(sessions=(dataclasses.replace(made, measurements=(one,)),))

    assert "10.6 µs (interval unclear)" in shown_text


def test_samples_outside_the_drawing_are_counted_in_words() -> None:
    made = session()
    scale, found = spreads(made)

    assert len(found) == len(made.measurements)
    for spread, measured in zip(found, made.measurements, strict=True):
        samples = [sample * 1e-6 for block in measured.blocks for sample in block.samples_ns]
        assert len(samples) == spread.count
        assert sum(scale.low <= each <= scale.high for each in samples) == spread.count - spread.below - spread.above
        assert spread.highest == pytest.approx(max(samples))
    assert any(spread.above for spread in found)


def test_drift_is_against_the_models_own_median_in_the_order_measured() -> None:
    blocks = session(models=(("a", "int8", 10.0, 200),)).measurements[0].blocks
    changed = [
        dataclasses.replace(block, order=order, samples_ns=(value,))
        for block, order, value in zip(blocks[:3], (2, 0, 1), (110, 100, 90), strict=True)
    ]

    assert [(0, 0.0), (1, pytest.approx(-0.1)), (2, pytest.approx(0.1))] == [
        (step.order, step.change) for step in drift(changed, "median")
    ]


def test_a_rejected_round_is_told_under_the_drift(text) -> None:
    assert "Round 5 was not measured: hot." in text


@pytest.mark.parametrize("verdict", ["PASS", "IMPROVED", "REGRESSION", "INCONCLUSIVE", "NOT COMPARABLE"])
def test_each_verdict_is_a_word_with_its_reasons_and_its_detectable_effect(verdict) -> None:
    judgement = example_judgement("phone", verdict)
    shown_text = shown(gates=(example_gate(judgement),))

    assert f"Verdict: {verdict}" in shown_text
    assert f">{verdict}</span>" in shown_text
    for reason in judgement.reasons:
        assert reason in shown_text
    if judgement.metrics:
        assert "+4.7 %" in shown_text
        assert "self-test of the gate on this device, 2026-11-20T09:00:00Z: passed" in shown_text


def test_a_phone_that_went_away_was_not_measured() -> None:
    assert "NOT MEASURED" in shown(gates=(example_gate(),))


def test_ratios_to_different_references_are_not_joined() -> None:
    rows = [row for row in history_rows() if row.kind == "phone"]
    figure = shown(history=tuple(rows))
    points = len([row for row in rows if row.ratio is not None])
    whiskers = figure.count('class="whisker"')

    # One line fewer than points in each of the two groups, and an interval each.
    assert (points - 2) + points == whiskers
    assert "to aaaaaaaa" in figure
    assert "to bbbbbbbb" in figure


def test_a_history_without_a_ratio_is_a_table_only() -> None:
    rows = tuple(dataclasses.replace(row, ratio=None, interval=None) for row in history_rows(3))

    assert 'role="img"' not in shown(history=rows)
    assert "3 of 3 verdicts have no ratio" in shown(history=rows)


def test_layers_are_sorted_by_what_they_lose_and_shown_in_part() -> None:
    shown_text = shown(exports=(export(30),))

    assert "the 16 worst of 30" in shown_text
    assert shown_text.index("blocks.0/second.0/Conv") < shown_text.index("blocks.15/second.0/Conv")
    assert "blocks.16/second.0/Conv" not in shown_text


def test_labels_meet_neither_each_other_nor_a_mark_at_any_width() -> None:
    labels = [Label(x=0.5 + 0.01 * at, y=0.5, text=f"model-{at}", short=str(at)) for at in range(6)]

    placed = place(labels, 300, NARROW)

    assert len([each for each in placed if each]) >= 2
    for width in NARROW:
        boxes = [
            (label.x * width + where.dx, 300 * (1 - label.y) + where.dy, where)
            for label, where in zip(labels, placed, strict=True)
            if where
        ]
        assert all(0 <= x <= width for x, _, _ in boxes)


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5], [1e-9, 1e9], [3.0, 4.0]])
@pytest.mark.parametrize("make", [log_scale, linear_scale])
def test_scales_hold_their_values_and_have_ticks(make, values) -> None:
    scale = make(values)

    assert all(0 <= scale(value) <= 1 for value in values)
    assert scale(scale.low) == pytest.approx(0)
    assert scale(scale.high) == pytest.approx(1)
    assert len(scale.ticks()) <= 7
    if scale.high / max(abs(scale.low), 1e-12) < 100:
        assert scale.ticks()


def test_students_have_colours_in_the_order_of_their_appearance() -> None:
    assert {"b": 0, "a": 1} == hues(["b", "a", "b"])
    assert hues([str(at) for at in range(9)])["8"] == 0


def test_attributes_are_escaped_and_left_out_where_there_is_none() -> None:
    assert '<p title="&quot;&lt;" open>&amp;</p>' == tag("p", "&", title='"<', open=True, lang=None, hidden=False)
