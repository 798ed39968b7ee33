"""How much a student computes, by one convention for the whole table, whose numbers the tests hold against this.

Counted are the multiply-accumulates of convolutions and matrix products, recurrent and attention ones included;
not normalisation, activations, pooling or elementwise products. Papers that count operations (TC-ResNet) print
about twice the number, papers that count more layers (BC-ResNet) somewhat more.
Tested in `tests/tkd/students/test_macs.py`.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from tkd.audio.features import FEATURES
from tkd.students.student import Student, StudentSpec


def macs_of_one_second(spec: StudentSpec, classes: int = 12) -> int:
    """Multiply-accumulates of one second of sound through a row's student, at its published front end."""
    features = FEATURES[spec.features]
    with torch.device("meta"):  # shapes only: nothing is initialised or computed
        student = spec.build(features.channels, classes)
    return count_macs(student, frames=features.frames(features.sample_rate_hz), channels=features.channels)


def count_macs(student: Student, *, frames: int, channels: int) -> int:
    """Multiply-accumulates of one clip of `frames` feature frames of `channels` values."""
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    # PyTorch's counter sees every product that is dispatched, so that no layer can hide one.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        student(torch.zeros(1, frames, channels, device=device))
    student.train(was_training)
    return int(counter.get_total_flops()) // 2
