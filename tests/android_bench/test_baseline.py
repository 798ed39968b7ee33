"""A baseline is an artifact with its hashes: what is gone or is another one is no baseline."""

import json
import shutil

import pytest

from android_bench.baseline import baseline_bundles, read_baseline, write_baseline
from android_bench.errors import BaselineError, RecordError
from converters.bundle import find_bundles

NOW = "2026-11-21T15:00:00Z"


@pytest.fixture
def place(tmp_path, exports):
    """A folder with bundles and the baseline that names them, and its path."""
    shutil.copytree(exports, tmp_path / "reference")
    path = tmp_path / "baseline.json"
    write_baseline(path, find_bundles(tmp_path / "reference"), "release 1.2", NOW, "tkd-bench 0.1.0")
    return path


def test_a_baseline_names_bundles_and_their_hashes(place) -> None:
    read = read_baseline(place)

    assert ["toy-float32", "toy-int8"] == [model.name for model in read.models]
    assert ["reference/toy-float32", "reference/toy-int8"] == [model.folder for model in read.models]
    assert ("release 1.2", NOW) == (read.origin, read.set_utc)
    assert [bundle.sha256 for bundle in baseline_bundles(place)] == [model.sha256 for model in read.models]


def test_it_can_be_moved_with_its_bundles(place, tmp_path_factory) -> None:
    moved = tmp_path_factory.mktemp("elsewhere") / "all"
    shutil.copytree(place.parent, moved)

    assert 2 == len(baseline_bundles(moved / "baseline.json"))


def test_a_bundle_that_is_gone_is_no_baseline(place) -> None:
    shutil.rmtree(place.parent / "reference" / "toy-int8")

    with pytest.raises(BaselineError, match=r"the baseline toy-int8 of .* is gone: no bundle at"):
        baseline_bundles(place)


def test_a_bundle_that_was_altered_is_no_baseline(place) -> None:
    with (place.parent / "reference" / "toy-int8" / "model.tflite").open("ab") as stream:
        stream.write(b"\0")

    with pytest.raises(BaselineError, match=r"cannot be used: .*model\.tflite was altered"):
        baseline_bundles(place)


def test_another_bundle_in_its_place_is_no_baseline(place) -> None:
    reference = place.parent / "reference"
    shutil.rmtree(reference / "toy-int8")
    shutil.copytree(reference / "toy-float32", reference / "toy-int8")

    with pytest.raises(BaselineError, match=r"is not the baseline toy-int8 .*: its model\.tflite has another hash"):
        baseline_bundles(place)


def test_an_edited_document_is_no_baseline(place) -> None:
    path = place.parent / "reference" / "toy-int8" / "model.json"
    document = json.loads(path.read_text())
    document["data"]["synthetic"] = False
    path.write_text(json.dumps(document))

    with pytest.raises(BaselineError, match=r"its model\.json has another hash"):
        baseline_bundles(place)


def test_a_file_that_is_gone_says_how_to_make_one(tmp_path) -> None:
    with pytest.raises(BaselineError, match=r"no baseline at .*; name one with: tkd-bench baseline set BUNDLE"):
        read_baseline(tmp_path / "baseline.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "has format None, expected 'tkd.baseline/1'"),
        ('{"format": "tkd.baseline/2"}', "has format 'tkd.baseline/2', expected 'tkd.baseline/1'; update"),
        ('{"format": "tkd.baseline/1"}', "is damaged"),
        ('{"format": "tkd.baseline/1", "models": [], "origin": "", "set_utc": "", "tool": ""}', r"\(none\)"),
        ('{"format": "tkd.baseline/1", "models": [{"name": "x"}]}', "is damaged"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text, message) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)

    with pytest.raises(RecordError, match=message):
        read_baseline(path)


def test_two_bundles_of_one_name_are_refused_and_the_old_file_stays(place) -> None:
    before = place.read_bytes()
    bundle = find_bundles(place.parent / "reference")[0]

    with pytest.raises(RecordError, match="each once"):
        write_baseline(place, [bundle, bundle], "", NOW, "")
    assert before == place.read_bytes()
