"""Files of the layouts of compress.hdf5 (2, 3), hdf5_roibin (2) and hdf5_wavelet (2) in golden/: they decode for ever. hdf5_layout_1: test_hdf5.py.

Made once, by gpuredux 0.1.0, each by what MADE says of scene(), then gzip -9n; another layout gets another file."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpuredux.compress import Quantize, QuantizeCounts, ReversibleWavelet, Roibin, Wavelet, hdf5
from gpuredux.compress.hdf5_roibin import read_roibin, write_roibin
from gpuredux.compress.hdf5_wavelet import read_wavelet, write_wavelet

GOLDEN = Path(__file__).parent / "golden"
PEAKS = {"peak_panel": np.zeros((3, 1), np.int32), "peak_row": np.full((3, 1), 8, np.float32), "peak_col": np.full((3, 1), 9, np.float32),
         "peak_count": np.ones(3, np.int32)}


def scene(dtype: str) -> np.ndarray:
    """Whole numbers, or these in eighths; a frame with one value that is none, and one with a row of such."""
    frame, rows, cols = np.mgrid[:3, :20, :28]
    x = (100 + frame + rows * 7 + cols * cols * 3 % 41 + (rows * cols) % 11).astype(dtype)
    if dtype == "float32":
        x /= 8
        x[0, 5, 5], x[1, 6] = np.inf, np.nan
    return x


def roibin(path: Path) -> None:
    op, x = Roibin(3.0, half=2, bound=12.0), scene("uint16")
    write_roibin(path, op, op(**{"energy": x, **PEAKS}), x.shape[1:], peaks=PEAKS)


MADE: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any], str, float]] = {
    "hdf5_layout_2": (lambda p: hdf5.write(p, "d", scene("float32"), Quantize(rel=0.01, capacity=4)), lambda p: hdf5.read(p, "d"), "float32", 0.9),
    "hdf5_layout_3": (lambda p: hdf5.write(p, "d", scene("uint16"), QuantizeCounts()), lambda p: hdf5.read(p, "d"), "uint16", 9),
    "roibin_layout_2": (roibin, read_roibin, "uint16", 12),
    "wavelet_layout_2": (lambda p: write_wavelet(p, Wavelet(0.5, capacity=4), scene("float32")), read_wavelet, "float32", 0.5),
    "reversible_layout_2": (lambda p: write_wavelet(p, ReversibleWavelet("uint16"), scene("uint16")), read_wavelet, "uint16", 0),
}
DECODED = {      # SHA-256
    "hdf5_layout_2": "36f20b0e7e60dc4d",
    "hdf5_layout_3": "9c8ae15a34454a09",
    "roibin_layout_2": "8f0a52a2ec468641",
    "wavelet_layout_2": "e56347d9ba72b3ce",
    "reversible_layout_2": "2c4126fd2bedbf30",
}


@pytest.mark.parametrize("name", MADE)
def test_golden_files_are_read_for_ever(tmp_path: Path, name: str) -> None:
    _, read, dtype, bound = MADE[name]
    (tmp_path / "golden.h5").write_bytes(gzip.decompress((GOLDEN / f"{name}.h5.gz").read_bytes()))
    x, y = scene(dtype), read(tmp_path / "golden.h5")
    with np.errstate(invalid="ignore"):
        assert ((np.abs(x.astype(np.float64) - y) <= bound) | np.isclose(x, y, rtol=0, atol=0, equal_nan=True)).all()
    assert hashlib.sha256(np.ascontiguousarray(y).tobytes()).hexdigest()[:16] == DECODED[name]
