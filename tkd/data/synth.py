"""A synthetic keyword corpus, spoken by espeak-ng, in the layout of Speech Commands.

Comes after `tkd.data.render` (one clip); `tkd.data.speech_commands` reads the result like the real corpus.
What is measured on it says *synthetic*: variants of one synthesiser are not people.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import tkd
from converters.files import whole_folder
from tkd.data.espeak import Espeak
from tkd.data.layout import LISTS, NOISE_FOLDER, SPLITS, SYNTHETIC_MANIFEST
from tkd.data.made import is_made
from tkd.data.render import RECORDINGS, Levels, Utterance
from tkd.data.voices import ACCENTS, KEYWORDS, UNKNOWN_WORDS, Speaker, make_speakers
from tkd.data.workers import Orders, make_clips, make_recording, workers
from tkd.errors import SettingsError

FORMAT = "tkd.synth/1"
MANIFEST = SYNTHETIC_MANIFEST
FEWEST_CLIPS = 120
"""Fewer, and a keyword would be missing in a split."""

# Raised when the same settings make other samples than before.
_GENERATOR = 1
_SHARES = {"validation": 0.1, "test": 0.1}
_UNKNOWN_SHARE = 1 / 8
_CLIPS_PER_JOB = 50

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthSettings:
    """What fixes a synthetic corpus, sample by sample.

    Attributes:
        clips: number of spoken clips in all splits, `FEWEST_CLIPS` or more.
        seed: 0 or more.
        levels: ranges of signal-to-noise ratio and level.

    Raises:
        SettingsError: a value is out of its range.
    """

    clips: int = 12_000
    seed: int = 0
    levels: Levels = field(default_factory=Levels)

    def __post_init__(self) -> None:
        if self.clips < FEWEST_CLIPS:
            raise SettingsError(
                f"clips is {self.clips}; expected {FEWEST_CLIPS} or more, so that each split has each word"
            )
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}; expected 0 or more")
        for name, (low, high) in asdict(self.levels).items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise SettingsError(f"{name} is {low:g} to {high:g}; expected the lower number first")

    def to_dict(self) -> dict[str, Any]:
        """The settings as they stand in the manifest."""
        values = asdict(self)
        levels = {name: list(limits) for name, limits in values.pop("levels").items()}
        return {"generator": _GENERATOR, "task": "keywords", **values, "levels": levels}


def is_made_already(folder: Path, settings: SynthSettings, *, force: bool) -> bool:
    """Whether a folder holds exactly this corpus; False when it is free to be written.

    Raises:
        DataError: the folder holds something else, and replacing that was not asked for or would be a disaster.
    """
    return is_made(folder, MANIFEST, {"format": FORMAT, "settings": settings.to_dict()}, force=force)


def make_corpus(folder: Path, settings: SynthSettings, *, jobs: int, advance: Advance) -> dict[str, Any]:
    """Makes the corpus, whole or not at all, replacing what is in `folder`.

    Args:
        folder: where the corpus goes; see `is_made_already`.
        settings: what fixes it; the number of jobs does not.
        jobs: processes that work at it, 1 or more; 1 stays in this process.
        advance: called with the number of clips done since its last call.

    Returns:
        The manifest, as in `synthetic.json`.

    Raises:
        DataError: espeak-ng cannot be loaded, or a worker died.
        OSError: the folder cannot be written.
    """
    if jobs < 1:
        raise SettingsError(f"jobs is {jobs}; expected 1 or more")
    speakers = make_speakers(settings.seed)
    plan = make_plan(settings, speakers)
    with whole_folder(folder) as partial:
        for name in (*KEYWORDS, *UNKNOWN_WORDS, NOISE_FOLDER):
            (partial / name).mkdir()
        with workers(jobs, Orders(folder=partial, seed=settings.seed, levels=settings.levels)) as each:
            for _ in each(make_recording, list(RECORDINGS)):
                pass
            parts = [plan[first : first + _CLIPS_PER_JOB] for first in range(0, len(plan), _CLIPS_PER_JOB)]
            for done in each(make_clips, parts):
                advance(done)
        manifest = _manifest(settings, plan)
        for split, name in LISTS.items():
            listed = sorted(utterance.path for utterance in plan if utterance.speaker.split == split)
            (partial / name).write_text("".join(f"{path}\n" for path in listed), encoding="utf-8")
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(_readme(manifest), encoding="utf-8")
    return manifest


def make_plan(settings: SynthSettings, speakers: dict[str, tuple[Speaker, ...]]) -> tuple[Utterance, ...]:
    """Who says what: every split has all ten keywords equally often, and one clip in eight is another word."""
    sizes = {split: round(share * settings.clips) for split, share in _SHARES.items()}
    sizes = {"train": settings.clips - sum(sizes.values()), **sizes}
    plan: list[Utterance] = []
    for index, split in enumerate(SPLITS):
        rng = np.random.default_rng([settings.seed, 4, index])
        others = round(_UNKNOWN_SHARE * sizes[split])
        words = [*_evenly(KEYWORDS, sizes[split] - others, rng), *_evenly(UNKNOWN_WORDS, others, rng)]
        said: Counter[str] = Counter()
        turn = {word: int(rng.integers(len(speakers[split]))) for word in (*KEYWORDS, *UNKNOWN_WORDS)}
        for word in words:
            time, place = divmod(said[word], len(speakers[split]))
            speaker = speakers[split][(turn[word] + place) % len(speakers[split])]
            said[word] += 1
            path = f"{word}/{speaker.id}_nohash_{time}.wav"
            plan.append(Utterance(number=len(plan), path=path, word=word, speaker=speaker))
    return tuple(plan)


def _evenly(words: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` words, each equally often; chance decides who comes once more."""
    order = [words[index] for index in rng.permutation(len(words))]
    return [order[index % len(order)] for index in range(count)]


