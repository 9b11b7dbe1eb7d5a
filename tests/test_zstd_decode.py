"""Zstd chunks against outsiders: libzstd, h5py with hdf5plugin, hand-made frames. Over 200 lines: one question, is this what libzstd reads."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hdf5plugin
import numba
import numpy as np
import pytest
from test_bitshuffle_lz4 import GOLDEN, golden_frame

from gpuredux import DecodeError
from gpuredux.compress import BitshuffleZstdDecode, ShuffleZstdDecode, decode_bitshuffle_zstd, decode_shuffle_zstd, zstd_decode, zstd_decode_numba
from gpuredux.compress.shuffle_zstd_decode import first_errors
from gpuredux.datasets.cases_zstd_decode import bitshuffle_chunk, block, damaged, frames_of, header, plain, rows_of, shuffle_chunk, shuffled_text

LEVEL, WINDOW, SIZE_FLAG, CHECKSUM_FLAG = 100, 101, 200, 201     # parameters of libzstd
FLUSH, END = 1, 2


class Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


def library() -> ctypes.CDLL:
    """libzstd as it lies in HDF5's filter 32015: what stock readers use."""
    lib = ctypes.CDLL(str(Path(hdf5plugin.__file__).parent / "plugins" / "libh5zstd.so"))
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    for name, result, arguments in (
        ("ZSTD_createCCtx", pointer, ()), ("ZSTD_freeCCtx", size, (pointer,)), ("ZSTD_compressBound", size, (size,)),
        ("ZSTD_CCtx_setParameter", size, (pointer, ctypes.c_int, ctypes.c_int)), ("ZSTD_compress2", size, (pointer, pointer, size, ctypes.c_char_p, size)),
        ("ZSTD_compressStream2", size, (pointer, pointer, pointer, ctypes.c_int)), ("ZSTD_decompress", size, (pointer, size, pointer, size)),
        ("ZSTD_isError", ctypes.c_uint, (size,)),
    ):
        getattr(lib, name).restype, getattr(lib, name).argtypes = result, arguments
    return lib


LIB = library()


