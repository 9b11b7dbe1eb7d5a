"""Strong pixels by dispersion, above a background without them: the default of DIALS's spot finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, Spec, live_rows, read_only
from ..status import Frame
from .dispersion import LocalThreshold, not_background, window_sums
from .dispersion_extended_numba import mark_frame

ROWS = 8        # that a thread of the device walks down
MORE = 2        # the background's window is larger by this on each side


@dataclass(frozen=True, eq=False)
class DispersionExtended(LocalThreshold):
    """strong: v > threshold, v >= b + ns sqrt(b), in regions that fail (m y - x^2) / (x (m - 1)) <= 1 + nb sqrt(2 / (m - 1)); b: mean of what is in none.

    A region is what is left of the pixels that fail when those with a background pixel less than min(kernel_size) away are taken off; pixels that are
    not used are no background. b is the mean of the other pixels in a window larger by 2 on each side, 0 if they are fewer than 2.
    fields: as of features.dispersion: kernel_size, half-widths (rows, columns) of the window, 1 to 9; sigma_background = nb; sigma_strong = ns;
            min_local; global_threshold; gain, pixel values a photon, which multiplies 1 + nb ... and the b of the root; good; unit; of
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, counts, as features.dispersion takes them; pixel_status (n, *frame) u8, used
         where 0; frame_status (n,) u32; live (1,) i32
    out: strong (n, [panels,] rows, ceil(cols / 32)) u32: bit k of word w is column 32 w + k, the rest is 0; strong_pixels() makes bool of it
         strong_count (n,) i32: strong pixels of the frame
         frame_status (n,) u32, when given: with BEYOND_UNIT where a used pixel is beyond 2^31 units
    exact: sums and m y - x^2 in integers; each quotient, product and root rounded once in f64, in DIALS's order; bit-identical on every backend
    source: DIALS's threshold dispersion_extended, Winter et al., Acta Cryst. D74 (2018) 85, whose parameters the fields are named after
    """

    name: ClassVar[str] = "features.dispersion_extended"

    @property
    def reach(self) -> int:
        """How far around a pixel there is no background, if it is in a region: DIALS's distance less 1."""
        return min(self.kernel_size) - 1

    def marked(self, q: np.ndarray, use: np.ndarray, counted: np.ndarray, gain: Any, threshold: int) -> np.ndarray:
        m, x, y = self.local_sums(q, counted)
        background = use & ~((m >= self.least) & (x >= 0) & not_background(m, x, y, gain, self.sigma_background))
        region = window_sums(background, self.reach, self.reach) == 0
        rest = counted & ~region
        around = [k + MORE for k in self.kernel_size]
        n, total = window_sums(rest, *around), window_sums(np.where(rest, q, 0), *around)
        mean = np.where(n >= 2, np.maximum(total, 0) / np.maximum(n, 1), 0.0)
        least = mean + self.sigma_strong * np.sqrt(mean if gain is None else gain * mean)
        return use & region & (total >= 0) & (q > threshold) & (q >= least)

    def scratch(self, x: Any, *rest: Any) -> tuple[Spec, ...]:
        bits = self.outputs(x, *rest)[0]
        return tuple(Spec(name, bits.shape, bits.dtype) for name in ("not_background", "region"))

    def numba(self, plan: Plan, x: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        strong, strong_count, new_status = plan.every_output(out)
        n, (panels, rows, cols) = live_rows(x, live), self.panels_of(x)
        if "maps" not in plan.scratch:      # of this backend alone: a byte a pixel
            plan.scratch["maps"] = np.zeros((2, panels, rows, -(-cols // 8) * 8), np.uint8)
        energy, marks = read_only(x.reshape(len(x), panels, rows, cols)), self.host_marks(x, pixel_status)
        words = strong.reshape(len(x), panels, rows, -(-cols // 32))
        given = (self.host_map(plan, x), self.host_gain(plan, x), *plan.scratch["maps"])
        for f in range(n):
            state = marks[f] if len(marks) else read_only(np.empty((0, 1, 1), np.uint8))
            strong_count[f], limited = mark_frame(energy[f], state, *given, words[f], self.kernel_size, self.how(x), np.zeros(1, self.host_sum(x)), 64)
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.BEYOND_UNIT if limited else 0)

    def device(self, plan: Plan, x: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        strong, strong_count, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        n, (panels, rows, cols) = x.shape[0], self.panels_of(x)
        words, file = strong.shape[-1], "features/dispersion_extended.cl"
        test, region = plan.scratch["not_background"], plan.scratch["region"]
        self.launch_sums(plan, x, pixel_status, live, test, strong_count, new_status, background=True)
        defines = {"LIVE": live is not None, "REACH": self.reach, "ROWS": f"{ROWS}u", "GOOD": "good" in plan.constants,
                   "STATUS": pixel_status is not None, **self.defines(x)}
        of_live, sizes = strong_count if live is None else live, [*map(np.uint32, (n, panels, rows, cols))]
        plan.launch(file, "dispersion_regions", (-(-n * panels * rows * words // 128),), 128, (test, of_live, region, strong_count, *sizes), **defines)
        optional = [strong_count if a is None else a for a in (pixel_status, plan.constants.get("good"), plan.constants.get("gain"))]
        numbers = (np.float64(self.sigma_strong), np.float64(self.gain_of(x) or 1), np.float32(1 / self.unit), np.int64(self.threshold_of(x)))
        blocks = -(-panels * -(-rows // ROWS) * words // 4)
        plan.launch(
            file, "dispersion_strong", (blocks * n,), 128,
            (x, *optional, of_live, region, strong, strong_count, *numbers, *sizes, np.uint32(blocks)), **defines,
        )
