"""The encoders of zstd chunks against outsiders. Over 200 lines: the libraries, the kinds of blocks, golden bytes and recorded frames, of one format."""

from __future__ import annotations

import ctypes
import hashlib
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitshuffle
import h5py
import hdf5plugin
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuredux.compress.bitshuffle_zstd import BitshuffleZstd
from gpuredux.compress.chunk_encoder import Filter
from gpuredux.compress.hdf5_layout import create_chunks
from gpuredux.compress.shuffle_zstd import ShuffleZstd
from gpuredux.datasets import cases_zstd
from gpuredux.op import live_rows

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
OPS = (ShuffleZstd, BitshuffleZstd)
FUZZED = 40         # inputs; 1500 were run by hand
RAW, RLE, COMPRESSED = range(3)
REAL = ("eiger500k_powder", "pilatus6m_thaumatin_crop", "eiger9m_sparse_f0", "cspad_thermolysin_1", "hexitec_30", "bsa_saxs_ccd", "xpcs_stack_100")
READER = """
import hashlib, sys
import h5py, hdf5plugin
with h5py.File(sys.argv[1]) as f:
    for name in f:
        print(name, *(hashlib.sha256(frame.tobytes()).hexdigest() for frame in f[name][...]))
"""


def chunks(op: Any, code: np.ndarray, backend: str = "numba") -> list[bytes]:
    payload, size = op()(code, backend=backend)
    return [p[:s].tobytes() for p, s in zip(payload, size, strict=True)]


LIBZSTD = ctypes.CDLL(str(Path(hdf5plugin.__file__).parent / "plugins" / "libh5zstd.so"))       # what readers of HDF5 files use
LIBZSTD.ZSTD_decompress.restype, LIBZSTD.ZSTD_decompress.argtypes = ctypes.c_size_t, (ctypes.c_char_p, ctypes.c_size_t) * 2


def content(frame: bytes, n: int) -> bytes:
    """What libzstd makes of a zstd frame of n bytes."""
    room = ctypes.create_string_buffer(n + 1)
    assert LIBZSTD.ZSTD_decompress(room, n, frame, len(frame)) == n
    return room.raw[:n]


