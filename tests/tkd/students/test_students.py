import pytest
import torch
from torch import Tensor

from tkd.audio.features import FEATURES
from tkd.errors import SettingsError
from tkd.students import (
    STUDENTS,
    AttentiveStudent,
    Student,
    build_student,
    count_parameters,
    find_student,
)

# What the papers' own codes have; the others' figures are rounded, and stand in `published_parameters`.
PUBLISHED = {
    "tcresnet8": 65_824, "tcresnet14": 136_928, "tcresnet8-1.5": 145_248, "tcresnet14-1.5": 304_608,
    "tcresnet-kws": 365_274, "lstm-p": 545_912, "crnn": 467_772, "att-rnn": 496_519, "mhatt-rnn": 743_047,
    "bcresnet1": 9_232, "bcresnet1.5": 17_154, "bcresnet2": 27_284, "bcresnet3": 54_168, "bcresnet6": 187_812,
    "bcresnet8": 321_068, "ds-cnn-mlperf": 24_908,
}  # fmt: skip
ABSORBING = [name for name in STUDENTS if name.startswith("tcresnet")] + ["lstm-p", "lstm-p-reduced"]


def build(name: str) -> Student:
    torch.manual_seed(0)
    return build_student(name, FEATURES[STUDENTS[name].features].channels, 12)


def clips(name: str, seconds: int, batch: int = 2) -> Tensor:
    features = FEATURES[STUDENTS[name].features]
    torch.manual_seed(1)
    return torch.randn(batch, features.frames(16_000 * seconds), features.channels)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_has_exactly_the_parameters_of_its_row(name: str) -> None:
    spec = STUDENTS[name]
    assert count_parameters(build(name)) == (spec.trainable_parameters, spec.parameters_with_statistics)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_that_the_row_calls_published_is_the_published_one(name: str) -> None:
    spec = STUDENTS[name]
    trainable = spec.published_count in ("trainable", "either")
    assert PUBLISHED[name] == (spec.trainable_parameters if trainable else spec.parameters_with_statistics)


@pytest.mark.parametrize("name", [name for name in STUDENTS if STUDENTS[name].published_parameters.endswith("K")])
def test_the_published_count_is_the_figure_that_the_paper_prints(name: str) -> None:
    spec = STUDENTS[name]
    count = spec.parameters_with_statistics if spec.published_count == "with statistics" else spec.trainable_parameters
    assert abs(count - 1000 * float(spec.published_parameters.removesuffix("K"))) < 1000


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_gives_contexts_and_logits_for_one_two_and_eight_seconds(name: str) -> None:
    student = build(name).eval()
    for seconds in (1, 2, 8):
        inputs = clips(name, seconds, batch=1)
        with torch.no_grad():
            contexts = student.contexts(inputs)
            logits = student.head(contexts)
        assert contexts.shape[::2] == (1, student.context_channels)
        assert 1 <= contexts.shape[1] <= inputs.shape[1]
        assert contexts.shape[1] > 1 or (name, seconds) == ("cnn-2", 1)  # its one layer over time spans the second
        assert logits.shape == (1, 12)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", STUDENTS)
def test_the_head_of_the_contexts_is_the_forward_pass_and_evaluation_repeats_itself(name: str) -> None:
    student = build(name).eval()
    inputs = clips(name, 1)
    with torch.no_grad():
        first = student(inputs)
        assert torch.equal(first, student.head(student.contexts(inputs)))
        assert torch.equal(first, student(inputs))


