import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import tkd
from tests.tkd.conftest import silent
from tkd.checkpoint import read_checkpoint
from tkd.errors import SettingsError
from tkd.students import build_student
from tkd.train.batches import Batch, mix_seeds
from tkd.train.processes import ALONE, Processes, open_processes, share_batch_norms
from tkd.train.sweep import Sweep, run_sweep

CONFIG = """
run = "{run}"
[data]
folder = "{data}"
[student]
name = "{student}"
[student_fit]
steps = 4
batch_size = 15
validate_every = 4
optimiser = "sgd"
learning_rate = 0.005
[teacher]
layers = 1
hidden = 16
heads = 2
feed_forward = 32
[teacher_fit]
steps = 2
batch_size = 15
validate_every = 1
[distill]
lambdas = {lambdas}
accept_any_teacher = true
"""


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of one, so that collectives run."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def batch(clips: int) -> Batch:
    count = torch.arange(clips)
    return Batch(inputs=torch.randn(clips, 4), labels=count, index=count, shift_samples=count)


@pytest.mark.parametrize("shape", [(6, 3, 5), (6, 3, 4, 2), (6, 3)])
def test_a_shared_batch_norm_is_a_batch_norm(group: None, shape: tuple[int, ...]) -> None:
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    plain, shared = (nn.Sequential(kind(3, momentum=0.3)) for _ in range(2))
    share_batch_norms(shared, Processes(count=2))
    torch.manual_seed(0)
    inputs = torch.randn(shape) * 3 + 100  # far from zero, where one pass would lose the variance
    grown = torch.randn(shape)
    one, two = (inputs.clone().requires_grad_() for _ in range(2))

    expected, seen = plain(one), shared(two)
    (expected * grown).sum().backward()
    (seen * grown).sum().backward()

    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(two.grad, one.grad, atol=1e-4, rtol=1e-4)
    assert list(plain.state_dict()) == list(shared.state_dict())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value)
    torch.testing.assert_close(shared.eval()(inputs), plain.eval()(inputs), atol=1e-4, rtol=1e-4)


def test_the_shares_are_the_whole_batch_once() -> None:
    whole = batch(7)
    shares = [Processes(rank=rank, count=3).share(whole) for rank in range(3)]
    assert list(range(7)) == sorted(clip for share, _ in shares for clip in share.index.tolist())
    assert 1.0 == pytest.approx(sum(part for _, part in shares))


def test_a_batch_of_fewer_clips_than_processes_is_refused() -> None:
    with pytest.raises(SettingsError, match="a batch has 1 clips and there are 2 processes; raise batch_size"):
        Processes(count=2).share(batch(1))


def test_gradients_add_up_and_none_stays_none(group: None) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    module[0](torch.ones(1, 2)).sum().backward()
    expected = module[0].weight.grad.clone()
    Processes(count=2).sum_gradients(module)
    torch.testing.assert_close(module[0].weight.grad, expected)
    assert module[1].weight.grad is None


def test_a_process_by_itself_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with open_processes() as processes:
        assert (0, 1, True) == (processes.rank, processes.count, processes.is_first)
        processes.wait()
    assert ALONE.of_first(0.5) == 0.5


def test_a_sweep_by_several_processes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a sweep runs in one process, saw 2"):
        run_sweep(Sweep(folder=tmp_path / "s", trials=()), silent, processes=replace(ALONE, count=2))


STOPPING = """
import sys
import tkd.train.fit
save = tkd.train.fit._Progress.save
def saving(self, step):
    save(self, step)
    if step == {step} and self._place.stage.startswith("student"):
        sys.exit("stopped by the test")
tkd.train.fit._Progress.save = saving
from tkd.cli.train import main
sys.exit(main(sys.argv[1:]))
"""


