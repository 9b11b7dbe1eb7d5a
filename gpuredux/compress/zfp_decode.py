"""frame = its zfp stream (HDF5 filter 32013), anybody's, decoded with every length checked. Over 200 lines: the op, decode_zfp, the readable decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import DecodeError, Op, Plan, Spec, live_rows, nbytes, read_only
from ..status import Frame
from . import zfp_numba as bits
from .zfp import Zfp, lowest_plane, order_table
from .zfp_format import ORDER, Layout, Width, ZfpOp
from .zfp_lanes import CODE_WORDS, LANE_WORDS

REASONS = {
    bits.BLOCK_CUT: "the block's bits reach beyond the stream",
    bits.BLOCK_BITS: "the block does not take the bits that block_bits gives it",
    bits.PADDING: "behind the last block there must be less than 64 bits, all 0",
}


@dataclass(frozen=True, eq=False)
class ZfpDecode(ZfpOp):
    """energy[f] = the frame whose zfp stream (no header) is payload[f, :size[f]].

    A zfp block of any bits means something; what can be wrong is where blocks end. Nothing is read beyond size and nothing written beyond the
    frame, whatever the bytes say. With a tolerance or a precision, where a block begins is known only when the one before it was read: a frame
    is walked by one thread, unless block_bits says where all blocks are (with a rate it is known).

    fields: shape of a frame (1 to 3 axes), dtype (float32, float64, int32, int64); one of tolerance, rate, precision, as it was encoded with
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; block_bits (n, blocks) u16, what Zfp(side=True) wrote, with a rate of no use;
         frame_status (n,) u32; live (1,) i32
    out: energy (n, *shape) dtype: 0 in every block that reaches beyond size, all that follow it, and blocks that block_bits lies about
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where anything was wrong; 64 bits and more left over, or bits
         left over that are not 0, included
    exact: bit-identical on every backend and to zfp 1.0, for every input. Scratch: block positions
    traffic: the raw bytes, the sizes and the status; how much of payload is needed depends on the data and is not counted
    source: Lindstrom, Fixed-Rate Compressed Floating-Point Arrays, 2014; zfp 1.0's documentation of the algorithm; H5Z-ZFP (registered filter 32013)
    """

    name: ClassVar[str] = "compress.zfp_decode"
    inputs: ClassVar[tuple[str, ...]] = ("payload", "size", "block_bits?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)

    shape: tuple[int, ...]
    dtype: str
    tolerance: float | None = None
    rate: float | None = None
    precision: int | None = None

    def __post_init__(self) -> None:
        self.check_mode()
        self.own_frame()

    @property
    def own_layout(self) -> Layout:
        return self.layout(self.shape, self.dtype)

    def constants(self) -> dict[str, np.ndarray]:
        return {"order": order_table()}

    def outputs(self, payload: Any, size: Any, block_bits: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        n, cap = self.require("payload", payload, np.uint8, ("n", "cap")).shape
        self.require("size", size, np.uint32, (n,))
        if block_bits is not None:
            self.require("block_bits", block_bits, np.uint16, (n, self.own_layout.blocks))
        if cap >= 1 << 28:
            raise ValueError(f"{self.name}: payload rows of {cap} bytes: streams must be smaller than 256 MiB")
        self.frame_outputs(n, frame_status, live)       # it is written in any case
        return Spec("energy", (n, *self.shape), np.dtype(self.dtype)), Spec("frame_status", (n,), np.dtype(np.uint32))

    def scratch(self, payload: Any, *x: Any) -> tuple[Spec, ...]:
        n, u64 = payload.shape[0], np.dtype(np.uint64)      # the first two: of the host
        return (Spec("lanes", (n, LANE_WORDS), u64), Spec("codes", (n, CODE_WORDS), u64),
                Spec("block_start", (n, self.own_layout.blocks + 1), np.dtype(np.uint32)))

    def traffic(self, payload: Any, size: Any, block_bits: Any, frame_status: Any, live: Any) -> int:
        return nbytes(size, block_bits, frame_status, live) + nbytes(*self.outputs(payload, size, block_bits, frame_status, live))

    def inverse(self) -> Op:
        return Zfp(self.tolerance, self.rate, self.precision, False, self.shape, self.dtype)

    def numpy(self, plan: Plan, payload: Any, size: Any, block_bits: Any, frame_status: Any, live: Any, energy: Any, new_status: Any) -> None:
        for f in range(live_rows(payload, live)):
            stream = payload[f, : size[f]] if size[f] <= payload.shape[1] else payload[f, :0]
            energy[f], good = frame_of(stream, self.own_layout, Width(np.dtype(self.dtype)), None if block_bits is None else block_bits[f])
            new_status[f] = (0 if frame_status is None else frame_status[f]) | (0 if good else Frame.CORRUPT)

    def numba(self, plan: Plan, payload: Any, size: Any, block_bits: Any, frame_status: Any, live: Any, energy: Any, new_status: Any) -> None:
        n = live_rows(payload, live)
        if n == 0:
            return
        found = decoded(self.own_layout, Width(np.dtype(self.dtype)), plan, payload[:n], size[:n], block_bits, energy.reshape(len(energy), -1)[:n])
        corrupt = np.where(found[:, 0] != 0, np.uint32(Frame.CORRUPT), np.uint32(0))
        new_status[:n] = corrupt if frame_status is None else frame_status[:n] | corrupt

    def device(self, plan: Plan, payload: Any, size: Any, block_bits: Any, frame_status: Any, live: Any, energy: Any, new_status: Any) -> None:
        layout, width, (n, cap) = self.own_layout, Width(np.dtype(self.dtype)), payload.shape
        groups = -(-layout.blocks // 32)
        start = plan.scratch["block_start"] if plan.scratch else None
        side = block_bits is not None and not layout.fixed
        rows, before, bits = (size if a is None else a for a in (live, frame_status, block_bits))      # stand in where nobody looks
        flags = np.uint32((live is not None) | (frame_status is not None) << 1 | side << 2)
        count = [np.uint32(k) for k in (n, layout.blocks, cap)]
        axes = [np.uint32(k) for k in (*[1] * (3 - layout.rank), *layout.shape)]
        modes = [np.int32(k) for k in (layout.minbits, layout.maxbits, layout.maxprec, layout.minexp)]
        kind = {"RANK": layout.rank, "BITS": width.bits, "FLOATS": width.floating, "LIVE": True}
        file = "compress/zfp_decode.cl"
        walk = (payload, size, bits, start, before, new_status, rows, flags, *count, *modes)
        plan.launch(file, "zfp_places" if side or layout.fixed else "zfp_walk", (n,), 128 if side or layout.fixed else 32, walk, **kind)
        last = (payload, size, bits, plan.constants["order"], start, new_status, energy, rows, flags, *count, *axes, *modes)
        plan.launch(file, "zfp_decode", (n * groups,), 32, last, **kind)


def decoded(layout: Layout, width: Width, plan: Plan | None, payload: np.ndarray, size: np.ndarray, block_bits: Any, energy: np.ndarray) -> np.ndarray:
    """Fill energy (n, pixels); for each frame (what is wrong, block, bit), 0 = nothing."""
    n, side = len(payload), block_bits is not None and not layout.fixed
    work, codes = (plan.scratch[k][:n] if plan else np.empty((n, size), np.uint64) for k, size in (("lanes", LANE_WORDS), ("codes", CODE_WORDS)))
    lengths = np.empty((n, 1), np.uint16) if block_bits is None else block_bits     # numba compiles for an array, wanted or not
    found: np.ndarray = bits.decode_frames(*map(read_only, (payload, size, lengths)), side, order_table(), layout.params, width.floating,
                                           energy.view(width.word), work.view(width.word), codes)
    return found


def decode_zfp(
    stream: bytes, shape: tuple[int, ...], dtype: Any, tolerance: float | None = None, rate: float | None = None, precision: int | None = None
) -> np.ndarray:
    """The frame of one zfp stream without a header: a chunk of filter 32013. Raises gpuredux.DecodeError that says what is wrong and where."""
    op = ZfpDecode(tuple(shape), np.dtype(dtype).name, tolerance, rate, precision)
    payload, energy = np.frombuffer(stream, np.uint8).reshape(1, -1), np.empty((1, math.prod(shape)), dtype)
    if payload.size >= 1 << 28:
        raise DecodeError(f"zfp stream of {payload.size} bytes: streams must be smaller than 256 MiB")
    error, block, bit = decoded(op.own_layout, Width(np.dtype(dtype)), None, payload, np.array([payload.size], np.uint32), None, energy)[0]
    if error:
        raise DecodeError(f"zfp stream of {payload.size} bytes for {op.dtype} {op.shape}: {REASONS[int(error)]} (block {block}, bit {bit} of the stream)")
    return energy.reshape(shape)


def unlift(p: np.ndarray, axis: int) -> None:
    """zfp's transform back, of four values along an axis, in place, wrapping round."""
    x, y, z, w = (p[(*[slice(None)] * axis, k)] for k in range(4))
    y += w >> 1
    w -= y >> 1
    y += w
    w <<= 1
    w -= y
    z += x
    x <<= 1
    x -= z
    y += z
    z <<= 1
    z -= y
    w += x
    x <<= 1
    x -= w


