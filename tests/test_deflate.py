"""Filters 2 + 1 against outsiders: zlib, HDF5 in another process, golden bytes. Over 200 lines: one question, are these bytes the format."""

from __future__ import annotations

import heapq
import itertools
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numba
import numpy as np
import pytest

from gpuredux import DecodeError, Spec
from gpuredux.compress import ShuffleDeflate, ShuffleDeflateDecode, inflate_chunk
from gpuredux.compress import huffman_lengths as huffman
from gpuredux.compress.shuffle_deflate import chunk_of, frame_layout, shuffled
from gpuredux.compress.shuffle_deflate_decode import bytes_of
from gpuredux.datasets import real as recorded
from gpuredux.datasets.case import chunk_rows
from gpuredux.datasets.cases_deflate import foreign, frames_to_deflate, planned_runs, units_to_deflate

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
FRAMES = ((3, 5), (37, 53), (1,), (1, 4097), (61, 300), (3, 41, 52))
DTYPES = ("uint8", "int16", "float32", "uint64")


def frames(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    return frames_to_deflate(np.random.default_rng(seed), dtype, shape)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.tobytes() == b.tobytes()


def ours(code: np.ndarray, backend: str = "numba") -> list[bytes]:
    payload, size = ShuffleDeflate()(code, backend=backend)
    return [p[:s].tobytes() for p, s in zip(payload, size, strict=True)]


# ---------------------------------------------------------------------------------------------------------- code lengths
def huffman_depths(counts: list[int]) -> int:
    """The bits of all symbols by a tree without a limit."""
    heap, total = sorted(counts), 0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        total += both
        heapq.heappush(heap, both)
    return total


def fewest_bits(counts: list[int], limit: int) -> int:
    """By trying every choice of lengths that a code can have: the rarest symbols the longest."""
    counts = sorted(counts, reverse=True)
    fits = (c for c in itertools.combinations_with_replacement(range(1, limit + 1), len(counts)) if sum(2 ** (limit - d) for d in c) <= 2**limit)
    return min(sum(n * d for n, d in zip(counts, c, strict=True)) for c in fits)


def test_code_lengths_are_optimal_and_the_same_from_numba() -> None:
    rng, work = np.random.default_rng(5), np.zeros(huffman.WORK, np.int64)
    few = [np.array(c) for n in (2, 3, 5, 6) for c in itertools.islice(itertools.product((1, 2, 3, 7, 20), repeat=n), 0, None, 9 * n)]
    cases = [(c, limit) for c in few for limit in (3, 4)]
    deep = [np.minimum(1.6 ** np.arange(n), 25000).astype(int) for n in (19, 40, 286)]
    cases += [(rng.permutation(d), limit) for d in deep for limit in (9, 11, 14)]
    cases += [(rng.integers(0, top, n), 14) for top in (2, 3, 500) for n in (1, 19, 286) for _ in range(5)]
    for counts, limit in cases:
        lengths, used = huffman.code_lengths(counts, limit), counts[counts > 0]
        again = np.full(len(counts), 99, np.uint8)
        huffman.code_lengths_into(counts.astype(np.uint32), limit, again, work)
        assert np.array_equal(lengths, again) and np.array_equal(lengths > 0, counts > 0)
        if len(used) > 1:
            assert sum(2.0 ** -int(d) for d in lengths[lengths > 0]) == 1 and lengths.max() <= limit
            bits = int((lengths * counts).sum())
            assert bits == (fewest_bits(list(used), limit) if len(used) < 7 else bits) and bits >= huffman_depths(list(used))
            assert bits == huffman_depths(list(used)) or huffman.code_lengths(counts, 15).max() > limit
    assert not huffman.code_lengths(np.zeros(9, int), 7).any() and list(huffman.code_lengths(np.array([0, 5, 0]), 7)) == [0, 1, 0]


def test_two_queues_give_the_lengths_of_package_merge() -> None:
    """Wherever numba takes Huffman's tree; the kernel takes no more levels than there are symbols, which is the same."""
    rng, work = np.random.default_rng(6), np.zeros(huffman.WORK, np.int64)
    taken = 0
    for k in range(3000):
        n = int(rng.integers(2, 12 if k % 2 else 120))
        counts = np.maximum(1, rng.random(n) ** rng.choice([1, 4, 12]) * rng.choice([2, 3, 5, 20, 300, 60000])).astype(np.uint32)
        one, two = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
        used = huffman._sorted(counts, one, work)
        if huffman._by_two_queues(work, used, 14, one):
            taken += 1
            huffman._sorted(counts, two, work)
            huffman._package_merge(work, used, 14, two)
            assert np.array_equal(one, two), counts
    assert taken > 2000


# ------------------------------------------------------------------------------------------------------------- outsiders
@pytest.mark.parametrize("dtype", DTYPES)
def test_zlib_decodes_ours_and_we_decode_zlibs(dtype: str) -> None:
    for shape in FRAMES:
        code = frames(shape, dtype)
        for frame, chunk in zip(code, ours(code), strict=True):
            b = shuffled(frame)
            assert zlib.decompress(chunk) == b.tobytes() and len(chunk) <= frame_layout("test", shape, np.dtype(dtype)).cap
            for theirs in (chunk, *foreign(b)):
                assert same(inflate_chunk(theirs, shape, dtype), frame)


def test_every_block_is_as_small_as_its_rules_say() -> None:
    """Units that are alike are joined, noise is stored between coded units, and nothing is larger than stored."""
    code = units_to_deflate(np.random.default_rng(1), 4 * (1 << 15) + 4100)
    sizes = [len(c) for c in ours(code)]
    assert all(zlib.decompress(c) == f.tobytes() for c, f in zip(ours(code), code, strict=True))
    noise = np.random.default_rng(2).integers(0, 256, (1, code.shape[1]), dtype=np.uint8)
    assert len(ours(noise)[0]) == 2 + code.shape[1] + 5 * 5 + 4     # five units, each behind 5 bytes
    assert sizes[3] < 400 < 2 * (1 << 15) < sizes[1] < 3.4 * (1 << 15)
    single = [len(ours(np.ascontiguousarray(code[:1, k : k + (1 << 15)]))[0]) for k in range(0, 4 << 15, 1 << 15)]
    assert len(ours(np.ascontiguousarray(code[:1, : 4 << 15]))[0]) < sum(single) - 50


READ_BACK = """
import sys, h5py, numpy as np
assert "hdf5plugin" not in sys.modules
with h5py.File(sys.argv[1]) as f, np.load(sys.argv[2]) as want:
    for name in f:
        assert f[name][...].tobytes() == want[name].tobytes(), name
    print(len(f))
"""


def test_hdf5_reads_ours_without_a_plugin_and_we_read_hdf5s(tmp_path: Path) -> None:
    want = {}
    with h5py.File(tmp_path / "chunks.h5", "w") as f:
        for shape in ((3, 5), (37, 53), (61, 300)):
            for dtype in DTYPES:
                name, code = f"{'x'.join(map(str, shape))}{dtype}", frames(shape, dtype)
                want[name] = code
                d = f.create_dataset(name, code.shape, dtype, chunks=(1, *shape), shuffle=True, compression="gzip", compression_opts=1)
                for i, chunk in enumerate(ours(code)):
                    d.id.write_direct_chunk((i, *[0] * len(shape)), chunk)
    np.savez(tmp_path / "want.npz", **want)
    read = subprocess.run([sys.executable, "-c", READ_BACK, str(tmp_path / "chunks.h5"), str(tmp_path / "want.npz")], capture_output=True, text=True)
    assert read.stdout == f"{len(want)}\n", read.stderr
    with h5py.File(tmp_path / "theirs.h5", "w") as f:
        for name, code in want.items():
            d = f.create_dataset(name, data=code, chunks=(1, *code.shape[1:]), shuffle=True, compression="gzip")
            for i, frame in enumerate(code):
                assert same(inflate_chunk(d.id.read_direct_chunk((i, *[0] * frame.ndim))[1], frame.shape, frame.dtype), frame)


# --------------------------------------------------------------------------------------------------------- golden bytes
def golden_frame(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers that depend on no random generator: runs of 0, some up to 15."""
    v = np.arange(int(np.prod(shape)), dtype=np.uint64) * np.uint64(2654435761) % np.uint64(1 << 32) >> np.uint64(28)
    return np.where(v > 12, v, 0).astype(dtype).reshape(shape)


WRITTEN = (("uint8", (3, 5)), ("uint16", (37, 53)), ("float64", (9, 17)), ("int32", (100, 120)))


@pytest.mark.parametrize(("dtype", "shape"), WRITTEN, ids=str)
def test_golden_bytes_are_written_and_read_for_ever(target: Any, dtype: str, shape: tuple[int, ...]) -> None:
    chunk = (GOLDEN / f"shuffle_deflate_{dtype}_{'x'.join(map(str, shape))}.chunk").read_bytes()
    frame = golden_frame(shape, dtype)
    assert zlib.decompress(chunk) == shuffled(frame).tobytes() and same(inflate_chunk(chunk, shape, dtype), frame)
    payload, size = ShuffleDeflate()(target.put(frame[None]), backend=target.backend.name)
    assert target.get(payload)[0, : target.get(size)[0]].tobytes() == chunk == chunk_of(frame)
    got, status = decoded_on(target, ShuffleDeflateDecode(shape, dtype), [chunk, zlib.compress(shuffled(frame).tobytes())])
    assert same(got[0], frame) and same(got[1], frame) and not status.any()


def decoded_on(target: Any, op: ShuffleDeflateDecode, chunks: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    rows = chunk_rows(chunks)
    out = op(target.put(rows["payload"]), target.put(rows["size"]), backend=target.backend.name)
    return target.get(out.code), target.get(out.frame_status)


# ---------------------------------------------------------------------------------------------------------- the encoder
def test_any_number_of_threads_gives_the_same_bytes() -> None:
    """One frame's groups on several threads, and more frames than threads."""
    code = np.stack([planned_runs(np.random.default_rng(k), 300_000) for k in range(3)])
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = ours(code)
        numba.set_num_threads(threads)
        assert [ours(code[:1]), ours(code[:2]), ours(code)] == [one[:1], one[:2], one]
    finally:
        numba.set_num_threads(threads)
    assert [zlib.decompress(c) for c in one] == [f.tobytes() for f in code]


def by_zlib(b: np.ndarray) -> int:
    """zlib's own search for runs alone."""
    z = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return len(z.compress(b.tobytes()) + z.flush())


@pytest.mark.parametrize("mean", (0.02, 0.5, 2, 20))
def test_not_larger_than_zlibs_runs_on_counts(mean: float) -> None:
    code = np.random.default_rng(3).poisson(mean, (1, 512, 512)).astype(np.uint16)
    assert len(ours(code)[0]) <= by_zlib(shuffled(code[0]))


RECORDED = (("eiger9m_sparse_f0", "data"), ("pilatus6m_thaumatin_crop", "data"), ("eiger500k_powder", "data"), ("timepix_ed", "data"), ("hexitec_30", "data"))


@pytest.mark.parametrize(("file", "dataset"), RECORDED, ids=str)
def test_at_most_a_hundredth_above_zlibs_runs_on_recorded_frames(file: str, dataset: str) -> None:
    """bench/bench_deflate.py has all files."""
    folder = recorded.folder(ROOT)
    if folder is None:
        pytest.skip(f"no recorded frames: set GPUREDUX_DATA to a folder that holds {file}.h5")
    x = recorded.read(folder, f"{file}.h5", dataset)
    frame = np.ascontiguousarray(x.reshape(-1, *x.shape[-2:])[0])
    (chunk,) = ours(frame[None])
    assert same(inflate_chunk(chunk, frame.shape, frame.dtype), frame) and len(chunk) <= 1.01 * by_zlib(shuffled(frame))


# ----------------------------------------------------------------------------------------------------- what users are told
def stream(*fields: tuple[int, int], tail: bytes = b"") -> bytes:
    """A zlib header, then numbers and their bits."""
    value = at = 0
    for number, bits in fields:
        value |= number << at
        at += bits
    return b"\x78\x01" + value.to_bytes(-(-at // 8), "little") + tail


def lengths_of(*lengths: int) -> list[tuple[int, int]]:
    """The 19 lengths of the code for lengths, in the order of the format."""
    return [(k, 3) for k in lengths]


RAW = bytes(range(80))
STORED = stream((1, 1), (0, 2), (0, 5), (80, 16), (80 ^ 0xFFFF, 16), tail=RAW + zlib.adler32(RAW).to_bytes(4, "big"))
DYNAMIC = [(1, 1), (2, 2), (0, 5), (0, 5), (15, 4)]
TWO = [0, 0, 1] + [0] * 14 + [1, 0]        # 18 and 1, a bit each
WRONG = (
    (b"", "size is below 2"),
    (b"\x78\x02" + STORED[2:], "no zlib header"),
    (b"\x88\x1c" + STORED[2:], "no zlib header"),
    (b"\x78\x20" + STORED[2:], "preset dictionary"),
    (STORED[:-1], "cut off"),
    (STORED + b"x", r"behind the stream \(byte 91"),
    (STORED[:-1] + b"x", r"Adler-32 .* \(byte 87"),
    (stream((7, 3)), "kind 3"),
    (STORED[:4] + b"\x01" + STORED[5:], "complement disagree"),
    (stream((1, 1), (0, 2), (0, 5), (81, 16), (81 ^ 0xFFFF, 16), tail=RAW + b"x" * 9), "more bytes than the frame"),
    (stream((1, 1), (0, 2), (0, 5), (79, 16), (79 ^ 0xFFFF, 16), tail=RAW[:79] + b"abcd"), "fewer bytes than the frame"),
    (stream((1, 1), (2, 2), (30, 5), (0, 5), (0, 4), (0, 99)), "286 literals"),
    (stream((1, 1), (2, 2), (0, 5), (30, 5), (0, 4), (0, 99)), "30 distances"),
    (stream(*DYNAMIC, *lengths_of(*[1] * 3, *[0] * 16), (0, 99)), "code lengths is not complete"),
    (stream(*DYNAMIC, *lengths_of(*[1] + [0] * 18), (0, 99)), "code lengths is not complete"),
    (stream(*DYNAMIC, *lengths_of(1, 0, 1, *[0] * 16), (0, 1), (0, 99)), "repeated code length"),
    (stream(*DYNAMIC, *lengths_of(*TWO), (1, 1), (127, 7), (1, 1), (127, 7), (0, 99)), "beyond the last symbol"),
    (stream(*DYNAMIC, *lengths_of(*TWO), (1, 1), (127, 7), (1, 1), (108, 7), (0, 1), (0, 99)), "without an end"),
    (stream(*DYNAMIC, *lengths_of(*TWO), (0, 1), (0, 1), (0, 1), (1, 1), (127, 7), (1, 1), (104, 7), (0, 1), (0, 1), (0, 99)), "literals and lengths is"),
    (stream((1, 1), (1, 2), (0b01100011, 8), (0, 99)), "no literal or length"),
    (stream((1, 1), (1, 2), (0b00001100, 8), (0b1000000, 7), (0b01111, 5), (0, 99)), "no distance"),
    (stream((1, 1), (1, 2), (0b00001100, 8), (0b1000000, 7), (0b10000, 5), (0, 99)), "before the frame"),
)


def test_inflate_chunk_says_what_and_where() -> None:
    assert inflate_chunk(STORED, (8, 10), "uint8").tobytes() == RAW
    for wrong, words in WRONG:
        assert bytes_of(wrong, 80) is None
        with pytest.raises(DecodeError, match=f"zlib chunk of {len(wrong)} bytes for uint8 .8, 10.: .*{words}"):
            inflate_chunk(wrong, (8, 10), "uint8")


def test_what_is_wrong_on_every_backend(target: Any) -> None:
    got, status = decoded_on(target, ShuffleDeflateDecode((8, 10), "uint8"), [STORED, *(w for w, _ in WRONG)])
    assert list(status > 0) == [False] + [True] * len(WRONG) and got[0].tobytes() == RAW and not got[1:].any()


def test_a_bomb_is_refused_and_nothing_is_written_beyond_the_frame(device_target: Any) -> None:
    """80 million zeros for a frame of 80; the workspace behind a frame's row stays as it was."""
    bomb = zlib.compress(bytes(80_000_000))
    with pytest.raises(DecodeError, match="more bytes than the frame"):
        inflate_chunk(bomb, (8, 10), "uint8")
    op = ShuffleDeflateDecode((8, 10), "uint8")
    rows = chunk_rows([bomb[:2000], *(zlib.compress(bytes(81), k) for k in (0, 9)), *foreign(np.arange(81, dtype=np.uint8)), zlib.compress(bytes(80))])
    payload, size = device_target.put(rows["payload"]), device_target.put(rows["size"])
    plan = op.plan(payload, size)
    planes = plan.scratch["planes"]
    device_target.backend.overwrite(planes, np.full(planes.shape, 0xA5, np.uint8))
    status = device_target.get(plan(payload, size).frame_status)
    assert list(status > 0) == [True] * 9 + [False]
    assert (device_target.get(planes)[:, 80:-4] == 0xA5).all()      # the last 4 bytes say which frames are bad


def test_frames_that_no_chunk_can_hold() -> None:
    for code, error, words in (
        (np.zeros(5, np.uint16), ValueError, r"code must be .* got uint16 \(5,\)"),
        (np.zeros((2, 3), ">u2"), TypeError, "native numbers of 1, 2, 4 or 8 bytes"),
        (Spec("code", (1, 1 << 14, 1 << 14), np.dtype(np.uint8)), ValueError, "256 MiB"),
    ):
        with pytest.raises(error, match=f"compress.shuffle_deflate: .*{words}"):
            ShuffleDeflate().plan(code, backend="numpy")
    with pytest.raises(TypeError, match=r"inverse only if it knows its frames: ShuffleDeflate\(shape="):
        ShuffleDeflate().inverse()
    assert ShuffleDeflate((3, 5), "uint16").inverse().inverse().config() == {"shape": [3, 5], "dtype": "uint16"}
