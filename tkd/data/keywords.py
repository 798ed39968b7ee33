"""A keyword task on a corpus in the layout of Speech Commands, with the protocol that its scores depend on.

Comes after `tkd.data.speech_commands` (the corpus) and before `tkd.data.loading`.
Scores under different protocols are not comparable: res15 has 98.0 % with silence as zeros and 96.5 % on the official
test archive, where silence is real noise. `describe()["protocol"]` says which one it was.
Source: Warden 2018, arXiv 1804.03209; the archive is speech_commands_test_set_v0.02.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tkd.audio.wav import SAMPLE_RATE_HZ, Int16
from tkd.data.dataset import Clip, DataSet
from tkd.data.layout import NOISY_MANIFEST, SYNTHETIC_MANIFEST, speaker_of
from tkd.data.loading import check_choice
from tkd.data.speech_commands import (
    CLIP_SAMPLES,
    SILENCE,
    TWELVE_LABELS,
    UNKNOWN,
    SilenceKind,
    SpeechCommands,
    SplitRule,
    load_background,
    open_speech_commands,
    read_clip,
)
from tkd.errors import DataError, SettingsError

Task = Literal["12", "all"]

# Warden 2018, table 1; version 2 added five words to version 1.
_VERSION_1 = frozenset({
    "bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy",
    "house", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven",
    "sheila", "six", "stop", "three", "tree", "two", "up", "wow", "yes", "zero",
})  # fmt: skip
_VERSION_2 = _VERSION_1 | {"backward", "follow", "forward", "learn", "visual"}
_VERSIONS = {_VERSION_1: "v1", _VERSION_2: "v2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordSettings:
    """Which task is drawn from a corpus.

    Attributes:
        task: `12` is ten keywords, silence and unknown; `all` is every word (30 in version 1, 35 in version 2).
        silence: `noise` or `zeros`, see `SpeechCommands.clips`.
        split_rule: `lists`, `hash`, or `auto` for the lists where they are.
        test_archive: folder of the official 12-class test set, which then is the test split; None draws it like the
            other splits.
        seed: of the draw of unknown words and silence.
    """

    task: Task = "12"
    silence: SilenceKind = "noise"
    split_rule: SplitRule = "auto"
    test_archive: Path | None = None
    seed: int = 59185


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordTask(DataSet):
    """A corpus drawn for one task; see `open_keywords`.

    Attributes:
        corpus: the corpus.
        settings: the task.
        archive: clips of the official test set; empty without one.
        folder: as in `DataSet`.
        labels: as in `DataSet`.
        clip_samples: as in `DataSet`.
        is_multi_label: False.
        reading: as in `DataSet`.
        decodes_slowly: False.
    """

    corpus: SpeechCommands
    settings: KeywordSettings
    archive: tuple[Clip, ...]
    folder: Path
    labels: tuple[str, ...]
    clip_samples: int
    is_multi_label: bool = False
    reading: str = "16-bit mono at 16 kHz as it stands"
    decodes_slowly: bool = False
    _noises: dict[str, Int16] = field(default_factory=dict, repr=False, compare=False)

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of a split: keywords, then unknown words, then silence."""
        if split == "test" and self.archive:
            return self.archive
        return self.corpus.clips(split, self.settings.seed, silence=self.settings.silence, labels=self.labels)

    def path_of(self, clip: Clip) -> Path | None:
        """The file of a clip; None for zeros."""
        return self._root(clip) / clip.path if clip.path else None

    def read(self, clip: Clip) -> Int16:
        """The sound of a clip; what is longer than a clip is cut at its end."""
        return read_clip(self._root(clip), clip, self.clip_samples, self._noises)

    def background(self, split: str) -> list[Int16]:
        """The split's own region of every noise recording."""
        return load_background(self.folder, split)

    def describe(self) -> dict[str, Any]:
        """Where the corpus is, whether it is synthetic, and the protocol."""
        words = frozenset(self.corpus.layout.words)
        description: dict[str, Any] = {
            "name": self.folder.name,
            "folder": str(self.folder),
            "layout": "speech_commands",
            "version": _VERSIONS.get(words, f"{len(words)} words of its own"),
            "task": f"{len(self.labels)} classes",
            "synthetic": self.corpus.is_synthetic,
            "silence": self.settings.silence,
            "split_rule": self.corpus.split_rule,
            "seed": self.settings.seed,
            "clip_seconds": self.clip_samples / SAMPLE_RATE_HZ,
            "multi_label": False,
            "test_archive": str(self.settings.test_archive or ""),
            "protocol": self._protocol(),
        }
        recipe = _manifest(self.folder / SYNTHETIC_MANIFEST)
        if recipe:
            description["recipe"] = {key: value for key, value in recipe.items() if not isinstance(value, list)}
        noisy = _manifest(self.folder / NOISY_MANIFEST)
        if noisy:
            description["noisy"] = noisy
        return description

    def _protocol(self) -> str:
        parts = [f"{len(self.labels)} classes", f"split by {self.corpus.split_rule}"]
        if SILENCE in self.labels:
            kind = {"noise": "real noise", "zeros": "zeros"}[self.settings.silence]
            parts += [f"silence is {kind}", f"unknown and silence a tenth of the keywords, seed {self.settings.seed}"]
        if self.archive:
            parts.append(f"test is the official archive of {len(self.archive):,} clips, its silence real noise")
        if self.clip_samples != CLIP_SAMPLES:
            parts.append(f"words in {self.clip_samples / SAMPLE_RATE_HZ:g} s of noise")
        return "; ".join(parts)

    def _root(self, clip: Clip) -> Path:
        archive = self.settings.test_archive
        return archive if archive is not None and clip.split == "test" else self.folder


