"""Sessions of two models with noise of a known kind, and a device that plays one."""

import numpy as np

from android_bench.compare import Side
from android_bench.records import (
    Block,
    DeviceContext,
    DeviceState,
    Failure,
    Measurement,
    Model,
    Predictions,
    Rejection,
    RunPlan,
    Session,
)
from android_bench.verdict import ModelEntry
from tests.android_bench.bench_toys import FakeDevice, good_lines, text_of

BASE_NS = 100_000


def times(ratio: float, pairs: int, *, seed: int = 1, noise: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """The blocks' values of baseline and candidate."""
    rng = np.random.default_rng(seed)
    both = BASE_NS * np.exp(rng.normal(0, noise, (2, pairs)))
    return both[0].round().astype(int), (both[1] * ratio).round().astype(int)


def model(name: str, sha256: str = "a" * 64, *, size_bytes: int = 1000) -> Model:
    return Model(
        name=name,
        student="toy",
        precision="int8",
        sha256=sha256,
        size_bytes=size_bytes,
        synthetic=True,
        parents={},
    )


def measurement(name: str, values, *, place: int = 0, sha256: str = "a" * 64, failure=None) -> Measurement:
    blocks = tuple(
        Block(
            bundle=name,
            index=index,
            order=2 * index + place,
            started_utc="2026-01-01T00:00:00Z",
            init_ns=1,
            first_ns=1,
            warmup_runs=1,
            warmup_ns=1,
            samples_ns=(int(value) - 10, int(value), int(value) + 10),
            golden_error=0.0,
            golden_unit="lsb",
            load_1min=0.1,
        )
        for index, value in enumerate(values)
    )
    answers = Predictions(ids=("x", "y"), predicted=(0, 1), expected=(0, 1))
    return Measurement(
        model=model(name, sha256),
        blocks=blocks,
        predictions=None if failure else answers,
        failure=Failure(kind=failure, message=f"{name} failed") if failure else None,
    )


def session(*measurements: Measurement, rejected: int = 0, **changes) -> Session:
    state = DeviceState(
        taken_utc="2026-01-01T00:00:00Z", load_1min=0.1, frequency_khz={}, governor={}, temperature_c={}
    )
    rounds = max(1, *(len(each.blocks) for each in measurements)) + rejected
    fields = {
        "device": "host",
        "context": DeviceContext(
            kind="host",
            model="Some CPU",
            fingerprint="Some system",
            cpu_count=2,
            max_frequency_khz="absent",
            clocks_locked="unknown",
            memory_total_kb=1,
            stands_for="times of a test",
        ),
        "plan": RunPlan(blocks=rounds),
        "runner": {"runner": "python", "engine": "a fake 1.0", "delegate": "xnnpack", "protocol": 1},
        "started_utc": "2026-01-01T00:00:00Z",
        "finished_utc": "2026-01-01T00:10:00Z",
        "before": state,
        "after": state,
        "measurements": measurements,
        "rejected": tuple(
            Rejection(index=rounds - 1 - number, reasons=("hot",), waited_s=1.0, at_utc="2026-01-01T00:00:00Z")
            for number in range(rejected)
        ),
    }
    return Session(**(fields | changes))


def pair_session(ratio: float, pairs: int = 15, **changes) -> Session:
    """Baseline and candidate in interleaved pairs, the candidate `ratio` times as slow."""
    keys = ("seed", "noise")
    old, new = times(ratio, pairs, **{key: changes.pop(key) for key in keys if key in changes})
    return session(
        measurement("toy (baseline)", old), measurement("toy (candidate)", new, place=1, sha256="b" * 64), **changes
    )


def side(sha256: str = "a" * 64, size_bytes: int = 1000) -> Side:
    entry = ModelEntry(
        name="toy",
        student="toy",
        precision="int8",
        sha256=sha256,
        size_bytes=size_bytes,
        synthetic=True,
        source="toy",
    )
    return Side(model=entry, facts={"size": float(size_bytes)})


class NoisyDevice(FakeDevice):
    """A device on which models whose path has "candidate" in it take `ratio` times as long, with noise.

    It is opened by calling it; `later` is the ratio from its second session on.
    """

    def __init__(self, ratio: float, later: float | None = None, noise: float = 0.01) -> None:
        self._rng = np.random.default_rng(1)
        self._ratios, self._noise, self.sessions = (ratio, ratio if later is None else later), noise, 0
        super().__init__(self._answer)

    def __call__(self, runner: tuple[str, ...] = ()) -> "NoisyDevice":
        self.sessions += 1
        return self

    def _answer(self, arguments):
        lines = good_lines(arguments)
        if "latency" in arguments["stages"]:
            ratio = self._ratios[min(self.sessions, 2) - 1] if "candidate" in arguments["model"] else 1.0
            value = BASE_NS * ratio * float(np.exp(self._rng.normal(0, self._noise)))
            samples = next(line for line in lines if line["event"] == "samples")
            samples["ns"] = [int(value) - 5, int(value), int(value) + 5]
        return 0, text_of(lines), ""
