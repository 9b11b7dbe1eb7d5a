"""From raw words to standard chunks: calibration goes into the quantiser's kernel, so that no energy reaches memory, and the chunks are those of the ops one
by one, which stock readers decode."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Target
from test_fusing import EVEN, JUNGFRAU, planes, source
from test_ops import by_steps, guarded_inputs, plan_of, run

from gpuredux import Chain, Op
from gpuredux.calib import Gain, Scale
from gpuredux.compress import BitshuffleLZ4, BitshuffleZstd, Pack, Quantize, QuantizeCounts, ShuffleDeflate, ShuffleZstd

CODECS = {"LZ4": BitshuffleLZ4, "S": ShuffleZstd, "B": BitshuffleZstd, "deflate": ShuffleDeflate}
KEPT = ("payload", "size", "packed", "offset", "outlier_index", "outlier_value", "outlier_count", "max_error", "frame_status")
QUANTISERS: dict[str, Op] = {
    "quantize": Quantize(0.02, "uint16", 99, zero=4096), "sigma": Quantize(k_sigma=1.0, sigma=np.full(EVEN, 0.03), capacity=99),
    "counts": QuantizeCounts(step=2.0, exact_below=0, gain=508.0, read_noise=26.7, smallest=-3000, largest=2**20, unit=1 / 508, capacity=99, of="energy"),
}


def frames() -> tuple[Gain, dict[str, np.ndarray]]:
    """Frames of words around the pedestal with words of every gain at the borders, bad constants and masked pixels; the last row is not live."""
    gain, words = source(JUNGFRAU, EVEN, rows=4, gain_stage=False)
    assert isinstance(gain, Gain)
    return gain, words


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", QUANTISERS)
def test_no_energy_in_memory(target: Target, name: str, codec: str) -> None:
    """Gain, the mask, quantiser, encoder and packed bytes: two passes fewer, the same bytes."""
    gain, words = frames()
    quantiser = QUANTISERS[name]
    kind = quantiser.outputs(*quantiser.bind([np.zeros((1, *EVEN), np.float32)], {}))[0].dtype
    encoder = CODECS[codec](EVEN, kind.name)
    check(target, [gain, quantiser, encoder, Pack()], words, [f"calib.gain + {quantiser.name}", encoder.name, "compress.pack"])
    if target.backend.kernels:
        return
    want = by_steps([gain, quantiser, encoder], words)      # decoded: the codes
    assert np.array_equal(encoder.inverse()(want["payload"][:4], want["size"][:4], backend="numba").code, want["code"][:4])


def test_steps_of_calibration_go_in_too(target: Target) -> None:
    """A step between, and counts of marked pixels: MASKED, whatever the energy is."""
    gain, words = source(JUNGFRAU, EVEN)
    quantiser = QUANTISERS["counts"]
    check(target, [gain, Scale(planes(EVEN)), quantiser, ShuffleZstd()], words, [f"calib.gain + calib.scale + {quantiser.name}", "compress.shuffle_zstd"])
    want = by_steps([gain, quantiser], words)
    assert ((want["code"] == quantiser.masked_code) == (want["pixel_status"] != 0)).all()      # type: ignore[attr-defined]


def check(target: Target, ops: list[Op], inputs: dict[str, np.ndarray], passes: list[str]) -> None:
    """As test_fusing.check, for what is kept of chunks: their bytes up to size, the lists up to their counts."""
    want, held = by_steps(ops, inputs), guarded_inputs(target, inputs)
    plan = plan_of(target, Chain(ops, keep=tuple(k for k in KEPT if k in want)), held)
    got = run(target, plan, held, 0xA5)
    for spec in plan.outs:
        assert np.array_equal(got[spec.name][: spec.nbytes], want[spec.name].reshape(-1).view(np.uint8)), spec.name
    assert [p.ops for p in plan.passes] == (passes if target.backend.kernels else [op.name for op in ops])
    if target.backend.kernels:
        energy = 4 * inputs["raw"].size
        assert sum(p.traffic for p in plan.passes) <= plan.op.traffic(*plan.specs) - 2 * energy       # neither written nor read


def test_what_is_counted_has_a_name() -> None:
    import pickle

    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    for op in (QuantizeCounts(of="photons"), pickle.loads(pickle.dumps(QuantizeCounts(of="photons")))):
        assert op.inputs[0] == "photons" and np.array_equal(op(photons=x, backend="numpy").code, QuantizeCounts()(x, backend="numpy").code)
    for of in ("", "live", "code", "a b", 3):
        with pytest.raises(ValueError, match="of must be the name of what is counted"):
            QuantizeCounts(of=of)       # type: ignore[arg-type]
