"""Frames again, of what compress.roibin made: the kept pixels, and each bin's mean in its others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends import share
from ..features.bin import MOST_IN_A_BIN
from ..features.frames import WORDS, word
from ..features.regions import in_panels
from ..features.strong import count_scratch, count_strong
from ..features.windows import UNITS
from ..op import Op, Plan, Spec, live_rows, read_only
from ..status import Frame
from .dequantize import CODES, LARGEST, SMALLEST, Code, round_down
from .roibin_numba import rebuild_frames


@dataclass(frozen=True, eq=False)
class RoibinDecode(Op):
    """energy = the next of roi where its bit is set, else code * step of its bin, of whole numbers the nearest one that the dtype holds.

    fields: shape ([panels,] rows, cols) of a frame; step, size, code: what Roibin(...).decoder(shape) says; good (*shape) bool, None = all
            fill: of pixels that are not good, and of those without bit in a bin without a code: a value of roi's dtype
    in:  code (n, [panels,] R, C); roi_bits (n, ceil(npix / 32)) u32; roi (n, cap) u8, u16, i16, u32, i32 or f32; roi_count (n,) i32
         frame_status (n,) u32; live (1,) i32
    out: energy (n, *shape) as roi; pixels whose value is beyond the list are their bin's
         frame_status (n,) u32, when given: with CORRUPT where the bits set are not roi_count, or lie behind the last pixel (these are of no account), and
         OUTLIER_OVERFLOW where they are more than cap
    exact: bit-identical on every backend; ties to the even number
    source: see Roibin
    """

    name: ClassVar[str] = "compress.roibin_decode"
    inputs: ClassVar[tuple[str, ...]] = ("code", "roi_bits", "roi", "roi_count", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)

    shape: tuple[int, ...]
    step: float
    size: tuple[int, int] = (2, 2)
    code: str = "int16"
    good: np.ndarray | None = None
    fill: float = 0

    def __post_init__(self) -> None:
        shape, size = (tuple(v) if isinstance(v, (tuple, list)) else () for v in (self.shape, self.size))
        whole = all(isinstance(k, (int, np.integer)) and not isinstance(k, bool) and k > 0 for k in (*shape, *size))
        if not whole or len(shape) not in (2, 3) or max(shape) > 65535 or math.prod(shape) >= 2**31:
            raise ValueError(f"{self.name}: shape must be ([panels,] rows, cols), sides up to 65535, got {self.shape!r}")
        if len(size) != 2 or math.prod(size) > MOST_IN_A_BIN:
            raise ValueError(f"{self.name}: size must be (rows, columns) of a bin, of at most {MOST_IN_A_BIN} pixels, got {self.size!r}")
        object.__setattr__(self, "shape", tuple(int(k) for k in shape))
        object.__setattr__(self, "size", tuple(int(k) for k in size))
        self.one_of("code", "int16", "uint16")
        object.__setattr__(self, "step", self.number("step"))
        if not SMALLEST <= self.step <= 2 * LARGEST or round_down(self.step, self.kind.step_bits) != self.step:
            raise ValueError(f"{self.name}: step must be 2**-100 to 2**101, of {self.kind.step_bits} significant bits, got {self.step}")
        self.number("fill")
        self.own_good(self.shape)

    @property
    def kind(self) -> Code:
        return CODES[self.code]

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.view(np.uint8)}

    def filler(self, dtype: np.dtype[Any]) -> Any:
        """fill of this dtype. Raises ValueError if it does not hold it."""
        if dtype.kind != "f" and not (math.isfinite(self.fill) and self.fill == int(self.fill) and np.iinfo(dtype).min <= self.fill <= np.iinfo(dtype).max):
            raise ValueError(f"{self.name}: fill must be a {dtype} like roi, got {self.fill}")
        return dtype.type(self.fill if dtype.kind == "f" else int(self.fill))

    def outputs(self, code: Any, roi_bits: Any, roi: Any, roi_count: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        *panels, rows, cols = self.shape
        n = self.require("code", code, self.kind.dtype, ("n", *panels, -(-rows // self.size[0]), -(-cols // self.size[1]))).shape[0]
        self.require("roi_bits", roi_bits, np.uint32, (n, -(-math.prod(self.shape) // 32)))
        dtype = self.require("roi", roi, [np.dtype(d) for d in WORDS], (n, "cap")).dtype
        self.require("roi_count", roi_count, np.int32, (n,))
        self.filler(dtype)
        return (Spec("energy", (n, *self.shape), dtype), *self.frame_outputs(n, frame_status, live))

    def scratch(self, code: Any, *x: Any) -> tuple[Spec, ...]:
        kept = Spec("kept", (code.shape[0],), np.dtype(np.int32))
        return (*(s for s in count_scratch(code.shape[0], math.prod(self.shape)) if s.name != "bits"), kept)

    def numpy(self, plan: Plan, code: Any, roi_bits: Any, roi: Any, roi_count: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, new_status = plan.every_output(out)
        npix, good = math.prod(self.shape), plan.constants.get("good")
        for f in range(live_rows(code, live)):
            spread = np.repeat(np.repeat(code[f], self.size[0], -2), self.size[1], -1)[..., : self.shape[-2], : self.shape[-1]]
            y = rebuilt(spread, np.float32(self.step), energy.dtype)
            y[(spread == self.kind.fill) | (spread == self.kind.masked)] = self.filler(energy.dtype)
            bits = np.unpackbits(roi_bits[f].astype("<u4").view(np.uint8), bitorder="little").astype(bool)
            kept = np.flatnonzero(bits)
            here = kept[: roi.shape[1]][kept[: roi.shape[1]] < npix]
            y.reshape(-1)[here] = roi[f, : len(here)]
            if good is not None:
                y[good == 0] = self.filler(energy.dtype)
            energy[f] = y
            if new_status is not None:
                wrong = Frame.CORRUPT if len(kept) != roi_count[f] or bits[npix:].any() else 0
                new_status[f] = frame_status[f] | wrong | (Frame.OUTLIER_OVERFLOW if len(kept) > roi.shape[1] else 0)

    def numba(self, plan: Plan, code: Any, roi_bits: Any, roi: Any, roi_count: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, new_status = plan.every_output(out)
        n, shape, good = live_rows(code, live), in_panels(self.shape), plan.constants.get("good")
        words = np.dtype(f"u{energy.dtype.itemsize}")       # of whatever kind: compiled once
        codes = np.arange(65536, dtype=np.uint16).view(self.kind.dtype)
        table = rebuilt(codes, np.float32(self.step), energy.dtype)
        table[[self.kind.fill, self.kind.masked]] = filler = self.filler(energy.dtype)
        wrong = np.zeros(n, np.uint32)
        share(rebuild_frames, n, code.reshape(len(code), shape[0], *code.shape[-2:])[:n].view(np.uint16), roi_bits, roi.view(words), roi_count,
                       read_only(np.empty(0, np.uint8) if good is None else good.reshape(-1)), self.size, table.view(words), filler.view(words),
                       np.array([Frame.CORRUPT, Frame.OUTLIER_OVERFLOW], np.uint32), energy.reshape(-1, *shape).view(words), wrong)
        if new_status is not None:
            new_status[:n] = frame_status[:n] | wrong

    def device(self, plan: Plan, code: Any, roi_bits: Any, roi: Any, roi_count: Any, frame_status: Any, live: Any, *out: Any) -> None:
        energy, new_status = plan.every_output(out)
        n, (panels, rows, cols), (_, cap), held = code.shape[0], in_panels(self.shape), roi.shape, plan.scratch
        plan.start_status(frame_status, new_status, live)
        count_strong(plan, roi_bits, live, held["kept"], None, cap)
        least, most = limits_of(np.dtype(roi.dtype))
        fill = self.filler(np.dtype(roi.dtype)).view(f"u{np.dtype(roi.dtype).itemsize}")
        optional = [code if a is None else a for a in (plan.constants.get("good"), new_status, live)]
        plan.launch("compress/roibin_decode.cl", "rebuild", (-(-panels * rows * cols // 512), n), 128,
                    (code, roi_bits, held["rank"], held["tile_count"], held["kept"], roi, roi_count, *optional, energy, np.float32(self.step),
                     np.float32(least), np.float32(most), np.uint32(fill), *map(np.uint32, (n, panels, rows, cols, cap))),
                    WORD=word(roi), UNIT=UNITS[np.dtype(roi.dtype).itemsize], FLOATS=np.dtype(roi.dtype).kind == "f", **self.kind.defines(),
                    BIN_ROWS=f"{self.size[0]}u", BIN_COLS=f"{self.size[1]}u", GOOD=self.good is not None, FRAME_STATUS=new_status is not None,
                    LIVE=live is not None)


def limits_of(dtype: np.dtype[Any]) -> tuple[np.float32, np.float32]:
    """The least and the largest float32 that a dtype holds."""
    if dtype.kind == "f":
        return np.float32(-np.inf), np.float32(np.inf)
    info, most = np.iinfo(dtype), np.float32(np.iinfo(dtype).max)
    return np.float32(info.min), np.nextafter(most, np.float32(0)) if int(most) > info.max else most


def rebuilt(code: np.ndarray, step: np.float32, dtype: np.dtype[Any]) -> np.ndarray:
    """What pixels become whose bins have these codes: code * step, which float32 holds exactly; of whole numbers the nearest that the dtype holds."""
    y = code.astype(np.float32) * step
    if dtype.kind != "f":
        y = np.clip(np.rint(y), *limits_of(dtype))
    made: np.ndarray = y.astype(dtype)
    return made