def _manifest(settings: SynthSettings, plan: Sequence[Utterance]) -> dict[str, Any]:
    clips_of = Counter(utterance.speaker for utterance in plan)
    with Espeak() as engine:
        version = engine.version
    people = sorted(clips_of, key=lambda speaker: (SPLITS.index(speaker.split), speaker.id))
    return {
        "format": FORMAT,
        "synthetic": True,
        "notice": "SYNTHETIC SPEECH: spoken by espeak-ng, not by people; say so beside every number made with it.",
        "settings": settings.to_dict(),
        "versions": {
            "tkd": tkd.__version__,
            "espeak-ng": version,
            "espeakng-loader": importlib.metadata.version("espeakng-loader"),
            "numpy": np.__version__,
            "soxr": importlib.metadata.version("soxr"),
        },
        "clips": {split: sum(utterance.speaker.split == split for utterance in plan) for split in SPLITS},
        "speakers": {split: sum(speaker.split == split for speaker in people) for split in SPLITS},
        "accents": list(ACCENTS),
        "speaker_table": [
            {
                "id": speaker.id, "split": speaker.split, "voice": speaker.voice.name, "variant": speaker.variant,
                "accent": speaker.accent, "pitch": speaker.voice.pitch, "rate_wpm": speaker.voice.rate_wpm,
                "clips": clips_of[speaker],
            }
            for speaker in people
        ],
    }  # fmt: skip


def _readme(manifest: dict[str, Any]) -> str:
    settings, levels = manifest["settings"], manifest["settings"]["levels"]
    version = manifest["versions"]["espeak-ng"]
    return f"""# SYNTHETIC speech commands

{manifest["notice"]}

{settings["clips"]} clips of one second, 16 kHz, mono, 16 bits, in the layout of Speech Commands (Warden 2018).
Made by `tkd-data synth --clips {settings["clips"]} --seed {settings["seed"]}` with espeak-ng {version}.
Each word is mixed with noise at {levels["snr_db"][0]:g} to {levels["snr_db"][1]:g} dB over the whole clip;
the level of a clip is {levels["level_dbfs"][0]:g} to {levels["level_dbfs"][1]:g} dBFS.
The regions of `_background_noise_` that each split hears are separate: 80 % training, 10 % validation, 10 % test.
No speaker and no voice variant is in two splits; whole families of voices are in one split only.
`{MANIFEST}` lists the speakers, the settings and the versions.
"""
