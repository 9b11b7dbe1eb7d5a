"""The codec that chooses, against both that it chooses from, HDF5 in another process, and entropies. Over 200 lines: one codec and its bounds."""

from __future__ import annotations

import hashlib
import heapq
import subprocess
import sys
from pathlib import Path
from typing import Any

import bitshuffle
import h5py
import numba
import numpy as np
import pytest
from test_zstd import GOLDEN, READER, content

from gpuredux import compress
from gpuredux.compress import Auto, AutoDecode, BitshuffleZstd, ShuffleZstd
from gpuredux.compress.auto import BITS, BYTES, REGION, at_least, bit_blocks, byte_blocks
from gpuredux.compress.chunk_encoder import Filter
from gpuredux.compress.hdf5_layout import create_chunks
from gpuredux.datasets import cases_auto
from gpuredux.op import live_rows
from gpuredux.status import Frame

REAL = ("muscle_pilatus1m", "hexitec_30", "xpcs_stack_100", "eiger500k_powder")


def made(code: np.ndarray, backend: str = "numba", profile: str = "small") -> list[tuple[bytes, int]]:
    """Of each frame its chunk and its filter mask."""
    payload, size, mask = Auto(profile=profile)(code, backend=backend)
    return [(p[:s].tobytes(), int(m)) for p, s, m in zip(payload, size, mask, strict=True)]


def by_library(chunk: bytes, mask: int, frame: np.ndarray) -> bytes:
    """The frame's bytes, by libzstd and the bitshuffle library."""
    raw = np.frombuffer(content(chunk, frame.nbytes), np.uint8)
    if mask == BYTES:
        return raw.reshape(frame.itemsize, -1).T.tobytes()
    assert mask == BITS
    return bitshuffle.bitunshuffle(raw.view(frame.dtype).copy(), REGION // frame.itemsize).tobytes() if frame.size >= 8 else raw.tobytes()


def test_the_smaller_chunk_is_taken_and_decodes_by_the_libraries() -> None:
    """And every way to it occurs: one made, both made, each of them first and each of them smaller, and equal ones."""
    ways = set()
    for case in cases_auto.CASES["compress.auto"]():
        code = case.inputs["code"][: live_rows(case.inputs["code"], case.inputs.get("live"))]
        if case.op.profile != "small" or not len(code):
            continue
        for frame, (chunk, mask) in zip(code, made(code), strict=True):
            s, b = byte_blocks(frame), bit_blocks(frame)
            first, other = (s, b) if s.about <= b.about else (b, s)
            ways.add((first is s, at_least(other.about) < 2048 * len(first.content), mask))
            header = 6 if frame.nbytes < 256 else 7 if frame.nbytes < 65792 else 9
            assert len(chunk) == header + min(len(s.content), len(b.content)), case.name
            assert mask == (BYTES if len(s.content) <= len(b.content) else BITS), case.name
            assert by_library(chunk, mask, frame) == frame.tobytes(), case.name
            assert len(chunk) <= case.op.layout(frame.shape, frame.dtype).cap
    assert ways == {(s, tried, mask) for s in (True, False) for tried in (True, False) for mask in (BYTES, BITS)} - {(True, False, BITS), (False, False, BYTES)}


def test_chunks_are_those_of_the_two_codecs() -> None:
    """S byte by byte; B with the blocks that BitshuffleZstd has in its frames."""
    code = cases_auto.close_frames((240, 256), "uint16")
    s, b = (op()(code, backend="numba") for op in (ShuffleZstd, BitshuffleZstd))
    for f, (chunk, mask) in enumerate(made(code)):
        if mask == BYTES:
            assert chunk == s.payload[f, : s.size[f]].tobytes()
        else:
            theirs = b.payload[f, 12 : b.size[f]].tobytes()         # its only region: length, header of 9 or less bytes, blocks
            assert chunk[9:] == theirs[4 + 9 :] and len(theirs) == 4 + int.from_bytes(theirs[:4], "big")


def test_one_dataset_is_read_by_hdf5plugin_in_another_process(tmp_path: Path) -> None:
    rows, masks = {}, set()
    with h5py.File(tmp_path / "chunks.h5", "w") as f:
        for case in cases_auto.CASES["compress.auto"]():
            code = case.inputs["code"]
            name = case.name.replace(" ", "_")
            d = create_chunks(f, name, code.shape[1:], code.dtype, filters=Auto(profile=case.op.profile).filters(code.dtype.itemsize))
            d.resize(len(code), axis=0)
            for i, (chunk, mask) in enumerate(made(code, profile=case.op.profile)):
                d.id.write_direct_chunk((i, *[0] * (code.ndim - 1)), chunk, mask)
                masks.add(mask)
            rows[name] = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in code]
    said = subprocess.run([sys.executable, "-c", READER, str(tmp_path / "chunks.h5")], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0]: line.split()[1:] for line in said.splitlines()} == rows
    assert masks == {0, BYTES, BITS}


