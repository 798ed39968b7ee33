"""What a data set in another layout than Speech Commands' holds, and what is wrong with it.

FSD50K, the official test archive, and folders of labels: all through `DataSet`, so that what is checked is what a
training run would read. Comes after `tkd.data.dataset`; `tkd.data.check` describes the result.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from tkd.audio.sound import Fit, read_sound
from tkd.audio.wav import SAMPLE_RATE_HZ
from tkd.data.check import SHORTEST_S, CheckReport, Holding, strangers
from tkd.data.dataset import Clip
from tkd.data.fault import Fault
from tkd.data.folder import ENDINGS, FolderSettings, open_folder
from tkd.data.fsd50k import AUDIO, GROUND_TRUTH, open_fsd50k
from tkd.data.keywords import read_archive
from tkd.data.layout import LISTS, NOISE_FOLDER, SPLITS
from tkd.data.speech_commands import TWELVE_LABELS, UNKNOWN
from tkd.errors import AudioError

Kind = Literal["speech_commands", "test_archive", "fsd50k", "folder"]
KINDS: tuple[Kind, ...] = ("speech_commands", "test_archive", "fsd50k", "folder")

_FIT = Fit(samples=SAMPLE_RATE_HZ)


def kind_of(folder: Path) -> Kind:
    """The layout that a folder looks like; Speech Commands' where it looks like none, whose reader says what it lacks.

    >>> kind_of(Path("nowhere"))
    'speech_commands'
    """
    if (folder / GROUND_TRUTH).is_dir():
        return "fsd50k"
    if (folder / UNKNOWN).is_dir():
        return "test_archive"
    ours = (folder / NOISE_FOLDER).is_dir() or any((folder / name).is_file() for name in LISTS.values())
    if ours or next(folder.glob("*/*_nohash_*.wav"), None) is not None:
        return "speech_commands"
    return "folder" if _has_recordings(folder) else "speech_commands"


def check_set(folder: Path, kind: Kind, settings: FolderSettings | None, advance: Callable[[int], None]) -> CheckReport:
    """Reads every recording of a data set once.

    Args:
        folder: the data set.
        kind: any layout but `speech_commands`.
        settings: how a `folder` is read; None takes its sub-folders as they are.
        advance: called with the number of recordings done since its last call.

    Raises:
        DataError, SettingsError: this is no data set of that layout: a list is missing or is none, a class has no clip.
    """
    convert = True
    faults: list[Fault] = []
    if kind == "fsd50k":
        events = open_fsd50k(folder, _FIT, faults)
        found, labels, rule, is_synthetic = events.found, events.labels, "ground truth", events.is_synthetic
    elif kind == "test_archive":
        archive = read_archive(folder)
        found, labels, rule, is_synthetic = {"test": archive}, TWELVE_LABELS, "archive", False
        convert = False
    else:
        settings = settings or FolderSettings(fit=_FIT)
        sounds = open_folder(folder, settings, faults)
        found, labels, rule, is_synthetic = sounds.found, sounds.labels, sounds.split_rule, False
        convert = settings.convert
    faults += _strangers(folder, kind, settings)
    counts: Counter[tuple[str, int]] = Counter()
    seconds: dict[tuple[str, int], float] = defaultdict(float)
    for clip, length_s in _read(folder, found, convert, faults):
        for label in clip.labels or (clip.label,):
            counts[clip.split, label] += 1
            seconds[clip.split, label] += length_s
        advance(1)
    everyone = [clip for split in SPLITS for clip in found.get(split, ())]
    speakers: dict[tuple[str, int], set[str]] = defaultdict(set)
    for clip in everyone:
        for label in clip.labels or (clip.label,):
            speakers[clip.split, label] |= {clip.speaker} if clip.speaker else set()
    holdings = tuple(
        Holding(split=split, label=name, clips=counts[split, label], speakers=len(speakers[split, label]),
                seconds=seconds[split, label])
        for label, name in enumerate(labels) for split in found
    )  # fmt: skip
    faults += [
        Fault(kind="class missing in a split", path=row.label, detail=f"has no readable clips in split '{row.split}'")
        for row in holdings
        if row.clips == 0
    ]
    return CheckReport(
        folder=folder,
        layout=kind,
        split_rule=rule,
        is_synthetic=is_synthetic,
        words=len(labels),
        speakers=len({clip.speaker for clip in everyone if clip.speaker}),
        holdings=holdings,
        noise_seconds={},
        short_clips=0,
        faults=tuple(faults),
        licences=dict(Counter(clip.licence for clip in everyone if clip.licence)),
    )


def _read(
    folder: Path, found: dict[str, tuple[Clip, ...]], convert: bool, faults: list[Fault]
) -> Iterator[tuple[Clip, float]]:
    """(clip, seconds) of each readable recording; what is wrong goes into `faults`."""
    path_of_content: dict[bytes, str] = {}
    for clip in (clip for clips in found.values() for clip in clips):
        try:
            sound = read_sound(folder / clip.path, convert=convert)
        except AudioError as error:
            detail = str(error).removeprefix(f"{folder / clip.path}: ")
            faults.append(Fault(kind=error.fault, path=clip.path, detail=detail))
            continue
        length_s = len(sound) / SAMPLE_RATE_HZ
        if length_s < SHORTEST_S:
            faults.append(
                Fault(kind="wrong length", path=clip.path, detail=f"{length_s:.3f} s; expected {SHORTEST_S} s or more")
            )
        if sound.any():
            content = hashlib.blake2b(sound.tobytes(), digest_size=16).digest()
            first = path_of_content.setdefault(content, clip.path)
            if first != clip.path:
                faults.append(Fault(kind="duplicate content", path=clip.path, detail=f"the same sound as {first}"))
        elif clip.word != "_silence_":
            faults.append(Fault(kind="all zeros", path=clip.path, detail="every sample is 0; expected sound"))
        yield clip, length_s


def _strangers(folder: Path, kind: Kind, settings: FolderSettings | None) -> list[Fault]:
    """Files that lie among the recordings and that nobody reads."""
    faults: list[Fault] = []
    endings: tuple[str, ...] = (".wav",)
    names = list(AUDIO.values()) if kind == "fsd50k" else list(TWELVE_LABELS)
    if kind == "folder":
        endings = ENDINGS
        names = [path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
        loose = [path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS]
        if settings is None or not settings.label_file:
            detail = "lies in no folder of a label; move it, or give a list"
            faults = [Fault(kind="no label", path=name, detail=detail) for name in loose]
    expected = " or ".join(endings)
    return faults + [
        Fault(kind="extra file", path=path, detail=f"is never read; expected {expected} files")
        for path in strangers(folder, endings, sorted(names))
    ]


def _has_recordings(folder: Path) -> bool:
    return any(path.suffix.lower() in ENDINGS for path in folder.glob("*/**/*"))