def values_of(u: np.ndarray, exponent: np.ndarray, layout: Layout, width: Width) -> np.ndarray:
    """The frame of all blocks' negabinary words (blocks, size)."""
    rank = layout.rank
    y = np.empty(u.shape, width.word)
    y[:, list(ORDER[rank])] = (u ^ width.negabinary) - width.negabinary
    y = y.view(width.signed).reshape(-1, *[4] * rank)
    for axis in range(1, rank + 1):
        unlift(y, axis)
    if width.floating:
        with np.errstate(over="ignore", under="ignore"):
            scale = np.ldexp(width.floats.type(1), np.asarray(exponent - (width.bits - 2), np.int32))     # 0 for the lowest exponents
            y = y.astype(width.floats) * scale.reshape(-1, *[1] * rank)
    y = y.reshape(*layout.grid, *[4] * rank).transpose([k for axis in range(rank) for k in (axis, rank + axis)])
    return y.reshape([4 * k for k in layout.grid])[tuple(slice(k) for k in layout.shape)]


def frame_of(stream: np.ndarray, layout: Layout, width: Width, block_bits: Any) -> tuple[np.ndarray, bool]:
    """The frame, and whether its stream was right."""
    bits = np.unpackbits(stream, bitorder="little").tolist()
    u, exponent = np.zeros((layout.blocks, layout.size), width.word), np.full(layout.blocks, -width.bias)
    at, good = 0, True
    for b in range(layout.blocks):
        side = None if block_bits is None or layout.fixed else int(block_bits[b])
        room = layout.maxbits if layout.fixed else len(bits) - at if side is None else side
        if at + room > len(bits):
            return values_of(u, exponent, layout, width), False
        words, e, used = block_of(bits[at : at + room], layout, width)
        if used == room + 1 and not layout.fixed and side is None:
            return values_of(u, exponent, layout, width), False
        if side is not None and used != room:
            good = False
        else:
            u[b], exponent[b] = words, e
        at += room if layout.fixed or side is not None else used
    return values_of(u, exponent, layout, width), good and len(bits) - at < 64 and 1 not in bits[at:]