def test_any_cut_into_spans_gives_the_same_bytes() -> None:
    """Frames of few regions and of many, one on several threads, many, one thread."""
    threads = numba.get_num_threads()
    for shape in ((512, 300), (1024, 700)):
        code = np.concatenate([cases_auto.close_frames(shape, "uint16")[1::2], np.full((1, *shape), 9, np.uint16)])
        try:
            several = [made(code[k : k + 1])[0] for k in range(len(code))], made(code)
            numba.set_num_threads(1)
            one = made(code)
        finally:
            numba.set_num_threads(threads)
        assert several == (one, one)


@pytest.mark.parametrize("name", REAL)
def test_recorded_frames_are_no_larger_than_either_codec_makes_them(real: Any, name: str) -> None:
    x = real(f"{name}.h5", "data")
    code = np.ascontiguousarray(x.reshape(-1, *x.shape[-2:])[:2])
    op = Auto(code.shape[1:], code.dtype.name)
    payload, size, mask = op(code, backend="numba")
    for kind in (ShuffleZstd, BitshuffleZstd):
        assert (size <= kind()(code, backend="numba").size).all()
    back = op.inverse()(payload, size, mask, backend="numba")
    assert back.code.tobytes() == code.tobytes() and not back.frame_status.any()
    for frame, p, s, m in zip(code, payload, size, mask, strict=True):
        assert by_library(p[:s].tobytes(), int(m), frame) == frame.tobytes()


@pytest.mark.parametrize("profile", ("small", "fast", "no_plugin"))
def test_inverse_and_configuration(profile: str) -> None:
    code = cases_auto.close_frames((37, 53), "uint16")
    op = Auto((37, 53), "uint16", profile)
    back = op.inverse()
    assert isinstance(back, AutoDecode) and back.inverse().config() == op.config()
    payload, size, mask = op(code, backend="numba")
    got = back(payload, size, mask, backend="numba")
    assert got.code.tobytes() == code.tobytes() and not got.frame_status.any()
    wrong = back(payload, size, mask ^ np.uint32(2), backend="numba")
    assert (wrong.frame_status == Frame.CORRUPT).all() and not wrong.code.any()


def test_filters_of_the_profiles() -> None:
    small = Auto().filters(4)
    assert small == (Filter(32008, (32768, 0)), Filter(2, ()), Filter(32015, (1,)), Filter(1, (1,)))
    for mask, numbers in ((BYTES, [2, 32015]), (BITS, [32008, 32015])):
        assert [f.number for k, f in enumerate(small) if not mask >> k & 1] == numbers
    assert [f.number for f in Auto(profile="fast").filters(4)] == [32008] and [f.number for f in Auto(profile="no_plugin").filters(4)] == [2, 1]


def test_misuse_says_what_is_wrong() -> None:
    code = np.zeros((2, 5, 8), np.uint16)
    payload, size, mask = Auto()(code, backend="numba")
    with pytest.raises(ValueError, match=r"compress.auto: profile must be one of small, fast, no_plugin, got 'tiny'"):
        Auto(profile="tiny")
    with pytest.raises(ValueError, match=r"compress.auto_decode: profile must be"):
        AutoDecode((5, 8), "uint16", "tiny")
    with pytest.raises(TypeError, match=r"compress.auto has an inverse only if it knows its frames"):
        Auto().inverse()
    with pytest.raises(ValueError, match=r"compress.auto_decode: filter_mask must be"):
        AutoDecode((5, 8), "uint16")(payload, size, mask[:1], backend="numba")
    with pytest.raises(TypeError, match=r"compress.auto_decode: filter_mask must be uint32"):
        AutoDecode((5, 8), "uint16")(payload, size, mask.astype(np.int64), backend="numba")
    with pytest.raises(TypeError, match=r"compress.auto: code must be native numbers"):
        Auto()(code.astype(">u2"), backend="numba")


