"""Any folder of labelled wav and flac files: one sub-folder a label, or a list of labels.

    DIR/glass/a17_01.wav          label glass                    labels.csv:  path,label[,split]
    DIR/glass/more/a17_02.flac    label glass, at any depth                   rec/0001.flac,glass,train

Without splits in a list they are drawn: 80 % training, 10 % validation, 10 % test of each class, no speaker in two.
Comes after `tkd.audio.sound` and before `tkd.data.loading`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tkd.audio.sound import Fit, read_sound
from tkd.audio.wav import SAMPLE_RATE_HZ, Int16
from tkd.data.dataset import Clip, DataSet
from tkd.data.fault import Fault
from tkd.data.fsd50k import clip_generator
from tkd.data.layout import SPLITS
from tkd.errors import DataError, SettingsError

ENDINGS = (".wav", ".flac")
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """How a folder is read.

    Attributes:
        fit: how recordings become clips.
        convert: other rates and channels are resampled and mixed down, not refused.
        label_file: CSV file of labels, relative to the folder; empty takes the sub-folders.
        speaker_pattern: regular expression whose first group finds the speaker (or session, or device) in a path;
            empty takes every clip for a speaker of its own.
        seed: of the split.
    """

    fit: Fit
    convert: bool = False
    label_file: str = ""
    speaker_pattern: str = ""
    seed: int = 59185


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFolder(DataSet):
    """The data set; see `open_folder`.

    Attributes:
        folder: as in `DataSet`, like all that are not named here.
        settings: how it is read.
        found: every clip by split.
        split_rule: `list`, `speakers` or `clips`.
    """

    folder: Path
    labels: tuple[str, ...]
    clip_samples: int
    reading: str
    decodes_slowly: bool
    settings: FolderSettings
    found: dict[str, tuple[Clip, ...]]
    split_rule: str
    is_multi_label: bool = False

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of a split, every class among them."""
        there = {clip.label for clip in self.found[split]}
        missing = [label for index, label in enumerate(self.labels) if index not in there]
        if missing:
            raise DataError(
                f"class '{missing[0]}' has no clips in split '{split}' of {self.folder} ({len(missing)} classes have "
                "none); expected at least one; add recordings or speakers, or leave the class out"
            )
        return self.found[split]

    def path_of(self, clip: Clip) -> Path:
        """The file of a clip."""
        return self.folder / clip.path

    def read(self, clip: Clip) -> Int16:
        """The part of the recording that the clip is, shape (clip_samples,)."""
        sound = read_sound(self.folder / clip.path, convert=self.settings.convert)
        return self.settings.fit.apply(sound, lambda: clip_generator(self.settings.fit.seed, clip.id))

    def background(self, split: str) -> list[Int16]:  # noqa: ARG002 - a folder has none for any split
        """None: a folder of labels has no noise of its own."""
        return []

    def describe(self) -> dict[str, Any]:
        """Where it is, how it was split and how clips were cut."""
        return {
            "name": self.folder.name,
            "folder": str(self.folder),
            "layout": "folder",
            "task": f"{len(self.labels)} classes",
            "synthetic": False,
            "split_rule": self.split_rule,
            "seed": self.settings.seed,
            "clip_seconds": self.clip_samples / SAMPLE_RATE_HZ,
            "crop": self.settings.fit.crop,
            "pad": self.settings.fit.pad,
            "convert": self.settings.convert,
            "label_file": self.settings.label_file,
            "speaker_pattern": self.settings.speaker_pattern,
            "multi_label": False,
            "protocol": f"{len(self.labels)} classes; split by {self.split_rule}, seed {self.settings.seed}; "
            f"{self.settings.fit}",
        }


def open_folder(folder: Path, settings: FolderSettings, faults: list[Fault] | None = None) -> LabelledFolder:
    """The data set in a folder; lists files and reads no sound.

    Args:
        folder: the data set.
        settings: how it is read.
        faults: takes what is wrong with single lines of the list, which are then left out; None makes it an error.

    Raises:
        DataError: no such folder, no recordings, fewer than two labels, or, without `faults`, the list of labels
            disagrees with the files.
        SettingsError: the pattern is no regular expression with a group, or finds no speaker in a path.
    """
    there = _recordings(folder)
    rows = _listed(folder, settings.label_file, there, faults) if settings.label_file else [
        (path, path.partition("/")[0], "") for path in there if "/" in path
    ]  # fmt: skip
    labels = tuple(sorted({label for _, label, _ in rows}))
    if len(labels) < 2:
        raise DataError(
            f"{folder} has {len(rows)} recordings of {len(labels)} labels; expected at least two labels, each a "
            f"sub-folder with {' or '.join(ENDINGS)} files, or a CSV file of path,label"
        )
    speakers = _speakers([path for path, _, _ in rows], settings.speaker_pattern)
    if any(split for _, _, split in rows):
        rule, splits = "list", {path: split for path, _, split in rows}
    else:
        rule = "speakers" if settings.speaker_pattern else "clips"
        splits = draw_splits({path: label for path, label, _ in rows}, speakers, settings.seed)
    found: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    for path, label, _ in rows:
        clip = Clip(id=path, path=path, label=labels.index(label), word=label,
                    speaker=speakers[path] if settings.speaker_pattern else "", split=splits[path])  # fmt: skip
        found[clip.split].append(clip)
    how = "any rate and channels converted" if settings.convert else "16 kHz mono"
    return LabelledFolder(
        folder=folder,
        labels=labels,
        clip_samples=settings.fit.samples,
        reading=f"{how}; {settings.fit}",
        decodes_slowly=settings.convert or any(path.endswith(".flac") for path in there),
        settings=settings,
        found={split: tuple(clips) for split, clips in found.items()},
        split_rule=rule,
    )


