"""FSD50K as Zenodo delivers it: 200 classes of sound events, several to a clip, each clip under its own licence.

    DIR/FSD50K.dev_audio/64760.wav
    DIR/FSD50K.eval_audio/37199.wav
    DIR/FSD50K.ground_truth/dev.csv            fname,labels,mids,split    (split: train or val)
    DIR/FSD50K.ground_truth/eval.csv           fname,labels,mids
    DIR/FSD50K.ground_truth/vocabulary.csv     0,Accelerating_and_revving_and_vroom,/m/07q2z82
    DIR/FSD50K.metadata/dev_clips_info_FSD50K.json, eval_clips_info_FSD50K.json
                                               {"64760": {"title", "description", "tags", "license", "uploader"}, …}

44.1 kHz recordings of 0.3 to 30 s become clips of one length at 16 kHz; which part is taken is part of the protocol,
since the paper of the distillation does not say it.
Comes after `tkd.audio.sound` and before `tkd.data.loading`.
Source: Fonseca et al. 2022, arXiv 2010.00475; https://zenodo.org/records/4060432.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tkd.audio.sound import Fit, read_sound
from tkd.audio.wav import SAMPLE_RATE_HZ, Int16
from tkd.data.dataset import Clip, DataSet
from tkd.data.fault import Fault
from tkd.data.layout import SPLITS, SYNTHETIC_MANIFEST
from tkd.errors import DataError

GROUND_TRUTH = "FSD50K.ground_truth"
METADATA = "FSD50K.metadata"
AUDIO = {"dev": "FSD50K.dev_audio", "eval": "FSD50K.eval_audio"}
INFO = {part: f"{part}_clips_info_FSD50K.json" for part in AUDIO}

_SPLIT_OF = {"train": "train", "val": "validation"}
# Licences that allow a copy in a bundle. Anything else is refused, also what nobody has heard of: the non-commercial
# ones by their terms, Sampling+ because it forbids advertising and does not cover copies of the whole work for sale.
_FREE = re.compile(r"creativecommons\.org/(publicdomain/zero|licenses/by)/\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fsd50k(DataSet):
    """The data set; see `open_fsd50k`.

    Attributes:
        folder: as in `DataSet`, like all that are not named here.
        labels: the vocabulary, in its order.
        fit: how recordings become clips.
        found: every clip by split.
        is_synthetic: made by `tkd-data synth --task events`.
    """

    folder: Path
    labels: tuple[str, ...]
    clip_samples: int
    reading: str
    fit: Fit
    found: dict[str, tuple[Clip, ...]]
    is_synthetic: bool
    is_multi_label: bool = True
    decodes_slowly: bool = True

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips that the ground truth gives a split; `validation` is its `val`, `test` its eval set."""
        clips = self.found[split]
        missing = sorted(set(range(len(self.labels))) - {label for clip in clips for label in clip.labels})
        if missing:
            names = ", ".join(self.labels[label] for label in missing[:3])
            raise DataError(
                f"{len(missing)} classes of {self.folder} have no clips in split '{split}', the first: {names}; "
                "expected at least one of each class of vocabulary.csv; copy the ground truth again"
            )
        return clips

    def path_of(self, clip: Clip) -> Path:
        """The file of a clip."""
        return self.folder / clip.path

    def read(self, clip: Clip) -> Int16:
        """The part of the recording that the clip is, resampled, shape (clip_samples,)."""
        return self.fit.apply(
            read_sound(self.folder / clip.path, convert=True), lambda: clip_generator(self.fit.seed, clip.id)
        )

    def background(self, split: str) -> list[Int16]:  # noqa: ARG002 - the data set has none for any split
        """None: the data set has no noise of its own."""
        return []

    def describe(self) -> dict[str, Any]:
        """Where it is, whether it is synthetic, and how clips were cut."""
        return {
            "name": self.folder.name,
            "folder": str(self.folder),
            "layout": "fsd50k",
            "task": f"{len(self.labels)} classes, several a clip",
            "synthetic": self.is_synthetic,
            "clip_seconds": self.clip_samples / SAMPLE_RATE_HZ,
            "crop": self.fit.crop,
            "pad": self.fit.pad,
            "seed": self.fit.seed,
            "multi_label": True,
            "protocol": f"{len(self.labels)} classes, several a clip; the ground truth's splits; {self.fit}",
        }


def open_fsd50k(folder: Path, fit: Fit, faults: list[Fault] | None = None) -> Fsd50k:
    """The data set in a folder; reads ground truth and metadata, no sound.

    Args:
        folder: where the archives were unpacked.
        fit: how recordings become clips.
        faults: takes what is wrong with single clips, which are then left out; None makes the first of it an error.

    Raises:
        DataError: a file of the ground truth is missing or cannot be read; and without `faults`, a label is not in the
            vocabulary, or ground truth and audio folders disagree.
    """
    labels = _vocabulary(folder / GROUND_TRUTH / "vocabulary.csv")
    found: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    for part in AUDIO:
        rows = _rows(folder / GROUND_TRUTH / f"{part}.csv", part, faults)
        there = _compare_with_audio(folder, part, [row["fname"] for row in rows], faults)
        licences = read_licences(folder, part)
        for row in rows:
            clip = _clip(row, part, labels, folder, faults) if row["fname"] in there else None
            if clip is not None:
                there.discard(row["fname"])  # a second line of the same clip is left out
                found[clip.split].append(replace(clip, licence=licences.get(row["fname"], "not stated")))
    return Fsd50k(
        folder=folder,
        labels=labels,
        clip_samples=fit.samples,
        reading=f"mixed down, resampled by soxr HQ to 16 kHz; {fit}",
        fit=fit,
        found={split: tuple(sorted(clips, key=lambda clip: clip.id)) for split, clips in found.items()},
        is_synthetic=(folder / SYNTHETIC_MANIFEST).is_file(),
    )


