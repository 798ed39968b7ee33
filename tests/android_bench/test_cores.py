"""Which cores: names and masks."""

import pytest

from android_bench.adb.texts import CpuCluster
from android_bench.cores import NAMES, core_mask
from android_bench.errors import BenchError
from android_bench.profiles import load_profile, profile_names

THREE = [
    CpuCluster(cpus=(0, 1, 2, 3), max_khz=1_800_000),
    CpuCluster(cpus=(4, 5), max_khz=2_200_000),
    CpuCluster(cpus=(6, 7), max_khz=2_800_000),
]


@pytest.mark.parametrize(
    ("wish", "mask"),
    [("big", "c0"), ("little", "f"), ("one-big", "40"), ("one-little", "1"), ("any", ""), ("F0", "f0"), ("0x3", "3")],
)
def test_a_wish_becomes_a_mask(wish, mask):
    assert core_mask(wish, THREE) == mask


def test_every_phone_profile_has_every_name():
    phones = [profile for name in profile_names() if (profile := load_profile(name)).transport == "adb"]

    assert {profile.name for profile in phones} >= {"pixel1", "mi5"}
    for profile in phones:
        assert [core_mask(name, profile.clusters) for name in NAMES] == ["c", "3", "4", "1", ""]


@pytest.mark.parametrize("wish", ["", "0", "medium", "g", "-1", "1" * 17])
def test_what_is_no_mask_is_refused(wish):
    with pytest.raises(BenchError, match="expected big, little, one-big, one-little, any or a hexadecimal mask"):
        core_mask(wish, THREE)


def test_names_without_clusters_are_refused():
    with pytest.raises(BenchError, match="which cores are big is not known here; give a mask, such as --cores c"):
        core_mask("big", [])
