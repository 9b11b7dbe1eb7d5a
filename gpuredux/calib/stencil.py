"""energy = sum over a k x k neighbourhood of weight * energy, and its inverse: crosstalk between pixels. Over 200 lines: two ops and their bounds."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows
from ..pixelwise import NAN
from .crosstalk import Crosstalk, U
from .stencil_numba import stencil_asics

TILE, HALO = 32, 8      # pixels of a block in each direction, and the most that it reads beyond
MOST = 0.9              # the neighbours' share of the centre that the inverse still takes


@dataclass(frozen=True, eq=False)
class Stencil(Crosstalk):
    """energy[r, c] = sum of weights[i, j] * energy[r + i - h, c + j - h], h = k // 2, over i and then j, each step rounded once in float32.

    solve=True: the energy that gives this one, by a fixed number of steps x = (y - sum of the neighbours' weight * x) / centre from x = y / centre
    (Jacobi). weights are what a pixel receives of its neighbours; solve takes such crosstalk out.
    fields: weights (k, k), k odd up to 7, rounded to float32; asic (rows, cols) of the pieces of a panel that know nothing of each other, None = the
            panel, which is the last two axes; edge "zero": what lies outside counts as 0, or "renormalise": a sum at the edge is multiplied by
            sum(weights) / sum(weights inside); full_scale [unit of energy]: the largest |energy| that `bound` is for
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8, 0 = use; live (1,) i32
    out: energy (n, *frame) f32: NaN where the pixel has a status or is NaN, Inf where it is Inf; to their neighbours all these count as 0
    bound: full_scale * relative_bound, the largest error after op and inverse(): roundings, and what the last step leaves, q ** (steps + 1) < 2**-26,
           q = sum of |neighbours' weights| / |centre|; proportional to the largest |energy| of the frame. Bit-identical on every backend
    raises ValueError for solve and inverse() with q > 0.9
    source: Jacobi's method and its rounding errors: Higham, Accuracy and Stability of Numerical Algorithms, ch. 17
    """

    name: ClassVar[str] = "calib.stencil"

    weights: np.ndarray
    asic: tuple[int, int] | None = None
    edge: str = "zero"
    solve: bool = False
    full_scale: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = self.own("weights", np.float32)
        if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or weights.shape[0] not in (1, 3, 5, 7):
            raise ValueError(f"{self.name}: weights must be (k, k), k = 1, 3, 5 or 7, got {weights.shape}")
        magnitude = np.abs(weights)
        if not magnitude.any():
            raise ValueError(f"{self.name}: weights must not all be 0, got {weights.tolist()}")
        if not ((magnitude == 0) | ((magnitude >= 2.0**-40) & (magnitude <= 2.0**40))).all():
            raise ValueError(f"{self.name}: weights must be 0 or 2**-40 to 2**40 in magnitude, got {weights.tolist()}")
        self.one_of("edge", "zero", "renormalise")
        if self.edge == "renormalise" and not ((np.abs(self._edges()) >= 2.0**-20) & (np.abs(self._edges()) <= 2.0**20)).all():
            raise ValueError(f"{self.name}: edge='renormalise' needs weights of which every part at an edge has a sum that is not near 0")
        if self.solve:
            self._check_dominant()

    @property
    def radius(self) -> int:
        return self.weights.shape[0] // 2

    @property
    def share(self) -> float:
        """q: the neighbours' |weights| over the centre's."""
        centre, total = float(abs(self.weights[self.radius, self.radius])), float(np.abs(self.weights.astype(np.float64)).sum())
        return (total - centre) / centre if centre else math.inf

    def _check_dominant(self) -> None:
        if not self.share <= MOST:
            raise ValueError(f"{self.name}: the inverse needs a centre that outweighs its neighbours: sum of their |weights| / |centre| must be"
                             f" {MOST} or less, got {self.share:.3g}")

    @property
    def steps(self) -> int:
        """Of Jacobi's method: what they leave is less than 2**-26 of the largest energy."""
        return 0 if self.share == 0 else max(0, math.ceil(-26 / math.log2(self.share)) - 1)

    @property
    def relative_bound(self) -> float:
        q, terms, edges = self.share, self.weights.size, np.abs(self._edges())
        if not q <= MOST:
            return math.inf
        solved = U / 4 + (terms * q + 5 + 2 * q) * U / (1 - q)      # of the solution, over the largest of the solution
        summed = (terms + 3) * U * (1 + q) / (1 - q)                # of a sum, over the centre's weight and the smallest that the sum can be
        back = solved * (1 + q) / (1 - q) + summed if self.solve else summed + solved
        return 1.02 * back * float(edges.max() / edges.min())

    def inverse(self) -> Stencil:
        self._check_dominant()
        return dataclasses.replace(self, solve=not self.solve)

    def variance(self) -> VarianceStencil:
        """What it does to a variance: the squares of what one pixel gives to its neighbours, of independent pixels, away from edges.

        For solve these reach on; what lies more than 3 pixels off, less than q ** 6 of the whole, is left out."""
        side = 15
        one = np.zeros((1, side, side), np.float32)
        one[0, side // 2, side // 2] = 1
        spread = dataclasses.replace(self, asic=None, edge="zero")(one, backend="numpy")[0].astype(np.float64)[4:11, 4:11]
        squares = spread[::-1, ::-1] ** 2       # of a gather, not of a spread
        return VarianceStencil(np.where(squares < 2.0**-40, 0, squares), asic=self.asic)

    def _edges(self) -> np.ndarray:
        """(h + 1,) * 4: what a sum is multiplied by with so many rows above and below, columns left and right, h standing for h or more."""
        h, w = self.radius, self.weights.astype(np.float64)
        factor = np.ones((h + 1,) * 4)
        if self.edge == "renormalise":
            for up, down, left, right in np.ndindex(factor.shape):
                inside = w[h - up : h + down + 1, h - left : h + right + 1].sum()
                factor[up, down, left, right] = w.sum() / inside if inside else math.inf
        return factor

    def constants(self) -> dict[str, np.ndarray]:
        """weights with 1 / centre behind them, and edge: the factors, for solve their reciprocals."""
        edges = self._edges().astype(np.float32)
        centre = self.weights[self.radius, self.radius] if self.solve else 1.0
        factor = (1.0 / edges.astype(np.float64)).astype(np.float32) if self.solve else edges
        return {"weights": np.append(self.weights, np.float32(1.0 / float(centre))), "edge": factor.reshape(-1)}

    def scratch(self, energy: Any, *x: Any) -> tuple[Spec, ...]:
        """Two estimates of the solution, where one launch cannot make all steps."""
        many = len(self._launches()) - 1 if self.solve else 0
        return tuple(Spec(f"estimate{k}", tuple(energy.shape), np.dtype(np.float32)) for k in range(min(many, 2)))

    def check_update(self, new: Stencil) -> None:
        if self.solve and new.steps != self.steps:
            raise ValueError(f"{self.name}: these weights take {new.steps} steps and the plan makes {self.steps}: make another op")

    def _weights(self, plan: Plan) -> tuple[np.ndarray, np.float32]:
        """(k, k), and 1 / centre, or 1."""
        held = plan.constants["weights"]
        return held[:-1].reshape(self.weights.shape), held[-1]

    def _launches(self) -> list[int]:
        """The steps of each launch: as many as the halo allows."""
        most = HALO // max(self.radius, 1)
        return [most] * (self.steps // most) + [self.steps % most] * (self.steps % most > 0 or self.steps == 0)

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, out: Any) -> None:
        down, across, rows, cols = self.asics(energy.shape)
        h, w, inverse = self.radius, *self._weights(plan)
        up, left = (np.minimum(np.arange(size), h) for size in (rows, cols))
        edge = plan.constants["edge"].reshape((h + 1,) * 4)[up[:, None], up[::-1][:, None], left[None], left[::-1][None]]
        for f in range(live_rows(energy, live)):
            x = energy[f].reshape(down, rows, across, cols).swapaxes(1, 2)      # (down, across, rows, cols)
            use = np.isfinite(x)
            if pixel_status is not None:
                given = pixel_status[f].reshape(down, rows, across, cols).swapaxes(1, 2) == 0
                use, x = use & given, np.where(given, x, NAN)
            v = np.where(use, x, np.float32(0))
            with np.errstate(over="ignore", invalid="ignore"):
                if self.solve:
                    z = v * edge
                    y = z * inverse
                    for _ in range(self.steps):
                        y = np.where(use, (z - self._sum(y, w, centre=False)) * inverse, np.float32(0))
                else:
                    y = self._sum(v, w, centre=True) * edge
            y = np.where(use, np.where(np.isnan(y), NAN, y), np.where(np.isnan(x), NAN, x))
            out[f] = y.swapaxes(1, 2).reshape(out[f].shape)

    def _sum(self, v: np.ndarray, w: np.ndarray, centre: bool) -> np.ndarray:
        """The weighted sum over the neighbourhood, with or without the pixel itself, 0 outside; from 0 on, row by row."""
        h, (rows, cols) = self.radius, v.shape[-2:]
        padded = np.pad(v, [(0, 0)] * (v.ndim - 2) + [(h, h), (h, h)])
        total = np.zeros(v.shape, np.float32)
        for i, j in np.ndindex(w.shape):
            if centre or (i, j) != (h, h):
                total = total + w[i, j] * padded[..., i : i + rows, j : j + cols]
        return total

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, out: Any) -> None:
        down, across, rows, cols = self.asics(energy.shape)
        n, shape = live_rows(energy, live), (len(energy), down * rows, across * cols)
        w, inverse = self._weights(plan)
        stencil_asics(
            energy.reshape(shape)[:n], None if pixel_status is None else pixel_status.reshape(shape), out.reshape(shape), w,
            plan.constants["edge"], inverse, self.steps if self.solve else -1, rows, cols,
        )

    def device(self, plan: Plan, energy: Any, pixel_status: Any, live: Any, out: Any) -> None:
        down, across, rows, cols = self.asics(tuple(energy.shape))
        tiles = down * across * -(-rows // TILE) * -(-cols // TILE)
        held = [plan.scratch[k] for k in sorted(plan.scratch)]
        launches = self._launches() if self.solve else [1]
        for k, steps in enumerate(launches):
            first, last = k == 0, k == len(launches) - 1
            before, after = energy if first else held[(k - 1) % 2], out if last else held[k % 2]
            status, rest = (energy if pixel_status is None else pixel_status), (energy if live is None else live)
            sizes = (*map(np.uint32, (energy.shape[0], down, across, rows, cols, steps, first, last)),)
            plan.launch(
                "calib/stencil.cl", "stencil", (tiles * energy.shape[0],), 128,
                (energy, status, before, after, rest, plan.constants["weights"], plan.constants["edge"], *sizes),
                RADIUS=self.radius, SOLVE=self.solve, STATUS=pixel_status is not None, LIVE=live is not None,
            )


@dataclass(frozen=True, eq=False)
class VarianceStencil(Stencil):
    """variance[r, c] = sum of weights[i, j] * variance[r + i - h, c + j - h]: calib.stencil on a variance; Stencil.variance() makes it."""

    inputs: ClassVar[tuple[str, ...]] = ("variance", "pixel_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("variance",)