def block_of(bits: list[int], layout: Layout, width: Width) -> tuple[list[int], int, int]:
    """A block's words, its exponent, and how many bits it took: one more than there are if it needs more than these."""
    exponent, head = -width.bias, 0
    if width.floating:
        if not bits:
            return [0] * layout.size, exponent, 1
        if bits[0] == 0:
            return [0] * layout.size, exponent, 1
        head = width.header
        if len(bits) < head:
            return [0] * layout.size, exponent, len(bits) + 1
        exponent = sum(bit << k for k, bit in enumerate(bits[1:head])) - width.bias
    u, used = unembedded(bits[head:], layout.size, width.bits, lowest_plane(layout, width, exponent))
    return u, exponent, head + used


def unembedded(bits: list[int], size: int, prec: int, lowest: int) -> tuple[list[int], int]:
    """The way back of embedded. Where the bits end, zfp takes what was read so far, and a run of zeros as ended by a one."""
    u, n, at = [0] * size, 0, 0
    for k in range(prec - 1, lowest - 1, -1):
        plane = bits[at : at + n]
        short = len(plane) < n
        at += len(plane)
        while n < size and not short:
            if at == len(bits) or bits[at] == 0:
                short, at = at == len(bits), min(at + 1, len(bits))
                break
            at += 1
            while n < size - 1 and at < len(bits) and bits[at] == 0:
                n, at = n + 1, at + 1
            short = n < size - 1 and at == len(bits)
            at += n < size - 1 and not short
            plane += [0] * (n - len(plane)) + [1]
            n += 1
        for i, bit in enumerate(plane):
            u[i] |= bit << k
        if short:
            return u, len(bits) + 1
    return u, at
