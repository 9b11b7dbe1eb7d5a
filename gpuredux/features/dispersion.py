"""Strong pixels by the index of dispersion, as DIALS marks them. Over 200 lines: the fields, their checks and the specification are one thing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import MOST_PIXELS, Plan, Spec, live_rows, read_only
from ..status import Frame
from .dispersion_numba import How, dispersion_strips, local_map
from .frames import FrameOp, whole, word

LIMIT = 1 << 24         # a pixel of so many units or more is in no sum, as in DIALS
MOST_HALF = 9           # half-width of a window: (19 * 19)**2 / 4 * 2**48 is still below 2**63
STRIP = 64              # rows that a thread of the device walks


def strong_pixels(strong: np.ndarray, cols: int) -> np.ndarray:
    """bool (..., rows, cols) of the bits (..., rows, words) u32: bit k of word w is column 32 w + k."""
    octets = np.ascontiguousarray(strong).astype("<u4", copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little", count=cols).astype(bool)


def bits_of(pixels: np.ndarray) -> np.ndarray:
    """The bits (..., rows, words) u32 of bool (..., rows, cols): strong_pixels backwards. Bits behind the last column are 0."""
    words = -(-pixels.shape[-1] // 32)
    octets = np.zeros((*pixels.shape[:-1], 4 * words), np.uint8)
    octets[..., : -(-pixels.shape[-1] // 8)] = np.packbits(pixels, axis=-1, bitorder="little")
    return octets.view("<u4").astype(np.uint32, copy=False)


def window_sums(a: np.ndarray, ky: int, kx: int) -> np.ndarray:
    """i64 sums of a (..., rows, cols) over the (2 ky + 1) x (2 kx + 1) windows, cut off at the edges. The table wraps around, the differences do not."""
    table = np.zeros((*a.shape[:-2], a.shape[-2] + 1, a.shape[-1] + 1), np.int64)
    table[..., 1:, 1:] = a.astype(np.int64).cumsum(axis=-2).cumsum(axis=-1)
    for axis, k in ((-2, ky), (-1, kx)):
        at, size = np.arange(a.shape[axis]), a.shape[axis]
        table = table.take(np.minimum(at + k + 1, size), axis) - table.take(np.maximum(at - k, 0), axis)
    return table


def not_background(m: np.ndarray, x: np.ndarray, y: np.ndarray, gain: Any, sigma: float) -> np.ndarray:
    """Whether the variance of windows of m pixels, of sum x and sum of squares y, is beyond what Poisson's law leaves it."""
    root = np.sqrt(2.0 * np.maximum(m - 1, 0))
    if gain is None:
        return (m * y - x * x - x * (m - 1)).astype(np.float64) > x * sigma * root
    return (m * y - x * x).astype(np.float64) > gain * x * ((m - 1) + sigma * root)