# --------------------------------------------------------------------------------------------------------- golden bytes
def golden_frame(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers that depend on no random generator: 1 or 2 at scattered places, which is smaller as bits."""
    x = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ x >> np.uint64(shift)) * np.uint64(factor)
    scattered = (x >> np.uint64(40)) % np.uint64(32)
    return np.where(scattered < 3, scattered, 0).astype(dtype).reshape(shape)


@pytest.mark.parametrize(("dtype", "shape"), (("uint16", (111, 53)), ("int32", (210, 181))), ids=str)
def test_golden_bytes_of_bits_are_written_for_ever(dtype: str, shape: tuple[int, ...]) -> None:
    """Those of bytes are ShuffleZstd's."""
    chunk = (GOLDEN / f"auto_{dtype}_{'x'.join(map(str, shape))}.chunk").read_bytes()
    frame = golden_frame(shape, dtype)
    assert by_library(chunk, BITS, frame) == frame.tobytes()
    assert made(frame[None], "numpy") == made(frame[None]) == [(chunk, BITS)]
    earlier = (GOLDEN / f"auto_{dtype}_{'x'.join(map(str, shape))}_1.chunk").read_bytes()          # of the first encoder
    assert by_library(earlier, BITS, frame) == frame.tobytes()
    for data in (chunk, earlier):
        payload, size, mask = np.frombuffer(data, np.uint8).reshape(1, -1).copy(), np.array([len(data)], np.uint32), np.array([BITS], np.uint32)
        assert AutoDecode(shape, dtype)(payload, size, mask, backend="numba").code.tobytes() == frame.tobytes()


# ------------------------------------------------------------------------------------------------------- counts of photons
def entropy_bytes(symbols: np.ndarray) -> float:
    share = np.unique(symbols, return_counts=True)[1] / symbols.size
    return symbols.size / 8 * float(-(share * np.log2(share)).sum())


def huffman_bytes(symbols: np.ndarray) -> float:
    """An optimal Huffman code, without its table."""
    heap = [int(c) for c in np.unique(symbols, return_counts=True)[1]]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        bits += both
        heapq.heappush(heap, both)
    return bits / 8


def huffman_with_runs_bytes(counts: np.ndarray) -> float:
    """An optimal Huffman code, without its table, of pixels and of runs: behind a pixel that is repeated, by so many times at least that it is worth most,
    a symbol for how often: one each up to 15 times, of more two for each power of two, and the rest of the bits as they are."""
    x = counts.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(x)) + 1])
    many, value = np.diff(np.concatenate([starts, [x.size]])), x[starts]
    best = np.inf
    for least in (1, 2, 3, 4, 6, 8):
        run = many > least
        again = many[run] - 1
        power = np.log2(again).astype(int)
        symbol = np.where(again < 16, again, 16 + 2 * power + (again >> np.maximum(power - 1, 0) & 1))
        extra = int(np.where(again < 16, 0, power - 1).sum())
        best = min(best, huffman_bytes(np.concatenate([np.repeat(value, np.where(run, 1, many)), 1000 + symbol])) + extra / 8)
    return best


@pytest.mark.parametrize("mean", (0.1, 0.25, 0.5, 1, 2, 5, 20, 100))
def test_counts_of_photons_are_near_their_entropy(mean: float) -> None:
    """Within 3 % of H0 for means of 2 and more; below, within 1 % of an optimal Huffman code of pixels and runs."""
    code = np.random.default_rng(0).poisson(mean, (1, 1024, 1024)).astype(np.uint16)
    ((chunk, _),) = made(code)
    want = 1.03 * entropy_bytes(code) if mean >= 2 else 1.01 * huffman_with_runs_bytes(code)
    assert len(chunk) <= want, len(chunk) / want


@pytest.mark.parametrize(("made", "words"), [
    (lambda: compress.AutoDecode((4, 4), ">u2"), "the dtype must be native"), (lambda: compress.AutoDecode((4, 4), None), "dtype must be given"),
    (lambda: compress.BitshuffleLZ4((2.5, 2), "uint16"), "shape must be a tuple of whole numbers"),
    (lambda: compress.Auto("ab", "uint16"), "shape must be a tuple of whole numbers"),
    (lambda: compress.PlainDecode(5, "uint16"), "shape must be a tuple of whole numbers"),
    (lambda: compress.BloscDecode((4, 4), "uint16", rows=(0, 1.5)), "rows must be two whole numbers"),
    (lambda: compress.Wavelet(weights=("1",)), "weights must be real numbers"),
])
def test_fields_of_the_wrong_kind(made, words):
    """Codecs take no shape of other than whole numbers, and no dtype that they would have to guess or swap."""
    with pytest.raises(TypeError, match=rf"^compress\.\w+: {words}"):
        made()
