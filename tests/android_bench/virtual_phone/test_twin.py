"""Every twin answers as its profile says; a wrong one is refused."""

import pytest

from android_bench.errors import BenchError, MissingToolError, RecordError
from android_bench.profiles import load_profile, parse_profile
from android_bench.virtual_phone.root import lay_out
from android_bench.virtual_phone.twin import load_twin, parse_twin, twin_names

TABLE = {
    "emulated_cpu": "cortex-a57",
    "properties": {"ro.product.model": "M"},
    "settings": {},
    "services": {},
    "files": {"/proc/cpuinfo": "x\n", "/sys/devices/system/cpu/possible": "0\n"},
    "each_cpu": {"cpufreq/cpuinfo_max_freq": "{max_khz}"},
    "cpus": [{"numbers": [0], "max_khz": 5}],
}


def test_the_twins_are_those_of_the_phones():
    assert twin_names() == ["virtual-mi5", "virtual-pixel1"]


@pytest.mark.parametrize("name", twin_names())
def test_a_twin_is_what_its_profile_says(name):
    twin, profile, phone = load_twin(name), load_profile(name), load_profile(name.removeprefix("virtual-"))

    assert (profile.transport, profile.clusters, profile.soc) == ("virtual", phone.clusters, phone.soc)
    assert (twin.properties["ro.product.model"], twin.properties["ro.product.device"]) == (phone.model, phone.device)
    assert twin.properties["ro.kernel.qemu"] == "1"
    assert twin.cpu_count == sum(len(cluster.cpus) for cluster in phone.clusters)
    for cluster in phone.clusters:
        for cpu in cluster.cpus:
            khz = twin.files[f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"]
            assert int(khz) in cluster.max_khz
    assert phone.soc.split()[0] in twin.files["/proc/cpuinfo"].replace("\n", " ").split()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown keys: colour"),
        ({"files": {"/proc/cpuinfo": "x"}}, "no /proc/cpuinfo or CPU list"),
        ({"files": TABLE["files"] | {"/etc/passwd": "x"}}, "expected one below /proc, /sys or /system"),
        ({"files": TABLE["files"] | {"/proc/../../x": "x"}}, "expected one below /proc, /sys or /system"),
        ({"each_cpu": {"x": "{clock}"}}, "lacks a key"),
        ({"cpus": [{}]}, "lacks a key"),
        ({"properties": None}, "wrong type"),
    ],
)
def test_a_wrong_twin_is_refused(change, message):
    with pytest.raises(RecordError, match=message):
        parse_twin("x", TABLE | change)


def test_a_profile_of_no_phone_is_refused():
    with pytest.raises(BenchError, match="no device is called 'nokia'"):
        parse_profile("virtual-nokia", {"title": "x", "transport": "virtual", "twin_of": "nokia", "twin": {}})


def test_an_unknown_twin_shows_those_there_are():
    with pytest.raises(BenchError, match="virtual-mi5, virtual-pixel1"):
        load_twin("pixel1")


def test_a_new_start_keeps_what_was_pushed_and_renews_the_rest(tmp_path):
    twin = load_twin("virtual-pixel1")
    folders = lay_out(twin, tmp_path / "phone")
    (folders.root / "data/local/tmp").mkdir(parents=True)
    (folders.root / "data/local/tmp/pushed").write_text("kept")
    (folders.root / "proc/cpuinfo").write_text("damaged")
    (folders.root / "sys/stray").write_text("stray")

    lay_out(twin, tmp_path / "phone")

    assert (folders.root / "data/local/tmp/pushed").read_text() == "kept"
    assert (folders.root / "proc/cpuinfo").read_text() == twin.files["/proc/cpuinfo"]
    assert not (folders.root / "sys/stray").exists()


def test_something_in_the_way_is_named(tmp_path):
    place = tmp_path / "phone"
    place.mkdir()
    (place / "overlay").write_text("not a folder")

    with pytest.raises(MissingToolError, match=f"cannot lay out virtual-pixel1 in {place}: .*; remove {place}"):
        lay_out(load_twin("virtual-pixel1"), place)
