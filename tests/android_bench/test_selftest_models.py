"""The self-test's own models: whole, known by their work, and equal to what their bundles promise."""

import numpy as np
import pytest

from android_bench import cli_selftest
from converters.bundle import read_bundle
from tests.android_bench.bench_toys import outputs_of

PLAIN, MORE = (read_bundle(cli_selftest._MODELS / name) for name in ("plain", "more"))


def test_they_differ_by_a_tenth_of_equal_layers_and_nothing_else() -> None:
    plain, more = (bundle.document["ops"]["by_type"] for bundle in (PLAIN, MORE))
    assert {"CONV_2D": 2} == {name: more[name] - plain[name] for name in more if more[name] != plain[name]}
    assert 0.0998 == pytest.approx(MORE.document["ops"]["macs"] / PLAIN.document["ops"]["macs"] - 1, abs=1e-4)
    assert PLAIN.inputs == MORE.inputs
    assert np.array_equal(PLAIN.evaluation().inputs, MORE.evaluation().inputs)


@pytest.mark.parametrize("bundle", [PLAIN, MORE], ids=lambda bundle: bundle.name)
def test_they_compute_what_their_golden_outputs_say(bundle) -> None:
    inputs, expected = bundle.golden()
    np.testing.assert_allclose(outputs_of(bundle.model.read_bytes(), inputs), expected, rtol=1e-4, atol=1e-6)
