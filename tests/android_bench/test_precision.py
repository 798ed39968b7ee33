import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from android_bench.errors import RecordError, RunnerError
from android_bench.measure import measure
from android_bench.precision import average_precision, mean_precision, paired_precision
from android_bench.records import RunPlan, SeveralPredictions
from android_bench.report import markdown
from android_bench.runner import run_predictions
from android_bench.session_file import read_session, write_session
from converters.bundle import EvaluationPack, write_bundle
from tests.android_bench.bench_toys import CLASSES, FakeDevice, good_lines, text_of, toy_contents

PLAN = RunPlan(blocks=1, warmup_ms=0, min_timed_ms=0, min_runs=1)


def predictions(clips: int = 60, classes: int = 4, strength: float = 1.5, seed: int = 0) -> SeveralPredictions:
    truth = np.random.default_rng(1).random((clips, classes)) < 0.3
    noise = np.random.default_rng(seed).normal(size=truth.shape)
    return SeveralPredictions(
        ids=tuple(f"clip{place}" for place in range(clips)),
        labels=tuple(f"class{place}" for place in range(classes)),
        outputs=tuple(map(tuple, (truth * strength + noise).tolist())),
        expected=tuple(tuple(np.flatnonzero(row).tolist()) for row in truth),
    )


@given(st.lists(st.tuples(st.integers(-128, 127), st.booleans()), min_size=1, max_size=60))
def test_average_precision_is_scikit_learns_for_int8_outputs_with_all_their_ties(pairs):
    scores = np.array([score for score, _ in pairs], np.float64)
    truth = np.array([has for _, has in pairs])
    if truth.any():
        assert average_precision_score(truth, scores) == pytest.approx(average_precision(scores, truth))
    else:
        with pytest.raises(RecordError, match="0 clips of the class"):
            average_precision(scores, truth)


def test_the_mean_is_scikit_learns_macro_average_and_lies_in_its_interval():
    seen = predictions()
    truth = np.zeros((60, 4))
    for row, labels in enumerate(seen.expected):
        truth[row, list(labels)] = 1

    found = mean_precision(seen)

    assert average_precision_score(truth, np.array(seen.outputs), average="macro") == pytest.approx(found.value)
    assert found.interval[0] < found.value < found.interval[1]
    assert (60, 4, 0) == (found.total, found.classes, found.left_out)


def test_a_class_without_a_clip_is_left_out_and_named():
    seen = predictions()
    lacking = dataclasses.replace(seen, expected=tuple(tuple(set(each) - {2}) for each in seen.expected))
    found = mean_precision(lacking)
    assert (3, 1, None) == (found.classes, found.left_out, found.per_class["class2"])
    assert np.mean([found.per_class[f"class{place}"] for place in (0, 1, 3)]) == pytest.approx(found.value)


def test_an_undefined_answer_ranks_last_in_every_class():
    clear = predictions(strength=50.0)
    first = next(place for place, labels in enumerate(clear.expected) if labels)
    broken = dataclasses.replace(
        clear, outputs=tuple(None if place == first else row for place, row in enumerate(clear.outputs))
    )
    assert mean_precision(clear).value == 1.0
    assert mean_precision(broken).value < 1.0


def test_equal_models_have_no_difference_and_no_interval_and_a_worse_one_has_both():
    good, bad = predictions(200), predictions(200, strength=0.0, seed=5)
    assert (0.0, None) == dataclasses.astuple(paired_precision(good, good))[:2]
    paired = paired_precision(bad, good)
    assert paired.interval[0] < paired.difference < paired.interval[1] < 0


def test_packs_of_other_clips_are_not_compared():
    with pytest.raises(RecordError, match="hold different clips"):
        paired_precision(predictions(), predictions(61))


def test_predictions_that_cannot_be_are_refused_at_birth():
    with pytest.raises(RecordError, match="no clip of the evaluation pack has a label"):
        dataclasses.replace(predictions(3), expected=((), (), ()))
    with pytest.raises(RecordError, match=r"outputs have \[2, 4\] numbers; expected 4"):
        dataclasses.replace(predictions(3), outputs=((1.0, 2.0), None, (0.0,) * 4))


@pytest.fixture
def several(tmp_path):
    """Both bundles of the toy, their packs with several labels a clip."""
    made = []
    for quantized in (False, True):
        contents = toy_contents(quantized=quantized)
        labels = (np.random.default_rng(2).random((30, CLASSES)) < 0.5).astype(np.float32)
        pack = EvaluationPack(inputs=contents.evaluation.inputs, labels=labels, ids=contents.evaluation.ids)
        contents = dataclasses.replace(contents, evaluation=pack)
        made.append(write_bundle(tmp_path / contents.name, contents))
    return made


def test_a_session_scores_several_labels_and_survives_its_file(several, tmp_path):
    session = measure("fake", FakeDevice(), several, PLAN)
    write_session(tmp_path / "session.json", session)

    record = json.loads((tmp_path / "session.json").read_text())["measurements"][0]
    text = markdown(session)

    assert read_session(tmp_path / "session.json") == session
    assert (None, 3, 30) == (record["accuracy"], record["precision"]["classes"], record["precision"]["total"])
    assert f"mAP {100 * record['precision']['value']:.1f} % *" in text
    assert "toy-int8 mAP" in text
    assert "mAP: mean average precision over 3 classes of 30 clips" in text


def test_answers_that_are_not_numbers_become_none(several):
    def answer(arguments):
        lines = good_lines(arguments)
        next(line for line in lines if line["event"] == "eval")["outputs"][4] = [float("nan"), 1.0, 2.0]
        return 0, text_of(lines), ""

    seen = run_predictions(FakeDevice(answer), several[0], PLAN)

    assert [4] == [place for place, row in enumerate(seen.outputs) if row is None]


def test_a_pack_without_a_label_is_a_sentence(several, tmp_path):
    contents = toy_contents(quantized=False)
    pack = EvaluationPack(
        inputs=contents.evaluation.inputs, labels=np.zeros((30, CLASSES), np.float32), ids=contents.evaluation.ids
    )
    bundle = write_bundle(tmp_path / "empty", dataclasses.replace(contents, evaluation=pack))
    with pytest.raises(RunnerError, match="toy-float32 cannot be scored: no clip of the evaluation pack has a label"):
        run_predictions(FakeDevice(), bundle, PLAN)