@dataclass(frozen=True, eq=False)
class LocalThreshold(FrameOp):
    """What Dispersion and DispersionExtended have in common: fields by DIALS's names, frames taken as whole numbers, bits as the result."""

    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("strong", "strong_count")

    kernel_size: tuple[int, int] = (3, 3)
    sigma_background: float = 6.0
    sigma_strong: float = 3.0
    min_local: int = 2
    global_threshold: float = 0.0
    gain: np.ndarray | float | None = None
    good: np.ndarray | None = None
    unit: float = 2.0**-8

    def __post_init__(self) -> None:
        super().__post_init__()
        size = tuple(self.kernel_size) if isinstance(self.kernel_size, (tuple, list)) else ()
        if len(size) != 2 or not all(isinstance(k, int) and not isinstance(k, bool) and 1 <= k <= MOST_HALF for k in size):
            raise ValueError(f"{self.name}: kernel_size must be the half-widths (rows, columns) of the window, 1 to {MOST_HALF}, got {self.kernel_size!r}")
        object.__setattr__(self, "kernel_size", size)
        for field in ("sigma_background", "sigma_strong", "global_threshold"):
            value = self.number(field)
            if not (math.isfinite(value) and 0 <= value <= (1e6 if field.startswith("sigma") else math.inf)):
                raise ValueError(f"{self.name}: {field} must be {'0 to 1e6' if field.startswith('sigma') else 'finite and not below 0'}, got {value}")
            object.__setattr__(self, field, value)
        if self.number("min_local", whole=True) > self.area or self.min_local == 1:
            raise ValueError(f"{self.name}: min_local must be 2 to {self.area}, the pixels of a window, or 0 for all of them, got {self.min_local}")
        object.__setattr__(self, "unit", self.own_unit())
        self.own_good()
        self._own_gain()

    def _own_gain(self) -> None:
        if self.gain is None:
            return
        if np.ndim(self.gain) == 0 and not isinstance(self.gain, np.ndarray):
            object.__setattr__(self, "gain", self.number("gain"))
            gains = np.array([self.gain])
        else:
            gains = self.own("gain", np.float32)
            if gains.ndim == 0 or (self.good is not None and gains.shape != self.good.shape):
                raise ValueError(f"{self.name}: gain must be (*frame) like good, or one number, got {gains.shape}")
            gains = gains if self.good is None else gains[self.good]
        if not (np.isfinite(gains) & (gains > 0)).all():
            raise ValueError(f"{self.name}: gain must be finite and above 0 in every good pixel")

    @property
    def area(self) -> int:
        """The pixels of a window."""
        return (2 * self.kernel_size[0] + 1) * (2 * self.kernel_size[1] + 1)

    @property
    def least(self) -> int:
        """min_local as a number of pixels."""
        return self.area if self.min_local <= 0 else self.min_local

    def constants(self) -> dict[str, np.ndarray]:
        """good as bits, like the result."""
        maps = {} if self.good is None else {"good": bits_of(self.good)}
        return {**maps, "gain": self.gain} if isinstance(self.gain, np.ndarray) else maps

    def outputs(self, x: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        n, *frame = shape = self.require_frames(x, self.good if self.good is not None or not isinstance(self.gain, np.ndarray) else self.gain)
        if len(frame) not in (2, 3) or 0 in frame or math.prod(frame) > MOST_PIXELS:
            raise ValueError(f"{self.name}: {self.of} must be (n, rows, cols) or (n, panels, rows, cols), got {x.dtype} {tuple(x.shape)}")
        self.require_marks(shape, pixel_status=pixel_status)
        bits = Spec("strong", (n, *frame[:-1], -(-frame[-1] // 32)), np.dtype(np.uint32))
        return (bits, Spec("strong_count", (n,), np.dtype(np.int32)), *self.frame_outputs(n, frame_status, live))

    def threshold_of(self, x: Any) -> int:
        """The largest whole number that is not above global_threshold, in units of x."""
        return math.floor(min(self.global_threshold / self.unit_of(x), 2.0**40))

    def unit_of(self, x: Any) -> float:
        """What a step of 1 is: pixels of whole numbers are taken as they are."""
        return self.unit if np.dtype(x.dtype).kind == "f" else 1.0

    def gain_of(self, x: Any) -> float | None:
        """Units a photon, what a map of gains is multiplied by; None: 1, in DIALS's words for that."""
        if self.gain is None and np.dtype(x.dtype).kind != "f":
            return None
        return (1.0 if self.gain is None or isinstance(self.gain, np.ndarray) else self.gain) / self.unit_of(x)

    def gains(self, plan: Plan, x: Any) -> Any:
        """The gain of each pixel in units, f64, or one for all of them."""
        scale = self.gain_of(x)
        return scale if "gain" not in plan.constants else plan.constants["gain"].astype(np.float64) * scale

    def refused_of(self, x: Any) -> np.float32:
        """r such that (m v - x)^2 <= r map x m, in float32, is never a strong pixel, whatever was rounded."""
        r = self.sigma_strong**2 * (1 - 1e-5) * (self.gain_of(x) or 1.0)
        with np.errstate(over="ignore"):
            return np.float32(r if r > 1e-30 else 0)    # a subnormal has too few digits

    def taken(self, plan: Plan, x: np.ndarray, pixel_status: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Of one frame: values in units i64; which pixels are used; which of them sums take in; whether a used one was limited."""
        q, beyond = whole(x, self.unit_of(x))
        use = np.isfinite(x) if x.dtype.kind == "f" else np.ones(x.shape, bool)
        if self.good is not None:
            use &= strong_pixels(plan.constants["good"], x.shape[-1])
        if pixel_status is not None:
            use &= pixel_status == 0
        return q, use, use & (np.abs(q) < LIMIT), bool((beyond & use).any())

    def numpy(self, plan: Plan, x: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        strong, strong_count, new_status = plan.every_output(out)
        for f in range(live_rows(x, live)):
            q, use, counted, beyond = self.taken(plan, x[f], None if pixel_status is None else pixel_status[f])
            pixels = self.marked(q, use, counted, self.gains(plan, x), self.threshold_of(x))
            strong[f] = bits_of(pixels)
            strong_count[f] = pixels.sum()
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.BEYOND_UNIT if beyond else 0)

    def marked(self, q: np.ndarray, use: np.ndarray, counted: np.ndarray, gain: Any, threshold: int) -> np.ndarray:
        """The strong pixels of a frame, bool: q values in units, use which pixels can be strong, counted which of them sums take in."""
        raise NotImplementedError

    def local_sums(self, q: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """m, x, y: number, sum and sum of squares of the counted pixels of each window, i64."""
        v = np.where(counted, q, 0)
        m, x, y = (window_sums(a, *self.kernel_size) for a in (counted, v, v * v))
        return m, x, y

    def panels_of(self, x: Any) -> tuple[int, int, int]:
        """panels, rows, cols."""
        *panels, rows, cols = x.shape[1:]
        return math.prod(panels), rows, cols

    def how(self, x: Any) -> How:
        """The limits, for numba."""
        return How(self.sigma_background, self.sigma_strong, self.gain_of(x) or 0.0, self.refused_of(x), np.float32(1 / self.unit_of(x)), self.threshold_of(x),
                   self.least)

    def host_sum(self, x: Any) -> Any:
        """What holds m v and x of a window."""
        return np.int32 if self.area <= 127 or np.dtype(x.dtype).itemsize < 4 else np.int64

    def host_marks(self, x: Any, pixel_status: Any) -> Any:
        """Of no frames where there are none: so numba compiles one text for both."""
        return read_only(np.empty((0, 1, 1, 1), np.uint8) if pixel_status is None else pixel_status.reshape(len(x), *self.panels_of(x)))

    def host_gain(self, plan: Plan, x: Any) -> Any:
        return read_only(plan.constants["gain"].reshape(self.panels_of(x)) if "gain" in plan.constants else np.empty((0, 1, 1), np.float32))

    def host_map(self, plan: Plan, x: Any) -> np.ndarray:
        """For numba, (panels, rows, cols) u16: bit 15 = good, the low bits how many good pixels its window has. Kept by the plan until good is updated."""
        good = plan.constants.get("good")
        held = plan.scratch.get("local")
        if held is None or held[0] is not good:
            panels, rows, cols = self.panels_of(x)
            use = np.ones((panels, rows, cols), bool) if good is None else strong_pixels(good, cols).reshape(panels, rows, cols)
            held = plan.scratch["local"] = (good, local_map(use, *self.kernel_size))
        return held[1]

    def defines(self, x: Any) -> dict[str, Any]:
        """For kernels: the window and the pixels."""
        dtype = np.dtype(x.dtype)
        wide = dtype.itemsize == 4 or self.area > 169      # what 24 bits hold of sums, and 8 of numbers
        gain = 0 if self.gain_of(x) is None else 2 if isinstance(self.gain, np.ndarray) else 1
        return {"KY": self.kernel_size[0], "KX": self.kernel_size[1], "WORD": word(x), "FLOAT": dtype.kind == "f", "WIDE": wide, "SIGNED": dtype.kind != "u",
                "GAIN": gain, "STRIP": f"{STRIP}u"}

    def launch_sums(self, plan: Plan, x: Any, pixel_status: Any, live: Any, strong: Any, strong_count: Any, new_status: Any, background: bool = False) -> None:
        """The kernel of windows: strong bits and their count, or the bits of the background test alone."""
        n, (panels, rows, cols) = x.shape[0], self.panels_of(x)
        blocks, file = -(-panels * -(-rows // STRIP) * 4 * strong.shape[-1] // 128), "features/dispersion.cl"
        good, gain = plan.constants.get("good"), plan.constants.get("gain")
        optional = [strong_count if a is None else a for a in (pixel_status, good, gain, live)]
        flags = new_status is not None and np.dtype(x.dtype).kind == "f"
        defines = {**self.defines(x), "GOOD": good is not None, "STATUS": pixel_status is not None, "FLAGS": flags, "LIVE": live is not None,
                   "BACKGROUND": background}
        numbers = (np.float64(self.sigma_background), np.float64(self.sigma_strong), np.float64(self.gain_of(x) or 1), self.refused_of(x),
                   np.float32(1 / self.unit), np.int64(self.threshold_of(x)), np.int32(self.least))
        if not background:
            plan.launch(file, "dispersion_start", (-(-n // 128),), 128, (optional[-1], strong_count, np.uint32(n)), **defines)
        args = (x, *optional, strong, strong_count, new_status if flags else strong_count, *numbers, *map(np.uint32, (n, panels, rows, cols, blocks)))
        plan.launch(file, "dispersion", (blocks * n,), 128, args, BLOCKS_AT_LEAST=3, **defines)      # signed words and a map of gains: over 128 registers


@dataclass(frozen=True, eq=False)
class Dispersion(LocalThreshold):
    """strong: v > threshold, (m y - x^2) / (x (m - 1)) > 1 + nb sqrt(2 / (m - 1)), v > x / m + ns sqrt(x / m): m pixels around with sum x, of squares y.

    fields: kernel_size, half-widths (rows, columns) of the window, 1 to 9, cut off at a panel's edges; sigma_background = nb; sigma_strong = ns;
            min_local, the least m, 0 = a whole window; global_threshold; gain, pixel values a photon: one number or (*frame) f32;
            good (*frame) bool, True = use, None = all; unit: frames of f32 are taken in whole steps of so much, a power of two, which counts as gain;
            of: the input that holds the frames. Windows never cross panels
    in:  energy (n, [panels,] rows, cols) u8, u16, i16, u32, i32 or f32, counts; pixel_status (n, *frame) u8, used where 0; frame_status (n,) u32;
         live (1,) i32
         Pixels below 0 count as they are, as in DIALS: mask the -1 of gaps by good=. A window of sum below 0 has no strong pixel. Of 2^24 units or more,
         and of -2^24 or less, pixels are in no sum, but may be strong
    out: strong (n, [panels,] rows, ceil(cols / 32)) u32: bit k of word w is column 32 w + k, the rest is 0; strong_pixels() makes bool of it
         strong_count (n,) i32: strong pixels of the frame
         frame_status (n,) u32, when given: with BEYOND_UNIT where a used pixel is beyond 2^31 units
    exact: m y - x^2 and all sums in integers; of the rest each product and root rounded once in f64, in DIALS's order; bit-identical on every backend
    source: Winter et al., Acta Cryst. D74 (2018) 85 (DIALS), spot finding by dispersion; the names of the fields are those of its parameters
    """

    name: ClassVar[str] = "features.dispersion"

    def marked(self, q: np.ndarray, use: np.ndarray, counted: np.ndarray, gain: Any, threshold: int) -> np.ndarray:
        m, x, y = self.local_sums(q, counted)
        least = self.sigma_strong * np.sqrt(np.maximum((x if gain is None else gain * x) * m, 0))
        above = (m * q - x).astype(np.float64) > least
        return use & (m >= self.least) & (x >= 0) & (q > threshold) & not_background(m, x, y, gain, self.sigma_background) & above

    def numba(self, plan: Plan, x: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        strong, strong_count, new_status = plan.every_output(out)
        n, (panels, rows, cols) = live_rows(x, live), self.panels_of(x)
        found, limited = dispersion_strips(
            read_only(x.reshape(len(x), panels, rows, cols)), self.host_marks(x, pixel_status), self.host_map(plan, x), self.host_gain(plan, x),
            strong.reshape(len(x), panels, rows, strong.shape[-1]), n, self.kernel_size, self.how(x), np.zeros(1, self.host_sum(x)), 128,
        )
        strong_count[:n] = found
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(limited, np.uint32(Frame.BEYOND_UNIT), np.uint32(0))

    def device(self, plan: Plan, x: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        strong, strong_count, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        self.launch_sums(plan, x, pixel_status, live, strong, strong_count, new_status)
