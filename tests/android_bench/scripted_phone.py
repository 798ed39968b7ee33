"""A scratch phone whose runner is a shell script that plays recorded lines: everything around the runner is real."""

from pathlib import Path

from android_bench.cli import main
from tests.android_bench.bench_toys import CLASSES, HEAD_LINES, LINES_OF_STAGE, text_of
from tests.android_bench.phone_toys import ToyPhone

CLIPS = 30
QUICK = ("--warmup-ms", "1", "--min-timed-ms", "1", "--gate-wait-s", "0", "-q")
ROWS = [[float(clip % CLASSES == c) for c in range(CLASSES)] for clip in range(CLIPS)]
# Counts its starts; the start that `at` names does what `then` says.
SCRIPT = """\
for a; do case $a in stages=*) s=${a#stages=};; model=*) m=${a#model=};; esac; done
[ "$s" = probe ] && exec cat "$ROOT/lines/probe"
[ -f "$m" ] || exit 3
echo x >> $ROOT/starts
if [ "$(wc -l < $ROOT/starts)" -eq "$(cat $ROOT/at)" ]; then . $ROOT/then; fi
cat "$ROOT/lines/$s"
"""


class ScriptedPhone(ToyPhone):
    """The phone; `trouble` says what its runner does at which start."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        hello = {**HEAD_LINES[0], "runner": "scripted"}
        done = {"event": "done", "wall_ns": 1}
        evaluation = [{"event": "eval", "first": 0, "outputs": ROWS}]
        for stages in ("golden,latency", "memory", "golden,eval"):
            lines = [hello, *HEAD_LINES[1:]]
            for stage in stages.split(","):
                lines += evaluation if stage == "eval" else LINES_OF_STAGE[stage]
            self.write(f"lines/{stages}", text_of([*lines, done]))
        self.probe(2_000_000)
        self.trouble(0, "")
        self.local_runner = root.parent / "runner"
        self.local_runner.write_text(f"#!/bin/sh\n{SCRIPT}")
        self.local_runner.chmod(0o755)

    def probe(self, ns: int) -> None:
        """From now on a fixed piece of work takes so long."""
        hello = {**HEAD_LINES[0], "runner": "scripted"}
        lines = [hello, {"event": "probe", "steps": 9, "ns": [9 * ns, ns, ns]}, {"event": "done", "wall_ns": 1}]
        self.write("lines/probe", text_of(lines))

    def trouble(self, at: int, then: str) -> None:
        """At its start number `at`, counted from now, the runner does `then` first."""
        self.write("starts", "")
        self.write("at", f"{at}\n")
        self.write("then", f"{then}\n")

    @property
    def starts(self) -> int:
        """How often the runner was started since the last `trouble`."""
        return (self.root / "starts").read_text().count("x")

    def names(self) -> list[str]:
        """The files of ours on it."""
        return sorted(path.name for path in self.ours.rglob("*") if path.is_file())


def bench(daemon, *words: object) -> int:
    """The exit code of `tkd-bench` on the phone behind `daemon`."""
    return main(["--connect", f"127.0.0.1:{daemon.port}", *map(str, words)])