def draw_splits(label_of: Mapping[str, str], speaker_of: Mapping[str, str], seed: int) -> dict[str, str]:
    """A split for each path: each class by `SHARES` as nearly as it goes, and each speaker in one split only.

    Speakers are dealt one after the other, those with most clips first, to the split that lacks most of what they
    bring; the same paths and seed give the same splits.

    >>> splits = draw_splits({f"a/{n}": "a" for n in range(10)}, {f"a/{n}": str(n) for n in range(10)}, seed=0)
    >>> sorted(Counter(splits.values()).items())
    [('test', 1), ('train', 8), ('validation', 1)]
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for path, label in label_of.items():
        counts[speaker_of[path]][label] += 1
    totals = Counter(label_of.values())
    lacking = {(split, label): max(share * totals[label], 1.0) for split, share in SHARES.items() for label in totals}
    names = sorted(counts)
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    chosen: dict[str, str] = {}
    for name in sorted(order, key=lambda name: -counts[name].total()):  # stable: chance decides between equals

        def gain(split: str, brings: Counter[str] = counts[name]) -> float:
            wanted = SHARES[split]
            return sum(number * lacking[split, label] / (wanted * totals[label]) for label, number in brings.items())

        chosen[name] = max(SHARES, key=gain)
        for label, number in counts[name].items():
            lacking[chosen[name], label] -= number
    return {path: chosen[speaker_of[path]] for path in label_of}


def _recordings(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected sub-folders of recordings; give the folder of a data set")
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    relative = (path.relative_to(folder).as_posix() for path in paths)
    return tuple(sorted(path for path in relative if not any(part.startswith(".") for part in path.split("/"))))


def _listed(folder: Path, name: str, there: Sequence[str], faults: list[Fault] | None) -> list[tuple[str, str, str]]:
    """(path, label, split) of every line of a list of labels; the list and the folder must name the same files."""
    file = folder / name
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = [(row["path"], row["label"] or "", row.get("split") or "") for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as cause:
        raise DataError(
            f"{file} cannot be read as a list of labels ({cause}); expected a CSV file with the header path,label "
            "or path,label,split"
        ) from cause
    found = _disagreements(name, rows, there)
    if faults is None:
        _refuse(file, folder, found, rows)
        return rows
    faults += found
    bad = {fault.path for fault in found if fault.kind != "listed twice"}
    seen: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        if row[0] not in bad:
            seen.setdefault(row[0], row)
    return list(seen.values())


def _disagreements(name: str, rows: Sequence[tuple[str, str, str]], there: Sequence[str]) -> list[Fault]:
    """Everything that is wrong between a list of labels and the recordings."""
    listed = Counter(path for path, _, _ in rows)
    is_split = any(split for _, _, split in rows)
    found = [
        Fault(kind=kind, path=path, detail=f"{detail} {name}")
        for kind, detail, paths in (
            ("listed but missing", "is not there and is listed in", sorted(set(listed) - set(there))),
            ("there but not listed", "is there and not listed in", sorted(set(there) - set(listed))),
            ("listed twice", "is listed twice in", [path for path, count in listed.items() if count > 1]),
        )
        for path in paths
    ]
    for path, label, split in rows:
        if not label:
            found.append(Fault(kind="no label", path=path, detail=f"has no label in {name}"))
        elif split not in ("", *SPLITS) or (is_split and not split):
            detail = f"has the split '{split}' in {name}; expected {', '.join(SPLITS)} in every line or in none"
            found.append(Fault(kind="unknown split", path=path, detail=detail))
    return found


def _refuse(file: Path, folder: Path, found: Sequence[Fault], rows: Sequence[tuple[str, str, str]]) -> None:
    for kind, seen in (
        ("listed but missing", "are listed and not there"),
        ("there but not listed", "are there and not listed"),
        ("listed twice", "are listed twice"),
    ):
        names = [fault.path for fault in found if fault.kind == kind]
        if names:
            raise DataError(
                f"{file} disagrees with the recordings in {folder}: {len(names)} {seen}, the first is {names[0]}; "
                "mend the list, or copy the recordings again"
            )
    if found:
        wrong = next((path for path, label, split in rows if not label or split not in ("", *SPLITS)), "")
        raise DataError(
            f"{file} gives {wrong or 'some clips'} no label or no split; expected a label in every line, and "
            f"{', '.join(SPLITS)} in every line or in none"
        )


def _speakers(paths: Sequence[str], pattern: str) -> dict[str, str]:
    if not pattern:
        return {path: path for path in paths}
    try:
        expression = re.compile(pattern)
    except re.error as cause:
        raise SettingsError(f"speaker_pattern '{pattern}' is no regular expression ({cause})") from cause
    if expression.groups < 1:
        raise SettingsError(f"speaker_pattern '{pattern}' has no group; expected parentheses around the speaker")
    found = {}
    for path in paths:
        match = expression.search(path)
        if match is None or not match.group(1):
            raise SettingsError(f"speaker_pattern '{pattern}' finds no speaker in {path}; expected one in every path")
        found[path] = match.group(1)
    return found