def train(
    config: Path, processes: int, *options: str, stop_after_step: int | None = None
) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    program = ["-m", "tkd.cli.train"]
    if stop_after_step is not None:
        script = config.with_suffix(".py")
        script.write_text(STOPPING.format(step=stop_after_step))
        program = [str(script)]
    command = [sys.executable, *(launcher if processes > 1 else []), *program, str(config), "-q", *options]
    root = str(Path(tkd.__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": root}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def config(folder: Path, data: Path, name: str, student: str, lambdas: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(CONFIG.format(run=folder / name, data=data, student=student, lambdas=lambdas))
    return path


@pytest.mark.slow
def test_two_processes_give_the_model_of_one(small_corpus: Path, tmp_path: Path) -> None:
    """Uneven shares (8 and 7 clips), batch norms over both, no dropout: only the order of sums differs.

    By gradient descent: Adam divides by the size of a gradient and makes a large step of a rounding error.
    In few small steps: at a rate of 0.05 the same rounding grew to 0.002 within six.
    """
    for name, count in (("one", 1), ("two", 2)):
        ended = train(config(tmp_path, small_corpus, name, "ds-cnn-s", "[0.0]"), count)
        assert 0 == ended.returncode, ended.stderr
        assert 1 == ended.stdout.count("checkpoint ")
    one, two = (read_checkpoint(tmp_path / name / "student.safetensors").state for name in ("one", "two"))

    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=2e-3, msg=lambda text, at=name: f"{at}: {text}")
    assert 2 == json.loads((tmp_path / "two" / "run.json").read_text())["processes"]


@pytest.mark.slow
def test_two_processes_give_the_model_of_one_with_adamw(small_corpus: Path, tmp_path: Path) -> None:
    """By the length of the way: how far the two ends are apart, over how far one of them is from the start.

    Adam divides a gradient by its size, so that a weight whose gradient is nearly zero makes a whole step of a rounding
    error. Weights with a gradient of exactly zero (biases before a batch norm, as in ds-cnn-s) walk at random, which no
    tolerance covers; res8 has none, and no dropout. Rounding was seen to give 0.005 of the way in four steps, and the
    least mistake of sharing (8 and 7 clips that count alike) 0.18: the bound is the geometric mean of the two.
    """
    for name, count in (("one", 1), ("two", 2)):
        settings = config(tmp_path, small_corpus, name, "res8-narrow", "[0.0]")
        options = ["--set", "student_fit.optimiser=adamw", "--set", "student_fit.learning_rate=0.001"]
        ended = train(settings, count, *options)
        assert 0 == ended.returncode, ended.stderr
    torch.manual_seed(mix_seeds(1, 20))
    start = build_student("res8-narrow", 40, 12).state_dict()
    one, two = (read_checkpoint(tmp_path / name / "student.safetensors").state for name in ("one", "two"))
    weights = [name for name in one if name.endswith("weight")]

    way = sum((one[name] - start[name]).square().sum() for name in weights)
    apart = sum((two[name] - one[name]).square().sum() for name in weights)

    assert way > 0
    assert (apart / way) ** 0.5 < 0.03


@pytest.mark.slow
def test_two_processes_distil_and_resume(small_corpus: Path, tmp_path: Path) -> None:
    settings = config(tmp_path, small_corpus, "two", "tcresnet8", "[0.0, 0.5]")
    assert 0 == train(settings, 2).returncode
    finished = json.loads((tmp_path / "two" / "run.json").read_text())
    (tmp_path / "two" / "run.json").unlink()
    (tmp_path / "two" / "student-lambda-0.5.safetensors").unlink()

    ended = train(settings, 2, "--resume")

    assert 0 == ended.returncode, ended.stderr
    again = json.loads((tmp_path / "two" / "run.json").read_text())
    assert [arm["test"] for arm in finished["arms"]] == [arm["test"] for arm in again["arms"]]


@pytest.mark.slow
def test_two_processes_resume_in_the_middle_of_a_student(small_corpus: Path, tmp_path: Path) -> None:
    whole = config(tmp_path, small_corpus, "whole", "tcresnet8", "[0.5]")
    halves = config(tmp_path, small_corpus, "halves", "tcresnet8", "[0.5]")
    for path in (whole, halves):
        path.write_text(
            path.read_text().replace("steps = 4", "steps = 6").replace("validate_every = 4", "validate_every = 2")
        )
    assert 0 == train(whole, 2).returncode
    stopped = train(halves, 2, stop_after_step=4)
    assert 0 != stopped.returncode
    assert (tmp_path / "halves" / "state-student-lambda-0.5.pt").exists()

    ended = train(halves, 2, "--resume")

    assert 0 == ended.returncode, ended.stderr
    states = [read_checkpoint(tmp_path / name / "student.safetensors").state for name in ("whole", "halves")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
