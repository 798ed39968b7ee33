import pytest
import torch

from tkd.audio.features import FEATURES
from tkd.errors import SettingsError
from tkd.students import STUDENTS, build_student, count_parameters, find_student
from tkd.students.tcresnet import SameConv1d, same_padding


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_has_exactly_the_published_number_of_parameters(name: str) -> None:
    spec = STUDENTS[name]
    student = build_student(name, FEATURES[spec.features].channels, 12)
    assert count_parameters(student) == (spec.trainable_parameters, spec.parameters_with_statistics)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("seconds", [1, 2, 8])
def test_a_student_gives_contexts_and_logits_for_any_length(name: str, seconds: int) -> None:
    features = FEATURES[STUDENTS[name].features]
    frames = features.frames(16_000 * seconds)
    student = build_student(name, features.channels, 12).eval()
    inputs = torch.randn(2, frames, features.channels)
    contexts = student.contexts(inputs)
    assert contexts.shape[::2] == (2, student.context_channels)
    assert 1 < contexts.shape[1] <= frames
    assert torch.equal(student.head(contexts), student(inputs))
    assert student(inputs).shape == (2, 12)


def test_tcresnet8_divides_time_by_eight_as_in_the_paper() -> None:
    contexts = build_student("tcresnet8", 40, 12).contexts(torch.zeros(1, 98, 40))
    assert contexts.shape == (1, 13, 48)


def test_an_alias_names_the_same_student() -> None:
    assert find_student("tcresnet") is find_student("tcresnet8")


def test_an_unknown_student_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="no student is called 'tcresnt8'; did you mean 'tcresnet8'"):
        find_student("tcresnt8")


@pytest.mark.parametrize(("time", "kernel", "stride"), [(98, 9, 2), (49, 9, 2), (25, 9, 2), (98, 3, 1), (98, 1, 2)])
def test_same_padding_gives_the_time_steps_that_tensorflow_gives(time: int, kernel: int, stride: int) -> None:
    convolved = SameConv1d(1, 1, kernel, stride=stride)(torch.zeros(1, 1, time))
    assert convolved.shape[-1] == -(-time // stride)
    before, after = same_padding(time, kernel, stride)
    assert after - before in (0, 1)
