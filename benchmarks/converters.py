"""Our conversion beside onnx-tf, onnx2tf and litert-torch: every student, float32 and int8, on one runtime.

    python -m benchmarks.converters --students tcresnet8,bcresnet1
    python -m benchmarks.converters --table docs/results-converters.md

Peers live in environments that this script makes (some 7 GB from PyPI, once) under --work. What is done stands in
`rows.jsonl` there, one line a network and route, and `latency.jsonl`, one line a network and precision: a second call
goes on where the first one stopped; delete a line to have it done again. A peer that fails is a row with its reason.

Weights are the packaged starters where there is one. Other networks have seeded weights whose batch normalisations
have seen real features; their SQNR says less. Features are of SYNTHETIC speech.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import torch

from benchmarks.converter_table import table
from converters import pipeline
from converters.errors import ConversionError
from converters.parity import sqnr_db
from converters.pipeline import ConversionRequest, convert
from converters.runners import Floats, TfliteModel, TfliteTimer, run_torch
from converters.tensorflow_route import OPSET, worker
from converters.tflite_file import read_tflite
from converters.to_onnx import to_onnx
from tkd.audio.features import FEATURES
from tkd.checkpoint import STARTERS, load_student, read_checkpoint
from tkd.export.bundles import input_scale
from tkd.export.material import Amounts, Material, find_data, load_material
from tkd.students import STUDENTS, Student, build_student

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = ("float32", "int8")
OURS = "ours"
# What each peer is installed from; the versions that the table of docs/results-converters.md was made with.
PEERS: dict[str, tuple[str, ...]] = {
    "onnx-tf": (
        "onnx-tf==1.10.0", "tensorflow==2.21.0", "tf-keras==2.21.0", "onnx==1.23.2", "numpy==1.26.4",
        "protobuf==7.36.2",
    ),
    "onnx2tf": ("onnx2tf==1.29.24",),
    "litert-torch": ("litert-torch==0.10.0", "torch==2.13.0"),
}  # fmt: skip
CALIBRATION_CLIPS, CHECK_CLIPS, NORM_CLIPS = 256, 240, 256
SEED = 20_211_027
TIME_LIMIT_S = 1200.0
ROUND_S = 0.008


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One network, ready for every route; files are in `folder`.

    Attributes:
        name: of the student.
        folder: student.pt, model-<opset>.onnx, calibration.npy, check.npy, torch.npy.
        onnx_seconds: from PyTorch to ONNX, processor time.
        is_trained: whether the weights are a packaged starter's.
    """

    name: str
    folder: Path
    onnx_seconds: float
    is_trained: bool

    def clips(self, name: str) -> Floats:
        """`calibration`, `check` or `torch` (the outputs on `check`)."""
        clips: Floats = np.load(self.folder / f"{name}.npy")
        return clips


def main() -> None:
    """Does what is not done yet, then writes the table."""
    options = _options()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    students, routes = _chosen(options.students, STUDENTS), _chosen(options.routes, (OURS, *PEERS))
    jobs = [prepare(name, work) for name in students]
    for route in routes:
        wanted = [job for job in jobs if (job.name, route) not in _rows(work)]
        if route == OURS:
            _warm_up()
        if wanted:
            convert_all(route, wanted, work)
    for job in jobs:
        for precision in PRECISIONS:
            if options.rounds:
                measure(job, precision, work, options.rounds)
    if options.table:
        options.table.write_text(table(_rows(work), _latencies(work), _header(work)), encoding="utf-8")


