"""Measures what temporal distillation adds to an epoch, once the teacher's attention is cached.

    python -m benchmarks.distillation [--students tcresnet8 crnn …] [--seconds 1 8]

Each round trains the same steps on the same batches without and with a lesson, in turns, in one thread. Processor time
is compared, which a busy machine disturbs less than the clock; the figure is the median ratio of the rounds with its
lowest and highest. Features are computed anew for each batch, as in a run with augmentation: it is the price of a
whole epoch that is compared. The clips are noise: the time depends on shapes alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from tkd.attention import normalise
from tkd.audio.features import FrontEnd, find_features
from tkd.augment import AugmentConfig
from tkd.distill import DistillConfig
from tkd.students import build_student, find_student
from tkd.train.batches import Batches, ClipStore
from tkd.train.lesson import Lesson
from tkd.train.objectives import Held, StudentObjective

STUDENTS = ("tcresnet8", "bcresnet1", "lstm-p-reduced", "crnn-reduced", "att-rnn-reduced", "mhatt-rnn-reduced")
ROUNDS = 11
STEPS = 4
BATCH = 64


def ratio_of(student: str, seconds: int) -> tuple[float, float, float]:
    """Median, lowest and highest ratio of a distilled step to a plain one."""
    spec = find_student(student)
    front_end = FrontEnd(find_features(spec.features))
    samples, clips = 16_000 * seconds, 2 * BATCH
    generator = torch.Generator().manual_seed(0)
    store = ClipStore(
        waveforms=torch.randint(-9000, 9000, (clips, samples), generator=generator, dtype=torch.int16),
        labels=torch.randint(0, 12, (clips,), generator=generator),
        sample_rate_hz=16_000,
        noise=None,
    )
    attention = normalise(torch.rand(clips, 25 * seconds, generator=generator))
    lesson = Lesson(attention=attention, logits=None, samples=samples)
    batches = Batches(store, AugmentConfig(), BATCH, 1, front_end)
    seconds_by_arm: dict[bool, list[float]] = {False: [], True: []}
    steppers = {}
    for is_led in (False, True):
        torch.manual_seed(0)
        network = build_student(student, front_end.config.channels, 12)
        held = Held(inputs=torch.zeros(1), labels=torch.zeros(1).long())
        objective = StudentObjective(network, held, 0.1, lesson if is_led else None, 0.25, DistillConfig())
        steppers[is_led] = (objective, torch.optim.AdamW(objective.module.parameters()))
    for round_number in range(ROUNDS + 1):
        for is_led in (False, True) if round_number % 2 else (True, False):
            objective, optimiser = steppers[is_led]
            start = time.process_time()
            for step in range(STEPS):
                optimiser.zero_grad()
                objective.losses(batches.at(step))["loss"].backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            if round_number:  # the first warms up
                seconds_by_arm[is_led].append(time.process_time() - start)
    ratios = [led / plain for plain, led in zip(seconds_by_arm[False], seconds_by_arm[True], strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", nargs="+", default=STUDENTS)
    parser.add_argument("--seconds", nargs="+", type=int, default=(1, 8))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    print("| student | " + " | ".join(f"{seconds} s" for seconds in options.seconds) + " |")
    print("|---|" + "---|" * len(options.seconds))
    for student in options.students:
        found = [ratio_of(student, seconds) for seconds in options.seconds]
        cells = [f"{median:.3f} ({low:.2f}–{high:.2f})" for median, low, high in found]
        print(f"| {student} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
