"""The decoders that fuzz.py takes to task, each for several kinds of frame: right chunks, how lies are hidden, who judges. Over 200 lines: nine decoders."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import bitshuffle
import fuzz_oracles as judges
import numpy as np
from fuzz_oracles import Judged

from gpuredux import DecodeError, compress
from gpuredux.compress import blosc_decode, shuffle_zstd_decode, zfp_decode, zstd_decode_numba
from gpuredux.compress.auto import BITS, BYTES
from gpuredux.compress.lz4_decode import decode_lz4
from gpuredux.compress.zfp_format import Width
from gpuredux.compress.zstd_encode import REGION
from gpuredux.datasets import cases_blosc, cases_deflate, cases_lz4, cases_zstd_decode
from gpuredux.op import Op

SHAPES = (("uint8", (3, 5)), ("uint16", (9, 21)), ("float32", (8, 16)), ("uint64", (5, 9)), ("int16", (12, 43)))
STRICTER = {getattr(zstd_decode_numba, k) for k in ("LITERALS_BITS", "NOTHING", "TREE", "BLOCK_BYTES", "FRAME_TAIL")}      # zstd_decode.py says so
NOT_TAKEN = {blosc_decode.REASONS[getattr(blosc_decode.blosc, k)] for k in ("TYPE_BYTES", "FILTERS", "CODEC", "START")}     # BloscDecode says so


class Row(NamedTuple):
    """A mutant and what became of it. chunk: None where its size is beyond the row."""

    chunk: bytes | None
    mask: int
    good: bool
    raw: bytes


class Form(NamedTuple):
    """A decoder for one kind of frame. judge: of each row "", the kind of a stated difference, or "WRONG: ..."."""

    op: Op
    right: list[bytes]
    judge: Callable[[list[Row]], list[str]]
    one: Callable[[Any], np.ndarray] | None = None
    heal: Callable[[bytearray, bytes], None] = lambda chunk, right: None
    masks: tuple[int, ...] = ()


def right_header(chunk: bytearray, right: bytes) -> None:
    chunk[:12] = right[:12]


def right_size(chunk: bytearray, right: bytes) -> None:
    chunk[12:16] = len(chunk).to_bytes(4, "little")
    if chunk[0] % 2:        # and often the rest of the header
        chunk[:12] = right[:12]


def right_checksum(chunk: bytearray, right: bytes) -> None:
    stream = zlib.decompressobj(-15)
    try:
        raw = stream.decompress(bytes(chunk[2:]), 1 << 16)
    except zlib.error:
        return
    if stream.eof:
        chunk[len(chunk) - len(stream.unused_data) :] = zlib.adler32(raw).to_bytes(4, "big")


# ------------------------------------------------------------------------------------------------------------ comparisons
def compared(judge: Callable[[Row], Judged], again: Callable[[Row], tuple[Judged, str]] | None, nbytes: int) -> Callable[[list[Row]], list[str]]:
    """again: the second judgement where the first one is another, and what that difference is called."""

    def of(row: Row) -> str:
        want = Judged(bytes(nbytes), False) if row.chunk is None else judge(row)
        if want == (row.raw, row.good):
            return ""
        second, kind = again(row) if again and row.chunk is not None else (want, "")
        if second == (row.raw, row.good):
            return f"{'refused' if want.good else 'taken' if row.good else 'in part'}: {kind}"
        return f"WRONG: {'taken' if row.good else 'refused'}, the judge says {'taken' if want.good else 'refused'}"

    return lambda rows: [of(row) for row in rows]


def zstd_code(frame: bytes, n: int) -> int:
    raw, planes = np.empty((1, n), np.uint8), np.empty((1, n + zstd_decode_numba.MARGIN), np.uint8)
    payload = np.frombuffer(frame, np.uint8).reshape(1, -1)
    return int(shuffle_zstd_decode.first_errors(payload, np.array([len(frame)]), 1, zstd_decode_numba.SHUFFLE, raw, planes, 1)[0, 0])


def stricter_zstd(judge: Callable[[Row, judges.Unpack], Judged]) -> Callable[[Row], tuple[Judged, str]]:
    """libzstd, but for what is refused for a stated reason."""

    def again(row: Row) -> tuple[Judged, str]:
        kinds = set()

        def unpack(frame: bytes, n: int) -> bytes | None:
            raw = judges.by_libzstd(frame, n)
            code = 0 if raw is None else zstd_code(frame, n)
            if code in STRICTER:
                kinds.add(zstd_decode_numba.REASONS[code])
            return None if code in STRICTER else raw

        return judge(row, unpack), ", ".join(sorted(kinds))

    return again


def lz4_again(judge: Callable[[Row, judges.Unpack], Judged]) -> Callable[[Row], tuple[Judged, str]]:
    """The format as it is written. A difference has a name only where the rules for encoders or an offset of 0 explain it."""

    def again(row: Row) -> tuple[Judged, str]:
        zeros: list[int] = []
        second = judge(row, lambda block, n: judges.by_lz4_format(block, n, zeros))
        rules = "LZ4's rules for encoders"
        return second, rules if row.good else "a match at the offset 0" if zeros else f"{rules} in a block, and another one is wrong"

    return again


def with_c_blosc(judge: Callable[[list[Row]], list[str]], op: Op) -> Callable[[list[Row]], list[str]]:
    nbytes = op.layout.nbytes

    def reason(chunk: bytes) -> str:
        try:
            compress.decode_blosc(chunk, op.shape, op.dtype)
        except DecodeError as e:
            return str(e).split(": ", 1)[1].split(" (block")[0]
        return "not when alone"

    def of(rows: list[Row]) -> list[str]:
        first = judge(rows)
        theirs = judges.child().ask("c_blosc", [(row.chunk or b"", nbytes) for row in rows])
        for k, (row, their) in enumerate(zip(rows, theirs, strict=True)):
            if first[k].startswith("WRONG") or (row.good and their == row.raw) or (not row.good and their is None):
                continue
            if isinstance(their, str):
                first[k] = f"{'taken' if row.good else 'refused'}: c-blosc {their}"
            elif row.good and their is None:
                first[k] = first[k] or ("taken, c-blosc refuses it: format 1" if row.chunk[0] == 1 else "WRONG: taken, c-blosc refuses it")
            elif row.good:
                first[k] = "WRONG: taken, c-blosc says other bytes"
            else:
                why = reason(row.chunk or b"")
                first[k] = f"refused, c-blosc does not: {why}" if why in NOT_TAKEN else first[k] or f"WRONG: refused, c-blosc does not: {why}"
        return first

    return of


def by_zfp(op: Op) -> Callable[[list[Row]], list[str]]:
    layout, width = op.own_layout, Width(np.dtype(op.dtype))
    mode = {k: v for k, v in op.config().items() if k in ("tolerance", "rate", "precision") and v is not None}

    def of(rows: list[Row]) -> list[str]:
        said, places = [""] * len(rows), [k for k, row in enumerate(rows) if row.good]
        theirs = judges.child().ask("zfp_library", [(rows[k].chunk, op.dtype, op.shape, mode, layout.cap + 64) for k in places])
        for k, their in zip(places, theirs, strict=True):
            if isinstance(their, str):
                said[k] = f"taken: zfpy {their}"
            elif rows[k].raw != their[0] or rows[k].raw != their[1]:
                said[k] = "WRONG: taken, not as zfpy does"
        for k in [*places[::20], *[k for k, row in enumerate(rows) if not row.good][::20]]:
            energy, good = zfp_decode.frame_of(np.frombuffer(rows[k].chunk or b"", np.uint8), layout, width, None)
            if (good, energy.tobytes()) != (rows[k].good, rows[k].raw):
                said[k] = f"WRONG: {'taken' if rows[k].good else 'refused'}, not as the readable decoder does"
        return said

    return of


# ----------------------------------------------------------------------------------------------------------------- forms
def chunks_by(encoder: Op, code: np.ndarray) -> list[bytes]:
    payload, size, *_ = encoder(code, backend="numba")
    return [p[:s].tobytes() for p, s in zip(payload, size, strict=True)]


def frames(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return cases_zstd_decode.frames_of(shape, dtype, "fuzz")


def of_lz4(name: str, dtype: str, shape: tuple[int, ...]) -> Form:
    code, itemsize = frames(shape, dtype), np.dtype(dtype).itemsize
    if name == "lz4":
        op, one = compress.LZ4Decode(shape, dtype), decode_lz4
        right = [cases_lz4.chunk_of(x, block) for x in code for block in (0, 40, 160)]
    else:
        op, one = compress.BitshuffleLZ4Decode(shape, dtype), compress.decode_chunk
        right = chunks_by(compress.BitshuffleLZ4(), code)
        heads = {b: code[0].nbytes.to_bytes(8, "big") + (b * itemsize).to_bytes(4, "big") for b in (8, 64)}
        right += [head + bitshuffle.compress_lz4(x, b).tobytes() for x in code for b, head in heads.items()]
    nbytes = code[0].nbytes

    def judge(row: Row, unpack: judges.Unpack = judges.by_lz4) -> Judged:
        return judges.filter_32004(row.chunk, nbytes, unpack) if name == "lz4" else judges.filter_32008(row.chunk, nbytes, itemsize, unpack)

    return Form(op, right, compared(judge, lz4_again(judge), nbytes), lambda c: one(c, shape, dtype), right_header)


def of_zstd(name: str, dtype: str, shape: tuple[int, ...]) -> Form:
    code, itemsize = frames(shape, dtype), np.dtype(dtype).itemsize
    nbytes = code[0].nbytes

    def judge(row: Row, unpack: judges.Unpack = judges.by_libzstd) -> Judged:
        if name == "bitshuffle_zstd":
            return judges.filter_32008(row.chunk, nbytes, itemsize, unpack)
        planes = unpack(row.chunk, nbytes)
        return Judged(bytes(nbytes), False) if planes is None else Judged(judges.bytes_back(planes, itemsize), True)

    if name == "bitshuffle_zstd":
        right = chunks_by(compress.BitshuffleZstd(), code) + [cases_zstd_decode.bitshuffle_chunk(x, 3, b) for x in code for b in (0, 8, 64)]
        op, one, heal = compress.BitshuffleZstdDecode(shape, dtype), compress.decode_bitshuffle_zstd, right_header
    else:
        from test_zstd_decode import library_frames  # windows, checksums, frames without a size, several blocks

        right = chunks_by(compress.ShuffleZstd(), code) + [frame for data, frame in library_frames(nbytes) if len(data) == nbytes]
        right += [cases_zstd_decode.shuffle_chunk(x, level) for x in code for level in (1, 5, 19)]
        if nbytes >= 60:        # blocks of every kind; with and without the content's size
            part = nbytes // 4
            hand = b"".join(cases_zstd_decode.plain(bytes(part) + bytes(k % 251 for k in range(2 * part)) + bytes(nbytes - 3 * part)))
            right += [cases_zstd_decode.header(nbytes) + hand, b"\x28\xb5\x2f\xfd\x00\x10" + hand] * 3
        op, one, heal = compress.ShuffleZstdDecode(shape, dtype), compress.decode_shuffle_zstd, Form._field_defaults["heal"]
    return Form(op, right, compared(judge, stricter_zstd(judge), nbytes), lambda c: one(c, shape, dtype), heal)


def of_auto(name: str, dtype: str, shape: tuple[int, ...]) -> Form:
    base = of_zstd("shuffle_zstd", dtype, shape)
    nbytes, itemsize = frames(shape, dtype)[0].nbytes, np.dtype(dtype).itemsize

    def judge(row: Row, unpack: judges.Unpack = judges.by_libzstd) -> Judged:
        planes = unpack(row.chunk, nbytes) if row.mask in (BYTES, BITS) else None
        if planes is None:
            return Judged(bytes(nbytes), False)
        if row.mask == BYTES:
            return Judged(judges.bytes_back(planes, itemsize), True)
        usable = nbytes // (8 * itemsize) * 8 * itemsize
        return Judged(b"".join(judges.bits_back(planes[k : min(k + REGION, usable)], itemsize) for k in range(0, usable, REGION)) + planes[usable:], True)

    masks = (BYTES, BITS) * 8 + (0, 1 << 31)
    return Form(compress.AutoDecode(shape, dtype), base.right, compared(judge, stricter_zstd(judge), nbytes), masks=masks)


def of_deflate(name: str, dtype: str, shape: tuple[int, ...]) -> Form:
    code, itemsize = cases_deflate.frames_to_deflate(np.random.default_rng(7), dtype, shape), np.dtype(dtype).itemsize
    nbytes = code[0].nbytes
    planes = [np.frombuffer(x.tobytes(), np.uint8).reshape(-1, itemsize).T.copy() for x in code]
    right = chunks_by(compress.ShuffleDeflate(), code) + [s for p in planes[3:] for s in cases_deflate.foreign(p)]

    def judge(row: Row) -> Judged:
        raw = judges.by_zlib(row.chunk, nbytes)
        return Judged(bytes(nbytes), False) if raw is None else Judged(judges.bytes_back(raw, itemsize), True)

    op, one = compress.ShuffleDeflateDecode(shape, dtype), lambda c: compress.inflate_chunk(c, shape, dtype)
    return Form(op, right, compared(judge, None, nbytes), one, right_checksum)


def of_blosc(name: str, dtype: str, shape: tuple[int, ...]) -> Form:
    code, itemsize = cases_blosc.frames_of("fuzz", dtype, shape), np.dtype(dtype).itemsize
    nbytes, op = code[0].nbytes, compress.BloscDecode(shape, dtype)

    def judge(row: Row, unpack: judges.Unpack = judges.by_lz4) -> Judged:
        return judges.blosc_1(row.chunk, nbytes, itemsize, unpack)

    both = with_c_blosc(compared(judge, lz4_again(judge), nbytes), op)
    return Form(op, cases_blosc.chunks_of(code), both, lambda c: compress.decode_blosc(c, shape, dtype), right_size)


def of_bitshuffle(name: str, dtype: str, shape: tuple[int, ...]) -> Form:
    code, itemsize, block = frames(shape, dtype), np.dtype(dtype).itemsize, 16
    nbytes, op = code[0].nbytes, compress.Bitshuffle(shape, dtype, block)
    usable, step = nbytes // (8 * itemsize) * 8 * itemsize, block * itemsize

    def judge(row: Row) -> Judged:
        if len(row.chunk) != nbytes:
            return Judged(bytes(nbytes), False)
        blocks = (judges.bits_back(row.chunk[k : min(k + step, usable)], itemsize) for k in range(0, usable, step))
        return Judged(b"".join(blocks) + row.chunk[usable:], True)

    return Form(op.inverse(), chunks_by(op, code), compared(judge, None, nbytes))


ZFP = (("float32", (9, 14), {"tolerance": 0.01}), ("float32", (37,), {"rate": 11.0}), ("float64", (5, 6, 3), {"precision": 21}),
       ("int32", (6, 9), {"precision": 32}), ("int64", (5, 5, 5), {"rate": 3.3}))


def of_zfp(name: str, dtype: str, shape: tuple[int, ...], mode: dict[str, Any]) -> Form:
    rng = np.random.default_rng(6)
    smooth = np.cumsum(rng.normal(0, 9, (6, int(np.prod(shape)))), axis=1) * np.array([[1], [1e-3], [1e4], [0], [30], [1]])
    smooth[5, ::2] = 0
    right = chunks_by(compress.Zfp(**mode), np.ascontiguousarray(smooth.astype(dtype).reshape(6, *shape)))
    op = compress.ZfpDecode(shape, dtype, **mode)
    return Form(op, right, by_zfp(op), lambda c: compress.decode_zfp(c, shape, dtype, **mode))


MAKERS: dict[str, Callable[..., Form]] = {
    "bitshuffle": of_bitshuffle, "bitshuffle_lz4": of_lz4, "lz4": of_lz4, "bitshuffle_zstd": of_zstd, "shuffle_zstd": of_zstd, "shuffle_deflate": of_deflate,
    "blosc": of_blosc, "zfp": of_zfp, "auto": of_auto}
