"""Blosc 1 chunks against outsiders: c-blosc (numcodecs), blosc2, hdf5plugin, golden bytes; rows, lies, misuse."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from gpuredux import DecodeError
from gpuredux.compress import BitshuffleLZ4, BloscBitshuffleLZ4, BloscDecode, decode_blosc
from gpuredux.compress.blosc_bitshuffle_lz4 import frame_layout
from gpuredux.compress.blosc_decode import filtered_block, header_of
from gpuredux.compress.hdf5_layout import create_chunks
from gpuredux.datasets.case import chunk_rows
from gpuredux.datasets.cases_blosc import chunks_of, foreign, frames_of
from gpuredux.status import Frame

blosc2 = pytest.importorskip("blosc2", reason="blosc2 is not installed")
numcodecs = pytest.importorskip("numcodecs", reason="numcodecs is not installed")

GOLDEN = Path(__file__).parent / "golden"
FRAMES = (("uint8", (3, 5)), ("int16", (7,)), ("uint16", (37, 53)), ("float32", (61, 301)), ("float64", (9, 17)), ("uint16", (64, 256)))


def ours(code: np.ndarray) -> list[bytes]:
    payload, size = BloscBitshuffleLZ4()(code)
    return [p[:s].tobytes() for p, s in zip(payload, size, strict=True)]


@pytest.mark.parametrize(("dtype", "shape"), FRAMES, ids=str)
def test_c_blosc_and_blosc2_decode_ours(dtype: str, shape: tuple[int, ...]) -> None:
    code = frames_of("outsiders", dtype, shape)
    for frame, chunk in zip(code, ours(code), strict=True):
        assert numcodecs.Blosc().decode(chunk) == frame.tobytes() and blosc2.decompress(chunk) == frame.tobytes()
        assert len(chunk) <= frame.nbytes + 16
        nbytes, size, blocksize = blosc2.get_cbuffer_sizes(chunk)
        assert (nbytes, size, blocksize) == (frame.nbytes, len(chunk), frame_layout("test", shape, np.dtype(dtype)).step)


@pytest.mark.parametrize(("dtype", "shape"), FRAMES, ids=str)
def test_we_decode_c_blosc_and_c_blosc_what_our_cases_make(dtype: str, shape: tuple[int, ...]) -> None:
    """The chunks of the cases, made by hand, are c-blosc's format: c-blosc says so."""
    code = frames_of("theirs", dtype, shape)
    rows = (shape[0] // 3, shape[0] // 3 + 1)
    for frame in code[:4]:
        for shuffle in (0, 1, 2):
            for level, block in ((0, 0), (1, 0), (5, 256), (9, 20000)):
                chunk = bytes(numcodecs.Blosc("lz4" if block < 1000 else "lz4hc", level, shuffle, blocksize=block).encode(frame))
                assert decode_blosc(chunk, shape, dtype).tobytes() == frame.tobytes()
                assert decode_blosc(chunk, shape, dtype, rows).tobytes() == frame[rows[0] : rows[1]].tobytes()
    assert {numcodecs.Blosc().decode(c) for c in chunks_of(code)} == {f.tobytes() for f in code}


def test_h5py_with_hdf5plugin_reads_ours_and_we_read_theirs(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "chunks.h5", "w") as f:
        for dtype, shape in FRAMES:
            code = frames_of("file", dtype, shape)
            d = create_chunks(f, f"{shape}{dtype}", shape, dtype, filters=BloscBitshuffleLZ4.filters(code.itemsize))
            d.resize(len(code), axis=0)
            theirs = [f.create_dataset(f"{k} {shape}{dtype}", data=code, chunks=(1, *shape), **hdf5plugin.Blosc("lz4", 5, k)) for k in (0, 1, 2)]
            for i, chunk in enumerate(ours(code)):
                at = (i, *[0] * len(shape))
                d.id.write_direct_chunk(at, chunk)
                for other in theirs:
                    mask, chunk = other.id.read_direct_chunk(at)      # mask 1: the filter gave up, for the chunk would be larger
                    assert (chunk if mask else decode_blosc(chunk, shape, dtype).tobytes()) == code[i].tobytes()
            assert d[...].tobytes() == code.tobytes()


def test_golden_bytes_are_written_and_read_for_ever(target: Any) -> None:
    """137 x 53: blocks that leave five elements over."""
    chunk = (GOLDEN / "blosc_bitshuffle_lz4_uint16_137x53.chunk").read_bytes()
    v = np.arange(137 * 53, dtype=np.uint32) * np.uint32(2654435761) >> np.uint32(28)
    frame = np.where(v > 12, v, 0).astype(np.uint16).reshape(1, 137, 53)
    payload, size = BloscBitshuffleLZ4()(target.put(frame), backend=target.backend.name)
    assert target.get(payload)[0, : target.get(size)[0]].tobytes() == chunk
    held = {k: target.put(x) for k, x in chunk_rows([chunk], 0).items()}
    code, status = BloscDecode((137, 53), "uint16", (100, 103))(**held, backend=target.backend.name)
    assert target.get(code).tobytes() == frame[0, 100:103].tobytes() and not target.get(status).any()


def test_rows_need_their_blocks_alone() -> None:
    """All other blocks are overwritten: the rows are the same; with one byte of theirs more, they are not."""
    frame = frames_of("rows", "uint16", (64, 1024))[4]
    chunk = bytearray(ours(frame[None])[0])     # a block holds 4 rows
    starts = [int.from_bytes(chunk[16 + 4 * k : 20 + 4 * k], "little") for k in range(16)]
    for k in (*range(5), *range(7, 16)):
        chunk[starts[k] : starts[k] + 9] = b"\xff" * 9
    assert decode_blosc(bytes(chunk), (64, 1024), "uint16", (20, 28)).tobytes() == frame[20:28].tobytes()
    for rows, block in (((19, 28), 4), ((20, 29), 7)):
        with pytest.raises(DecodeError, match=rf"stream's length .*\(block {block}, byte {starts[block]} of"):
            decode_blosc(bytes(chunk), (64, 1024), "uint16", rows)


def test_more_blocks_than_the_chunk_has_places_for(target: Any) -> None:
    """4 bytes for each of 2**30 blocks are 0 in 32 bits: the first block alone would be right. A GiB of scratch is planned, and never touched."""
    chunk = bytes((2, 1, 0x30, 1)) + struct.pack("<3I", 1 << 30, 1, 25) + struct.pack("<2I", 20, 1) + b"\x07"
    payload, size = target.put(np.frombuffer(chunk, np.uint8)[None]), target.put(np.array([25], np.uint32))
    if target.backend.name == "numpy":
        assert header_of(chunk, 1 << 30, 1) is not None and filtered_block(chunk, 0, 1, 1 << 30, 1) is None
        return
    code, status = BloscDecode((1 << 15, 1 << 15), "uint8", (0, 1))(payload, size, backend=target.backend.name)
    assert not target.get(code).any() and target.get(status).tolist() == [Frame.CORRUPT]


def test_decode_blosc_says_what_is_wrong_or_not_taken() -> None:
    frame = frames_of("words", "uint16", (40, 64))[3]
    right = ours(frame[None])[0]

    def changed(at: int, *values: int) -> bytes:
        return right[:at] + bytes(values) + right[at + len(values) :]

    for chunk, words in (
        (right[:15], "header needs 16 bytes"), (changed(0, 5), "blosc2"), (changed(4, 1), "raw size"), (changed(8, 0, 0, 0, 0), "block size"),
        (right + b"x", "chunk size"), (right[:-1], "chunk size"), (changed(3, 4), "item size"), (changed(2, 0x35), "filters other than"),
        (changed(16, 1), "begins outside of the chunk"), (changed(20, 255, 255), "stream's length"), (changed(24, 255, 255, 255), r"\(block 0, byte"),
        (bytes((2, 1, 0x2A, 2)) + struct.pack("<3I", 5120, 5120, 5136) + bytes(5120), "filters other than"),       # of a reserved flag, not compressed
        (bytes(numcodecs.Blosc("zstd").encode(frame)), "codec other than LZ4"), (blosc2.compress2(frame, typesize=2), "blosc2"),
        (foreign(frame, 2, 2048, split=True)[:8] + b"\x01\x07" + foreign(frame, 2, 2048, split=True)[10:], "no multiple of its streams"),
    ):
        with pytest.raises(DecodeError, match=f"blosc chunk of {len(chunk)} bytes for uint16 .40, 64.: .*{words}"):
            decode_blosc(chunk, (40, 64), "uint16")


def test_misuse_is_refused() -> None:
    for rows in ((0, 0), (-1, 2), (2, 4)):
        with pytest.raises(ValueError, match=r"compress.blosc_decode: rows must be .* 0 to 3"):
            BloscDecode((3, 5), "uint16", rows)
    with pytest.raises(TypeError, match="some rows"):
        BloscDecode((3, 5), "uint16", (0, 1)).inverse()
    with pytest.raises(ValueError, match="less than 2 GiB"):
        BloscDecode((1 << 15, 1 << 16), "uint8")
    assert BloscBitshuffleLZ4((3, 5), "uint16").inverse().inverse().config() == {"shape": [3, 5], "dtype": "uint16"}


def test_ratio_on_a_recorded_frame(real: Any) -> None:
    """1679 x 1475 pixels are no multiple of 8, and little is lost: at most 3 % more than filter 32008 (8 bytes a block, not 4); single rows."""
    frame = np.ascontiguousarray(real("pilatus2m_lcysteine_01.h5", "data").reshape(-1, 1679, 1475)[:1])
    (chunk,), (_, size) = ours(frame), BitshuffleLZ4()(frame)
    assert numcodecs.Blosc().decode(chunk) == frame.tobytes() and len(chunk) <= 1.03 * int(size[0])
    for row in (0, 800, 1678):
        assert decode_blosc(chunk, frame.shape[1:], frame.dtype, (row, row + 1)).tobytes() == frame[0, row].tobytes()
