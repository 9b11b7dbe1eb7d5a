"""Filter 32008 against outsiders: bitshuffle, hdf5plugin, golden bytes. Over 200 lines: one question, are these bytes the format."""

from __future__ import annotations

import runpy
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitshuffle
import h5py
import hdf5plugin
import numba
import numpy as np
import pytest

from gpuredux import DecodeError, Spec
from gpuredux.compress import BitshuffleLZ4, BitshuffleLZ4Decode, decode_chunk
from gpuredux.compress.bitshuffle_lz4 import bit_planes, chunk_of, frame_layout, second_row
from gpuredux.datasets import real as recorded
from gpuredux.datasets.case import chunk_rows

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
# odd, tiny, 7 and 8 elements, exactly one block of 2-byte elements, one element more and 8 more, several blocks, panels
FRAMES = ((3, 5), (37, 53), (1,), (7,), (8,), (13, 1), (1, 4096), (1, 4097), (1, 4104), (61, 300), (3, 41, 52))
DTYPES = ("uint8", "int16", "uint32", "float32", "float64", "uint64")


def frames(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    """Zeros, all bits set, sparse counts, counts, noise."""
    rng, dt, npix = np.random.default_rng(seed), np.dtype(dtype), int(np.prod(shape))
    noise = np.frombuffer(rng.bytes(npix * dt.itemsize), dt)
    ones = np.full(npix * dt.itemsize, 255, np.uint8).view(dt)
    return np.stack([np.zeros(npix, dt), ones, rng.poisson(0.02, npix).astype(dt), rng.poisson(2, npix).astype(dt), noise]).reshape(-1, *shape)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.tobytes() == b.tobytes()


def library_chunk(frame: np.ndarray, block: int = 0) -> bytes:
    """The chunk that the bitshuffle library makes, in blocks of so many elements (0: its default of 8 KiB)."""
    return struct.pack(">QI", frame.nbytes, block * frame.itemsize or 8192) + bitshuffle.compress_lz4(frame, block).tobytes()


def ours(code: np.ndarray) -> list[bytes]:
    payload, size = BitshuffleLZ4()(code)
    return [p[:s].tobytes() for p, s in zip(payload, size, strict=True)]


# ---------------------------------------------------------------------------------------------------------- the library
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", FRAMES, ids=str)
def test_the_library_decodes_ours(shape: tuple[int, ...], dtype: str) -> None:
    code = frames(shape, dtype)
    for frame, chunk in zip(code, ours(code), strict=True):
        assert chunk[:12] == struct.pack(">QI", frame.nbytes, 8192)
        body = np.frombuffer(chunk[12:], np.uint8).copy()
        assert same(bitshuffle.decompress_lz4(body, shape, np.dtype(dtype)), frame)
        assert len(chunk) <= frame_layout("test", shape, np.dtype(dtype)).cap


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [s for s in FRAMES if s != (3, 41, 52)], ids=str)
def test_we_decode_the_library(shape: tuple[int, ...], dtype: str) -> None:
    for frame in frames(shape, dtype):
        for block in (0, 8, 64, 8000, 1 << 16):
            assert same(decode_chunk(library_chunk(frame, block), shape, dtype), frame), block


