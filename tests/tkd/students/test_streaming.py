"""Every student that streams gives over ten seconds, hop by hop, what it gives on the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tkd.audio.features import FEATURES
from tkd.errors import SettingsError
from tkd.students import STUDENTS, Student, build_student, count_parameters, find_student
from tkd.students.causal import reach
from tkd.students.streaming import StreamingStudent, count_hop_macs

STREAMING = [name for name in STUDENTS if name.endswith("-causal") or name.startswith(("lstm-p", "crnn"))]
QUICK = ("tcresnet8-causal", "tcresnet-kws-causal", "lstm-p-reduced", "crnn-reduced", "bcresnet1-causal",
         "ds-cnn-s-causal", "ds-cnn-m-causal")  # fmt: skip
_FRAMES_BEFORE_CRNN = 6


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STREAMING]
)
def test_streaming_equals_offline_over_ten_seconds(name: str) -> None:
    _check_ten_seconds(name, hops_at_once=1)


@pytest.mark.parametrize("name", ["tcresnet8-causal", "lstm-p-reduced", "crnn-reduced", "ds-cnn-s-causal"])
def test_longer_hops_give_the_same(name: str) -> None:
    _check_ten_seconds(name, hops_at_once=3)


def test_a_stream_that_lasts_one_window_gives_the_logits_of_that_clip() -> None:
    student, streaming, features = _made("tcresnet8-causal", seconds=1)
    window = streaming.settings.window_frames
    seen = list(_streamed(streaming, features[:, :window]))[-1]
    with torch.no_grad():
        torch.testing.assert_close(seen, student(features), rtol=1e-4, atol=1e-5)


def test_a_reset_in_mid_stream_forgets_all_before_it() -> None:
    _, streaming, features = _made("lstm-p-reduced", seconds=1)
    first = next(_streamed(streaming, features))
    list(_streamed(streaming, features))
    assert torch.equal(first, next(_streamed(streaming, features)))


def test_causal_forms_have_the_weights_of_their_originals() -> None:
    for name in (each for each in STREAMING if each.endswith("-causal")):
        spec, original = find_student(name), find_student(name.removesuffix("-causal"))
        assert spec.trainable_parameters == original.trainable_parameters
        channels = FEATURES[spec.features].channels
        shapes = [{key: value.shape for key, value in each.build(channels, 12).state_dict().items()}
                  for each in (spec, original)]  # fmt: skip
        assert shapes[0] == shapes[1]


def test_a_context_depends_on_no_frame_after_it() -> None:
    student, _, features = _made("bcresnet1-causal", seconds=1)
    changed = features.clone()
    changed[:, 50:] += 1
    with torch.no_grad():
        before, after = student.contexts(features), student.contexts(changed)
    assert torch.equal(before[:, :50], after[:, :50])
    assert not torch.equal(before[:, 50], after[:, 50])


@pytest.mark.parametrize(("name", "frames"), [("tcresnet8-causal", 8), ("tcresnet-kws-causal", 2), ("lstm-p", 1),
                                              ("bcresnet1-causal", 1), ("ds-cnn-m-causal", 4)])  # fmt: skip
def test_the_smallest_hop_is_the_product_of_the_strides(name: str, frames: int) -> None:
    assert frames == _made(name, seconds=1)[1].settings.hop_frames


def test_a_hop_that_does_not_divide_into_the_strides_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"one context for 8 frames, and a hop of 12 .* a multiple of 8 frames"):
        _made("tcresnet8-causal", seconds=1, hop_frames=12)


def test_a_hop_longer_than_the_window_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"a hop of 104 frames is longer than the window of 96 frames"):
        _made("tcresnet8-causal", seconds=1, hop_frames=104)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "tcresnet8",
            r"when it has seen frames after it, .* tcresnet8-causal streams\. .* costs 1\.5 M .* 30 M a",
        ),
        ("att-rnn-reduced", r"in both directions and attends over all of it, .* lstm-p, crnn and the -causal students"),
        ("mhatt-rnn", r"attends over all of it"),
        ("res8-narrow", r"lstm-p, crnn and the -causal students stream\. .* costs 71\.0 M .* 1421 M a second at 50 ms"),
    ],
)
def test_students_that_cannot_stream_say_what_does_and_what_full_runs_cost(name: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        _made(name, seconds=1)


def test_a_second_of_hops_costs_about_what_one_clip_costs() -> None:
    for name in ("tcresnet8-causal", "ds-cnn-s-causal", "lstm-p"):
        spec = find_student(name)
        config = FEATURES[spec.features]
        streaming = _made(name, seconds=1)[1]
        hops = 1000 / (config.hop_ms * streaming.settings.hop_frames)
        ratio = count_hop_macs(streaming, config.channels) * hops / spec.macs_of_one_second
        assert 1.0 <= ratio < 1.06, name


def test_a_convolution_reaches_back_over_its_kernel_less_what_its_stride_waits_for() -> None:
    assert (8, 7, 0, 16) == (reach(9, 1, 1), reach(9, 2, 1), reach(1, 2, 1), reach(3, 1, 8))


def _check_ten_seconds(name: str, hops_at_once: int) -> None:
    rule = build_student(name, FEATURES[find_student(name).features].channels, 12).stream_rule()
    assert rule is not None
    student, streaming, features = _made(name, seconds=10, hop_frames=hops_at_once * rule.frames_per_context)
    with torch.no_grad():
        contexts = student.contexts(features)
    lost = _FRAMES_BEFORE_CRNN if name.startswith("crnn") else 0
    window = streaming.settings.window_frames // rule.frames_per_context
    compared = 0
    for hop, logits in enumerate(_streamed(streaming, features), start=1):
        end = hop * streaming.settings.hop_frames // rule.frames_per_context - lost
        if end < max(window, 1):
            continue
        with torch.no_grad():
            expected = student.head(contexts[:, end - window if rule.pools else 0 : end])
        assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()
        compared += 1
    assert compared * streaming.settings.hop_frames * FEATURES[find_student(name).features].hop_ms > 8000


def _streamed(streaming: StreamingStudent, features: Tensor):
    states = streaming.initial_states()
    hop = streaming.settings.hop_frames
    for start in range(0, features.shape[1] - hop + 1, hop):
        with torch.no_grad():
            logits, *states = streaming(features[:, start : start + hop], *states)
        yield logits


def _made(name: str, *, seconds: int, hop_frames: int = 0) -> tuple[Student, StreamingStudent, Tensor]:
    """A student with the statistics of a trained one, its stream, and features of noise."""
    config = FEATURES[find_student(name).features]
    torch.manual_seed(20211027)
    student = build_student(name, config.channels, 12).eval()
    for module in student.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    one_second = config.frames(config.sample_rate_hz)
    streaming = StreamingStudent(
        student, name=name, channels=config.channels, clip_frames=one_second, hop_frames=hop_frames
    )
    assert count_parameters(streaming) == count_parameters(student)
    return student, streaming, torch.randn(1, config.frames(seconds * config.sample_rate_hz), config.channels)
