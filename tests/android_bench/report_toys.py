"""What a report is made from: a session of several students on a device, counts, a history, a gate; all made up."""

import dataclasses
import hashlib

import numpy as np

from android_bench.counts_file import CountedModel, CountedSession
from android_bench.evidence import Evidence, Source
from android_bench.export_facts import Export, Layer
from android_bench.history import HistoryRow, rows_of
from android_bench.records import (
    Block,
    DeviceContext,
    DeviceState,
    Instructions,
    Measurement,
    Model,
    Predictions,
    Rejection,
    RunPlan,
    Session,
)
from tests.android_bench.verdict_toys import example_gate, example_judgement

# (student, precision, µs, right answers of 240)
MODELS = (
    ("tcresnet8", "float32", 38.5, 226),
    ("tcresnet8", "float16", 38.4, 226),
    ("tcresnet8", "dynamic", 14.0, 226),
    ("tcresnet8", "int8", 10.6, 227),
    ("crnn", "float32", 775.0, 224),
    ("crnn", "int8", 254.0, 224),
    ("tcresnet-kws", "float32", 354.0, 228),
    ("tcresnet-kws", "int8", 89.2, 228),
    ("mhatt-rnn", "float32", 2100.0, 231),
    ("<b>bold</b>", "int8", 60.0, 200),
)
CLIPS = 240


def predictions(right: int) -> Predictions:
    return Predictions(
        ids=tuple(f"clip{at}" for at in range(CLIPS)),
        predicted=tuple(int(at < right) for at in range(CLIPS)),
        expected=(1,) * CLIPS,
    )


def model(student: str, precision: str, **changes) -> Model:
    name = f"{student}-{precision}"
    fields = {
        "name": name,
        "student": student,
        "precision": precision,
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "size_bytes": 83_293,
        "synthetic": True,
        "parents": {"checkpoint_sha256": "c" * 64},
    }
    return Model(**(fields | changes))


def measurement(at: int, student: str, precision: str, us: float, right: int, blocks: int = 9) -> Measurement:
    rng = np.random.default_rng(at)
    name = f"{student}-{precision}"
    made = []
    for index in range(blocks):
        level = us * 1e3 * np.exp(rng.normal(0, 0.02))
        samples = level * np.exp(np.abs(rng.normal(0, 0.04, 300)))
        samples[0] *= 40  # somebody else's turn
        made.append(
            Block(
                bundle=name,
                index=index,
                order=index * len(MODELS) + at,
                started_utc="2026-11-21T14:00:00Z",
                init_ns=1_000_000,
                first_ns=int(2 * level),
                warmup_runs=10,
                warmup_ns=int(10 * level),
                samples_ns=tuple(int(each) for each in samples),
                golden_error=0.0,
                golden_unit="lsb",
                load_1min=0.1,
            )
        )
    return Measurement(model=model(student, precision), blocks=tuple(made), predictions=predictions(right))


def context(**changes) -> DeviceContext:
    fields = {
        "kind": "host",
        "model": "Some CPU @ 2.00GHz",
        "fingerprint": "Linux 6.1",
        "cpu_count": 2,
        "max_frequency_khz": "denied",
        "clocks_locked": "unknown",
        "memory_total_kb": 1024,
        "stands_for": "wall-clock time on this computer, runner python; not a phone",
    }
    return DeviceContext(**(fields | changes))


def session(models=MODELS, blocks: int = 9, **changes) -> Session:
    empty = {"frequency_khz": {}, "governor": {}, "temperature_c": {}}
    state = DeviceState(taken_utc="2026-11-21T14:00:00Z", load_1min=0.1, **empty)
    fields = {
        "device": "host",
        "context": context(),
        "plan": RunPlan(blocks=blocks),
        "runner": {"runner": "python", "engine": "a fake 1.0", "delegate": "xnnpack"},
        "started_utc": "2026-11-21T14:00:00Z",
        "finished_utc": "2026-11-21T14:10:00Z",
        "before": state,
        "after": state,
        "measurements": tuple(measurement(at, *each, blocks=blocks) for at, each in enumerate(models)),
        "concerns": ("busy: load 4.3 on 2 CPUs",),
        "rejected": (Rejection(index=4, reasons=("hot",), waited_s=120.0, at_utc="2026-11-21T14:05:00Z"),),
    }
    return Session(**(fields | changes))


def counted(models=MODELS) -> CountedSession:
    return CountedSession(
        device="virtual-pixel1",
        model="Pixel",
        fingerprint="google/sailfish/sailfish:10/QP1A.191005.007.A3/5972272:user/release-keys",
        started_utc="2026-11-21T15:00:00Z",
        interrupted=False,
        concerns=("emulated: instructions are exact, times mean nothing",),
        models=tuple(
            CountedModel(
                name=f"{student}-{precision}",
                student=student,
                precision=precision,
                sha256=hashlib.sha256(f"{student}-{precision}".encode()).hexdigest(),
                size_bytes=83_293,
                synthetic=True,
                instructions=Instructions(init=3_000_000, first=int(us * 25_000), inference=int(us * 24_777), runs=5),
                counted_by={"emulator": "qemu 7.2.22", "engine_sha256": "e" * 64, "threads": 1},
                predictions=predictions(right),
                failure=None,
            )
            for student, precision, us, right in models
        ),
    )


def export(layers: int = 20) -> Export:
    return Export(
        name="tcresnet8-int8",
        precision="int8",
        by_type={"CONV_2D": 10, "ADD": 3},
        int8_share={"operators": 1.0, "macs": 1.0},
        layers=tuple(
            Layer(
                tensor=f"/blocks/blocks.{at}/second/second.0/Conv_output_0",
                operator="CONV_2D",
                sqnr_db=30.0 + at,
                alone_us=None if at == 3 else float(at),
            )
            for at in range(layers)
        ),
        clips=512,
    )


def history_rows(count: int = 24) -> tuple[HistoryRow, ...]:
    """Verdicts of two devices day by day: the reference changes once, one is a regression, one was not measured."""
    gate = example_gate(example_judgement("phone", "PASS"), example_judgement("virtual", "PASS"))
    rows = []
    for at in range(count):
        for row in rows_of(gate, f"{at:064x}", f"{at:040x}"):
            slower = at == count * 3 // 4
            ratio = 1 + 0.004 * ((7 * at) % 5 - 2) + 0.05 * slower
            rows.append(
                dataclasses.replace(
                    row,
                    finished_utc=f"2026-10-{at + 1:02d}T10:00:00Z",
                    ratio=None if at == 2 else ratio,
                    interval=None if row.kind == "virtual" or at == 2 else (ratio - 0.012, ratio + 0.012),
                    verdict="REGRESSION" if slower else "INCONCLUSIVE" if at in (2, 5) else "PASS",
                    baseline_sha256=("a" if at < count // 2 else "b") * 64,
                )
            )
    return tuple(rows)


def everything() -> Evidence:
    """All there is to show, with names that must be escaped."""
    return Evidence(
        gates=(example_gate(),),
        history=history_rows(),
        sessions=(session(),),
        counted=(counted(),),
        exports=(export(), dataclasses.replace(export(0), name="tcresnet8-float32", precision="float32")),
        sources=(Source(name="host/session.json", format="tkd.bench/1", sha256="d" * 64),),
        notes=("the last line of history.jsonl was cut off while it was written; it is left out",),
    )