def by_library(op: Any, chunk: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """What libzstd, or the bitshuffle library, makes of a chunk."""
    dt, npix = np.dtype(dtype), int(np.prod(shape))
    if op is ShuffleZstd:
        raw = np.frombuffer(content(chunk, npix * dt.itemsize), np.uint8)
        return np.ascontiguousarray(raw.reshape(dt.itemsize, npix).T).view(dt).reshape(shape)
    assert chunk[:12] == struct.pack(">QI", npix * dt.itemsize, 131072)
    return bitshuffle.decompress_zstd(np.frombuffer(chunk[12:], np.uint8).copy(), shape, dt, 131072 // dt.itemsize)


def zstd_frames(op: Any, chunk: bytes) -> Iterator[bytes]:
    if op is ShuffleZstd:
        yield chunk
        return
    at = 12
    while chunk[at + 4 : at + 8] == b"\x28\xb5\x2f\xfd":        # else the last pixels
        end = at + 4 + int.from_bytes(chunk[at : at + 4], "big")
        yield chunk[at + 4 : end]
        at = end


def kinds_in(frame: bytes) -> Iterator[str]:
    """What the blocks of a zstd frame are made of, read by RFC 8878 without decoding."""
    at, last = 4 + {0x20: 2, 0x60: 3, 0xA0: 5}[frame[4]], 0
    while not last:
        header = int.from_bytes(frame[at : at + 3], "little")
        last, kind, size, at = header & 1, header >> 1 & 3, header >> 3, at + 3
        yield ("raw block", "repeated byte", "compressed")[kind]
        if kind == COMPRESSED:
            yield from kinds_in_block(frame[at : at + size])
        at += 1 if kind == RLE else size
    assert at == len(frame)


def kinds_in_block(block: bytes) -> Iterator[str]:
    kind, form = block[0] & 3, block[0] >> 2 & 3
    if kind == COMPRESSED:
        head = (3, 3, 4, 5)[form]
        width = (10, 10, 14, 18)[form]
        fields = int.from_bytes(block[:head], "little") >> 4
        at = head + (fields >> width)
        yield f"literals in {1 if form == 0 else 4} streams, sizes of {width} bits"
        yield "direct weights" if block[head] >= 128 else "FSE weights"
        if block[head] - 127 == 128:
            yield "128 direct weights"
    else:
        head = (1, 2, 1, 3)[form]
        count = int.from_bytes(block[:head], "little") >> (3 if head == 1 else 4)
        at = head + (count if kind == RAW else 1)
        yield f"{('raw', 'repeated')[kind]} literals, header of {head}"
    many, at = block[at], at + 1
    if many >= 128:
        assert many < 255
        at += 1
        yield "128 sequences or more"
    elif many:
        yield "one sequence" if many == 1 else "sequences"
    if many:
        for name, shift in (("literal lengths", 6), ("offsets", 4), ("match lengths", 2)):
            yield f"{name} {('predefined', 'one symbol', 'own table')[block[at] >> shift & 3]}"
    else:
        yield "no sequences"
        assert at == len(block)


# ------------------------------------------------------------------------------------------------------------ the cases
@pytest.mark.parametrize("op", OPS)
def test_cases_are_the_same_by_numba_and_decode_by_the_library(op: Any) -> None:
    """And they hold every kind of block, of literals and of tables that there is."""
    seen = set()
    for case in cases_zstd.CASES[op.name]():
        code = case.inputs["code"]
        live = live_rows(code, case.inputs.get("live"))
        if not live:
            continue
        want = chunks(op, code[:live], "numpy")
        assert want == chunks(op, code[:live]), case.name
        for frame, chunk in zip(code[:live], want, strict=True):
            assert by_library(op, chunk, frame.shape, frame.dtype).tobytes() == frame.tobytes(), case.name
            assert len(chunk) <= case.op.layout(frame.shape, frame.dtype).cap
            seen |= {kind for zstd in zstd_frames(op, chunk) for kind in kinds_in(zstd)}
    streams = {f"literals in {n} streams, sizes of {width} bits" for n, width in ((1, 10), (4, 10), (4, 14), (4, 18))}
    tables = {f"{name} {kind}" for name in ("literal lengths", "match lengths") for kind in ("predefined", "one symbol", "own table")}
    must = {"raw block", "repeated byte", "compressed", "no sequences", "one sequence", "sequences", "128 sequences or more", "direct weights", "FSE weights"}
    must |= {f"raw literals, header of {n}" for n in (1, 2, 3)} | streams | tables | {"offsets one symbol"}
    must |= {"repeated literals, header of 2", "offsets own table", "offsets predefined"} if op is BitshuffleZstd else set()
    assert must <= seen, must - seen


def test_every_chunk_is_read_by_hdf5plugin_in_another_process(tmp_path: Path) -> None:
    rows = {}
    with h5py.File(tmp_path / "chunks.h5", "w") as f:
        for op in OPS:
            for case in cases_zstd.CASES[op.name]():
                code = case.inputs["code"]
                name, frame = f"{op.name} {case.name}".replace(" ", "_"), code.shape[1:]
                d = create_chunks(f, name, frame, code.dtype, filters=op.filters(code.dtype.itemsize))
                d.resize(len(code), axis=0)
                for i, chunk in enumerate(chunks(op, code)):
                    d.id.write_direct_chunk((i, *[0] * (code.ndim - 1)), chunk)
                rows[name] = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in code]
    said = subprocess.run([sys.executable, "-c", READER, str(tmp_path / "chunks.h5")], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0]: line.split()[1:] for line in said.splitlines()} == rows


def test_filters_are_hdf5plugins() -> None:
    theirs = (hdf5plugin.Bitshuffle(nelems=32768, cname="zstd", clevel=1), hdf5plugin.Zstd(clevel=1))
    own = [Filter(k["compression"], k["compression_opts"]) for k in map(dict, theirs)]
    assert BitshuffleZstd.filters(4) == (own[0],) and ShuffleZstd.filters(4) == (Filter(2, ()), own[1])