def rows_of(chunks: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """payload and size: the longest chunk fills its row."""
    payload, size = chunk_rows(chunks, 0).values()
    return payload, size


def decoded_on(target: Any, op: BitshuffleLZ4Decode, chunks: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    payload, size = rows_of(chunks)
    out = op(target.put(payload), target.put(size), backend=target.backend.name)
    return target.get(out.code), target.get(out.frame_status)


@pytest.mark.parametrize("dtype", ("uint8", "int16", "float32", "uint64"))
def test_every_backend_decodes_the_library(target: Any, dtype: str) -> None:
    shape = (61, 300)
    code = frames(shape, dtype)
    chunks = [library_chunk(f, block) for f in code for block in (0, 8, 264, 1 << 16)]
    got, status = decoded_on(target, BitshuffleLZ4Decode(shape, dtype), chunks)
    assert same(got, np.repeat(code, 4, axis=0)) and not status.any()


def test_h5py_with_hdf5plugin_reads_ours_and_we_read_theirs(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "chunks.h5", "w") as f:
        for shape in ((3, 5), (37, 53), (61, 300)):
            for dtype in DTYPES:
                code = frames(shape, dtype)
                d = f.create_dataset(f"{shape}{dtype}", code.shape, dtype, chunks=(1, *shape), **hdf5plugin.Bitshuffle())
                for i, chunk in enumerate(ours(code)):
                    d.id.write_direct_chunk((i, *[0] * len(shape)), chunk)
                assert same(d[...], code)
                theirs = f.create_dataset(f"their {shape}{dtype}", data=code, chunks=(1, *shape), **hdf5plugin.Bitshuffle())
                for i, frame in enumerate(code):
                    _, chunk = theirs.id.read_direct_chunk((i, *[0] * len(shape)))
                    assert same(decode_chunk(chunk, shape, dtype), frame)


def test_bit_planes_are_the_librarys() -> None:
    for dtype in DTYPES:
        x = frames((8, 40), dtype)[4].reshape(-1)
        assert np.array_equal(bit_planes(x), bitshuffle.bitshuffle(x, x.size).view(np.uint8))


# --------------------------------------------------------------------------------------------------------- golden bytes
def golden_frame(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers that depend on no random generator: mostly 0, some up to 15."""
    v = np.arange(int(np.prod(shape)), dtype=np.uint64) * np.uint64(2654435761) % np.uint64(1 << 32) >> np.uint64(28)
    return np.where(v > 12, v, 0).astype(dtype).reshape(shape)


WRITTEN = (("uint8", (3, 5)), ("uint16", (37, 53)), ("int32", (41, 100)), ("float64", (9, 17)), ("float32", (8, 8)))
FOREIGN = (("uint16", (37, 53), 64), ("int32", (41, 100), 1 << 15), ("uint8", (37, 53), 8), ("float64", (9, 17), 0))


@pytest.mark.parametrize(("dtype", "shape"), WRITTEN, ids=str)
def test_golden_bytes_are_written_and_read_for_ever(target: Any, dtype: str, shape: tuple[int, ...]) -> None:
    chunk = (GOLDEN / f"bitshuffle_lz4_{dtype}_{'x'.join(map(str, shape))}.chunk").read_bytes()
    frame = golden_frame(shape, dtype)
    assert same(decode_chunk(chunk, shape, dtype), frame)
    got, status = decoded_on(target, BitshuffleLZ4Decode(shape, dtype), [chunk, chunk])
    assert same(got[1], frame) and not status.any()
    payload, size = BitshuffleLZ4()(target.put(frame[None]), backend=target.backend.name)
    assert target.get(payload)[0, : target.get(size)[0]].tobytes() == chunk


@pytest.mark.parametrize(("dtype", "shape", "block"), FOREIGN, ids=str)
def test_golden_bytes_of_the_library_are_read_for_ever(target: Any, dtype: str, shape: tuple[int, ...], block: int) -> None:
    chunk = (GOLDEN / f"library_{dtype}_{'x'.join(map(str, shape))}_block{block}.chunk").read_bytes()
    got, status = decoded_on(target, BitshuffleLZ4Decode(shape, dtype), [chunk])
    assert same(got[0], golden_frame(shape, dtype)) and not status.any()


# ------------------------------------------------------------------------------------------------- the encoder's promises
def sequences(block: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Of an LZ4 block: literals, distance, match length, where the match begins in the raw bytes; the last one has distance 0."""
    at = raw = 0

    def length(nibble: int) -> int:
        nonlocal at
        total, more = nibble, nibble == 15
        while more:
            total, more, at = total + block[at], block[at] == 255, at + 1
        return total

    while True:
        token, at = block[at], at + 1
        literals = length(token >> 4)
        at, raw = at + literals, raw + literals
        if at == len(block):
            yield literals, 0, 0, raw
            return
        distance, at = block[at] | block[at + 1] << 8, at + 2
        match = length(token & 15) + 4
        yield literals, distance, match, raw
        raw += match


def blocks_of(chunk: bytes, usable: int) -> Iterator[tuple[bytes, int]]:
    """Each LZ4 block and its raw size."""
    at = 12
    for start in range(0, usable, 8192):
        end = at + 4 + int.from_bytes(chunk[at : at + 4], "big")
        yield chunk[at + 4 : end], min(8192, usable - start)
        at = end


def test_end_rules_of_the_format_and_the_four_distances() -> None:
    """Runs that begin at every distance from the end: 5 last literals, no match start in the last 12 bytes, none missed before."""
    for width, itemsize in ((53, 1), (8, 1), (100, 2), (102, 2)):
        per_frame = 512 // itemsize // width * width
        for start in range(20):
            planes = (np.arange(512) % 251 + 1).astype(np.uint8)
            planes[512 - start :] = 0
            bits = np.unpackbits(planes.reshape(8 * itemsize, -1), axis=1, bitorder="little")
            x = np.packbits(bits.T, axis=1, bitorder="little").ravel().view(f"u{itemsize}")
            for frame in (x.reshape(1, -1), x[:per_frame].reshape(-1, width)):
                (chunk,) = ours(frame[None])
                assert chunk == chunk_of(frame)
                usable = frame.size // 8 * 8 * itemsize
                for block, n in blocks_of(chunk, usable):
                    allowed = {1, n // (8 * itemsize), frame.shape[-1] // 8, second_row(frame.shape[-1]), 0}
                    *matches, last = sequences(block)
                    assert last[3] == n and (last[0] >= 5 or not matches)
                    for _, distance, match, begins in matches:
                        assert distance in allowed and match >= 4 and begins <= n - 12 and begins + match <= n - 5
            if start >= 13:     # a run of zeros: it is found, and reaches as far as it may
                assert list(sequences(next(blocks_of(ours(x.reshape(1, 1, -1))[0], 512))[0]))[-1][0] == 5


def test_any_cut_into_spans_gives_the_same_bytes() -> None:
    """One frame on several threads is the frame on one thread, and more frames than threads are too."""
    code = np.concatenate([frames((512, 300), "uint16"), frames((512, 300), "uint16", 1)])
    threads = numba.get_num_threads()
    try:
        several = [ours(code[k : k + 1])[0] for k in range(len(code))], ours(code[:3]), ours(code)
        numba.set_num_threads(1)
        one = ours(code)
    finally:
        numba.set_num_threads(threads)
    assert several == (one, one[:3], one)
    assert [decode_chunk(c, (512, 300), "uint16").tobytes() for c in one] == [f.tobytes() for f in code]


# ------------------------------------------------------------------------------------------------------- recorded frames
def test_ratio_on_recorded_frames() -> None:
    """Of the library's: at least 0.92 on every dataset, at least 1.00 on average. Each chunk decodes."""
    folder = recorded.folder(ROOT)
    if folder is None:
        pytest.skip("no recorded frames: set GPUREDUX_DATA to a folder that holds bcdi_timepix_rocking.h5 and the others")
    share = {r.name: r.share for r in runpy.run_path(str(ROOT / "bench" / "bench_bitshuffle_lz4.py"))["ratios"](folder)}
    assert min(share.values()) >= 0.92, share
    assert np.mean(list(share.values())) >= 1.0, share


def raises(chunk: bytes, shape: tuple[int, ...], dtype: str) -> bool:
    try:
        decode_chunk(chunk, shape, dtype)
    except DecodeError:
        return True
    return False


# ----------------------------------------------------------------------------------------------------- what users are told
def lz4_chunk(raw_bytes: int, block: bytes) -> bytes:
    """One block, of so many raw bytes."""
    return struct.pack(">QII", raw_bytes, 8192, len(block)) + block


# a frame of 80 uint16, 160 raw bytes: each limit reached, and each limit passed by one
AT_THE_LIMIT = (
    lz4_chunk(160, b"\xf0\x91" + bytes(range(160))),                              # literals to the last byte
    lz4_chunk(160, b"\x4fabcd\x04\x00\x89\x00"),                                 # a match from the first byte to the last, then no literals
    lz4_chunk(160, b"\x1fx\x01\x00\x87\x50abcde"),                               # the same, then five
    lz4_chunk(160, b"\x1f\x01\x01\x00\x8b\x10\x02"),
)
WRONG = (
    (b"", "header needs 12 bytes"),
    (AT_THE_LIMIT[0][:11], "header needs 12 bytes"),
    (struct.pack(">QI", 161, 8192) + AT_THE_LIMIT[0][12:], "raw size is not"),
    (struct.pack(">QI", 160, 0) + AT_THE_LIMIT[0][12:], "positive multiple of 8 elements"),
    (struct.pack(">QI", 160, 24) + AT_THE_LIMIT[0][12:], "positive multiple of 8 elements"),
    (AT_THE_LIMIT[0][:15], "inside a block's length"),
    (AT_THE_LIMIT[0][:-1], r"a block's length reaches beyond the chunk \(block 0, byte 12"),
    (AT_THE_LIMIT[0] + b"x", "behind the last block"),
    (lz4_chunk(160, b""), "ends inside a sequence"),
    (lz4_chunk(160, b"\x4fabcd\x04\x00\x89"), "ends inside a sequence or without last literals"),
    (lz4_chunk(160, b"\x1fx\x01\x00\xff"), "ends inside a sequence"),
    (lz4_chunk(160, b"\x1fx\x01"), "ends inside a sequence"),
    (lz4_chunk(160, b"\x10x"), "ends before the block's raw size"),
    (lz4_chunk(160, b"\xf0\x90" + bytes(159)), "ends before the block's raw size"),
    (lz4_chunk(160, b"\x20x"), "literals reach beyond the LZ4 block"),
    (lz4_chunk(160, b"\xf0\x92" + bytes(161)), "literals reach beyond the block's raw size"),
    (lz4_chunk(160, b"\xf0\xff\xff\xff\xff"), "literals reach beyond the LZ4 block"),
    (lz4_chunk(160, b"\x4fabcd\x05\x00\x89\x00"), "a match begins before the block"),
    (lz4_chunk(160, b"\x4fabcd\x00\x00\x89\x00"), "a match begins before the block"),
    (lz4_chunk(160, b"\x4fabcd\x04\x00\x8a\x00"), "a match reaches beyond the block's raw size"),
    (lz4_chunk(160, b"\x1f\x01\x01\x00\x8c\x10\x02"), "literals reach beyond the block's raw size"),
)


def test_decode_chunk_says_what_and_where() -> None:
    for right in AT_THE_LIMIT:
        assert not raises(right, (8, 10), "uint16")
    for wrong, words in WRONG:
        with pytest.raises(DecodeError, match=f"bitshuffle-LZ4 chunk of {len(wrong)} bytes for uint16 .8, 10.: .*{words}"):
            decode_chunk(wrong, (8, 10), "uint16")


def test_limits_on_every_backend(target: Any) -> None:
    op, chunks = BitshuffleLZ4Decode((8, 10), "uint16"), [*AT_THE_LIMIT, *(w for w, _ in WRONG)]
    want = op(*rows_of(chunks), backend="numpy")
    got, status = decoded_on(target, op, chunks)
    assert same(got, want.code) and same(status, want.frame_status)
    assert list(status > 0) == [False] * len(AT_THE_LIMIT) + [True] * len(WRONG)


def test_nothing_is_written_beyond_a_block(device_target: Any) -> None:
    """A block of 20000 raw bytes, full, and one byte beyond by a match or by literals: what is refused could still have been written, to the
    bytes of the workspace behind the block, where the next frame's lie. No output shows it."""
    op, size = BitshuffleLZ4Decode((100, 200), "uint8"), 20000
    match = b"\x4fabcd\x04\x00" + b"\xff" * 78       # 4 bytes, then a match of 19909 and what the next byte says
    blocks = (match + b"\x57\x00", match + b"\x58\x00", match + b"\x58", match + b"\x56\x10x", match + b"\x56\x20xy", match + b"\x56\x20xy\x01\x00\x00")
    payload, sizes = (device_target.put(x) for x in rows_of([struct.pack(">QII", size, size, len(b)) + b for b in blocks]))
    plan = op.plan(payload, sizes)
    planes, canary = plan.scratch["planes"], np.full(plan.scratch["planes"].shape, 0xA5, np.uint8)
    device_target.backend.overwrite(planes, canary)
    code, status = (device_target.get(x) for x in plan(payload, sizes))
    assert list(status > 0) == [False, True, True, False, True, True]
    assert code[[0, 3]].any(axis=(1, 2)).all() and not code[status > 0].any()
    assert planes.shape == (6, size + 16) and (device_target.get(planes)[:, size:] == 0xA5).all()


def test_frames_that_no_chunk_can_hold() -> None:
    for code, error, words in (
        (np.zeros(5, np.uint16), ValueError, r"code must be .* got uint16 \(5,\)"),
        (np.zeros((2, 0), np.uint16), ValueError, "got uint16"),
        (np.zeros((2, 3), ">u2"), TypeError, "native numbers of 1, 2, 4 or 8 bytes"),
        (np.zeros((2, 3), np.complex128), TypeError, "got complex128"),
        (Spec("code", (1, 1 << 16, 1 << 16), np.dtype(np.uint8)), ValueError, "4 GiB"),
    ):
        with pytest.raises(error, match=f"compress.bitshuffle_lz4: .*{words}"):
            BitshuffleLZ4().plan(code, backend="numpy")
    with pytest.raises(TypeError, match=r"inverse only if it knows its frames: BitshuffleLZ4\(shape="):
        BitshuffleLZ4().inverse()
    with pytest.raises(ValueError, match="given together"):
        BitshuffleLZ4(shape=(3, 5))
    with pytest.raises(ValueError, match="must have pixels"):
        BitshuffleLZ4Decode((3, 0), "uint16")
    assert BitshuffleLZ4((3, 5), "uint16").inverse().inverse().config() == {"shape": [3, 5], "dtype": "uint16"}
