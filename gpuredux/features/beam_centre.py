"""The beam's centre by the symmetry of what is scattered: the point that turns a frame into itself. Over 200 lines: the search from coarse to fine is one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, nbytes, read_only
from . import beam_centre_numba as host
from .frames import FrameOp, host_frames, host_marks, word

LOST = -(2**30)         # of a frame without a centre
NONE = np.uint8(255)    # of a pixel that is not good
REFINE = 2              # steps to each side that a finer level looks at
PARTS = 16              # of a frame's rows, for the device
MOST_STEPS = 32         # to each side, of the coarsest level


@dataclass(frozen=True, eq=False)
class BeamCentre(FrameOp):
    """centre = the point c whose pairs of pixels c + d and c - d agree best: by Pearson's correlation of sqrt(v), over pairs that are good on both sides.

    Powder rings, SAXS, ellipses and fibre patterns are all symmetric about the beam; gaps and a beam stop only leave pairs out, and no ring must be known,
    which a least spread along rings would need. Rings of a tilted detector are ellipses whose own centre is found, distance * tan(2 theta)^2 * tilt away.
    The search begins on frames binned 2**levels times, then doubles the resolution down to 2**finest: first all half pixels within `window` of the guess,
    then 2 half pixels to each side of the best one before. The first of equals is taken; on the last level a parabola along rows and cols says where between.
    What lies at the window's edge may lie beyond it. Leave out what is no scattering (good=, radius=): a round image in a square frame is symmetric about the
    frame's own centre.
    fields: guess (row, col) [pixel], None: see in; window [pixel]; levels, finest, 0 to 8; radius (inner, outer) of d [pixel], None = as far as frames go
            full: the value that is taken as white: v counts as floor(254 sqrt(v / full)), 0 to 254; least_pairs, in pixels of the frame; good (*frame) bool
    in:  energy (n, rows, cols) u8, u16, i16, u32, i32 or f32, at most 16384 each, taken as float32: of one panel or assembled; NaN and Inf are left out
         pixel_status (n, *frame) u8, so are pixels that are not 0; centre_row, centre_col (n,) f32: guesses for each frame, of BeamCentroid, say, in place of
         the field's; live (1,) i32
    out: centre_row, centre_col (n,) f32 [pixel], 0 = the middle of the first one; centre_score (n,) f32, the correlation of the best half pixel;
         all NaN where no point has pairs enough, or that differ, or the guess is not finite
    exact: bit-identical on every backend: sums are of whole numbers, the correlation is f64 in one order
    source: symmetry of diffraction about the beam; correlation by J. L. Rodgers and W. A. Nicewander, Am. Stat. 42 (1988) 59
    """

    name: ClassVar[str] = "features.beam_centre"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "centre_row?", "centre_col?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("centre_row", "centre_col", "centre_score")

    guess: tuple[float, float] | None = None
    window: float = 32.0
    levels: int = 3
    finest: int = 0
    radius: tuple[float, float | None] = (1.0, None)
    full: float = 65535.0
    least_pairs: int = 1000
    good: np.ndarray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own_good()
        if not 0 <= self.number("finest", whole=True) <= self.number("levels", whole=True) <= 8:
            raise ValueError(f"{self.name}: levels and finest must be 0 <= finest <= levels <= 8, got {self.levels} and {self.finest}")
        if self.guess is not None:
            object.__setattr__(self, "guess", tuple(float(g) for g in self.guess))
            if len(self.guess) != 2 or not all(abs(g) <= 65535 for g in self.guess):
                raise ValueError(f"{self.name}: guess must be (row, col) within 65535 pixels, got {self.guess}")
        if not (0 <= self.number("window") < math.inf and self.steps(self.levels) <= MOST_STEPS):
            most = MOST_STEPS * 2.0 ** (self.levels - 1)
            raise ValueError(f"{self.name}: window must be 0 to {most:g} pixels with {self.levels} levels, got {self.window}")
        inner, outer = self.radius
        object.__setattr__(self, "radius", (float(inner), None if outer is None else float(outer)))
        if not 0.5 <= self.radius[0] < (65536.0 if self.radius[1] is None else min(self.radius[1], 65536.0)):
            raise ValueError(f"{self.name}: radius must be (inner, outer), 0.5 <= inner < outer, got {self.radius}")
        if not 0 < self.number("full") < math.inf:
            raise ValueError(f"{self.name}: full must be above 0, got {self.full}")
        if not 1 <= self.number("least_pairs", whole=True) < 2**31:
            raise ValueError(f"{self.name}: least_pairs must be 1 or more, got {self.least_pairs}")

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.good is None else {"good": self.good.astype(np.uint8)}

    def steps(self, level: int) -> int:
        """Half pixels to each side that a level looks at."""
        return max(math.ceil(2 * self.window / 2.0**level), 1) if level == self.levels else REFINE

    def limits(self, level: int) -> tuple[int, int]:
        """The square of 2 |d|, in pixels of a level: least and most."""
        inner, outer = self.radius
        each = 2.0 / 2.0**level
        most = 2**32 - 1
        return min(max(math.ceil((inner * each) ** 2), 1), most), most if outer is None else min(math.floor((outer * each) ** 2), most)

    def pairs(self, level: int) -> int:
        """Pairs that a point of a level must have."""
        return -(-self.least_pairs // 4**level)

    @property
    def scale(self) -> float:
        return 254.0 * 254.0 / float(self.full)

    def sizes(self, frame: tuple[int, ...]) -> list[tuple[int, int]]:
        """Rows and cols of each level, from 0 on."""
        rows, cols = frame
        return [(-(-rows // 2**k), -(-cols // 2**k)) for k in range(self.levels + 1)]

    def outputs(self, energy: Any, pixel_status: Any, centre_row: Any, centre_col: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require_frames(energy, self.good)
        if len(shape) != 3 or max(shape[1:]) > 16384:
            raise ValueError(f"{self.name}: {self.of} must be (n, rows, cols) of 16384 rows and cols at most, got {shape}")
        self.require_marks(shape, pixel_status=pixel_status)
        if (centre_row is None) != (centre_col is None) or (centre_row is None) == (self.guess is None):
            raise ValueError(f"{self.name}: give guess=(row, col), or the inputs centre_row and centre_col, got {self.guess} and "
                             f"{sum(c is not None for c in (centre_row, centre_col))} of these inputs")
        for name, x in (("centre_row", centre_row), ("centre_col", centre_col)):
            if x is not None:
                self.require(name, x, np.float32, shape[:1])
        self.require_live(live)
        return tuple(Spec(k, shape[:1], np.dtype(np.float32)) for k in self.writes)

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        n, frame = energy.shape[0], energy.shape[1:]
        most = max((2 * self.steps(k) + 1) ** 2 for k in range(self.finest, self.levels + 1))
        grey = tuple(Spec(f"grey{k}", (n, *size), np.dtype(np.uint8)) for k, size in enumerate(self.sizes(frame)))
        return (*grey, Spec("sums", (n, most, PARTS, 4), np.dtype(np.uint64)), Spec("place", (n, 2), np.dtype(np.int32)))

    def traffic(self, energy: Any, *x: Any) -> int:
        """The frames once."""
        return nbytes(energy, *x, *self.outputs(energy, *x), *self.constants().values())

    # ------------------------------------------------------------------ on the host
    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, centre_row: Any, centre_col: Any, live: Any, *out: Any) -> None:
        for f in range(live_rows(energy, live)):
            v = energy[f].astype(np.float32)
            use = np.isfinite(v)
            for good in (self.good, None if pixel_status is None else pixel_status[f] == 0):
                use &= True if good is None else good
            white = np.sqrt(np.where(use & (v > 0), v, 0).astype(np.float64) * self.scale)
            grey = [np.where(use, np.minimum(np.floor(white), 254), NONE).astype(np.uint8)]
            for _ in range(self.levels):
                grey.append(halved(grey[-1]))
            place = self._start(*(self.guess or (centre_row[f], centre_col[f])))
            for level in range(self.levels, self.finest - 1, -1):
                sums = [pair_sums(grey[level], place[0] + i, place[1] + j, *self.limits(level)) for i, j in self._around(level)]
                place, found = self._best(level, place, np.array(sums, np.int64))
            for column, value in zip(out, found, strict=True):
                column[f] = value

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, centre_row: Any, centre_col: Any, live: Any, *out: Any) -> None:
        n, grey = live_rows(energy, live), [plan.scratch[f"grey{k}"] for k in range(self.levels + 1)]
        good = np.ones(1, np.uint8) if self.good is None else plan.constants["good"].reshape(-1)
        host.to_grey(host_frames(energy, n), host_marks(pixel_status, n), pixel_status is not None, read_only(good), self.good is not None, self.scale,
                     grey[0].reshape(len(energy), math.prod(energy.shape[1:])))
        for fine, coarse in pairwise(grey):
            host.halve(fine[:n], coarse)
        places = [self._start(*(self.guess or (centre_row[f], centre_col[f]))) for f in range(n)]
        for level in range(self.levels, self.finest - 1, -1):
            sums = np.zeros((n, (2 * self.steps(level) + 1) ** 2, 4), np.int64)
            host.pair_sums(grey[level], np.array(places, np.int64).reshape(n, 2), self.steps(level), *self.limits(level), sums)
            best = [self._best(level, place, mine) for place, mine in zip(places, sums, strict=True)]
            places = [place for place, _ in best]
        for k, column in enumerate(out):
            column[:n] = [found[k] for _, found in best]

    def _around(self, level: int) -> list[tuple[int, int]]:
        """What a level looks at, as half pixels from where it begins."""
        steps = range(-self.steps(level), self.steps(level) + 1)
        return [(i, j) for i in steps for j in steps]

    def _start(self, row: float, col: float) -> tuple[int, int]:
        """The guess in half pixels of the coarsest level."""
        place = [(2 * float(c) + 1) / 2.0**self.levels - 1 for c in (row, col)]
        if not all(abs(float(c)) <= 65535 for c in (row, col)):
            return LOST, LOST
        return math.floor(place[0] + 0.5), math.floor(place[1] + 0.5)

    def _best(self, level: int, place: tuple[int, int], sums: np.ndarray) -> tuple[tuple[int, int], tuple[float, float, float]]:
        """Where the next level begins, and row, col and score of the best point of this one."""
        score, side = correlation(sums, 2 * self.pairs(level)), 2 * self.steps(level) + 1
        best = int(score.argmax())
        if place[0] == LOST or score[best] < -1.5:
            return (LOST, LOST), (np.nan, np.nan, np.nan)
        row, col = best // side, best % side
        at = place[0] + row - side // 2, place[1] + col - side // 2
        square = score.reshape(side, side)
        between = top(square[:, col], row), top(square[row], col)
        centre = [np.float32(((d + off) * 0.5 + 0.5) * 2.0**level - 0.5) for d, off in zip(at, between, strict=True)]
        return (2 * at[0] + 1, 2 * at[1] + 1), (centre[0], centre[1], np.float32(score[best]))

    # ------------------------------------------------------------------ on a device
    def device(self, plan: Plan, energy: Any, pixel_status: Any, centre_row: Any, centre_col: Any, live: Any, *out: Any) -> None:
        n, sizes, held, file = energy.shape[0], self.sizes(energy.shape[1:]), plan.scratch, "features/beam_centre.cl"
        sums, place, good, alive = held["sums"], held["place"], plan.constants.get("good"), out[0] if live is None else live
        npix, live_only = sizes[0][0] * sizes[0][1], live is not None
        marks, mask = (held["grey0"] if a is None else a for a in (pixel_status, good))
        plan.launch(file, "centre_grey", (-(-npix // 1024), n), 128,
                    (energy, marks, mask, alive, held["grey0"], np.float64(self.scale),
                     *map(np.uint32, ((pixel_status is not None) + 2 * (good is not None), npix, n))), WORD=word(energy), LIVE=live_only)
        for k in range(self.levels):
            plan.launch(file, "centre_halve", (-(-sizes[k + 1][0] * sizes[k + 1][1] // 128), n), 128,
                        (held[f"grey{k}"], alive, held[f"grey{k + 1}"], *map(np.uint32, (*sizes[k], *sizes[k + 1], n))), LIVE=live_only)
        given = [out[0] if c is None else c for c in (centre_row, centre_col)]
        plan.launch(file, "centre_start", (-(-n // 128),), 128,
                    (*given, alive, place, *map(np.float64, self.guess or (0.0, 0.0)), np.float64(0.5**self.levels), np.uint32(self.guess is None),
                     np.uint32(n)), LIVE=live_only)
        for k in range(self.levels, self.finest - 1, -1):
            count, last = (2 * self.steps(k) + 1) ** 2, k == self.finest
            plan.launch(file, "centre_pairs", (count * PARTS, n), 128,
                        (held[f"grey{k}"], place, alive, sums, *map(np.uint32, (*self.limits(k), self.steps(k), *sizes[k], n))),
                        PARTS=f"{PARTS}u", LIVE=live_only)
            plan.launch(file, "centre_best", (n,), 128,
                        (sums, place, alive, *out, np.float64(2.0**k), *map(np.uint32, (2 * self.pairs(k), self.steps(k), last, n))),
                        PARTS=f"{PARTS}u", LIVE=live_only)


def halved(grey: np.ndarray) -> np.ndarray:
    """The mean of 2 x 2 pixels, halves up, NONE where less than 2 are good."""
    rows, cols = grey.shape
    padded = np.full((-(-rows // 2) * 2, -(-cols // 2) * 2), NONE)
    padded[:rows, :cols] = grey
    four = np.stack([padded[i::2, j::2] for i in (0, 1) for j in (0, 1)]).astype(np.int64)
    count = (four != NONE).sum(0)
    total = np.where(four != NONE, four, 0).sum(0)
    return np.where(count >= 2, (2 * total + count) // np.maximum(2 * count, 1), NONE).astype(np.uint8)


def pair_sums(grey: np.ndarray, row: int, col: int, least: int, most: int) -> tuple[int, ...]:
    """Of the pairs about (row, col) [half pixels], each one counted from both sides: number, sum of a, of a^2, of a b."""
    rows, cols = (np.arange(max(0, at - size + 1), min(size - 1, at) + 1) for at, size in ((row, grey.shape[0]), (col, grey.shape[1])))
    a = grey[np.ix_(rows, cols)].astype(np.int64)
    b = a[::-1, ::-1]
    away = (2 * rows[:, None] - row) ** 2 + (2 * cols - col) ** 2
    use = (a != NONE) & (b != NONE) & (away >= least) & (away <= most)
    return int(use.sum()), int(a[use].sum()), int((a[use] * a[use]).sum()), int((a[use] * b[use]).sum())


def correlation(sums: np.ndarray, least: int) -> np.ndarray:
    """(points,) f64: (m sum ab - (sum a)^2) / (m sum a^2 - (sum a)^2) of m values; -2 where these are fewer than least, or all alike."""
    m, a, square, product = (sums[:, k].astype(np.float64) for k in range(4))
    spread = m * square - a * a
    use = (m >= least) & (spread > 0)
    return np.where(use, (m * product - a * a) / np.where(use, spread, 1.0), -2.0)


def top(line: np.ndarray, at: int) -> float:
    """Where the parabola through a point and its neighbours is highest, seen from the point; 0 where a neighbour is missing."""
    if not 0 < at < len(line) - 1 or min(line[at - 1], line[at + 1]) < -1.5:
        return 0.0
    before, here, after = (float(v) for v in line[at - 1 : at + 2])
    bend = (before - here) + (after - here)
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