def test_no_chunk_is_larger_than_cap() -> None:
    """Noise, of which every block is raw."""
    for op in OPS:
        for n in (1, 255, 256, 8191, 8192, 65791, 65792, 131072, 131073, 262149):
            code = np.random.default_rng(n).integers(0, 256, (1, 1, n), dtype=np.uint8)
            (chunk,) = chunks(op, code)
            assert len(chunk) <= op().layout((1, n), np.dtype(np.uint8)).cap < len(chunk) + 16 + 3 * (n // 8192 + 1)
            assert by_library(op, chunk, (1, n), np.uint8).tobytes() == code.tobytes()


# ------------------------------------------------------------------------------------------------------------------ fuzz
@st.composite
def frames(draw: st.DrawFn) -> np.ndarray:
    """Runs, counts and noise one after another; a part may come again, as it was."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = np.dtype(draw(st.sampled_from(("uint8", "int16", "uint32", "float64"))))
    parts: list[np.ndarray] = []
    for _ in range(draw(st.integers(1, 12))):
        n = draw(st.sampled_from((1, 3, 4, 7, 8, 9, 31, 60, 300, 1000, 4096, 9000, 20000)))
        kind = draw(st.integers(0, 6))
        value = rng.integers(0, 256)
        part = (np.full(n, value), rng.poisson(0.05, n), rng.poisson(3, n), rng.integers(0, 256, n), np.arange(n) // 5 * 37 + value,
                np.minimum(rng.geometric(0.03, n), 255), np.repeat(rng.integers(0, 9, n), rng.integers(1, 20, n))[:n])[kind]
        parts += [part.astype(np.uint8)] * draw(st.integers(1, 2))
    octets = np.concatenate(parts)
    octets = np.resize(octets, -(-len(octets) // dtype.itemsize) * dtype.itemsize)
    return octets.view(dtype) if draw(st.booleans()) else cases_zstd.frame_of(octets, dtype, False)


@settings(max_examples=FUZZED, deadline=None, derandomize=True)
@given(frames())
def test_numba_makes_the_specified_bytes_and_they_decode(x: np.ndarray) -> None:
    for op in OPS:
        (chunk,) = chunks(op, x.reshape(1, 1, -1))
        assert chunk == op().chunk_of(x.reshape(1, -1))
        assert by_library(op, chunk, x.shape, x.dtype).tobytes() == x.tobytes()


def test_any_cut_into_spans_gives_the_same_bytes() -> None:
    """One frame on several threads is the frame on one thread, and more frames than threads are too."""
    code = cases_zstd.counts_of("spans", (512, 300), "uint16")
    threads = numba.get_num_threads()
    for op in OPS:
        try:
            several = [chunks(op, code[k : k + 1])[0] for k in range(len(code))], chunks(op, code)
            numba.set_num_threads(1)
            one = chunks(op, code)
        finally:
            numba.set_num_threads(threads)
        assert several == (one, one)


# --------------------------------------------------------------------------------------------------------- golden bytes
def golden_frame(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers that depend on no random generator: mostly 0, some up to 15, and a run."""
    k = np.arange(int(np.prod(shape)), dtype=np.uint64)
    v = k * np.uint64(2654435761) % np.uint64(1 << 32) >> np.uint64(28)
    return np.where(k % np.uint64(500) < np.uint64(99), 7, np.where(v > 12, v, 0)).astype(dtype).reshape(shape)


@pytest.mark.parametrize(("dtype", "shape"), (("uint8", (3, 5)), ("uint16", (37, 53)), ("int32", (210, 180)), ("float64", (9, 17))), ids=str)
@pytest.mark.parametrize("op", OPS)
def test_golden_bytes_are_written_for_ever(op: Any, dtype: str, shape: tuple[int, ...]) -> None:
    chunk = (GOLDEN / f"{op.name.partition('.')[2]}_{dtype}_{'x'.join(map(str, shape))}.chunk").read_bytes()
    frame = golden_frame(shape, dtype)
    assert by_library(op, chunk, shape, dtype).tobytes() == frame.tobytes()
    assert chunks(op, frame[None], "numpy") == chunks(op, frame[None]) == [chunk]


@pytest.mark.parametrize(("dtype", "shape"), (("uint16", (37, 53)), ("int32", (210, 180)), ("float64", (9, 17))), ids=str)
@pytest.mark.parametrize("op", OPS)
def test_golden_bytes_of_the_first_encoder_are_read_for_ever(op: Any, dtype: str, shape: tuple[int, ...]) -> None:
    """It kept short matches and estimated codes by their entropy alone."""
    chunk = (GOLDEN / f"{op.name.partition('.')[2]}_{dtype}_{'x'.join(map(str, shape))}_1.chunk").read_bytes()
    frame = golden_frame(shape, dtype)
    assert by_library(op, chunk, shape, dtype).tobytes() == frame.tobytes()
    payload, size = np.frombuffer(chunk, np.uint8).reshape(1, -1).copy(), np.array([len(chunk)], np.uint32)
    assert op(shape, dtype).inverse()(payload, size, backend="numba").code.tobytes() == frame.tobytes()


# ------------------------------------------------------------------------------------------------------- recorded frames
@pytest.mark.parametrize("name", REAL)
def test_recorded_frames_decode_and_are_smaller_than_the_librarys(real: Any, name: str) -> None:
    """The smaller of both is not larger than what bitshuffle makes with zstd at level 1."""
    x = real(f"{name}.h5", "data")
    frame = np.ascontiguousarray(x if x.ndim == 2 else x[0])
    size = []
    for op in OPS:
        (chunk,) = chunks(op, frame[None])
        assert by_library(op, chunk, frame.shape, frame.dtype).tobytes() == frame.tobytes()
        size.append(len(chunk))
    assert min(size) < len(bitshuffle.compress_zstd(frame, 131072 // frame.itemsize, 1)) + 12
