"""energy - common mode of banks, of their rows and of their columns. Over 200 lines: three statistics, and the checks that real constants need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Fused, Op, Plan, Spec, carries, live_rows, vector
from ..status import MOST_PLANES, Frame
from .common_mode_numba import common_mode_banks

TINY = np.finfo(np.float32).tiny
STEPS = ("bank", "rows", "cols")
STATISTICS = ("median", "mean_below", "zero_peak")
MOST_BANK = 2**20       # pixels: the sum of mean_below stays below 2**62
FIXED = 2.0**16         # of mean_below: values are summed as whole multiples of 1 / FIXED
MOST_VALUE = 2.0**26    # what mean_below counts is smaller
TOGETHER = 2**19        # bytes of banks side by side that a block of a CPU takes at once, at most: they stay in its L2 cache
PEAK = 127              # zero_peak's histogram has the bins -PEAK .. PEAK


@dataclass(frozen=True, eq=False)
class CommonMode(Op):
    """energy = ((x - bank mode) - row mode) - column mode, each the statistic of the data as corrected so far; then, with gain, * (1 / gain)[stage].

    fields: bank (rows, cols) of pixels, of an ASIC or a panel; steps: some of "bank", "rows" (of each row of a bank), "cols", in the order wanted;
            good (*frame) bool, True = use; statistic "median", "mean_below" (the mean) or "zero_peak"; threshold: values above it are not counted, but
            corrected; cormax, npix_min: a mode is subtracted where |mode| < cormax and more than npix_min values were counted, in banks, rows
            and columns alike; exclude_stages: gain stages whose pixels are not used; bin_width of zero_peak; gain (planes, *frame) [ADU per
            output unit], one plane for each gain stage; report: give common_mode too. threshold, cormax, bin_width and gain are rounded to float32
    in:  energy (n, [panels,] rows, cols) f32 [ADU]; pixel_status (n, ...) u8, 0 = use; gain_stage (n, ...) u8; frame_status (n,) u32; live (1,) i32
    out: energy (n, [panels,] rows, cols) f32: a pixel is corrected where it is used: good, status 0, stage not excluded, x finite. All others stay bit
         for bit what they were; but gain, where given, converts every pixel of status 0, to NaN if its stage has no plane or its plane no number
         common_mode (n, banks, 1 + rows + cols of a bank) f32, with report=True: what was subtracted, of the bank, its rows, its columns; NaN where
         pixels are used and stay as they are, for too few were counted or |mode| is not below cormax; +0 where no pixel is used, and of steps not
         asked for. Banks are in the order of the frame: panels, then from top to bottom, then from left to right
         frame_status (n,) u32, when given: with NOT_CORRECTED where common_mode has, or would have, a NaN; and with the bits of a per-pixel op that
         was fused in
    exact: bit-identical on every backend, for nothing depends on an order. median: the middle value, of an even count (a + b) * 0.5 of the two, in float32.
           mean_below: float32(float64(sum) / count * 2**-16), sum of the integers rint(x * 2**16), of |x| < 2**26. zero_peak: q * bin_width, q the fullest of
           the bins rint(x * (1 / bin_width)) from -127 to 127; of equals the one nearest zero, of two such the negative one. A mode of -0 is +0
    raises ValueError for a gain that is NaN, Inf or zero in good pixels
    source: the common-mode corrections of LCLS's psana, where banks need one pixel less than their rows and columns do, and one NaN kills a row
    """

    name: ClassVar[str] = "calib.common_mode"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "gain_stage?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy", "common_mode")
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status", "gain_stage")
    stores: ClassVar[bool] = True
    gives: ClassVar[str] = "energy"

    bank: tuple[int, int]
    steps: tuple[str, ...] = STEPS
    good: np.ndarray | None = None
    cormax: float = math.inf
    npix_min: int = 10
    statistic: str = "median"
    threshold: float = math.inf
    exclude_stages: tuple[int, ...] = ()
    bin_width: float = 1.0
    gain: np.ndarray | None = None
    report: bool = False

    def __post_init__(self) -> None:
        self._check_choices()
        for field, low in (("cormax", 0.0), ("threshold", -math.inf), ("bin_width", float(TINY))):
            if not self.number(field) >= low:
                raise ValueError(f"{self.name}: {field} must be a number from {low} on, got {getattr(self, field)}")
        if not self.bin_width <= 1e30:
            raise ValueError(f"{self.name}: bin_width must be at most 1e30, got {self.bin_width}")
        if not 0 <= self.number("npix_min", whole=True) < 2**31:
            raise ValueError(f"{self.name}: npix_min must be 0 to 2**31 - 1, got {self.npix_min}")
        if self.good is not None:
            good = np.asarray(self.good)
            if good.dtype != bool or good.ndim not in (2, 3):
                raise ValueError(f"{self.name}: good must be bool ([panels,] rows, cols), True = use the pixel, got {good.dtype} {good.shape}")
            self.own("good")
        if self.gain is not None:
            self._check_gain()

    def _check_choices(self) -> None:
        bank = tuple(self.bank) if isinstance(self.bank, (tuple, list)) else ()
        if len(bank) != 2 or any(isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1 for k in bank) or math.prod(bank) > MOST_BANK:
            raise ValueError(f"{self.name}: bank must be (rows, cols), whole numbers from 1 on and at most {MOST_BANK} pixels, got {self.bank!r}")
        steps = (self.steps,) if isinstance(self.steps, str) else tuple(self.steps)
        if not steps or len(set(steps)) < len(steps) or not set(steps) <= set(STEPS):
            raise ValueError(f"{self.name}: steps must be some of {', '.join(STEPS)}, each once, got {self.steps!r}")
        self.one_of("statistic", *STATISTICS)
        stages = tuple(self.exclude_stages)
        if any(isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 0 <= k < MOST_PLANES for k in stages):
            raise ValueError(f"{self.name}: exclude_stages must be gain stages of 0 to {MOST_PLANES - 1}, got {self.exclude_stages!r}")
        object.__setattr__(self, "bank", (int(bank[0]), int(bank[1])))
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "exclude_stages", tuple(int(k) for k in stages))

    def _check_gain(self) -> None:
        gain = self.own("gain", np.float32)
        if gain.ndim not in (3, 4) or (self.good is not None and gain.shape[1:] != self.good.shape):
            raise ValueError(f"{self.name}: gain must be (planes, [panels,] rows, cols), like good, got {gain.shape}")
        self.require_planes("gain", gain)
        bad = np.isnan(self._factor()) & (True if self.good is None else self.good)
        if bad.any():
            first = tuple(int(k) for k in np.argwhere(bad)[0])
            raise ValueError(f"{self.name}: {int(bad.any(axis=0).sum())} good pixels have a gain that is NaN, Inf or 0, or 1 / gain is no normal float32;"
                             f" the first is {first} (plane, pixel): {gain[first]}; mask them with good=")

    def _factor(self) -> np.ndarray:
        """1 / gain, NaN where that is no normal number."""
        assert self.gain is not None
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            factor = (1.0 / self.gain.astype(np.float64)).astype(np.float32)
            usable = np.isfinite(self.gain) & np.isfinite(factor) & (np.abs(factor) >= TINY)
        found: np.ndarray = np.where(usable, factor, np.float32(np.nan))
        return found

    def constants(self) -> dict[str, np.ndarray]:
        held = {} if self.good is None else {"good": self.good.view(np.uint8)}
        return held if self.gain is None else held | {"factor": self._factor()}

    @property
    def frame(self) -> tuple[int, ...]:
        """The shape of one frame, () where no constant says it."""
        return self.good.shape if self.good is not None else self.gain.shape[1:] if self.gain is not None else ()

    @property
    def excluded(self) -> np.uint32:
        """exclude_stages as bits: MOST_PLANES of them."""
        return np.uint32(sum(1 << k for k in set(self.exclude_stages)))

    def outputs(self, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        panels = ("panels",) if len(getattr(energy, "shape", ())) == 4 else ()
        n, *frame = self.require("energy", energy, np.float32, ("n", *(self.frame or (*panels, "rows", "cols")))).shape
        if any(k % b or not k for k, b in zip(frame[-2:], self.bank, strict=True)):
            raise ValueError(f"{self.name}: frames must be whole banks of {self.bank}, got {tuple(frame)}; cut the frame, or mask a bank's rest with good=")
        self.require_marks((n, *frame), pixel_status=pixel_status, gain_stage=gain_stage)
        if gain_stage is None and (self.exclude_stages or (self.gain is not None and len(self.gain) > 1)):
            raise ValueError(f"{self.name}: exclude_stages and gains of several planes need the input gain_stage uint8 {(n, *frame)}")
        f32, (rows, cols) = np.dtype(np.float32), self.bank
        out = [Spec("energy", (n, *frame), f32)]
        if self.report:
            out.append(Spec("common_mode", (n, math.prod(frame) // (rows * cols), 1 + rows + cols), f32))
        return *out, *self.frame_outputs(n, frame_status, live)

    # ------------------------------------------------------------------------------------------------ the specification
    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, *out: Any) -> None:
        corrected, modes, new_status = plan.every_output(out)
        rows, cols = self.bank
        for f in range(live_rows(energy, live)):
            status = np.uint8(0) if pixel_status is None else pixel_status[f]
            stage = np.zeros(energy[f].shape, np.uint8) if gain_stage is None else gain_stage[f]
            used = np.isfinite(energy[f]) & (status == 0) & ~np.isin(stage, self.exclude_stages)
            if self.good is not None:
                used &= plan.constants["good"] != 0
            x, use = self._banks(energy[f]), self._banks(used)
            said = np.zeros((len(x), 1 + rows + cols), np.float32)
            with np.errstate(over="ignore", invalid="ignore"):
                for step in self.steps:
                    if step == "bank":
                        m, said[:, 0] = self._modes(x.reshape(-1, rows * cols), use.reshape(-1, rows * cols))
                        x = x - m[:, None, None]
                    elif step == "rows":
                        m, said[:, 1 : 1 + rows] = self._modes(x, use)
                        x = x - m[:, :, None]
                    else:
                        m, said[:, 1 + rows :] = self._modes(x.swapaxes(1, 2), use.swapaxes(1, 2))
                        x = x - m[:, None, :]
                corrected[f] = np.where(used, self._frame(x, energy[f].shape), energy[f])
                if self.gain is not None:
                    y = self._convert(corrected[f], stage, plan.constants["factor"])
                    corrected[f] = np.where(status == 0, y, corrected[f])
            if modes is not None:
                modes[f] = said
            if new_status is not None:
                new_status[f] = frame_status[f] | (Frame.NOT_CORRECTED if np.isnan(said).any() else 0)

    def _banks(self, frame: np.ndarray) -> np.ndarray:
        """(banks, rows, cols) of a frame."""
        (rows, cols), width = self.bank, frame.shape[-1]
        return frame.reshape(-1, rows, width // cols, cols).swapaxes(1, 2).reshape(-1, rows, cols)

    def _frame(self, banks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        (rows, cols), width = self.bank, shape[-1]
        return banks.reshape(-1, width // cols, rows, cols).swapaxes(1, 2).reshape(shape)

    def _modes(self, x: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is subtracted from each group, the last axis, and what is said of it."""
        cormax, threshold, *_ = self._limits()
        counted = used & (x <= threshold)
        mode, n = {"median": _median, "mean_below": _mean, "zero_peak": self._peak}[self.statistic](x, counted)
        fits = (n > self.npix_min) & (np.abs(mode) < cormax)
        subtracted = np.where(fits, mode + np.float32(0), np.float32(0))
        return subtracted, np.where(fits | ~used.any(axis=-1), subtracted, np.float32(np.nan))

    def _peak(self, x: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width, inverse = self._limits()[2:]
        q = np.rint(x * inverse)
        counted = counted & (np.abs(q) <= PEAK)
        order = sorted(range(-PEAK, PEAK + 1), key=lambda b: (abs(b), b))       # 0, -1, 1, -2 ...: argmax takes the first of equals
        count = np.stack([(counted & (q == b)).sum(axis=-1) for b in order], axis=-1)
        return np.array(order, np.float32)[count.argmax(axis=-1)] * width, counted.sum(axis=-1)

    def _limits(self) -> tuple[np.float32, np.float32, np.float32, np.float32]:
        """cormax, threshold, the width of zero_peak's bins, and 1 / it."""
        with np.errstate(over="ignore"):
            width = np.float32(self.bin_width)
            return np.float32(self.cormax), np.float32(self.threshold), width, np.float32(1.0 / float(width))

    def _convert(self, x: np.ndarray, stage: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """x * (1 / gain)[stage], every NaN the same one."""
        k = np.take_along_axis(factor, np.minimum(stage, len(factor) - 1)[None], axis=0)[0]
        y = np.where(stage < len(factor), x * k, np.float32(np.nan))
        y[np.isnan(y)] = np.nan
        return y

    # ------------------------------------------------------------------------------------------------------- the others
    def numba(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, *out: Any) -> None:
        corrected, modes, new_status = plan.every_output(out)
        n, npix = live_rows(energy, live), math.prod(energy.shape[1:])
        held = plan.constants
        nothing = np.empty((n, 0), np.uint8)
        nothing.setflags(write=energy.flags.writeable)      # of one type with what may be there
        flat = [nothing if a is None else a.reshape(len(energy), npix)[:n] for a in (energy, pixel_status, gain_stage, corrected)]
        good = held["good"].reshape(-1) if "good" in held else np.frombuffer(b"", np.uint8)
        factor = held["factor"].reshape(-1, npix) if "factor" in held else np.empty((0, 0), np.float32)
        left = np.zeros(0 if new_status is None else n, np.bool_)
        common_mode_banks(
            *flat, np.empty((n, 0, 0), np.float32) if modes is None else modes[:n], left, good, factor, (*self.bank, energy.shape[-1]),
            np.array([STEPS.index(s) for s in self.steps]),
            STATISTICS.index(self.statistic), self.excluded, self._limits(), self.npix_min,
        )
        if new_status is not None:
            new_status[:n] = frame_status[:n] | np.where(left, np.uint32(Frame.NOT_CORRECTED), np.uint32(0))

    def device(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, *out: Any) -> None:
        corrected, modes, new_status = plan.every_output(out)
        n, npix, width, (rows, cols) = energy.shape[0], math.prod(energy.shape[1:]), energy.shape[-1], self.bank
        plan.start_status(frame_status, new_status, live)
        carry = new_status is not None and carries(energy)    # the fused op's own status pass may be gone: carry its bits
        banks = npix // (rows * cols)
        good, factor = plan.constants.get("good"), plan.constants.get("factor")
        stages = (len(energy.stages) if isinstance(energy, Fused) else 1) + (self.gain is not None) + (len(plan.given.stages) if plan.given else 0)
        shared, defines = self._layout(plan, width, stages)
        stored, given = corrected is not None, plan.given
        if corrected is None and (defines["IN_GLOBAL"] or defines["TOGETHER"] > 1):     # nobody wants it, but that is where banks lie
            if "banks" not in plan.scratch:
                plan.scratch["banks"] = plan.backend.empty(tuple(energy.shape), np.float32, plan.device, plan.stream)
            corrected = plan.scratch["banks"]
        elif corrected is None and given is not None:
            corrected = given.some
        optional = [corrected if a is None else a for a in (good, factor, modes, new_status, live)]
        limits = (*self._limits(), *(np.uint32(k) for k in (self.npix_min, n, npix, width)))
        plan.launch(
            "calib/common_mode.cl", "common_mode", (n * banks // int(defines["TOGETHER"]),), int(defines["THREADS"]), (*optional, corrected, *limits),
            load=(energy, pixel_status, gain_stage), shared=shared, give=given, VECTOR=vector(npix, plan.device.vector),
            STATUS=pixel_status is not None, STAGES=gain_stage is not None, EXCLUDED=f"{self.excluded}u", GOOD=good is not None,
            PLANES=0 if self.gain is None else len(self.gain),
            REPORT=modes is not None, FRAME_STATUS=new_status is not None, CARRY_STATUS=carry, LIVE=live is not None, STORED=stored,
            GIVE_FLAGS=given is not None and given.flags and new_status is not None, **defines,
        )

    def _layout(self, plan: Plan, width: int, stages: int) -> tuple[int, dict[str, Any]]:
        """The bytes of SHARED, and how the kernel lays a bank out: in SHARED, or where that is too small, in the output. stages: that a pixel goes through."""
        rows, cols = self.bank
        turned = plan.device.vector == 1        # the compiler makes vectors of the threads: a block is one vector
        threads = 16 if turned else min(256, max(64, -(-max(rows, cols) // 32) * 32))
        lead = -(-cols // 16) * 16 if turned else cols | 1
        words = -(-rows * lead // threads) * threads + turned * (lead * threads + rows)
        room = plan.device.shared - 24 * threads - 2048     # less the kernel's own SHARED arrays, at most
        in_global = 4 * words + 16 > room
        blocks = 65536 // ((96 if stages < 3 and plan.given is None else 128) * threads)     # on a multiprocessor at once: so many registers are enough
        if not in_global:
            blocks = max(1, min(blocks, plan.device.shared // (plan.device.shared - room + 4 * words)))
        fits = min(TOGETHER, 4 * (room - 16 - 4 * words)) // (4 * rows * cols) if turned and not in_global else 1
        together = max(k for k in range(1, width // cols + 1) if width // cols % k == 0 and k <= max(fits, 1))
        shared = -(-(4 * words + (together > 1) * together * rows * cols) // 16) * 16
        return 0 if in_global else shared, {
            "ROWS": f"{rows}u", "COLS": f"{cols}u", "LEAD": f"{lead}u", "TURNED": turned and not in_global, "TOGETHER": together,
            "PARTS": 1 if turned or self.statistic != "median" else max(1, min(8, threads // cols)), "THREADS": threads, "BLOCKS_AT_LEAST": blocks,
            "IN_GLOBAL": in_global, "STATISTIC": STATISTICS.index(self.statistic),
            **dict(zip(("FIRST_STEP", "SECOND_STEP", "THIRD_STEP"), [f"step_{s}" for s in (*self.steps, "none", "none")], strict=False)),
        }


def _median(x: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = counted.sum(axis=-1)
    ordered = np.sort(np.where(counted, x, np.float32(np.nan)), axis=-1)       # NaN last
    low, high = (np.take_along_axis(ordered, k[..., None], axis=-1)[..., 0] for k in (np.maximum(n - 1, 0) // 2, n // 2))
    return np.where(n % 2 == 1, low, (low + high) * np.float32(0.5)), n


def _mean(x: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counted = counted & (np.abs(x) < np.float32(MOST_VALUE))
    total = np.where(counted, np.rint(x * np.float32(FIXED)), np.float32(0)).astype(np.int64).sum(axis=-1)
    n = counted.sum(axis=-1)
    return (total.astype(np.float64) / np.maximum(n, 1) / FIXED).astype(np.float32), n
