"""What psana's two peak finders have in common: names, the flood around a maximum, the ring behind it, the cuts, the table. Over 200 lines: it has the
specification."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes, read_only
from . import psana_peaks_numba as host
from .frames import FrameOp, host_frames, host_marks, word
from .strong import connected, list_scratch, list_strong

MOST_RANK = 7       # the bits of a row of the square, and those of the flood in it, are one u32
MOST_REACH = 64     # of the ring
COLUMNS = {
    "panel": np.int32, "row": np.float32, "col": np.float32, "pixels": np.int32, "total": np.float32, "max": np.float32, "background": np.float32,
    "sigma": np.float32, "snr": np.float32, "seed_row": np.int32, "seed_col": np.int32, "row_sigma": np.float32, "col_sigma": np.float32,
    "row_min": np.int32, "row_max": np.int32, "col_min": np.int32, "col_max": np.int32,
}
WHOLE, REAL = ([k for k, d in COLUMNS.items() if d is kind] for kind in (np.int32, np.float32))
REALS = ("amax_thr", "atot_thr", "son_min")


@dataclass(frozen=True, eq=False)
class PsanaPeaks(FrameOp):
    """What PeakFinderV3r3 says of fields, inputs and outputs, nsigm apart. Subclasses say which pixels are maxima, and how far floods go.

    fields: rank, r0, dr, npix_min, npix_max, amax_thr, atot_thr, son_min, max_peaks, good"""

    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = (*(f"peak_{k}" for k in COLUMNS), "peak_count")

    rank: int = field(default=5, kw_only=True)
    r0: float = field(default=7.0, kw_only=True)
    dr: float = field(default=2.0, kw_only=True)
    npix_min: int = field(default=0, kw_only=True)
    npix_max: int = field(default=1_000_000, kw_only=True)
    amax_thr: float = field(default=0.0, kw_only=True)
    atot_thr: float = field(default=0.0, kw_only=True)
    son_min: float = field(default=0.0, kw_only=True)
    max_peaks: int = field(default=2048, kw_only=True)
    good: np.ndarray | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own_good()
        for name, low, high in (("rank", 1, MOST_RANK), ("npix_min", 0, 2**31 - 1), ("npix_max", 0, 2**31 - 1), ("max_peaks", 1, 2**24)):
            if not low <= self.number(name, whole=True) <= high:
                raise ValueError(f"{self.name}: {name} must be {low} to {high}, got {getattr(self, name)}")
        self.own_reals(*REALS)
        if not (self.number("r0") >= 0 and self.number("dr") >= 0 and self.r0 + self.dr <= MOST_REACH):
            raise ValueError(f"{self.name}: r0 and dr must be 0 or more, and r0 + dr at most {MOST_REACH}, got {self.r0} and {self.dr}")
        if not len(self.ring):
            raise ValueError(f"{self.name}: r0 and dr make a ring without a pixel, got {self.r0} and {self.dr}")

    def own_reals(self, *names: str) -> None:
        """Raises ValueError where a field is no finite float32; for __post_init__."""
        for name in names:
            if not abs(self.number(name)) <= float(np.finfo(np.float32).max):
                raise ValueError(f"{self.name}: {name} must be a finite float32, got {getattr(self, name)}")

    # ------------------------------------------------------------------ what a subclass defines
    def look(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """bool (panels, rows, cols): maxima that may be peaks; pixels that rings may hold; those that floods may. v: NaN where a pixel is not used."""
        raise NotImplementedError

    def capacity(self, rows: int, cols: int) -> int:
        """The most maxima that a panel can have, by how near to each other they can be."""
        raise NotImplementedError

    def least(self, mean: float, rms: float) -> np.float32:
        """What a pixel of a flood has at least, by the ring around the maximum."""
        raise NotImplementedError

    def numbers(self) -> tuple[bool, float, float, float]:
        """For kernels: whether `least` goes by the ring, and then nsigm; the thresholds low and high."""
        raise NotImplementedError

    def mark(self, plan: Plan, energy: Any, pixel_status: Any, alive: Any, live: Any, bits: tuple[Any, ...]) -> None:
        """What `look` finds, on a device, to the bits of maxima, of rings, of floods; and the last ones set to 0."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what both have
    @cached_property
    def ring(self) -> np.ndarray:
        """(k, 2) i32: offsets of the ring's pixels in raster order."""
        inner, outer = np.float32(self.r0), np.float32(self.r0) + np.float32(self.dr)
        reach = math.ceil(outer)
        row, col = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        away = np.sqrt((row * row + col * col).astype(np.float64))
        return read_only(np.ascontiguousarray(np.argwhere((away >= inner) & (away <= outer)) - reach, np.int32))

    def lists(self) -> dict[str, str]:
        """See Op."""
        return dict.fromkeys((f"peak_{k}" for k in COLUMNS), "peak_count")

    def constants(self) -> dict[str, np.ndarray]:
        return {"ring": self.ring, **({} if self.good is None else {"good": self.good.astype(np.uint8)})}

    def outputs(self, energy: Any, pixel_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.good)
        if len(shape) not in (3, 4):
            raise ValueError(f"{self.name}: {self.of} must be (n, rows, cols) or (n, panels, rows, cols), got {shape}")
        self.require_marks(shape, pixel_status=pixel_status)
        self.require_live(live)
        columns = tuple(Spec(f"peak_{k}", (shape[0], self.max_peaks), np.dtype(d)) for k, d in COLUMNS.items())
        return (*columns, Spec("peak_count", (shape[0],), np.dtype(np.int32)))

    def traffic(self, energy: Any, pixel_status: Any, live: Any) -> int:
        """The frames once, the mask once, the table."""
        return nbytes(energy, pixel_status, live, *self.outputs(energy, pixel_status, live)) + (0 if self.good is None else self.good.size)

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        """Bits of rows that begin at a word each."""
        n, *panels, rows, cols = energy.shape
        words = math.prod(panels) * rows * -(-cols // 32)
        more = (Spec(k, (n, words), np.dtype(np.uint32)) for k in ("ring_bits", "flood_bits", "kept"))
        return (*list_scratch(n, 32 * words, math.prod(panels) * self.capacity(rows, cols)), *more)

    def device(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        (n, *_, rows, cols), held, (*columns, peak_count) = energy.shape, plan.scratch, out
        alive = peak_count if live is None else live
        bits = tuple(held[k] for k in ("bits", "ring_bits", "flood_bits", "kept"))
        self.mark(plan, energy, pixel_status, alive, live, bits)
        list_strong(plan, held["bits"], live, peak_count, None)
        adaptive, nsigm, low, _ = self.numbers()
        ring, (words, capacity) = plan.constants["ring"], (held["bits"].shape[1], held["strong"].shape[1])
        size = map(np.uint32, (n, math.prod(energy.shape[1:]), words, capacity, rows, cols, len(self.ring), adaptive, self.npix_min, self.npix_max))
        around = (energy, held["strong"], held["found"], alive, *bits[1:3], ring, np.float64(nsigm),
                  *map(np.float32, (low, self.amax_thr, self.atot_thr, self.son_min)), *size, np.int32(self.rank))
        kind = {"WORD": word(energy), "LIVE": live is not None}
        plan.launch("features/psana_peaks.cl", "keep_peaks", (-(-capacity // 128), n), 128, (*around, held["kept"]), KEEP=True, **kind)
        list_strong(plan, held["kept"], live, peak_count, None)
        plan.launch("features/psana_peaks.cl", "peaks", (-(-self.max_peaks // 128), n), 128, (*around, *columns, np.uint32(self.max_peaks)), **kind)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        n, (*_, rows, cols) = live_rows(energy, live), energy.shape
        named, ring = dict(zip(COLUMNS, out, strict=False)), self.ring.astype(np.int64)
        numbers = host.Numbers(*self.numbers(), *(float(getattr(self, k)) for k in REALS), self.npix_min, self.npix_max, self.rank, rows, cols,
                               int(abs(ring).max(initial=0)), self.capacity(rows, cols), pixel_status is not None, self.good is not None)
        good = np.ones(1, bool) if self.good is None else self.good.reshape(-1)
        host.find(host_frames(energy, n), host_marks(pixel_status, n), read_only(good), read_only(ring), numbers, tuple(named[k] for k in WHOLE),
                  tuple(named[k] for k in REAL), out[-1])

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, *out: Any) -> None:
        *columns, peak_count = out
        for f in range(live_rows(energy, live)):
            v = energy[f].astype(np.float32)
            used = np.isfinite(v) & (True if self.good is None else self.good) & (True if pixel_status is None else pixel_status[f] == 0)
            v = np.where(used, v, np.float32(np.nan)).reshape(-1, *v.shape[-2:])
            seeds, ring, flood = self.look(v)
            peaks = [peak for at in np.argwhere(seeds).tolist() if (peak := self._peak(v, at, ring[at[0]], flood[at[0]]))]
            peak_count[f] = len(peaks)
            for k, column in zip(COLUMNS, columns, strict=True):
                column[f] = 0
                column[f, : len(peaks)] = [p[k] for p in peaks[: self.max_peaks]]

    def _background(self, v: np.ndarray, row: int, col: int, ring: np.ndarray) -> tuple[float, float]:
        """Mean and rms of the ring's pixels, in raster order; 0 and 0 of none."""
        n, total, squares = 0, 0.0, 0.0
        for r, c in np.add(self.ring, (row, col)).tolist():
            if 0 <= r < v.shape[0] and 0 <= c < v.shape[1] and ring[r, c]:
                x = float(v[r, c])
                n, total, squares = n + 1, total + x, squares + x * x
        mean = total / n if n else 0.0
        return mean, math.sqrt(max(squares / n - mean * mean, 0.0)) if n else 0.0

    def _peak(self, frame: np.ndarray, at: list[int], ring: np.ndarray, flood: np.ndarray) -> dict[str, Any] | None:
        """The peak of a maximum; None if it is none. Sums are f64, one after the other, in raster order."""
        (panel, row, col), v = at, frame[at[0]]
        mean, rms = self._background(v, row, col, ring)
        square = slice(max(row - self.rank, 0), row + self.rank + 1), slice(max(col - self.rank, 0), col + self.rank + 1)
        top, left = square[0].start, square[1].start
        above = flood[square] & (v[square] >= self.least(mean, rms))
        seed = (0, row - top, col - left)
        members = next((m for m in connected(above[None], above.shape, False) if seed in m), None)
        if members is None:
            return None
        total = rows = cols = row_squares = col_squares = 0.0
        for _, r, c in members:
            net, dr, dc = float(v[r + top, c + left]) - mean, r + top - row, c + left - col
            total, rows, cols = total + net, rows + net * dr, cols + net * dc
            row_squares, col_squares = row_squares + net * (dr * dr), col_squares + net * (dc * dc)
        noise = rms * math.sqrt(len(members))
        extent = {f"{k}_{name}": of(m[i] for m in members) + start
                  for i, k, start in ((1, "row", top), (2, "col", left)) for name, of in (("min", min), ("max", max))}
        shape = {"row": centre(rows, row_squares, total), "col": centre(cols, col_squares, total)}
        with np.errstate(over="ignore"):
            most, snr, total_ = np.float32(float(v[row, col]) - mean), np.float32(total / noise if noise > 0 else 0.0), np.float32(total)
            wanted = self.npix_min <= len(members) <= self.npix_max and most >= np.float32(self.amax_thr)
            if not (wanted and total_ >= np.float32(self.atot_thr) and snr >= np.float32(self.son_min)):
                return None
            return {"panel": panel, "row": row + shape["row"][0], "col": col + shape["col"][0], "pixels": len(members), "total": total_, "max": most,
                    "background": np.float32(mean), "sigma": np.float32(rms), "snr": snr, "seed_row": row, "seed_col": col,
                    "row_sigma": shape["row"][1], "col_sigma": shape["col"][1], **extent}


def centre(weighted: float, squares: float, total: float) -> tuple[float, float]:
    """Mean and standard deviation of distances from the maximum; 0 and 0 where the weights have no positive sum."""
    if not total > 0:
        return 0.0, 0.0
    mean = weighted / total
    return mean, math.sqrt(max(squares / total - mean * mean, 0.0))


def unbeaten(v: np.ndarray, rows: int, cols: int, ties: bool = False) -> np.ndarray:
    """bool: pixels of panels (panels, rows, cols) that no other one within so many rows and cols is above; or, with ties, is as high and later in raster
    order. NaN is above nobody, and is none."""
    wide = np.pad(v, ((0, 0), (rows, rows), (cols, cols)), constant_values=np.nan)
    best = np.isfinite(v)
    for dr in range(-rows, rows + 1):
        for dc in range(-cols, cols + 1):
            other = wide[:, rows + dr : rows + dr + v.shape[1], cols + dc : cols + dc + v.shape[2]]
            best &= ~(other >= v if ties and (dr, dc) > (0, 0) else other > v)
    return best
