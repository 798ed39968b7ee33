from dataclasses import replace

import pytest

from tkd.data.dataset import Clip
from tkd.errors import DataError
from tkd.export.material import Amounts, pack_of

FREE = "http://creativecommons.org/licenses/by/3.0/"
NON_COMMERCIAL = "http://creativecommons.org/licenses/by-nc/3.0/"


def _clips(*licences: str) -> list[Clip]:
    return [
        Clip(id=str(number), path="", label=number % 2, word="", speaker="", split="test", licence=licence)
        for number, licence in enumerate(licences)
    ]


def test_clips_under_a_non_commercial_or_unknown_licence_are_never_packed() -> None:
    clips = _clips(FREE, NON_COMMERCIAL, "not stated", FREE, NON_COMMERCIAL, FREE)

    assert pack_of(clips, Amounts()) == (0, 3, 5)
    assert len(pack_of(clips, Amounts(pack=2))) == 2


def test_they_are_packed_when_that_was_asked_for() -> None:
    assert pack_of(_clips(FREE, NON_COMMERCIAL), replace(Amounts(), pack_anyway=True)) == (0, 1)


def test_a_data_set_without_licences_of_its_clips_is_packed() -> None:
    assert pack_of(_clips("", "", ""), Amounts()) == (0, 1, 2)


def test_nothing_to_pack_is_an_error_that_names_the_option() -> None:
    with pytest.raises(DataError, match=r"none of the 1 test clips has a licence .* or give --pack-anyway"):
        pack_of(_clips(NON_COMMERCIAL), Amounts())
