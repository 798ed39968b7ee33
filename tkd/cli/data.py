"""`tkd-data`: make a data set, or check one."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from converters.command_line import ExitCode, add_common_options, available_cores, parser, progress, run
from converters.files import write_text
from tkd.audio.wav import SAMPLE_RATE_HZ
from tkd.data.check import CheckReport, check_data
from tkd.data.fault import Fault
from tkd.data.layout import NOISY_MANIFEST, SPLITS, SYNTHETIC_MANIFEST, read_layout
from tkd.errors import TkdError

_PROGRAM = "tkd-data"
_FAULTS_SHOWN = 8


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `tkd-data` with these arguments; None reads them from the command line."""
    return run(_PROGRAM, _command, argv, {TkdError: ExitCode.USAGE})


def _command(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    return int(arguments.action(arguments))


def _parser() -> argparse.ArgumentParser:
    made = parser(_PROGRAM, "Make a data set in the layout of Speech Commands, or check one.")
    actions = made.add_subparsers(required=True, metavar="synth | noisy | stream | check")
    synth = actions.add_parser(
        "synth",
        help="speak a keyword corpus with espeak-ng, or compute sound events (synthetic!)",
        description="Speaks a corpus of ten keywords and 25 other words with espeak-ng, in noise, in the layout of "
        "Speech Commands; or computes a small set of sound events in the layout of FSD50K. Both are synthetic: say so "
        "beside every number made with them.",
        argument_default=argparse.SUPPRESS,
    )
    synth.add_argument("--task", choices=("keywords", "events"), default="keywords", help="what (default: keywords)")
    synth.add_argument("--out", type=Path, default=None, metavar="DIR",
                       help="where (default: data/synth, data/events)")  # fmt: skip
    synth.add_argument("--clips", type=int, default=None, metavar="N",
                       help="how many (default: 12000 keywords, 400 events)")  # fmt: skip
    synth.add_argument("--snr-db", type=float, nargs=2, default=(5.0, 30.0), metavar=("LOW", "HIGH"),
                       help="of keywords: word to noise, each clip draws its own (default: 5 30)")  # fmt: skip
    _add_making_options(synth)
    synth.set_defaults(action=_synth)
    noisy = actions.add_parser(
        "noisy",
        help="put the words of a data set into seconds of noise",
        description="Mixes every clip of a data set in the layout of Speech Commands into noise at a random place, "
        "writes the result in the same layout, and where each word is into intervals.csv. The defaults are ours: the "
        "noises, SNR and placement of Noisy Speech Commands v2 (arXiv 2110.14131) are unpublished.",
        argument_default=argparse.SUPPRESS,
    )
    noisy.add_argument("--data", type=Path, required=True, metavar="DIR", help="the words, one second a clip")
    noisy.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the result goes")
    noisy.add_argument("--seconds", type=float, required=True, metavar="L", help="length of a clip; the paper has 2, "
                       "4, 6 and 8")  # fmt: skip
    noisy.add_argument("--snr-db", type=float, nargs=2, default=(5.0, 30.0), metavar=("LOW", "HIGH"),
                       help="word to noise, each clip draws its own (default: 5 30)")  # fmt: skip
    noisy.add_argument("--noise", nargs="+", default=None, metavar="NOISE", help="'own' (the recordings of the data "
                       "set), white, pink, brown, hum, bursts, or a folder of recordings (default: all but a folder)"
                       )  # fmt: skip
    noisy.add_argument("--most", type=int, default=0, metavar="N", help="clips of a word in a split (default: all)")
    _add_making_options(noisy)
    noisy.set_defaults(action=_noisy)
    stream = actions.add_parser(
        "stream",
        help="minutes of background with words at known times",
        description="Makes one long recording of scenes in noise, some with a keyword, some with another word, from a "
        "data set in the layout of Speech Commands, and lists in words.csv what sounds when. For tkd-eval --stream.",
        argument_default=argparse.SUPPRESS,
    )
    stream.add_argument("--data", type=Path, required=True, metavar="DIR", help="the words, and background noise")
    stream.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the result goes")
    stream.add_argument("--minutes", type=float, default=10.0, metavar="M", help="of sound (default: %(default)s)")
    stream.add_argument("--split", choices=SPLITS, default="test", help="whose words are heard (default: test)")
    stream.add_argument("--snr-db", type=float, nargs=2, default=(5.0, 30.0), metavar=("LOW", "HIGH"),
                        help="word to noise, each word draws its own (default: 5 30)")  # fmt: skip
    stream.add_argument("--seed", type=int, default=0, metavar="S", help="fixes every sample (default: %(default)s)")
    stream.add_argument("--force", action="store_true", default=False, help="replace what is in DIR")
    stream.add_argument("--json", metavar="PATH|-", default=None, help="write the manifest as JSON, - for stdout")
    stream.set_defaults(action=_stream)
    check = actions.add_parser(
        "check",
        help="say what a data set holds and what is wrong with it",
        description="Reads every recording of a data set, lists what it holds and what is wrong: Speech Commands, its "
        "test archive, words in noise, FSD50K, or any folder of labels. "
        "Exit 0: nothing is wrong; 1: faults; 2: not a data set.",
        argument_default=argparse.SUPPRESS,
    )
    check.add_argument("folder", type=Path, metavar="DIR", help="the data set")
    check.add_argument("--json", metavar="PATH|-", default=None, help="write the report as JSON, - for stdout")
    check.add_argument("--kind", default=None, metavar="KIND", help="speech_commands, test_archive, fsd50k or folder "
                       "(default: what it looks like)")  # fmt: skip
    check.add_argument("--convert", action="store_true", default=False,
                       help="of a folder: other rates and channels are no faults")  # fmt: skip
    check.add_argument("--labels", default="", metavar="FILE", help="of a folder: its CSV file of labels")
    check.set_defaults(action=_check)
    for action in (synth, noisy, stream, check):
        add_common_options(action)
    return made


def _add_making_options(action: argparse.ArgumentParser) -> None:
    action.add_argument("--seed", type=int, default=0, metavar="S", help="fixes every sample (default: %(default)s)")
    action.add_argument(
        "--jobs", type=int, default=available_cores(), metavar="J", help="processes (default: %(default)s)"
    )
    action.add_argument("--force", action="store_true", default=False, help="replace what is in DIR")
    action.add_argument("--json", metavar="PATH|-", default=None, help="write the manifest as JSON, - for stdout")


def _synth(arguments: argparse.Namespace) -> int:
    return _synth_events(arguments) if arguments.task == "events" else _synth_keywords(arguments)


def _synth_events(arguments: argparse.Namespace) -> int:
    from tkd.data.events import EventSettings, events_are_made_already, make_events

    given = {} if arguments.clips is None else {"clips": arguments.clips}
    settings = EventSettings(seed=arguments.seed, **given)
    folder: Path = arguments.out or Path("data/events")
    if events_are_made_already(folder, settings, force=arguments.force):
        manifest = json.loads((folder / SYNTHETIC_MANIFEST).read_text(encoding="utf-8"))
        outcome = "is there already, made with the same settings"
    else:
        start = time.monotonic()
        with progress("computing", settings.clips, quiet=arguments.quiet) as advance:
            manifest = make_events(folder, settings, advance)
        outcome = f"made in {time.monotonic() - start:.1f} s"
    if arguments.json:
        _write_json(arguments.json, manifest)
    if arguments.json != "-":
        counts = ", ".join(f"{split} {manifest['clips'][split]:,}" for split in SPLITS)
        print(f"{folder}: {outcome}")
        print(f"  {sum(manifest['clips'].values()):,} clips ({counts}) of {len(manifest['classes'])} classes")
        print("  SYNTHETIC sounds, computed and not recorded: say so beside every number")
    return ExitCode.GOOD


def _synth_keywords(arguments: argparse.Namespace) -> int:
    # Imported here: `tkd-data check` needs no espeak-ng.
    from tkd.data.render import Levels
    from tkd.data.synth import MANIFEST, SynthSettings, is_made_already, make_corpus

    low, high = arguments.snr_db
    given = {} if arguments.clips is None else {"clips": arguments.clips}
    settings = SynthSettings(seed=arguments.seed, levels=Levels(snr_db=(low, high)), **given)
    folder: Path = arguments.out or Path("data/synth")
    if is_made_already(folder, settings, force=arguments.force):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        outcome = "is there already, made with the same settings"
    else:
        start = time.monotonic()
        with progress("speaking", settings.clips, quiet=arguments.quiet) as advance:
            manifest = make_corpus(folder, settings, jobs=arguments.jobs, advance=advance)
        outcome = f"made in {time.monotonic() - start:.1f} s"
    if arguments.json:
        _write_json(arguments.json, manifest)
    if arguments.json != "-":
        counts = ", ".join(f"{split} {manifest['clips'][split]:,}" for split in SPLITS)
        speakers = sum(manifest["speakers"].values())
        print(f"{folder}: {outcome}")
        print(f"  {settings.clips:,} clips ({counts}) of {speakers:,} voices, seed {settings.seed}")
        print(f"  SYNTHETIC speech (espeak-ng {manifest['versions']['espeak-ng']}): say so beside every number")
    return ExitCode.GOOD


def _noisy(arguments: argparse.Namespace) -> int:
    from tkd.data.noisy import INTERVALS, NoisySettings, is_made_already, make_noisy, plan_noisy

    low, high = arguments.snr_db
    given = {"noise": tuple(arguments.noise)} if arguments.noise else {}
    settings = NoisySettings(
        seconds=arguments.seconds, seed=arguments.seed, snr_db=(low, high), most=arguments.most, **given
    )
    plan = plan_noisy(arguments.data, settings)
    folder: Path = arguments.out
    if is_made_already(folder, plan, force=arguments.force):
        manifest = json.loads((folder / NOISY_MANIFEST).read_text(encoding="utf-8"))
        outcome = "is there already, made of the same data with the same settings"
    else:
        start = time.monotonic()
        with progress("mixing", len(plan.clips), quiet=arguments.quiet) as advance:
            manifest = make_noisy(folder, plan, jobs=arguments.jobs, advance=advance)
        outcome = f"made in {time.monotonic() - start:.1f} s"
    if arguments.json:
        _write_json(arguments.json, manifest)
    if arguments.json != "-":
        counts = ", ".join(f"{split} {manifest['clips'][split]:,}" for split in SPLITS)
        print(f"{folder}: {outcome}")
        print(f"  {len(plan.clips):,} clips ({counts}) of {settings.seconds:g} s, seed {settings.seed}; {INTERVALS}")
        if manifest["synthetic"]:
            print("  SYNTHETIC speech: say so beside every number")
    return ExitCode.GOOD


def _stream(arguments: argparse.Namespace) -> int:
    from tkd.data.stream import MANIFEST, WORDS, StreamSettings, is_made_already, make_stream

    low, high = arguments.snr_db
    settings = StreamSettings(minutes=arguments.minutes, seed=arguments.seed, split=arguments.split, snr_db=(low, high))
    folder: Path = arguments.out
    if is_made_already(folder, arguments.data, settings, force=arguments.force):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        outcome = "is there already, made of the same data with the same settings"
    else:
        start = time.monotonic()
        with progress("mixing seconds", round(60 * settings.minutes), quiet=arguments.quiet) as advance:
            manifest = make_stream(folder, arguments.data, settings, advance)
        outcome = f"made in {time.monotonic() - start:.1f} s"
    if arguments.json:
        _write_json(arguments.json, manifest)
    if arguments.json != "-":
        words = manifest["words"]
        print(f"{folder}: {outcome}")
        print(
            f"  {manifest['seconds'] / 60:.1f} minutes with {words['keywords']} keywords and {words['others']} other "
            f"words, seed {settings.seed}; {WORDS}"
        )
        if manifest["synthetic"]:
            print("  SYNTHETIC speech: say so beside every number")
    return ExitCode.GOOD


def _check(arguments: argparse.Namespace) -> int:
    from tkd.audio.sound import Fit
    from tkd.data.check_sets import KINDS, check_set, kind_of
    from tkd.data.folder import FolderSettings
    from tkd.data.loading import check_choice

    folder: Path = arguments.folder
    if arguments.kind:
        check_choice("kind", arguments.kind, KINDS)
    kind = arguments.kind or kind_of(folder)
    if kind == "speech_commands":
        clips = sum(map(len, read_layout(folder, takes_half_of_the_lists=True).words.values()))
    else:
        clips = sum(path.suffix.lower() in (".wav", ".flac") for path in folder.rglob("*"))
    with progress("reading", clips, quiet=arguments.quiet) as advance:
        if kind == "speech_commands":
            report = check_data(folder, advance=advance)
        else:
            settings = FolderSettings(
                fit=Fit(samples=SAMPLE_RATE_HZ), convert=arguments.convert, label_file=arguments.labels
            )
            report = check_set(folder, kind, settings, advance)
    if arguments.json:
        _write_json(arguments.json, report.to_dict())
    if arguments.json != "-":
        print(_table(report))
        print(_faults(report.faults, shown=len(report.faults) if arguments.verbose else _FAULTS_SHOWN))
    return ExitCode.NO if report.faults else ExitCode.GOOD


def _table(report: CheckReport) -> str:
    """What the data set holds: a line for each class, clips and speakers of each split in columns."""
    found = {(row.label, row.split): row for row in report.holdings}
    labels = list(dict.fromkeys(row.label for row in report.holdings))
    is_speech = report.layout in ("speech_commands", "test_archive")
    kind = ("SYNTHETIC speech" if is_speech else "SYNTHETIC sounds") if report.is_synthetic else "recordings"
    length = f" in {report.clip_seconds:g} s of noise" if report.clip_seconds != 1 else ""
    lines = [
        f"{report.folder}: {kind}, {report.words} {'words' if is_speech else 'classes'}{length}, "
        f"{report.speakers:,} speakers, split by {report.split_rule}",
        "",
        f"{'clips (speakers)':<16}" + "".join(f"{split:>18}" for split in SPLITS) + f"{'seconds':>12}",
    ]
    for label in labels:
        rows = [found[label, split] for split in SPLITS if (label, split) in found]
        cells = "".join(f"{f'{row.clips:,} ({row.speakers:,})':>18}" for row in rows)
        cells = f"{cells:>{18 * len(SPLITS)}}"
        lines.append(f"{label:<16}{cells}{sum(row.seconds for row in rows):>12,.1f}")
    totals = [sum(row.clips for row in report.holdings if row.split == split) for split in SPLITS]
    seconds = sum(row.seconds for row in report.holdings)
    lines.append(f"{'all':<16}" + "".join(f"{total:>18,}" for total in totals) + f"{seconds:>12,.1f}")
    noise = sum(report.noise_seconds.values())
    if report.layout == "speech_commands":
        lines += ["", f"background noise: {len(report.noise_seconds)} recordings, {noise:,.1f} s"]
    lines += [f"licence {name}: {count:,} clips" for name, count in sorted(report.licences.items())]
    if report.short_clips:
        length = f"{report.clip_seconds:g} s"
        lines.append(f"{report.short_clips:,} clips are shorter than {length} and are filled with zeros when read")
    return "\n".join(lines)


def _faults(faults: Sequence[Fault], shown: int) -> str:
    """Faults by kind with their number, the first few of each."""
    if not faults:
        return "nothing is wrong"
    counts = Counter(fault.kind for fault in faults)
    lines = [f"\n{len(faults):,} faults"]
    for kind, count in counts.most_common():
        lines.append(f"  {kind}: {count:,}")
        of_kind = [fault for fault in faults if fault.kind == kind]
        lines += [f"    {fault.path}: {fault.detail}" for fault in of_kind[:shown]]
        if count > shown:
            lines.append(f"    … and {count - shown:,} more (-v or --json lists all)")
    return "\n".join(lines)


def _write_json(target: str, content: object) -> None:
    text = json.dumps(content, indent=1) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        write_text(Path(target), text)


if __name__ == "__main__":
    sys.exit(main())