def prepare(name: str, work: Path) -> Job:
    """Everything that the routes start from, made once."""
    folder = work / "networks" / name
    facts = folder / "job.json"
    if not facts.exists():
        folder.mkdir(parents=True, exist_ok=True)
        starter = STARTERS / f"{name}.safetensors"
        student = load_student(read_checkpoint(starter)) if starter.exists() else _seeded(name)
        material = _material(STUDENTS[name].features)
        if not starter.exists():
            _normalise(student, material.calibration.inputs[:NORM_CLIPS])
        material = material.scaled(input_scale(student, material))
        check = material.test.inputs.numpy()[:: max(1, len(material.test.ids) // CHECK_CLIPS)][:CHECK_CLIPS]
        np.save(folder / "calibration.npy", material.calibration.inputs.numpy())
        np.save(folder / "check.npy", check)
        np.save(folder / "torch.npy", run_torch(student, check))
        seconds = _write_networks(folder, name, student, torch.from_numpy(check[:1]))
        facts.write_text(json.dumps({"onnx_seconds": seconds, "is_trained": starter.exists()}), encoding="utf-8")
        _say(f"{name}: prepared")
    return Job(name=name, folder=folder, **json.loads(facts.read_text(encoding="utf-8")))


def _write_networks(folder: Path, name: str, student: Student, example: torch.Tensor) -> float:
    channels = example.shape[2]
    classes = int(student(example).shape[1])
    torch.save(
        {"name": name, "channels": channels, "classes": classes, "state": student.state_dict()}, folder / "student.pt"
    )
    seconds = 0.0
    for opset in (OPSET, 17):
        start = time.process_time()
        model = to_onnx(student, example, input_name="features", output_name="logits", opset=opset)
        seconds = time.process_time() - start
        (folder / f"model-{opset}.onnx").write_bytes(_without_functions(model))
    (folder / "model-cut.onnx").write_bytes(from_first_layer((folder / "model-17.onnx").read_bytes()))
    return seconds


def from_first_layer(content: bytes) -> bytes:
    """The model from its first computing node on: what only moves the axes of the input is left to whoever feeds it.

    onnx2tf takes every model to begin with channels first, and guesses wrongly where axes move before the first layer.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    graph = model.graph
    name = graph.input[0].name
    while True:
        readers = [node for node in graph.node if name in node.input]
        if len(readers) != 1 or readers[0].op_type not in ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"):
            break
        name = readers[0].output[0]
        graph.node.remove(readers[0])
    known = {value.name: value for value in (*graph.input, *graph.value_info)}
    given = onnx.ValueInfoProto()
    given.CopyFrom(known[name])
    del graph.input[:]
    graph.input.append(given)
    cut: bytes = model.SerializeToString()
    return cut


def _without_functions(model: onnx.ModelProto) -> bytes:
    """The model with its own functions, which no peer reads, put in their places."""
    whole = onnx.inliner.inline_local_functions(model) if model.functions else model
    content: bytes = whole.SerializeToString()
    return content


def _seeded(name: str) -> Student:
    torch.manual_seed(SEED)
    return build_student(name, FEATURES[STUDENTS[name].features].channels, 12)


def _normalise(student: Student, clips: torch.Tensor) -> None:
    """Gives batch normalisations the statistics of real features, so that activations are of a usual size."""
    for part in student.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.momentum = None
    student.train()
    with torch.no_grad():
        for batch in clips.split(64):
            student(batch)
    student.eval()


@cache
def _material(features: str) -> Material:
    """Clips of the starters' synthetic corpus, through a front end of the table."""
    spec = read_checkpoint(STARTERS / "tcresnet8.safetensors").spec
    folder = find_data(spec, None, _silent)
    return load_material(folder, spec, FEATURES[features], Amounts(calibration=CALIBRATION_CLIPS, seed=SEED), _silent)


def convert_all(route: str, jobs: Sequence[Job], work: Path) -> None:
    """Converts the networks by one route and appends their rows."""
    if route == OURS:
        for job in jobs:
            _append(work / "rows.jsonl", _row(job, route, _by_us(job)))
        return
    python = environment(route, work)
    left = [folder for folder in (_folder_for(route, job) for job in jobs) if not _is_done(folder)]
    for folder in left:
        for old in (*folder.glob("*.tflite"), folder / "answer.json"):
            old.unlink(missing_ok=True)
    command = {
        "onnx-tf": [str(python), "-P", worker.__file__],
    }.get(route, [str(python), "-m", "benchmarks.converter_peers", route])
    while left:
        ended = _run([*command, *map(str, left)], work / f"{route}.log", TIME_LIMIT_S * len(left))
        # A crash ends the process; what was being converted then says so, and the others are begun anew.
        begun = [folder for folder in left if _answer(folder) is not None]
        if not begun:
            raise SystemExit(f"{route} did not start: {ended}; see {work / f'{route}.log'}")
        for folder in begun:
            answer = _answer(folder) or {}
            if answer.get("step"):
                answer["refusals"][answer["step"]] = ended
                worker.write_answer(folder, {**answer, "step": None})
        left = [folder for folder in left if _answer(folder) is None]
    for job in jobs:
        _append(work / "rows.jsonl", _row(job, route, _answer(job.folder / route) or {}))


def _folder_for(route: str, job: Job) -> Path:
    folder = job.folder / route
    folder.mkdir(exist_ok=True)
    opset = OPSET if route == "onnx-tf" else 17
    alike = ("model-cut.onnx", "calibration.npy", "check.npy", "torch.npy", "student.pt")
    for name, target in {"model.onnx": f"model-{opset}.onnx", **{name: name for name in alike}}.items():
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(job.folder.resolve() / target)
    request = {"precisions": list(PRECISIONS), "input": "features"}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    return folder


def _run(command: Sequence[str], log: Path, limit_s: float) -> str:
    """How the process ended, in words."""
    # onnx2tf calls onnxsim as a program, which lies beside its Python.
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("ab") as stream:
        try:
            code = subprocess.run(command, stdout=stream, stderr=stream, cwd=ROOT, env=settings, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return f"not done after {limit_s:.0f} s"
    return f"the process ended by signal {-code.returncode}" if code.returncode < 0 else f"exit code {code.returncode}"


def _is_done(folder: Path) -> bool:
    """Whether a process that was stopped later has been through with this network."""
    answer = _answer(folder)
    return answer is not None and answer.get("step") is None


def _answer(folder: Path) -> dict[str, Any] | None:
    path = folder / "answer.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _warm_up() -> None:
    """The first conversion imports what later ones have."""
    toy = torch.nn.Sequential(torch.nn.Conv1d(4, 4, 3), torch.nn.Flatten(), torch.nn.Linear(24, 3))
    clips = np.random.default_rng(0).standard_normal((8, 4, 8)).astype(np.float32)
    convert(ConversionRequest(module=toy, example=clips[:1], calibration=clips, gates=None))


@contextmanager
def in_processor_time() -> Iterator[None]:
    """Inside the block, a conversion counts its steps in processor time: wall time means nothing beside other work."""
    kept = pipeline.time
    pipeline.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    try:
        yield
    finally:
        pipeline.time = kept


def _by_us(job: Job) -> dict[str, Any]:
    stored = torch.load(job.folder / "student.pt", weights_only=True)
    student = build_student(stored["name"], stored["channels"], stored["classes"])
    student.load_state_dict(stored["state"])
    calibration = job.clips("calibration")
    request = ConversionRequest(
        module=student.eval(), example=calibration[:1], calibration=calibration, check=calibration[:1], gates=None
    )
    with in_processor_time():
        conversion = convert(request)
    folder = job.folder / OURS
    folder.mkdir(exist_ok=True)
    for precision in PRECISIONS:
        (folder / f"{precision}.tflite").write_bytes(conversion.files[precision].content)  # type: ignore[index]
    seconds = conversion.seconds
    steps = {"saved_model": seconds["to_onnx"], "float32": seconds["lower"]}
    steps["int8"] = sum(seconds[step] for step in ("calibrate", "mix", "quantize", "write_int8"))
    return {"refusals": {}, "cpu_seconds": steps, "versions": {"ai-edge-litert": version("ai-edge-litert")}}


def _row(job: Job, route: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What one route made of one network: each file measured, or why there is none."""
    seconds, refusals = answer.get("cpu_seconds", {}), answer.get("refusals", {})
    files: dict[str, Any] = {}
    for precision in PRECISIONS:
        path = job.folder / route / f"{precision}.tflite"
        reason = refusals.get("saved_model") or refusals.get("float32") or refusals.get(precision)
        if not path.exists() or (reason and precision in refusals):
            files[precision] = {"refused": reason or "no file was written"}
            continue
        try:
            files[precision] = {**_judged(path, job), "note": answer.get("notes", {}).get(precision, "")}
        except ConversionError as cause:
            files[precision] = {"refused": f"the file does not run: {cause}"}
    before = 0.0 if route in (OURS, "litert-torch") else job.onnx_seconds
    made = before + sum(seconds.get(step, 0.0) for step in ("saved_model", "float32"))
    row = {"student": job.name, "route": route, "is_trained": job.is_trained, "files": files}
    row["seconds"] = {"float32": made, "with int8": made + seconds.get("int8", 0.0)}
    row |= {"versions": answer.get("versions", {}), "made_utc": datetime.now(UTC).isoformat(timespec="seconds")}
    said = {name: each.get("refused") or f"{each['sqnr_db']:.1f} dB" for name, each in files.items()}
    _say(f"{job.name} by {route}: {said}")
    return row


def _judged(path: Path, job: Job) -> dict[str, Any]:
    """Size, operators and error of a file, against PyTorch on clips that calibration has not seen."""
    content = path.read_bytes()
    model, _ = read_tflite(content)
    loaded = TfliteModel(content)
    outputs = loaded.run(_fed(loaded, job.clips("check")))
    expected = job.clips("torch")
    counts = model.counts()
    return {
        "bytes": len(content),
        "operators": sum(counts.values()),
        "transposes": counts.get("TRANSPOSE", 0),
        "by_type": counts,
        "max_error": float(np.abs(outputs - expected).max()),
        "sqnr_db": sqnr_db(expected, outputs),
        "same_winner": float((outputs.argmax(1) == expected.argmax(1)).mean()),
    }


def measure(job: Job, precision: str, work: Path, rounds: int) -> None:
    """Times every route's file of one network in turns, in one process, and appends the rounds."""
    known = _rows(work)
    routes = [
        route
        for route in (OURS, *PEERS)
        if "bytes" in known.get((job.name, route), {}).get("files", {}).get(precision, {})
    ]
    done = _latencies(work).get((job.name, precision), {})
    if OURS not in routes or (set(routes) <= set(done.get("us", ())) and len(done["us"][OURS]) >= rounds):
        return
    clip = job.clips("check")[:1]
    seen: dict[str, list[float]] = {route: [] for route in routes}
    for turn in range(rounds):
        if turn % 10 == 0:
            # Loaded anew now and then: where a file's tensors come to lie in memory can cost some per cent.
            timers = {route: _timer(job.folder / route / f"{precision}.tflite", clip) for route in routes}
        there = {route: timers[route].seconds(ROUND_S / 2, time.perf_counter) for route in routes}
        back = {route: timers[route].seconds(ROUND_S / 2, time.perf_counter) for route in reversed(routes)}
        for route in routes:
            seen[route].append(1e6 * (there[route] + back[route]) / 2)
    row = {"student": job.name, "precision": precision, "us": seen, "load_1min": os.getloadavg()[0]}
    row["made_utc"] = datetime.now(UTC).isoformat(timespec="seconds")
    _append(work / "latency.jsonl", row)
    _say(f"{job.name} {precision}: " + ", ".join(f"{route} {np.median(us):.0f} µs" for route, us in seen.items()))


def _timer(path: Path, clip: Floats) -> TfliteTimer:
    model = TfliteModel(path)
    timer = TfliteTimer(model, model.input.quantize(_fed(model, clip)))
    timer.seconds(ROUND_S / 2, time.perf_counter)
    return timer


def _fed(model: TfliteModel, clips: Floats) -> Floats:
    """The clips in the layout that a file takes: frames before channels, or after, perhaps with axes of length 1."""
    shape = model.input.shape[1:]
    axes = tuple(length for length in shape if length > 1)
    turned = clips if axes == clips.shape[1:] else clips.transpose(0, 2, 1)
    return np.ascontiguousarray(turned).reshape(len(clips), *shape)


def environment(route: str, work: Path) -> Path:
    """The Python of a peer's environment, made on first use."""
    folder = work / "environments" / route
    wanted = "\n".join(PEERS[route])
    ready = folder / "ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        _say(f"installing {' '.join(PEERS[route])} into {folder}")
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *PEERS[route]], check=True)
        ready.write_text(wanted, encoding="utf-8")
    return folder / "bin" / "python"


def _header(work: Path) -> dict[str, Any]:
    rows = _rows(work).values()
    days = sorted({row["made_utc"][:10] for row in rows})
    peers = {}
    for row in rows:
        others = [f"{name} {found}" for name, found in row["versions"].items() if name != row["route"]]
        if row["route"] in row["versions"]:
            peers[row["route"]] = f"{row['versions'][row['route']]} (with {', '.join(others)})"
    return {
        "machine": f"{platform.machine()}, {_processor()}, {os.cpu_count()} processors shared with other work",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peers": peers,
        "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
        "date": " to ".join(dict.fromkeys((days[0], days[-1]))),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    known = [name for name in ("avx2", "avx512f", "avx512_vnni") if name in flags.split()]
    return " ".join(known) or "no vector extension seen"


def _rows(work: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """In the order of the table of students."""
    order = list(STUDENTS)
    rows = sorted(_lines(work / "rows.jsonl"), key=lambda row: order.index(row["student"]))
    return {(row["student"], row["route"]): row for row in rows}


def _latencies(work: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["student"], row["precision"]): row for row in _lines(work / "latency.jsonl")}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def _chosen(text: str, known: Sequence[str] | Mapping[str, Any]) -> list[str]:
    chosen = text.split(",") if text else list(known)
    unknown = set(chosen) - set(known)
    if unknown:
        raise SystemExit(f"not known: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return chosen


def _options() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tkd" / "converters"
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--students", default="", metavar="A,B", help="all of them where left out")
    made.add_argument("--routes", default="", metavar="A,B", help=f"of {', '.join((OURS, *PEERS))}; all")
    made.add_argument("--rounds", type=int, default=40, help="of latency, all routes in turns; 0 for none (40)")
    made.add_argument("--work", type=Path, default=cache, metavar="DIR", help=f"environments, files, rows ({cache})")
    made.add_argument("--table", type=Path, metavar="FILE", help="write the Markdown page")
    return made.parse_args()


def _silent(_title: str, _total: int) -> Any:
    return nullcontext(lambda _steps: None)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
