"""Minutes of sound as a phone hears them: background with words at known times, keywords and others.

    DIR/stream.wav     one recording, 16 kHz, mono
    DIR/words.csv      start_s,end_s,word,is_keyword,snr_db,clip: what sounds when
    DIR/stream.json    settings, source, how long, how many

The recording is a row of scenes, each with noises, a level and an SNR of its own, and one word or none:

    ──noise───[yes]──────│──────────noise───────│──[marvin]──noise────│ …

Comes after `tkd.data.mixing`, which mixes one scene. After this: `tkd.scoring.listening`.
Tested in `tests/tkd/data/test_stream.py`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tkd
from converters.files import whole_folder
from tkd.audio.wav import SAMPLE_RATE_HZ, read_wav, write_wav
from tkd.data.layout import NOISY_MANIFEST, SPLITS
from tkd.data.made import is_made
from tkd.data.mixing import MixSettings, mix
from tkd.data.speech_commands import TWELVE_LABELS, load_background, open_speech_commands
from tkd.errors import DataError, SettingsError

FORMAT = "tkd.audio-stream/1"
RECORDING, WORDS, MANIFEST = "stream.wav", "words.csv", "stream.json"
_FIELDS = ("start_s", "end_s", "word", "is_keyword", "snr_db", "clip")
_LONGEST_MINUTES = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What fixes a stream, sample by sample, together with its source.

    Attributes:
        minutes: of sound, more than 0.
        seed: 0 or more.
        split: of the source, whose words and region of the background are heard.
        scene_s: shortest and longest scene, which holds one word at most; at least 1 s.
        keyword_share: of the scenes that hold a keyword, 0 to 1.
        other_share: of the scenes that hold another word; the rest hold none.
        snr_db: see `MixSettings`.
        level_dbfs: see `MixSettings`.

    Raises:
        SettingsError: a value is out of its range.
    """

    minutes: float
    seed: int = 0
    split: str = "test"
    scene_s: tuple[float, float] = (3.0, 9.0)
    keyword_share: float = 0.4
    other_share: float = 0.3
    snr_db: tuple[float, float] = (5.0, 30.0)
    level_dbfs: tuple[float, float] = (-30.0, -18.0)

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= _LONGEST_MINUTES:
            raise SettingsError(f"minutes is {self.minutes:g}; expected more than 0 and at most {_LONGEST_MINUTES}")
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}; expected 0 or more")
        if self.split not in SPLITS:
            raise SettingsError(f"split is '{self.split}'; expected one of {', '.join(SPLITS)}")
        if min(self.keyword_share, self.other_share) < 0 or self.keyword_share + self.other_share > 1:
            raise SettingsError(
                f"the shares of keywords and of other words are {self.keyword_share:g} and {self.other_share:g}; "
                "expected 0 or more, and 1 together at most"
            )
        for name, lowest in (("scene_s", 1.0), ("snr_db", -math.inf), ("level_dbfs", -math.inf)):
            low, high = getattr(self, name)
            if not (lowest <= low <= high < math.inf):
                raise SettingsError(f"{name} is {low:g} to {high:g}; expected the lower number first")

    def made_with(self, source: str) -> dict[str, Any]:
        """`format` and `settings`, by which the same stream is known again."""
        settings = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"format": FORMAT, "settings": {**settings, "source": source}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a stream.

    Attributes:
        start_s: when it begins to sound, from the start of the recording.
        end_s: when it has sounded.
        word: what is said.
        is_keyword: whether it is one of the ten of the task with twelve labels.
    """

    start_s: float
    end_s: float
    word: str
    is_keyword: bool


def is_made_already(folder: Path, source: Path, settings: StreamSettings, *, force: bool) -> bool:
    """Whether a folder holds exactly this stream; errors as for `tkd.data.made.is_made`."""
    here, there = folder.resolve(), source.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise DataError(f"{folder} and the source {source} are one inside the other; give another --out")
    return is_made(folder, MANIFEST, settings.made_with(source.name), force=force)


def make_stream(folder: Path, source: Path, settings: StreamSettings, advance: Callable[[int], None]) -> dict[str, Any]:
    """Makes a stream, whole or not at all, replacing what is in `folder`.

    Args:
        folder: where it goes; see `is_made_already`.
        source: a data set in the layout of Speech Commands with recordings of background noise.
        settings: what it is.
        advance: called with the number of seconds done since its last call.

    Returns:
        The manifest, as in `stream.json`.

    Raises:
        DataError: the source is no such data set, or holds no word that is wanted.
        AudioError: a clip of the source cannot be used.
    """
    if (source / NOISY_MANIFEST).exists():
        raise DataError(f"{source} was made by tkd-data noisy; expected clips of one second; give its source")
    layout = open_speech_commands(source).layout
    clips = [f"{word}/{name}" for word, names in layout.words.items() for name in names]
    clips = sorted(clip for clip in clips if layout.split(clip) == settings.split)
    keywords = [clip for clip in clips if _word_of(clip) in TWELVE_LABELS]
    others = [clip for clip in clips if _word_of(clip) not in TWELVE_LABELS]
    if (settings.keyword_share and not keywords) or (settings.other_share and not others):
        raise DataError(
            f"the {settings.split} split of {source} has {len(keywords)} keywords and {len(others)} other words; "
            "expected some of each, or a share of 0"
        )
    noises = {f"noise{place}": sound for place, sound in enumerate(load_background(source, settings.split))}
    if not any(sound.any() for sound in noises.values()):
        raise DataError(f"{source} has no background noise in split '{settings.split}'; expected some recordings")
    rng = np.random.default_rng([settings.seed, 7])
    scenes, rows = [], []
    done, wanted = 0, round(60 * settings.minutes * SAMPLE_RATE_HZ)
    while done < wanted:
        samples = min(round(rng.uniform(*settings.scene_s) * SAMPLE_RATE_HZ), wanted - done)
        # What is left at the end may be too short for a word.
        clip = _drawn(keywords, others, settings, rng) if samples >= SAMPLE_RATE_HZ else ""
        word = read_wav(source / clip)[:SAMPLE_RATE_HZ] if clip else None
        mixing = MixSettings(samples=samples, snr_db=settings.snr_db, level_dbfs=settings.level_dbfs)
        mixed = mix(word, noises, mixing, rng)
        if mixed.first is not None and mixed.end is not None and mixed.snr_db is not None:
            start_s, end_s = (f"{(done + place) / SAMPLE_RATE_HZ:.4f}" for place in (mixed.first, mixed.end))
            is_keyword = "1" if _word_of(clip) in TWELVE_LABELS else "0"
            rows.append((start_s, end_s, _word_of(clip), is_keyword, f"{mixed.snr_db:.2f}", clip))
        scenes.append(mixed.samples)
        advance((done + samples) // SAMPLE_RATE_HZ - done // SAMPLE_RATE_HZ)
        done += samples
    manifest = {
        **settings.made_with(source.name),
        "synthetic": layout.is_synthetic,
        "seconds": done / SAMPLE_RATE_HZ,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "words": {"keywords": sum(row[3] == "1" for row in rows), "others": sum(row[3] == "0" for row in rows)},
        "versions": {"tkd": tkd.__version__, "numpy": np.__version__},
    }
    with whole_folder(folder) as partial:
        write_wav(partial / RECORDING, np.concatenate(scenes))
        with (partial / WORDS).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([_FIELDS, *rows])
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def read_stream(folder: Path) -> tuple[dict[str, Any], tuple[Word, ...]]:
    """The manifest of a stream and its words in the order in which they sound.

    Raises:
        DataError: the folder holds no stream, or a file of it cannot be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, expected {FORMAT}")
        with (folder / WORDS).open(newline="", encoding="utf-8") as file:
            words = tuple(
                Word(
                    start_s=float(row["start_s"]),
                    end_s=float(row["end_s"]),
                    word=row["word"],
                    is_keyword=row["is_keyword"] == "1",
                )
                for row in csv.DictReader(file)
            )
        if not isinstance(manifest["synthetic"], bool) or not manifest["seconds"] > 0:
            raise ValueError("synthetic or seconds is wrong")
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as cause:
        raise DataError(f"{folder} holds no stream ({cause}); make one with tkd-data stream") from cause
    return manifest, words


def _drawn(keywords: Sequence[str], others: Sequence[str], settings: StreamSettings, rng: np.random.Generator) -> str:
    """A keyword, another word, or nothing, as the shares say; every word is as likely as any other."""
    place = rng.random()
    if place >= settings.keyword_share + settings.other_share:
        return ""
    clips = keywords if place < settings.keyword_share else others
    words = sorted({_word_of(clip) for clip in clips})
    word = words[int(rng.integers(len(words)))]
    of_word = [clip for clip in clips if _word_of(clip) == word]
    return of_word[int(rng.integers(len(of_word)))]


def _word_of(clip: str) -> str:
    return clip.partition("/")[0]