def may_be_packed(licence: str) -> bool:
    """Whether a clip under this licence may be copied into a bundle: CC0 and CC BY; not CC BY-NC, not an unknown one.

    >>> may_be_packed("http://creativecommons.org/licenses/by/3.0/")
    True
    >>> may_be_packed("http://creativecommons.org/licenses/by-nc/3.0/")
    False
    """
    return _FREE.search(licence) is not None


def read_licences(folder: Path, part: str) -> dict[str, str]:
    """The licence of each clip of `dev` or `eval` by its file name without ending; empty without metadata.

    Raises:
        DataError: the metadata cannot be read.
    """
    path = folder / METADATA / INFO[part]
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(row["license"]) for name, row in info.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise DataError(f"{path} cannot be read ({cause}); unpack FSD50K.metadata again") from cause


def _vocabulary(path: Path) -> tuple[str, ...]:
    rows = _csv(path)
    if not rows or any(len(row) < 2 for row in rows):
        raise DataError(f"{path} is not a vocabulary; expected lines such as 0,Accordion,/m/0mkg")
    return tuple(row[1] for row in rows)


def _rows(path: Path, part: str, faults: list[Fault] | None) -> list[dict[str, str]]:
    rows = _csv(path)
    header = ["fname", "labels", "mids", "split"][: 4 if part == "dev" else 3]
    if not rows or rows[0] != header:
        raise DataError(f"{path} begins with {rows[0] if rows else 'nothing'}; expected {','.join(header)}")
    good = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) == len(header):
            good.append(dict(zip(header, row, strict=True)))
            continue
        message = f"{path} line {number} has {len(row)} columns; expected {len(header)}"
        _note(faults, "bad line", f"{GROUND_TRUTH}/{part}.csv", message.removeprefix(f"{path} "), message)
    return good


def _note(faults: list[Fault] | None, kind: str, path: str, detail: str, message: str) -> None:
    """Adds a fault to the list, or raises it where there is none.

    Raises:
        DataError: with the message.
    """
    if faults is None:
        raise DataError(message)
    faults.append(Fault(kind=kind, path=path, detail=detail))


def _csv(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise DataError(
            f"{path} cannot be read ({cause}); expected FSD50K as Zenodo delivers it; unpack FSD50K.ground_truth"
        ) from cause


def _compare_with_audio(folder: Path, part: str, names: list[str], faults: list[Fault] | None) -> set[str]:
    """The clips that are listed and there."""
    there = {path.stem for path in (folder / AUDIO[part]).glob("*.wav")}
    listed = set(names)
    for strange, seen, kind in (
        (listed - there, "listed and not there", "listed but missing"),
        (there - listed, "there and not listed", "there but not listed"),
        ({name for name, count in Counter(names).items() if count > 1}, "listed twice", "listed twice"),
    ):
        for name in sorted(strange):
            _note(
                faults, kind, f"{AUDIO[part]}/{name}.wav", f"is {seen} in {GROUND_TRUTH}/{part}.csv",
                f"{GROUND_TRUTH}/{part}.csv and {AUDIO[part]} of {folder} disagree: {len(strange)} clips are {seen}, "
                f"the first is {name}.wav; unpack both again",
            )  # fmt: skip
    return listed & there


def _clip(
    row: dict[str, str], part: str, labels: tuple[str, ...], folder: Path, faults: list[Fault] | None
) -> Clip | None:
    name, split = row["fname"], row.get("split", "")
    unknown = [label for label in row["labels"].split(",") if label not in labels]
    if unknown or (part == "dev" and split not in _SPLIT_OF):
        what = f"label '{unknown[0]}'" if unknown else f"split '{split}'"
        expected = f"expected {'labels of vocabulary.csv' if unknown else 'train or val'}"
        _note(
            faults, "unknown label" if unknown else "unknown split", f"{AUDIO[part]}/{name}.wav",
            f"{part}.csv gives it the {what}; {expected}",
            f"{folder / GROUND_TRUTH / part}.csv gives clip {name} the {what}; {expected}",
        )  # fmt: skip
        return None
    several = tuple(sorted({labels.index(label) for label in row["labels"].split(",")}))
    return Clip(
        id=f"{AUDIO[part]}/{name}.wav",
        path=f"{AUDIO[part]}/{name}.wav",
        label=several[0],
        labels=several,
        word=row["labels"],
        speaker="",
        split="test" if part == "eval" else _SPLIT_OF[split],
    )


def clip_generator(seed: int, name: str) -> np.random.Generator:
    """Depends on the clip's name, not on its place among others."""
    hashed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng([seed, hashed])
