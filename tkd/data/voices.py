"""Who says what in the synthetic corpus: words, espeak-ng's voices, and which of them each split hears.

Used by `tkd.data.synth`. Variants of one family share a maker or a synthesiser, so a family is never in two splits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tkd.data.espeak import Voice
from tkd.data.layout import SPLITS

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

# The other 25 words of Speech Commands v2.
UNKNOWN_WORDS = (
    "backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy", "house", "learn",
    "marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two", "visual", "wow", "zero",
)  # fmt: skip

# What the talkers of babble say: no word of the task.
BABBLE_WORDS = (
    "about", "after", "because", "before", "between", "bottle", "bread", "bring", "certain", "children", "colour",
    "country", "different", "engine", "evening", "family", "garden", "glass", "history", "island", "kitchen", "lemon",
    "letter", "listen", "machine", "market", "member", "minute", "money", "morning", "mother", "music", "number",
    "office", "orange", "paper", "people", "picture", "plant", "possible", "question", "river", "second", "silver",
    "special", "station", "summer", "surface", "together", "travel", "under", "village", "water", "weather", "window",
    "winter",
)  # fmt: skip

# `en-gb` alone is no name that espeak-ng 1.52 loads; its regional forms are.
ACCENTS = (
    "en-us", "en-us-nyc", "en", "en-029", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd"
)  # fmt: skip

# Families of espeak-ng's variants. Left out are Alicia, Demonic, f2, f3, f5, sandro, victor, whisper and whisperf:
# with breath or echo, espeak-ng 1.52 reads memory that it never wrote, so that a seed would not fix their sound.
FAMILIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "train": (
        ("robosoft", "robosoft2", "robosoft3", "robosoft4", "robosoft5", "robosoft6", "robosoft7", "robosoft8"),
        ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"), ("iven", "iven2", "iven3", "iven4"),
        ("steph", "steph2", "steph3"), ("anika", "anikaRobot"), ("Andy", "AnxiousAndy"),
        ("Alex",), ("Annie",), ("Denis",), ("Henrique",), ("Hugo",), ("Jacky",), ("Marco",), ("Mr serious",),
        ("Nguyen",), ("Storm",), ("Tweaky",), ("UniRobot",), ("adam",), ("announcer",), ("benjamin",), ("caleb",),
        ("croak",), ("david",), ("ed",), ("fast",), ("grandpa",), ("gustave",), ("john",), ("kaukovalta",),
        ("linda",), ("marcelo",), ("paul",), ("shelby",), ("zac",),
    ),
    "validation": (
        ("RicishayMax", "RicishayMax2", "RicishayMax3"), ("f4",), ("Andrea",), ("Diogo",), ("Lee",), ("Mario",),
        ("Michael",), ("Reed",), ("boris",), ("grandma",), ("ian",), ("max",), ("michel",), ("miguel",),
        ("norbert",), ("pablo",), ("quincy",), ("travis",),
    ),
    # klatt* is a synthesiser of its own: the nearest thing here to people whom training never heard.
    "test": (
        ("klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6"), ("Gene", "Gene2"), ("Mike", "mike2"),
        ("edward", "edward2"), ("rob", "robert"), ("f1",), ("antonio",), ("aunty",), ("belinda",), ("pedro",),
    ),
}  # fmt: skip

_SPEAKERS_PER_ACCENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """One synthetic person.

    Attributes:
        id: eight hexadecimal digits, the part of a file name before `_nohash_`.
        variant: espeak-ng's voice variant; never in two splits.
        accent: espeak-ng's language name.
        voice: how the person speaks; every clip deviates a little from it.
        split: the only split that hears the person.
    """

    id: str
    variant: str
    accent: str
    voice: Voice
    split: str


def make_speakers(seed: int) -> dict[str, tuple[Speaker, ...]]:
    """The speakers of each split in shuffled order: every variant with every accent, twice, at own pitch and rate."""
    made: dict[str, tuple[Speaker, ...]] = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([seed, 1, number])
        variants = [variant for family in FAMILIES[split] for variant in family]
        people = [
            _speaker(variant, accent, split, twin, rng)
            for variant in variants
            for accent in ACCENTS
            for twin in range(_SPEAKERS_PER_ACCENT)
        ]
        made[split] = tuple(people[index] for index in rng.permutation(len(people)))
    return made


def _speaker(variant: str, accent: str, split: str, twin: int, rng: np.random.Generator) -> Speaker:
    voice = Voice(name=f"{accent}+{variant}", pitch=int(rng.integers(22, 79)), rate_wpm=int(rng.integers(115, 196)))
    identity = f"{voice.name}|{voice.pitch}|{voice.rate_wpm}|{twin}"
    name = hashlib.sha1(identity.encode(), usedforsecurity=False).hexdigest()[:8]
    return Speaker(id=name, variant=variant, accent=accent, voice=voice, split=split)