@pytest.mark.parametrize("name", STUDENTS)
def test_the_gradient_reaches_every_parameter_that_is_trained(name: str) -> None:
    student = build(name).train()
    student(clips(name, 1, batch=4)).square().sum().backward()
    trained = {key: parameter for key, parameter in student.named_parameters() if parameter.requires_grad}
    silent = [key for key, parameter in trained.items() if parameter.grad is None or not parameter.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", STUDENTS)
def test_a_clip_is_scored_alone_as_in_a_batch(name: str) -> None:
    student = build(name).eval()
    inputs = clips(name, 1, batch=3)
    with torch.no_grad():
        torch.testing.assert_close(student(inputs)[1:2], student(inputs[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STUDENTS)
def test_an_input_scale_is_absorbed_exactly_or_refused_without_a_change(name: str) -> None:
    student = build(name).eval()
    inputs = clips(name, 1)
    scale = torch.linspace(0.5, 8.0, inputs.shape[2])
    with torch.no_grad():
        before = student(inputs)
        absorbed = student.absorb_input_scale(scale)
        after = student(inputs / scale if absorbed else inputs)
    assert absorbed == (name in ABSORBING)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["att-rnn", "mhatt-rnn"])
def test_a_student_with_attention_of_its_own_tells_where_its_head_looks(name: str) -> None:
    student = build(name).eval()
    assert isinstance(student, AttentiveStudent)
    contexts = student.contexts(clips(name, 2))
    attention = student.own_attention(contexts)
    assert attention.shape == contexts.shape[:2]
    assert attention.min() >= 0
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2))


def test_the_head_of_att_rnn_is_what_its_attention_gathers() -> None:
    student = build("att-rnn").eval()
    contexts = student.contexts(clips("att-rnn", 1))
    gathered = (student.own_attention(contexts)[:, :, None] * contexts).sum(dim=1)  # type: ignore[operator]
    torch.testing.assert_close(student.dense(gathered), student.head(contexts))  # type: ignore[operator]


@pytest.mark.parametrize(("name", "time"), [
    ("tcresnet8", 13), ("tcresnet14-1.5", 13), ("tcresnet-kws", 25), ("crnn", 43), ("lstm-p", 49), ("bcresnet1", 101),
    ("2d-resnet8", 13), ("ds-cnn-s", 25), ("cnn-1", 21),
])  # fmt: skip
def test_one_second_gives_the_time_steps_of_the_paper(name: str, time: int) -> None:
    assert build(name).eval().contexts(clips(name, 1)).shape[1] == time


def test_cnn_1_scores_a_long_clip_as_the_mean_of_its_seconds() -> None:
    student = build("cnn-1").eval()
    inputs = clips("cnn-1", 1)
    longer = torch.cat([inputs, inputs[:, :3]], dim=1)
    seconds = torch.stack([student(longer[:, first : first + 49]) for first in range(4)])
    torch.testing.assert_close(student(longer), seconds.mean(dim=0), rtol=1e-4, atol=1e-5)


def test_an_alias_names_the_same_student() -> None:
    assert find_student("tcresnet") is find_student("tcresnet8")


def test_an_unknown_student_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="no student is called 'tcresnt8'; did you mean 'tcresnet8'"):
        find_student("tcresnt8")


@pytest.mark.parametrize(("name", "channels", "front_end"), [
    ("bcresnet1", 20, "bcresnet"), ("cnn-1", 10, "cnn-baseline"), ("cnn-2", 5, "cnn-baseline"),
    ("crnn", 4, "kws-streaming"),
])  # fmt: skip
def test_a_front_end_that_does_not_fit_the_kernels_is_answered_with_one_that_does(
    name: str, channels: int, front_end: str
) -> None:
    with pytest.raises(SettingsError, match=f"take the front end '{front_end}'"):
        build_student(name, channels, 12)


def test_a_forget_bias_is_taken_by_students_with_forget_gates_only() -> None:
    lstm = build_student("lstm-p", 20, 12, forget_bias=4.0).lstm  # type: ignore[union-attr]
    assert lstm.bias[500:1000].unique().tolist() == [4.0]  # type: ignore[union-attr, index]
    assert lstm.bias[:500].unique().tolist() == lstm.bias[1000:].unique().tolist() == [0.0]  # type: ignore[union-attr, index]
    with pytest.raises(SettingsError, match="crnn has no forget gate"):
        build_student("crnn", 20, 12, forget_bias=4.0)
