import pytest

from tkd.students import STUDENTS, build_student
from tkd.students.macs import count_macs, macs_of_one_second

# Millions. Choi et al. 2019 print operations, about twice this; Kim et al. 2021 count further layers.
EXPECTED_M = {
    "tcresnet8": 1.52, "tcresnet8-1.5": 3.28, "tcresnet14": 3.03, "tcresnet14-1.5": 6.68,
    "bcresnet1": 2.48, "bcresnet1.5": 4.61, "bcresnet2": 7.32, "bcresnet3": 14.52, "bcresnet6": 50.3, "bcresnet8": 85.9,
}  # fmt: skip
# Operations in Choi et al. 2019, table 2, in millions. Res15's include what TensorFlow pads its dilations with.
PUBLISHED_OPERATIONS_M = {
    "cnn-1": 76.1, "cnn-2": 1.5, "ds-cnn-s": 5.4, "ds-cnn-m": 19.8, "ds-cnn-l": 56.9, "res8-narrow": 143.2,
    "res8": 795.3, "res15-narrow": 348.7, "res15": 1950.0, "tcresnet8": 3.0, "tcresnet8-1.5": 6.6, "tcresnet14": 6.1,
    "tcresnet14-1.5": 13.4, "2d-resnet8": 35.8, "2d-resnet8-pool": 4.0,
}  # fmt: skip


@pytest.mark.parametrize("name", STUDENTS)
def test_a_row_has_the_macs_that_are_counted(name: str) -> None:
    assert macs_of_one_second(STUDENTS[name]) == STUDENTS[name].macs_of_one_second


@pytest.mark.parametrize("name", EXPECTED_M)
def test_macs_are_those_of_the_architecture(name: str) -> None:
    assert STUDENTS[name].macs_of_one_second / 1e6 == pytest.approx(EXPECTED_M[name], rel=2.5e-3)


@pytest.mark.parametrize("name", PUBLISHED_OPERATIONS_M)
def test_twice_the_macs_are_the_operations_that_the_paper_prints(name: str) -> None:
    tolerance = 0.05 if name.startswith(("res15", "cnn-2")) else 0.025
    assert 2 * STUDENTS[name].macs_of_one_second / 1e6 == pytest.approx(PUBLISHED_OPERATIONS_M[name], rel=tolerance)


def test_recurrent_products_are_counted_for_every_step() -> None:
    student = build_student("lstm-p", 20, 12).train()
    a_step = 2000 * 20 + 2000 * 200 + 200 * 500
    assert count_macs(student, frames=7, channels=20) == 7 * a_step + 200 * 12
    assert student.training
