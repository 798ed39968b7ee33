"""The table of students. To add one, add a row (and a file, when the family is new)."""

from __future__ import annotations

from converters.command_line import did_you_mean
from tkd.errors import SettingsError
from tkd.students.student import Student, StudentSpec
from tkd.students.tcresnet import tcresnet8

STUDENTS: dict[str, StudentSpec] = {
    spec.name: spec
    for spec in (
        StudentSpec(
            name="tcresnet8",
            title="TC-ResNet8",
            source="Choi et al. 2019, arXiv 1904.03814",
            features="tcresnet-paper",
            build=tcresnet8,
            trainable_parameters=65_168,
            parameters_with_statistics=65_824,
            published_count="with statistics (66K)",
            published_accuracy="96.1 % (Speech Commands v1, 12 classes, silence as zeros)",
        ),
    )
}

ALIASES = {"tcresnet": "tcresnet8"}


def find_student(name: str) -> StudentSpec:
    """The row of a student by its name or alias.

    Raises:
        SettingsError: no student has this name; the message shows the nearest one.
    """
    known = ALIASES.get(name, name)
    if known not in STUDENTS:
        raise SettingsError(did_you_mean(name, [*STUDENTS, *ALIASES], "student"))
    return STUDENTS[known]


def build_student(name: str, channels_in: int, classes: int) -> Student:
    """A freshly initialised student for features of `channels_in` channels and `classes` labels."""
    return find_student(name).build(channels_in, classes)
