"""The students: small networks that run on a phone.

One file a family, one row of `STUDENTS` a network; to add one, add a row.
Before this: `tkd.audio` gives features. After this: `tkd.train` trains, `tkd.export` exports.
Tested in `tests/tkd/students`.
"""

from tkd.students.student import Accuracy, AttentiveStudent, GatedStudent, Student, StudentSpec, count_parameters
from tkd.students.table import ALIASES, STUDENTS, build_student, find_student

__all__ = [
    "ALIASES",
    "STUDENTS",
    "Accuracy",
    "AttentiveStudent",
    "GatedStudent",
    "Student",
    "StudentSpec",
    "build_student",
    "count_parameters",
    "find_student",
]