def open_keywords(folder: Path, settings: KeywordSettings) -> KeywordTask:
    """The task in a data folder; lists files and reads no clip.

    Raises:
        DataError: the corpus or the test archive is not in its layout, or training would hear the archive's clips.
        SettingsError: a setting is none of its choices, or the archive does not go with the others.
        AudioError: a noise recording cannot be used.
    """
    check_choice("task", settings.task, ("12", "all"))
    check_choice("silence", settings.silence, ("noise", "zeros"))
    corpus = open_speech_commands(folder, settings.split_rule)
    layout = corpus.layout
    labels = TWELVE_LABELS if settings.task == "12" else tuple(word for word, names in layout.words.items() if names)
    archive: tuple[Clip, ...] = ()
    if settings.test_archive is not None:
        if settings.task != "12" or layout.clip_samples != CLIP_SAMPLES:
            raise SettingsError(
                "test_archive is the test set of twelve classes and clips of one second; leave it empty for "
                f"task '{settings.task}' and clips of {layout.clip_samples / SAMPLE_RATE_HZ:g} s"
            )
        archive = read_archive(settings.test_archive)
        _refuse_heard(corpus, settings.test_archive, archive)
    return KeywordTask(
        corpus=corpus,
        settings=settings,
        archive=archive,
        folder=folder,
        labels=labels,
        clip_samples=layout.clip_samples,
    )


def read_archive(folder: Path) -> tuple[Clip, ...]:
    """The clips of the official 12-class test set: one folder a class, `_silence_` and `_unknown_` among them.

    Raises:
        DataError: a class has no folder or no recordings.
    """
    clips = []
    for label, word in enumerate(TWELVE_LABELS):
        names = sorted(path.name for path in (folder / word).glob("*.wav"))
        if not names:
            raise DataError(
                f"{folder / word} has no .wav files; expected the official test archive "
                f"(speech_commands_test_set_v0.02): twelve folders, {SILENCE} and {UNKNOWN} among them"
            )
        for name in names:
            speaker = speaker_of(name) if "_nohash_" in name else ""
            path = f"{word}/{name}"
            clips.append(
                Clip(id=f"test_archive/{path}", path=path, label=label, word=word, speaker=speaker, split="test")
            )
    return tuple(clips)


def _refuse_heard(corpus: SpeechCommands, folder: Path, archive: tuple[Clip, ...]) -> None:
    """Refuses an archive of another version, whose test clips this corpus trains on."""
    layout = corpus.layout
    known = {path for path in layout.clips() if layout.split(path) != "test"}
    heard = [clip.path for clip in archive if clip.path in known]
    if heard:
        raise DataError(
            f"{len(heard)} clips of the test archive {folder} are in the training or validation split of "
            f"{corpus.folder}, the first is {heard[0]}; expected the archive that belongs to this version"
        )


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as cause:
        raise DataError(f"{path} cannot be read ({cause}); make the data set again") from cause
