"""Filter 32008 without a codec against outsiders: the bitshuffle library, hdf5plugin, golden bytes; and misuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bitshuffle
import h5py
import hdf5plugin
import numpy as np
import pytest

from gpuredux.compress import Bitshuffle, BitshuffleDecode
from gpuredux.compress.hdf5_layout import create_chunks
from gpuredux.datasets.cases_bitshuffle import SHAPES, noise

GOLDEN = Path(__file__).parent / "golden"
NUMBERS = [s for s in SHAPES if s[0] not in ("bool", "complex64")]


def ours(code: np.ndarray, block: int) -> list[bytes]:
    payload, size = Bitshuffle(block=block)(code)
    assert (size == code[0].nbytes).all() and 0 <= payload.shape[1] - code[0].nbytes < 16
    return [p[:s].tobytes() for p, s in zip(payload, size, strict=True)]


@pytest.mark.parametrize(("dtype", "shape", "block"), NUMBERS, ids=str)
def test_the_library_makes_the_same_bytes(dtype: str, shape: tuple[int, ...], block: int) -> None:
    code = noise("library", dtype, shape)
    for frame, chunk in zip(code, ours(code, block), strict=True):
        assert chunk == bitshuffle.bitshuffle(frame.reshape(-1), block).tobytes()
        assert frame.tobytes() == bitshuffle.bitunshuffle(np.frombuffer(chunk, dtype), block).tobytes()


def test_h5py_with_hdf5plugin_reads_ours_and_writes_the_same(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "chunks.h5", "w") as f:
        for dtype, shape, block in NUMBERS:
            code = noise("file", dtype, shape)
            d = create_chunks(f, f"{dtype}{shape}{block}", shape, dtype, filters=Bitshuffle(block=block).filters(code.itemsize))
            d.resize(len(code), axis=0)
            theirs = f.create_dataset(f"their {d.name[1:]}", data=code, chunks=(1, *shape), **hdf5plugin.Bitshuffle(nelems=block, cname="none"))
            for i, chunk in enumerate(ours(code, block)):
                d.id.write_direct_chunk((i, *[0] * len(shape)), chunk)
                assert theirs.id.read_direct_chunk((i, *[0] * len(shape)))[1] == chunk
            assert d[...].tobytes() == code.tobytes()


def test_golden_bytes_are_written_and_read_for_ever(target: Any) -> None:
    chunk = (GOLDEN / "bitshuffle_uint16_37x53_block64.chunk").read_bytes()
    frame = (np.arange(37 * 53, dtype=np.uint32) * np.uint32(2654435761) >> np.uint32(17)).astype(np.uint16).reshape(1, 37, 53)
    op = Bitshuffle((37, 53), "uint16", 64)
    payload, size = op(target.put(frame), backend=target.backend.name)
    assert target.get(payload)[0, : target.get(size)[0]].tobytes() == chunk
    row, many = np.frombuffer(chunk, np.uint8).reshape(1, -1).copy(), np.array([len(chunk)], np.uint32)
    out = op.inverse()(target.put(row), target.put(many), backend=target.backend.name)
    assert target.get(out.code).tobytes() == frame.tobytes() and not target.get(out.frame_status).any()


def test_any_cut_into_spans_gives_the_same_bytes() -> None:
    import numba

    code = noise("spans", "uint16", (512, 300), 2)
    threads = numba.get_num_threads()
    several = ours(code[:1], 0) + ours(code[1:], 8)
    try:
        numba.set_num_threads(1)
        assert several == ours(code[:1], 0) + ours(code[1:], 8)
    finally:
        numba.set_num_threads(threads)


def test_misuse_is_refused() -> None:
    for block, error in ((4, ValueError), (-8, ValueError), (1 << 29, ValueError), (8.0, TypeError), (True, TypeError)):
        for op in (lambda block: Bitshuffle(block=block), lambda block: BitshuffleDecode((3, 5), "uint16", block)):
            with pytest.raises(error, match=r"compress.bitshuffle(_decode)?: block must be a"):
                op(block)
    with pytest.raises(TypeError, match=r"inverse only if it knows its frames"):
        Bitshuffle().inverse()
    with pytest.raises(ValueError, match="must have pixels"):
        BitshuffleDecode((3, 0), "uint16")
    with pytest.raises(TypeError, match="native numbers of 1, 2, 4 or 8 bytes"):
        Bitshuffle().plan(np.zeros((2, 3), ">u2"), backend="numpy")
    assert Bitshuffle((3, 5), "uint16", 64).inverse().inverse().config() == {"shape": [3, 5], "dtype": "uint16", "block": 64}
