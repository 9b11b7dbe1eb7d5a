"""features.droplets against SciPy's labels, sums and centres of mass."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target
from scipy import ndimage

from gpuredux.features import Droplets


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_scipy_finds_the_same(target: Target, connectivity: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = ndimage.gaussian_filter((rng.random((90, 120)) < 0.02).astype(np.float32), 0.7) * 150 + rng.normal(0, 1, (90, 120)).astype(np.float32)
    good = rng.random(frame.shape) > 0.02
    op = Droplets(15.0, 6.0, 20.0, good=good, connectivity=connectivity)
    got = op(target.put(frame[None]), backend=target.backend.name)
    above = good & (frame > 6)
    label, count = ndimage.label(above, None if connectivity == 4 else np.ones((3, 3)))
    each = np.arange(1, count + 1)
    adu = ndimage.sum_labels(frame.astype(np.float64), label, each)
    kept = (ndimage.maximum(frame, label, each) > 15) & (adu >= 20)
    centre = np.array(ndimage.center_of_mass(frame.astype(np.float64), label, each))[kept]
    n = int(target.get(got.droplet_count)[0])
    assert n == kept.sum() > 50 and target.get(got.strong_count)[0] == above.sum()
    columns = {k: target.get(getattr(got, f"droplet_{k}"))[0, :n] for k in ("row", "col", "pixels", "adu", "max")}
    assert np.array_equal(columns["pixels"], np.bincount(label.ravel())[1:][kept])
    for k, want in (("adu", adu[kept]), ("row", centre[:, 0]), ("col", centre[:, 1]), ("max", ndimage.maximum(frame, label, each)[kept])):
        np.testing.assert_allclose(columns[k], want, rtol=1e-6)


def test_one_blob_over_the_whole_frame(target: Target) -> None:
    got = Droplets(2.0, 1.0, max_strong=10_000)(target.put(np.full((1, 100, 100), 3, np.uint16)), backend=target.backend.name)
    assert (target.get(got.droplet_count)[0], target.get(got.droplet_pixels)[0, 0], target.get(got.droplet_adu)[0, 0]) == (1, 10_000, 30_000)
    assert target.get(got.droplet_row)[0, 0] == 49.5


@pytest.mark.parametrize(("fields", "message"), [
    ({"threshold_low": 0.0}, "thresholds must be 0 < threshold_low <= threshold"),
    ({"threshold_low": 11.0}, "thresholds must be 0 < threshold_low <= threshold"),
    ({"threshold_low": 1.0, "connectivity": 6}, "connectivity must be 4 or 8"),
    ({"threshold_low": 1.0, "max_droplets": 0}, "max_droplets must be 1 to"),
])
def test_a_wrong_field_says_so(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^features.droplets: {message}"):
        Droplets(10.0, **fields)
