"""Chunks one behind another: what one copy takes off a device is what the rows held, and stock readers decode it."""

from __future__ import annotations

from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from conftest import Target

from gpuredux import Chain
from gpuredux.compress import BitshuffleLZ4, Pack, Quantize, ShuffleZstd


@pytest.mark.parametrize("align", [16, 4096])
def test_one_copy_holds_every_chunk(target: Target, tmp_path: Any, align: int) -> None:
    """Codes of a chain, packed: the bytes up to the last offset, written as chunks, are read by HDF5's own filter."""
    rng = np.random.default_rng(1)
    x = rng.poisson(1.0, (5, 24, 40)).astype(np.float32)
    x[2], x[3, :5] = 0, rng.normal(0, 1e4, (5, 40))
    chain = Chain([Quantize(0.5, "uint16", zero=60000, capacity=960), BitshuffleLZ4(), Pack(align)], keep=("code", "size", "packed", "offset"))
    out = chain(target.put(x), backend=target.backend.name)
    code, size, offset = (target.get(getattr(out, k)) for k in ("code", "size", "offset"))
    total = int(offset[-1])
    packed = target.get(out.packed[:total])
    assert offset[0] == 0 and not (offset % align).any() and np.array_equal(np.diff(offset), -(-size.astype(np.int64) // align) * align)
    assert total < 5 * align + 0.7 * x.nbytes
    with h5py.File(tmp_path / "a.h5", "w") as f:
        d = f.create_dataset("d", code.shape, code.dtype, chunks=(1, 24, 40), **hdf5plugin.Bitshuffle(cname="lz4"))
        for k in range(5):
            d.id.write_direct_chunk((k, 0, 0), packed[offset[k] : offset[k] + size[k]].tobytes())
            assert not packed[offset[k] + size[k] : offset[k + 1]].any()
    with h5py.File(tmp_path / "a.h5") as f:
        assert np.array_equal(f["d"][()], code)


def test_rows_that_are_not_live_take_no_room(target: Target) -> None:
    x = np.random.default_rng(2).integers(0, 9, (6, 16, 16), dtype=np.uint16)
    alone, live = ShuffleZstd()(x[:4], backend="numba"), np.array([4], np.int32)
    out = Chain([ShuffleZstd(), Pack()], keep=("packed", "offset"))(target.put(x), live=target.put(live), backend=target.backend.name)
    offset = target.get(out.offset)[:5]
    packed = target.get(out.packed[: int(offset[4])])
    for k in range(4):
        assert packed[offset[k] :][: alone.size[k]].tobytes() == alone.payload[k, : alone.size[k]].tobytes()


@pytest.mark.parametrize(("make", "message"), [
    *((lambda a=a: Pack(a), "align must be a power of two of 16 to 4096") for a in (0, 8, 24, 8192)), (lambda: Pack(16.0), "align must be a whole number"),
    (lambda: Pack()(np.zeros((2, 24), np.uint8), np.zeros(2, np.uint32)), "rows of a multiple of 16 bytes"),
    (lambda: Pack()(np.zeros((2, 16), np.uint8), np.zeros(3, np.uint32)), "size must be uint32 \\(2,\\)"),
])
def test_errors_name_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()