def frame_of(data: bytes, cut: int = 0, **parameters: int) -> bytes:
    """The frame that libzstd makes; cut: of blocks of so many bytes, flushed one by one, and therefore without a content size."""
    context = LIB.ZSTD_createCCtx()
    for key, value in {"LEVEL": 3, **parameters}.items():
        assert not LIB.ZSTD_isError(LIB.ZSTD_CCtx_setParameter(context, globals()[key], value))
    room = ctypes.create_string_buffer(LIB.ZSTD_compressBound(len(data)) + len(data) // 4 + 100)
    if not cut:
        used = LIB.ZSTD_compress2(context, room, len(room), data, len(data))
    else:
        out = Buffer(ctypes.cast(room, ctypes.c_char_p), len(room), 0)
        for k in range(0, len(data), cut):
            part = Buffer(data[k : k + cut], len(data[k : k + cut]), 0)
            assert LIB.ZSTD_compressStream2(context, ctypes.byref(out), ctypes.byref(part), END if k + cut >= len(data) else FLUSH) == 0
        used = out.at
    LIB.ZSTD_freeCCtx(context)
    assert not LIB.ZSTD_isError(used)
    return room.raw[:used]


def library_content(frame: np.ndarray, n: int) -> bytes | None:
    """What libzstd makes of the bytes, None if that is not n bytes."""
    room = ctypes.create_string_buffer(n + 1)
    got = LIB.ZSTD_decompress(room, n, frame.ctypes.data, frame.size)
    return room.raw[:n] if got == n else None


def our_content(frame: np.ndarray, n: int) -> tuple[int, bytes]:
    """What is wrong (0: nothing), and the content; nothing of this copies the frame, so that it may end at a cliff."""
    raw, planes = np.full((1, n), 0xA5, np.uint8), np.empty((1, n + zstd_decode_numba.MARGIN), np.uint8)
    wrong = first_errors(frame.reshape(1, -1), np.array([frame.size]), 1, zstd_decode_numba.SHUFFLE, raw, planes, 1)[0, 0]
    return int(wrong), raw.tobytes()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Thousands of frames one by one: to wake a second thread for each takes longer than to decode it."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.tobytes() == b.tobytes()


def contents(n: int, seed: int = 1) -> list[bytes]:
    """Bytes that need every part of the format: runs, noise, few symbols, many symbols, words that come again, near and far."""
    rng = np.random.default_rng(seed)
    words = b"".join(rng.bytes(k) for k in (5, 9, 30, 3)) * 3
    text = b" ".join(words[i : i + 1 + int(rng.integers(20))] for i in rng.integers(0, len(words), n // 9))
    normal = np.clip(rng.normal(128, 20, n), 0, 255).astype(np.uint8)
    return [
        b"a" * n, rng.bytes(n), rng.poisson(2, n).astype(np.uint8).tobytes(), normal.tobytes(), (text * 3)[:n], rng.poisson(0.1, n).astype(np.uint8).tobytes(),
        (b"ab" * n)[: n // 2] + rng.bytes(n // 8) + (b"abcdefg" * n)[: n - n // 2 - n // 8], np.cumsum(rng.integers(0, 3, n)).astype(np.uint8).tobytes(),
    ]


def library_frames(n: int, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    for k, data in enumerate(contents(n, seed)):
        for level in (-7, 1, 5, 19):
            yield data, frame_of(data, LEVEL=level, CHECKSUM_FLAG=k & 1, SIZE_FLAG=k >> 1 & 1)
        yield data, frame_of(data, WINDOW=10, SIZE_FLAG=0, LEVEL=5)
        yield data, frame_of(data, cut=n // 3 + 1, LEVEL=19, CHECKSUM_FLAG=1)
        yield data, frame_of(data, cut=n // 7 + 1, LEVEL=2, WINDOW=17)


TEXT = shuffled_text((8, 10), "uint16")        # 160 bytes
HAND = header(160) + b"".join(plain(TEXT))


# --------------------------------------------------------------------------------------------------------------- libzstd
def test_every_part_of_the_format_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """By both decoders, and each kind of block, literals, tree and table was there."""
    met: set[Any] = set()
    literals, table, weights = zstd_decode.Block.literals, zstd_decode.Block.table, zstd_decode.weights_of

    def met_literals(self: Any, data: bytes, at: int, *rest: Any) -> Any:
        met.add(("literals", data[at] & 3, data[at] >> 2 & 3))
        return literals(self, data, at, *rest)

    def met_table(self: Any, k: int, mode: int, *rest: Any) -> Any:
        met.add(("table", k, mode))
        return table(self, k, mode, *rest)

    def met_weights(data: bytes, at: int, end: int) -> Any:
        met.add(("direct weights", data[at] >= 128))
        return weights(data, at, end)

    monkeypatch.setattr(zstd_decode.Block, "literals", met_literals)
    monkeypatch.setattr(zstd_decode.Block, "table", met_table)
    monkeypatch.setattr(zstd_decode, "weights_of", met_weights)
    for n in (160, 300, 5000, 40000):
        for data, frame in library_frames(n) if n > 160 else [(TEXT, HAND)]:     # libzstd writes no run of literals
            assert library_content(np.frombuffer(frame, np.uint8), n) == data
            assert our_content(np.frombuffer(frame, np.uint8), n) == (0, data)
            if n < 40000 or frame[4] & 32:
                assert zstd_decode.frame_content(frame, n) == data
    assert {("table", k, mode) for k in range(3) for mode in range(4)} <= met
    assert {("literals", 2, f) for f in range(4)} | {("literals", 3, f) for f in range(3)} <= met
    assert {k[1] for k in met if k[0] == "literals"} == {0, 1, 2, 3} and {("direct weights", k) for k in (True, False)} <= met


def test_large_frames_of_libzstd() -> None:
    """Several blocks of 128 KiB, windows, checksums, matches that reach far back."""
    for data in contents(700_000):
        for parameters in ({"LEVEL": 1, "CHECKSUM_FLAG": 1}, {"LEVEL": 9}, {"LEVEL": 16, "SIZE_FLAG": 0, "WINDOW": 15}):
            assert our_content(np.frombuffer(frame_of(data, **parameters), np.uint8), len(data)) == (0, data)
    for n in (1, 2, 3, 31, 32, 33, 63, 100, 131072, 131073):
        data = contents(n + 200)[4][:n]
        assert our_content(np.frombuffer(frame_of(data, CHECKSUM_FLAG=1), np.uint8), n) == (0, data)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("n", (300, 3000))
def test_the_readable_decoder_is_the_fast_one(n: int) -> None:
    rng, right = np.random.default_rng(n + 1), [f for _, f in library_frames(n, 3)]
    for i in range(400):
        lie = damaged(rng, right[i % len(right)])
        wrong, got = our_content(np.frombuffer(lie, np.uint8), n) if lie else (1, bytes(n))
        try:
            want = zstd_decode.frame_content(lie, n)
        except DecodeError:
            assert wrong and got == bytes(n)
        else:
            assert not wrong and got == want


def test_xxh64_is_the_published_one() -> None:
    """The vectors of the xxHash specification: of nothing, and of what libzstd signs at every length."""
    assert zstd_decode.xxh64(b"") == 0xEF46DB3751D8E999
    for n in range(1, 80):
        data = np.random.default_rng(n).bytes(n)
        assert zstd_decode.xxh64(data) & 0xFFFFFFFF == int.from_bytes(frame_of(data, CHECKSUM_FLAG=1)[-4:], "little")


# ------------------------------------------------------------------------------------------------------------ HDF5's filters
SHAPES = ((3, 5), (1,), (7,), (8,), (37, 53), (61, 300), (3, 41, 52))
DTYPES = ("uint8", "int16", "uint32", "float32", "float64")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", DTYPES)
def test_chunks_of_hdf5(dtype: str) -> None:
    for shape in SHAPES:
        for frame in frames_of(shape, dtype, "chunks"):
            for level in (1, 12):
                assert same(decode_shuffle_zstd(shuffle_chunk(frame, level), shape, dtype), frame)
            for size in (0, 8, 264, 1 << 16):
                assert same(decode_bitshuffle_zstd(bitshuffle_chunk(frame, 1, size), shape, dtype), frame)
    large = frames_of((512, 600), dtype, "large")[3]
    assert same(decode_bitshuffle_zstd(bitshuffle_chunk(large, 1, 1 << 18), large.shape, dtype), large)


def decoded_on(target: Any, op: Any, chunks: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    rows = {k: target.put(v) for k, v in rows_of(chunks).items()}
    out = op(**rows, backend=target.backend.name)
    return target.get(out.code), target.get(out.frame_status)


def test_every_backend_reads_chunks_of_hdf5(target: Any) -> None:
    for shape, dtype in (((61, 300), "uint16"), ((9, 17), "float64"), ((37, 53), "uint8"), ((24, 40), "uint32")):
        code = frames_of(shape, dtype, "backends")
        got, status = decoded_on(target, ShuffleZstdDecode(shape, dtype), [shuffle_chunk(f, level) for f in code for level in (1, 19)])
        assert same(got, np.repeat(code, 2, axis=0)) and not status.any()
        got, status = decoded_on(target, BitshuffleZstdDecode(shape, dtype), [bitshuffle_chunk(f, 3, size) for f in code for size in (0, 8, 1 << 16)])
        assert same(got, np.repeat(code, 3, axis=0)) and not status.any()


GOLDEN_SHUFFLED = (("uint16", (37, 53), 1), ("int32", (41, 100), 19))
GOLDEN_BITS = (("uint16", (37, 53), 64), ("float64", (9, 17), 0))


def test_golden_bytes_of_the_library_are_read_for_ever(target: Any) -> None:
    for dtype, shape, level in GOLDEN_SHUFFLED:
        chunk = (GOLDEN / f"library_shuffle_zstd{level}_{dtype}_{'x'.join(map(str, shape))}.chunk").read_bytes()
        got, status = decoded_on(target, ShuffleZstdDecode(shape, dtype), [chunk])
        assert same(got[0], golden_frame(shape, dtype)) and not status.any()
    for dtype, shape, size in GOLDEN_BITS:
        chunk = (GOLDEN / f"library_bitshuffle_zstd_{dtype}_{'x'.join(map(str, shape))}_block{size}.chunk").read_bytes()
        got, status = decoded_on(target, BitshuffleZstdDecode(shape, dtype), [chunk])
        assert same(got[0], golden_frame(shape, dtype)) and not status.any()


def test_every_backend_reads_our_own_chunks(target: Any) -> None:
    """Of several regions too; by the encoder that is the decoder's inverse."""
    for shape, dtype in (((37, 53), "uint16"), ((300, 470), "uint16"), ((3, 5), "float64")):
        code = frames_of(shape, dtype, "ours")
        for op in (ShuffleZstdDecode(shape, dtype), BitshuffleZstdDecode(shape, dtype)):
            payload, size = op.inverse()(code, backend="numba")
            got = op(target.put(payload), target.put(size), backend=target.backend.name)
            assert same(target.get(got.code), code) and not target.get(got.frame_status).any()
            assert op.inverse().inverse().config() == op.config()


def test_every_backend_reads_frames_of_libzstd(target: Any) -> None:
    """Of many blocks too, whose matches reach back into earlier ones, with checksums and windows, each among others that are damaged."""
    n = 200_000
    frames = list(library_frames(3000)) + [(d, frame_of(d, CHECKSUM_FLAG=k & 1, LEVEL=level)) for k, d in enumerate(contents(n)) for level in (1, 7)]
    for size in (3000, n):
        right = [(d, f) for d, f in frames if len(d) == size]
        chunks = [c for _, f in right for c in (f, f[:-1])]
        got, status = decoded_on(target, ShuffleZstdDecode((size,), "uint8"), chunks)
        for k, (data, _) in enumerate(right):
            assert (got[2 * k].tobytes(), status[2 * k]) == (data, 0), k
            assert not got[2 * k + 1].any() and status[2 * k + 1], k


# ----------------------------------------------------------------------------------------------------- what users are told
WRONG = (
    (b"", "no zstd header"),
    (b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + HAND, "no zstd header"),                                       # a skippable frame before it
    (HAND + b"\x50\x2a\x4d\x18\x00\x00\x00\x00", "bytes behind the last block"),
    (HAND[:4] + b"\xa8" + HAND[5:], "reserved bit"),
    (HAND[:4] + b"\xa1\x05" + HAND[5:], "needs a dictionary"),
    (HAND[:5] + struct.pack("<I", 161) + HAND[9:], "content size is not the raw size"),
    (HAND[:4] + b"\x00\xb0" + HAND[9:], "a window of more than 2 GiB"),
    (HAND[:-1], "a block reaches beyond the frame"),
    (HAND[:-3], "a block reaches beyond the frame"),
    (header(160) + block(3, 160, b"x", True), "reserved type"),
    (header(160) + block(1, 161, b"x", True), "too many bytes"),
    (header(160) + block(1, 159, b"x", True), "less than the raw size"),
    (header(160) + block(1, 150, b"x") + block(1, 150, b"x", True), "too many bytes"),
    (header(160) + block(0, 160, TEXT, True) + b"x", "bytes behind the last block"),
    (header(160) + block(2, 2, b"\0\0") + block(1, 160, b"x", True), "a compressed block of nothing"),
    (header(160) + block(2, 0, b"") + block(1, 160, b"x", True), "literals reach beyond their block"),
    (header(160) + block(2, 2, b"\x08\0") + block(1, 160, b"x", True), "the head of the sequences is cut"),
    (header(160) + block(2, 5, b"\x08x\0\0\0") + block(1, 159, b"x", True), "bytes behind it"),
    (header(160) + block(2, 4, b"\xfd\x0f\0\0", True), "more literals than the block"),
    (header(160) + block(2, 6, b"\x0b\0\0\0\0\0", True), "none before"),
    (header(160) + block(2, 5, b"\x08x\x01\xfc\0", True), "there was none"),
    (header(160) + block(2, 5, b"\x08x\x01\x54\x24", True), "FSE table that is none"),
    (header(160) + block(2, 8, b"\x08x\x01\x54\x00\x00\x00\x00", True), "does not end where its sequences do"),
)


def test_decode_chunk_says_what_and_where() -> None:
    assert decode_shuffle_zstd(HAND, (8, 10), "uint16").tobytes() == np.frombuffer(TEXT, np.uint8).reshape(2, 80).T.tobytes()
    for wrong, words in WRONG:
        with pytest.raises(DecodeError, match=rf"shuffle-zstd chunk of {len(wrong)} bytes for uint16 \(8, 10\): .*{words}.* \(byte \d+ of the chunk\)"):
            decode_shuffle_zstd(wrong, (8, 10), "uint16")
        with pytest.raises(DecodeError, match=r"\(byte \d+ of the zstd frame\)"):
            zstd_decode.frame_content(wrong, 160)
    framed = struct.pack(">QII", 160, 160, len(HAND)) + HAND
    assert decode_bitshuffle_zstd(framed, (8, 10), "uint16").shape == (8, 10)
    for wrong, words in (
        (framed[:11], "header needs 12"), (struct.pack(">QI", 161, 160) + framed[12:], "raw size"), (struct.pack(">QI", 160, 24) + framed[12:], "8 elements"),
        (framed[:15], "inside a block's length"), (framed[:-1], r"beyond the chunk \(block 0, byte 12"), (framed + b"x", "behind the last block"),
        (framed[:16] + b"x" + framed[17:], r"no zstd header.* \(block 0"),
    ):
        with pytest.raises(DecodeError, match=f"bitshuffle-zstd chunk of {len(wrong)} bytes .*{words}"):
            decode_bitshuffle_zstd(wrong, (8, 10), "uint16")


def test_limits_on_every_backend(target: Any) -> None:
    op, chunks = ShuffleZstdDecode((8, 10), "uint16"), [HAND, *(w for w, _ in WRONG)]
    got, status = decoded_on(target, op, chunks)
    assert list(status > 0) == [False] + [True] * len(WRONG) and got[0].any() and not got[1:].any()


def test_nothing_is_written_beyond_a_frame(device_target: Any) -> None:
    """Frames that are full, and such as go on: by a run, by raw bytes, by literals and by a match. What is refused could still have been written, to the
    workspace behind the frame or to the next frame's."""
    n, match = 400, frame_of(b"ab" * 200 + b"c" * 70, SIZE_FLAG=0, LEVEL=1)[6:]
    unsized = b"\x28\xb5\x2f\xfd\x00\xa8"
    more = (
        block(1, n, b"x", True), block(1, n, b"x") + block(1, 1, b"x", True), block(1, n, b"x") + block(0, 2, b"xy", True),
        block(1, n - 1, b"x") + block(2, 4, b"\x10xy\0", True), block(1, n - 60, b"x") + match, match,
    )
    op = ShuffleZstdDecode((n // 2,), "uint16")
    payload, sizes = (device_target.put(x) for x in rows_of([unsized + m for m in more]).values())
    plan = op.plan(payload, sizes)
    planes = plan.scratch["planes"]
    device_target.backend.overwrite(planes, np.full(planes.shape, 0xA5, np.uint8))
    code, status = (device_target.get(x) for x in plan(payload, sizes))
    assert list(status > 0) == [False, True, True, True, True, True] and code[0].all() and not code[1:].any()
    assert (device_target.get(planes)[:, n:] == 0xA5).all()


def test_a_bomb_is_refused() -> None:
    """A few bytes that stand for gigabytes: refused at the first block that is too large, by a sum, before it is written."""
    bomb = frame_of(bytes(50_000_000))
    with pytest.raises(DecodeError, match="content size is not the raw size"):
        decode_shuffle_zstd(bomb, (8, 10), "uint16")
    unsized = b"\x28\xb5\x2f\xfd\x00\xa8" + block(1, 100, b"x") + block(1, 131072, b"x") * 10_000 + block(1, 1, b"x", True)
    with pytest.raises(DecodeError, match=r"too many bytes \(byte 10 of"):
        decode_shuffle_zstd(unsized, (8, 10), "uint16")


def test_a_wrong_checksum(target: Any) -> None:
    data = contents(5000)[2]
    frame = frame_of(data, CHECKSUM_FLAG=1)
    lies = [frame[:-k] + bytes([frame[-k] ^ 1]) + (frame[1 - k :] if k > 1 else b"") for k in (1, 2, 3, 4)]
    got, status = decoded_on(target, ShuffleZstdDecode((5000,), "uint8"), [frame, *lies])
    assert list(status > 0) == [False, True, True, True, True] and got[0].tobytes() == data and not got[1:].any()
    with pytest.raises(DecodeError, match="checksum"):
        decode_shuffle_zstd(lies[0], (5000,), "uint8")
