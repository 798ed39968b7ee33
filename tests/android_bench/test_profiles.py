"""Every profile loads, and a wrong one is refused."""

import pytest

from android_bench.errors import BenchError, RecordError
from android_bench.profiles import load_profile, parse_profile, profile_names

PHONE = {"title": "A phone", "transport": "adb", "model": "M", "device": "d"}
CLUSTER = {"name": "big", "cpus": [2, 3], "max_khz": [2_000_000], "mask": "c"}


def test_this_computer_comes_first_then_phones_then_virtual_ones():
    assert profile_names() == ["host", "mi5", "pixel1", "virtual-mi5", "virtual-pixel1"]


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_loads(name):
    profile = load_profile(name)

    assert profile.name == name
    assert profile.title
    assert bool(profile.clusters) == (profile.transport != "local")


def test_the_pixel_1_is_the_published_one():
    pixel = load_profile("pixel1")

    assert (pixel.model, pixel.device) == ("Pixel", "sailfish")
    assert [(cluster.cpus, cluster.max_khz, cluster.mask) for cluster in pixel.clusters] == [
        ((0, 1), (1_593_600,), "3"),
        ((2, 3), (2_150_400,), "c"),
    ]


@pytest.mark.parametrize("name", ["pixl1", "../host", ""])
def test_an_unknown_device_shows_the_table(name):
    with pytest.raises(BenchError, match=f"no device is called '{name}';.* known: host, mi5, pixel1"):
        load_profile(name)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"title": "x"}, "lacks a key"),
        (PHONE | {"colour": "red"}, "unknown keys: colour"),
        (PHONE | {"transport": "pigeon"}, "expected local, adb or virtual"),
        (PHONE | {"model": ""}, "no model or device"),
        (PHONE | {"clusters": [CLUSTER | {"mask": "3"}]}, r"has CPUs \[2, 3\] and mask 3; they differ"),
        (PHONE | {"clusters": [CLUSTER | {"mask": "x"}]}, "wrong type"),
        (PHONE | {"clusters": [CLUSTER | {"max_khz": [2.15]}]}, "expected kHz"),
        (PHONE | {"clusters": [{"name": "big"}]}, "lacks a key"),
    ],
)
def test_a_wrong_profile_is_refused(table, message):
    with pytest.raises(RecordError, match=message):
        parse_profile("x", table)
