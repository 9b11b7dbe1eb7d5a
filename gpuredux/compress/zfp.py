"""payload = the zfp stream (HDF5 filter 32013) of each frame, with the largest error made. Over 200 lines: the op and its readable encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, frame_of, live_rows, nbytes, read_only, spec_of
from ..status import Frame
from .rounding import round_up
from .zfp_format import DTYPES, ORDER, PADDED, Layout, Width, ZfpOp, given_values, stored_values
from .zfp_lanes import BAD, CODE_WORDS, LANE_WORDS, LANES, WORST
from .zfp_numba import encode_frames


@dataclass(frozen=True, eq=False)
class Zfp(ZfpOp):
    """payload[f, :size[f]] = zfp(energy[f]): 4^rank blocks, lifted along each axis, bit planes coded from the highest on.

    fields: one of tolerance [unit of energy], rate [bits a value], precision [bit planes]: zfp's fixed accuracy (floats alone), rate, precision.
            side: whether block_bits is written. shape, dtype of the frames: wanted only for inverse(), checked where given
    in:  energy (n, *frame) f32, f64, i32 or i64, 1 to 3 axes; frame_status (n,) u32; live (1,) i32
    out: payload (n, cap) u8: zfp's stream without its header, zero bits up to a multiple of 64, as zfpy.compress_numpy(write_header=False)
         gives it; bytes at or beyond size are not written; cap is the worst case, a multiple of 16
         size (n,) u32 [bytes]
         max_error (n,) f32, with a tolerance: the largest |energy - decoded|, NaN and Inf taken as the 0 that they are coded as, found by
         decoding each block as it is coded; never understated, and at most one unit in the last place too large
         block_bits (n, blocks) u16, with side: the bits of each block, for ZfpDecode. They are not in the stream
         frame_status (n,) u32, always: what was given or 0, with NOT_HELD where the bound is broken: a value is NaN or Inf, or comes back
         with more than tolerance; or an integer is beyond +-2**30 (i64: 2**62), where zfp's transform wraps round
    bound: zfp promises tolerance and does not always keep it: frame_status says where. NaN and Inf, for which zfp's own float-to-integer conversion
           is undefined in C, are coded as 0. largest_held(dtype, rank) is how large values may be for the tolerance to hold; a tolerance that the
           dtype cannot have, or of integers, is a ValueError. Where a bound must hold for each value, take compress.Quantize, which is strict
    exact: byte-identical on every backend, and to zfpy but for blocks of NaN or Inf, and blocks below 2**-97 (f64: 2**-961) that are not coded as
           zeros: zfp's scale factor overflows there, which is undefined in C too; here they are coded as the format means them
    traffic: the raw bytes and the sizes; the compressed bytes depend on the data and are not counted
    source: Lindstrom, Fixed-Rate Compressed Floating-Point Arrays, 2014; zfp 1.0's documentation of the algorithm; H5Z-ZFP (registered filter 32013)
    """

    name: ClassVar[str] = "compress.zfp"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("payload", "size", "max_error", "block_bits")

    tolerance: float | None = None
    rate: float | None = None
    precision: int | None = None
    side: bool = False
    shape: tuple[int, ...] | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        self.check_mode()
        if not isinstance(self.side, bool):
            raise TypeError(f"{self.name}: side must be True or False, got {self.side!r}")
        if (self.shape is None) != (self.dtype is None):
            raise ValueError(f"{self.name}: shape and dtype are given together or not at all, got {self.shape} and {self.dtype}")
        if self.shape is not None:
            self.own_frame()

    def constants(self) -> dict[str, np.ndarray]:
        return {"order": order_table()}

    def outputs(self, energy: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        dtypes = [np.dtype(k) for k in (DTYPES if self.dtype is None else (self.dtype,))]
        shape = self.require("energy", energy, dtypes, ("n", *(frame_of(energy) if self.shape is None else self.shape))).shape
        if len(shape) < 2:
            raise ValueError(f"{self.name}: energy must be (n, ..., width), got {spec_of('energy', energy)[1:]}")
        n, layout = shape[0], self.layout(shape[1:], energy.dtype)
        self.frame_outputs(n, frame_status, live)       # it is written in any case
        out = [Spec("payload", (n, layout.cap), np.dtype(np.uint8)), Spec("size", (n,), np.dtype(np.uint32))]
        if self.tolerance is not None:
            out.append(Spec("max_error", (n,), np.dtype(np.float32)))
        if self.side:
            out.append(Spec("block_bits", (n, layout.blocks), np.dtype(np.uint16)))
        return (*out, Spec("frame_status", (n,), np.dtype(np.uint32)))

    def scratch(self, energy: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        n, layout = energy.shape[0], self.layout(energy.shape[1:], energy.dtype)
        groups, words = -(-layout.blocks // 32), -(-layout.block_bits // 32)
        return (
            Spec("lanes", (n, LANE_WORDS), np.dtype(np.uint64)),            # these two: of the host
            Spec("codes", (n, CODE_WORDS), np.dtype(np.uint64)),
            Spec("slots", (n, groups, words, 32), np.dtype(np.uint32)),     # the others: of kernels
            Spec("block_start", (n, layout.blocks + 1), np.dtype(np.uint32)),
            Spec("block_error", (n, layout.blocks), np.dtype(np.uint32)),
        )

    def traffic(self, energy: Any, frame_status: Any, live: Any) -> int:
        return nbytes(energy, frame_status, live) + nbytes(*self.outputs(energy, frame_status, live)[1:])

    def inverse(self) -> Op:
        from .zfp_decode import ZfpDecode

        if self.shape is None or self.dtype is None:
            raise TypeError(f"{self.name} has an inverse only if it knows its frames: Zfp(..., shape=..., dtype=...)")
        return ZfpDecode(self.shape, self.dtype, self.tolerance, self.rate, self.precision)

    def hdf5_options(self) -> dict[str, Any]:
        """For h5py's create_dataset: the filter and what its plugin makes its words of."""
        return {"compression": 32013, "compression_opts": given_values(self.tolerance, self.rate, self.precision)}

    def hdf5_values(self, shape: tuple[int, ...], dtype: Any) -> tuple[int, ...]:
        """The filter's cd_values as they lie in a file whose chunks are frames of this shape, zfp 1.0's header among them."""
        if min(shape) < 2:
            raise ValueError(f"{self.name}: filter 32013 leaves out axes of one pixel: reshape frames {tuple(shape)}, and encode what is left")
        return stored_values(self.layout(shape, dtype), dtype)

    def numpy(self, plan: Plan, energy: Any, frame_status: Any, live: Any, *out: Any) -> None:
        payload, size, max_error, block_bits, new_status = plan.every_output(out)
        layout, width = self.layout(energy.shape[1:], energy.dtype), Width(energy.dtype)
        for f in range(live_rows(energy, live)):
            blocks, exponent, held = coefficients(energy[f], layout, width)
            lowest = [width.bits if e == -width.bias else lowest_plane(layout, width, int(e)) for e in exponent]
            coded = [block_of(u.tolist(), int(e), k, layout, width) for u, e, k in zip(blocks, exponent, lowest, strict=True)]
            stream = [bit for block in coded for bit in block]
            stream += [0] * (-len(stream) % 64)
            size[f] = len(stream) // 8
            payload[f, : size[f]] = np.packbits(stream, bitorder="little")
            if block_bits is not None:
                block_bits[f] = [len(block) for block in coded]
            if max_error is not None:
                error = self.error_of(energy[f], blocks, exponent, lowest, layout, width)
                max_error[f], held = round_up(error), held and error <= self.bound
            new_status[f] = (0 if frame_status is None else frame_status[f]) | (0 if held else Frame.NOT_HELD)

    def error_of(self, frame: np.ndarray, blocks: np.ndarray, exponent: np.ndarray, lowest: list[int], layout: Layout, width: Width) -> float:
        """The largest |x - y|, rounded up to the frame's dtype."""
        from .zfp_decode import values_of

        planes = np.array([0 if k == width.bits else (1 << width.bits) - (1 << k) for k in lowest], width.word)
        coded = np.where(np.isfinite(frame), frame, width.floats.type(0))
        y = values_of(blocks & planes[:, None], exponent, layout, width)
        with np.errstate(over="ignore", invalid="ignore"):
            near = coded - y
            back = near - coded
            lost = (coded - (near - back)) - (y + back)     # what the subtraction rounded off, exactly (Knuth's two-sum)
            error = np.where(np.where(near < 0, -lost, lost) > 0, np.nextafter(np.abs(near), width.floats.type(np.inf)), np.abs(near))
        return float(error.max())

    def numba(self, plan: Plan, energy: Any, frame_status: Any, live: Any, *out: Any) -> None:
        payload, size, max_error, block_bits, new_status = plan.every_output(out)
        n, layout, width = live_rows(energy, live), self.layout(energy.shape[1:], energy.dtype), Width(energy.dtype)
        if n == 0:
            return
        words, work = read_only(energy[:n].reshape(n, -1).view(width.word)), plan.scratch["lanes"][:n].view(width.word)
        bits = np.empty((n, 1), np.uint16) if block_bits is None else block_bits        # numba compiles for an array, wanted or not
        work[:, LANES * BAD :] = 0
        encode_frames(words, work, plan.scratch["codes"], plan.constants["order"], layout.params, width.floating, max_error is not None, block_bits is not None,
                      payload[:n], size[:n], bits)
        row = lambda k: work[:, LANES * k : LANES * (k + 1)]  # noqa: E731
        held = (row(BAD) == 0).all(axis=1)
        if max_error is not None:
            error = row(WORST).max(axis=1).view(width.floats)
            max_error[:n], held = round_up(error), held & (error <= tolerance_of(self.bound, width))
        bad = np.where(held, np.uint32(0), np.uint32(Frame.NOT_HELD))
        new_status[:n] = bad if frame_status is None else frame_status[:n] | bad

    def device(self, plan: Plan, energy: Any, frame_status: Any, live: Any, *out: Any) -> None:
        payload, size, max_error, block_bits, new_status = plan.every_output(out)
        layout, width, n = self.layout(energy.shape[1:], energy.dtype), Width(np.dtype(energy.dtype)), energy.shape[0]
        groups, words = -(-layout.blocks // 32), -(-layout.block_bits // 32)
        slots, start, error = (plan.scratch[k] if plan.scratch else None for k in ("slots", "block_start", "block_error"))
        rows, before, bits, worst = (size if a is None else a for a in (live, frame_status, block_bits, max_error))     # stand in where nobody looks
        flags = np.uint32((live is not None) | (frame_status is not None) << 1 | (block_bits is not None) << 2 | (max_error is not None) << 3)
        count = [np.uint32(k) for k in (n, layout.blocks, words, layout.cap // 4)]
        axes = [np.uint32(k) for k in (*[1] * (3 - layout.rank), *layout.shape)]
        modes = [np.int32(k) for k in (layout.minbits, layout.maxbits, layout.maxprec, layout.minexp)]
        check = tolerance_of(self.bound, width) if max_error is not None else width.floats.type(0) if width.floating else np.uint32(0)
        file, place = "compress/zfp.cl", (start, error, size, worst, before, new_status, bits, rows, flags, *count)
        first = (energy, plan.constants["order"], slots, start, error, rows, flags, *count, *axes, *modes, check)
        plan.launch(file, "zfp_blocks", (n * groups,), 32, first, RANK=layout.rank, BITS=width.bits, FLOATS=width.floating, LIVE=True)
        plan.launch(file, "zfp_place", (n,), 128, place, RANK=0, BITS=32, FLOATS=False, LIVE=True)
        last = (slots, start, payload, rows, flags, *count)
        plan.launch(file, "zfp_gather", (-(-n * layout.blocks // 128),), 128, last, RANK=0, BITS=32, FLOATS=False, LIVE=True)


def tolerance_of(bound: float, width: Width) -> Any:
    """The bound rounded down to the frame's dtype: what an error of that dtype is compared with."""
    near = width.floats.type(bound)
    return near if float(near) <= bound else np.nextafter(near, width.floats.type(0))


def order_table() -> np.ndarray:
    """ORDER of all three ranks, one after another in rows of 64."""
    table = np.zeros((3, 64), np.uint8)
    for rank, order in ORDER.items():
        table[rank - 1, : len(order)] = order
    table.setflags(write=False)
    return table


def source_lines(length: int) -> np.ndarray:
    """Along one axis: the index in the frame of each value of the blocks, those beyond the end repeated as zfp does."""
    return np.concatenate([start + np.array(PADDED[length - start] if length - start < 4 else (0, 1, 2, 3)) for start in range(0, length, 4)])


def lift(p: np.ndarray, axis: int) -> None:
    """zfp's forward transform of four values along an axis, in place, wrapping round."""
    x, y, z, w = (p[(*[slice(None)] * axis, k)] for k in range(4))
    x += w
    x >>= 1
    w -= x
    z += y
    z >>= 1
    y -= z
    x += z
    x >>= 1
    z -= x
    w += y
    w >>= 1
    y -= w
    w += y >> 1
    y -= w >> 1


def coefficients(frame: np.ndarray, layout: Layout, width: Width) -> tuple[np.ndarray, np.ndarray, bool]:
    """(blocks, size) negabinary words in ORDER; each block's exponent (-bias: all zero); whether every value is one that zfp holds."""
    rank, held = layout.rank, True
    if width.floating:
        held = bool(np.isfinite(frame).all())
        frame = np.where(np.isfinite(frame), frame, width.floats.type(0))
    else:
        limit = 1 << width.bits - 2
        held = bool(((frame >= -limit) & (frame < limit)).all())
    x = frame[np.ix_(*(source_lines(k) for k in layout.shape))]
    x = x.reshape([k for g in layout.grid for k in (g, 4)]).transpose([*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)]).reshape(-1, *[4] * rank)
    exponent = np.full(len(x), 1 - width.bias)
    if width.floating:
        largest = np.abs(x).reshape(len(x), -1).max(axis=1)
        exponent = np.where(largest > 0, np.maximum(np.frexp(largest)[1], 1 - width.bias), -width.bias).astype(np.int64)
        scale = (width.bits - 2 - exponent).reshape(-1, *[1] * rank)
        x = np.trunc(np.ldexp(x.astype(np.float64), scale))     # exact: 53 bits hold it, and what underflows is 0 whole units anyway
    y = x.astype(width.signed)
    for axis in range(rank, 0, -1):     # x, the last one, first
        lift(y, axis)
    y = y.reshape(len(y), -1)[:, list(ORDER[rank])].view(width.word)
    return (y + width.negabinary) ^ width.negabinary, exponent, held


def lowest_plane(layout: Layout, width: Width, exponent: int) -> int:
    """The last bit plane that is coded; the width if none is."""
    precision = layout.maxprec
    if width.floating:
        precision = min(precision, max(0, exponent - layout.minexp + 2 * (layout.rank + 1)))
    return width.bits - min(precision, width.bits)


def block_of(u: list[int], exponent: int, lowest: int, layout: Layout, width: Width) -> list[int]:
    """The bits of one block."""
    bits: list[int] = []
    if width.floating and lowest == width.bits:
        bits = [0]
    else:
        if width.floating:
            head = 2 * (exponent + width.bias) + 1
            bits = [head >> k & 1 for k in range(width.header)]
        bits += embedded(u, width.bits, lowest)
    return bits[: layout.maxbits] + [0] * (layout.minbits - len(bits))


def embedded(u: list[int], prec: int, lowest: int) -> list[int]:
    """Bit planes from the top down: the first n bits as they are, n = how many words were not 0 so far, then runs of zeros that end in a one,
    each behind a 1 that says that there is another one, or a 0 that says that there is none."""
    bits: list[int] = []
    n, size = 0, len(u)
    for k in range(prec - 1, lowest - 1, -1):
        plane = [word >> k & 1 for word in u]
        bits += plane[:n]
        while n < size:
            rest = plane[n:]
            bits.append(int(1 in rest))
            if 1 not in rest:
                break
            zeros = rest.index(1)
            n += zeros + 1
            bits += [0] * zeros + ([1] if n < size else [])     # the last word's is understood
    return bits

