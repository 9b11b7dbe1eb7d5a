"""Frames again, from the lists of features.sparsify and its curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, live_rows, read_only
from . import densify_numba as host
from .background import between, place_between
from .frames import WORDS, word
from .rings import Rings, frozen

STEPS = 32      # of an octave of probability; 31 octaves: a word's 31 bits


@dataclass(frozen=True, eq=False)
class Densify(Op):
    """dense = (mean + z std) * normalisation in pixels of no list, z normal; in listed pixels the value; `fill` where the background is not known.

    fields: rings, radial, normalisation: those of Sparsify; seed: of z, 0 to 2^64 - 1; None: z = 0, the background alone
            cutoff: z is at most this: Sparsify's cutoff_pick, for pixels higher than that were listed; least: the background is not below, before rounding
            fill: what masked pixels (of no ring) get, a value of sparse_value's dtype, and pixels between two rings without a pixel
    in:  sparse_index (n, cap) u32, each pixel once, those beyond the frame are left out; sparse_value (n, cap) u8, u16, i16, u32, i32 or f32;
         sparse_count (n,) i32; background_mean, background_std (n, rings) f32; pulse_id (n,) u64: what z depends on in place of the row, so that
         batches differ and repeat; live (1,) i32
    out: dense (n, *frame) as sparse_value: whole numbers to the nearest, ties to even, limited to the dtype's
    exact: bit-identical on every backend: Philox4x32-10, counter (pixel / 4, 0, pulse_id low, high), key seed; word pixel % 4 of its four: the lowest bit is
           the sign, the others the probability beyond |z|, from a table of quantiles in steps of a 32nd octave, linear between (1e-4 off at most)
    source: fabio's densify; J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11 (2011)
    """

    name: ClassVar[str] = "features.densify"
    inputs: ClassVar[tuple[str, ...]] = ("sparse_index", "sparse_value", "sparse_count", "background_mean", "background_std", "pulse_id?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("dense",)

    rings: Rings
    radial: np.ndarray | None = None
    normalisation: np.ndarray | None = None
    seed: int | None = 0
    cutoff: float = 3.0
    least: float = 0.0
    fill: float = 0

    def __post_init__(self) -> None:
        if self.radial is not None:
            self.own("radial", np.float64)
        place_between(self.name, self.rings, self.radial)
        if self.normalisation is not None and self.own("normalisation", np.float32).shape != self.rings.shape:
            raise ValueError(f"{self.name}: normalisation must be {self.rings.shape}, got {self.normalisation.shape}")
        if self.seed is not None and not 0 <= self.number("seed", whole=True) < 2**64:
            raise ValueError(f"{self.name}: seed must be 0 to 2^64 - 1, or None, got {self.seed}")
        if not self.number("cutoff") >= 0 or math.isnan(self.number("least")):
            raise ValueError(f"{self.name}: cutoff must be 0 or more and least a number, got {self.cutoff} and {self.least}")
        self.number("fill")

    @cached_property
    def position(self) -> np.ndarray:
        return place_between(self.name, self.rings, self.radial)

    @cached_property
    def quantiles(self) -> np.ndarray:
        """(31 * STEPS + 1,) f32: |z| beyond which the probability is 2^-(k / STEPS), linear within an octave; in steps of 2^-18: no libm moves it."""
        octave, step = np.divmod(np.arange(31 * STEPS + 1), STEPS)
        p = np.ldexp(2 - step / STEPS, -(octave + 2))
        return frozen(np.rint([-NormalDist().inv_cdf(x) * 2**18 for x in p.tolist()]).astype(np.float32) / np.float32(2**18))

    def constants(self) -> dict[str, np.ndarray]:
        weight = {} if self.normalisation is None else {"normalisation": self.normalisation}
        return {"position": self.position, "quantiles": self.quantiles, **weight}

    def outputs(self, index: Any, value: Any, count: Any, mean: Any, std: Any, pulse_id: Any, live: Any) -> tuple[Spec, ...]:
        n, cap = self.require("sparse_index", index, np.uint32, ("n", "cap")).shape
        self.require("sparse_value", value, [np.dtype(d) for d in WORDS], (n, cap))
        self.require("sparse_count", count, np.int32, (n,))
        for name, curve in (("background_mean", mean), ("background_std", std)):
            self.require(name, curve, np.float32, (n, self.rings.count))
        if pulse_id is not None:
            self.require("pulse_id", pulse_id, np.uint64, (n,))
        self.require_live(live)
        self.limits(np.dtype(value.dtype))
        return (Spec("dense", (n, *self.rings.shape), np.dtype(value.dtype)),)

    def limits(self, dtype: np.dtype[Any]) -> tuple[np.float32, np.float32, Any]:
        """The least and the largest float32 that a dtype holds, not below `least`, and fill in it. Raises ValueError if it does not hold fill."""
        if dtype.kind == "f":
            return np.float32(self.least), np.float32(np.inf), np.float32(self.fill if self.fill == self.fill else np.nan)
        info = np.iinfo(dtype)
        if not (math.isfinite(self.fill) and self.fill == int(self.fill) and info.min <= self.fill <= info.max):
            raise ValueError(f"{self.name}: fill must be a {dtype} like sparse_value, got {self.fill}")
        most = np.float32(info.max)
        most = np.nextafter(most, np.float32(0)) if int(most) > info.max else most
        return min(max(np.float32(self.least), np.float32(info.min)), most), most, dtype.type(int(self.fill))

    def numpy(self, plan: Plan, index: Any, value: Any, count: Any, mean: Any, std: Any, pulse_id: Any, live: Any, dense: Any) -> None:
        least, most, fill = self.limits(value.dtype)
        position = plan.constants["position"]
        at = np.maximum(position, 0)
        for f in range(live_rows(index, live)):
            y = between(mean[f], at)
            with np.errstate(over="ignore", invalid="ignore"):
                if self.seed is not None:
                    y = y + self.normal(f if pulse_id is None else int(pulse_id[f])) * between(std[f], at)
                if self.normalisation is not None:
                    y = y * plan.constants["normalisation"].reshape(-1)
                y = np.where(y < least, least, np.where(y > most, most, y))
                known = (position >= 0) & ~np.isnan(y)
                row = np.where(known, y if value.dtype.kind == "f" else np.rint(np.where(known, y, 0)), 0).astype(value.dtype)
            row[~known] = fill
            listed = min(max(int(count[f]), 0), index.shape[1])
            inside = index[f, :listed] < row.size
            row[index[f, :listed][inside]] = value[f, :listed][inside]
            dense[f] = row.reshape(self.rings.shape)

    def normal(self, number: int) -> np.ndarray:
        """(npix,) f32: z of a frame's pixels."""
        npix = self.position.size
        block = np.arange(-(-npix // 4), dtype=np.uint64)
        words = np.stack(philox((block, 0 * block, 0 * block + (number & 0xFFFFFFFF), 0 * block + (number >> 32)), int(self.seed or 0)), 1).reshape(-1)[:npix]
        h = words >> 1 | 1
        length = np.frexp(h.astype(np.float64))[1]      # bits of h; 31: the octave of least |z|
        part = (h << (31 - length).astype(np.uint64) & 0x3FFFFFFF) >> 7
        z = between(self.quantiles, (32 - length).astype(np.float32) * STEPS - part.astype(np.float32) * np.float32(STEPS / 2**23))
        return np.minimum(np.where(words & 1 == 1, -z, z), np.float32(self.cutoff))

    def _of_kernels(self, dtype: np.dtype[Any]) -> tuple[np.float32, np.float32, Any]:
        least, most, fill = self.limits(dtype)
        return least, most, np.uint32(np.asarray(fill).view(f"u{dtype.itemsize}")[()])

    def numba(self, plan: Plan, index: Any, value: Any, count: Any, mean: Any, std: Any, pulse_id: Any, live: Any, dense: Any) -> None:
        n, position, seed = live_rows(index, live), plan.constants["position"], int(self.seed or 0)
        npix = position.size
        numbers = np.arange(n, dtype=np.uint64) if pulse_id is None else pulse_id[:n]
        weight = position[:1] if self.normalisation is None else plan.constants["normalisation"].reshape(-1)
        flat, (least, most, fill) = dense.reshape(len(dense), npix), self.limits(value.dtype)
        direct = value.dtype == np.float32      # whole numbers are made in float32 first, a frame at a time: numba compiles once
        for begin in range(0, n, n or 1 if direct else 16):
            rows = slice(begin, n if direct else min(begin + 16, n))
            y = flat[rows] if direct else np.empty((rows.stop - begin, npix), np.float32)
            host.background(position, read_only(mean[rows]), read_only(std[rows]), read_only(weight), self.normalisation is not None, self.quantiles,
                            read_only(numbers[rows]), self.seed is not None, seed & 0xFFFFFFFF, seed >> 32, np.float32(self.cutoff), least, most, y)
            if direct:
                np.copyto(y, fill, where=np.isnan(y))
            else:
                known = ~np.isnan(y)
                flat[rows] = np.rint(np.where(known, y, 0)).astype(value.dtype)
                np.copyto(flat[rows], fill, where=~known)
        for f in range(n):
            listed = min(max(int(count[f]), 0), index.shape[1])
            inside = index[f, :listed] < npix
            flat[f][index[f, :listed][inside]] = value[f, :listed][inside]

    def device(self, plan: Plan, index: Any, value: Any, count: Any, mean: Any, std: Any, pulse_id: Any, live: Any, dense: Any) -> None:
        (n, cap), npix, seed = index.shape, self.position.size, int(self.seed or 0)
        optional = [count if a is None else a for a in (plan.constants.get("normalisation"), pulse_id, live)]
        kind = {"WORD": word(value), "LIVE": live is not None}
        plan.launch("features/densify.cl", "background", (-(-npix // 512), n), 128,
                    (plan.constants["position"], plan.constants["quantiles"], mean, std, *optional, dense, np.float32(self.cutoff),
                     *self._of_kernels(np.dtype(value.dtype)), *map(np.uint32, (seed & 0xFFFFFFFF, seed >> 32, n, self.rings.count, npix))),
                    BACKGROUND=True, NOISE=self.seed is not None, WEIGHTED=self.normalisation is not None, NUMBERED=pulse_id is not None,
                    WHOLE=np.dtype(value.dtype).kind != "f", QUANTILES=f"{len(self.quantiles)}u", **kind)
        plan.launch("features/densify.cl", "listed", (-(-cap // 128), n), 128, (index, value, count, optional[2], dense, *map(np.uint32, (n, npix, cap))),
                    **kind)


def philox(counter: tuple[np.ndarray, ...], key: int) -> tuple[np.ndarray, ...]:
    """Philox4x32-10: four words, in u64, of four words of a counter and a key of 64 bits."""
    low, (a, b, c, d), k, m = np.uint64(0xFFFFFFFF), counter, key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = right >> np.uint64(32) ^ b ^ np.uint64(k), right & low, left >> np.uint64(32) ^ d ^ np.uint64(m), left & low
        k, m = k + 0x9E3779B9 & 0xFFFFFFFF, m + 0xBB67AE85 & 0xFFFFFFFF
    return a, b, c, d


