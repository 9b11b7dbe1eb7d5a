"""Pixelwise: what ops have in common that change each pixel by itself, with constants of the pixel and of its gain stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .op import Fused, Given, Op, Plan, Spec, carries, frame_grid, frame_of, live_rows, nbytes, vector

NAN = np.float32(np.nan)    # the one NaN that is ever written: what arithmetic makes of one differs between devices


@dataclass(frozen=True, eq=False)
class Pixelwise(Op):
    """output = f(energy) of each pixel whose status is 0; the others stay as they are. A step of LOAD: any kernel that loads energies takes it in.

    A subclass gives frame and planes, value (numpy), rows (numba) and, in its .cl, STEM_APPLY for pixel()."""

    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "gain_stage?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("energy",)
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status", "gain_stage")
    stores: ClassVar[bool] = True
    pixel_output: ClassVar[str] = "energy"
    given_by: ClassVar[str] = "keep.cl"

    # ------------------------------------------------------------------ what a subclass defines
    @property
    def frame(self) -> tuple[int, ...] | None:
        """The shape of one frame; None takes any."""
        raise NotImplementedError

    def left(self, x: np.ndarray) -> np.ndarray:
        """What pixels with a status give: by default they stay as they are."""
        return x

    @property
    def planes(self) -> int:
        """For how many gain stages there are constants; with more than one, gain_stage must be given, and a stage beyond them is an error of the chain."""
        raise NotImplementedError

    def value(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> np.ndarray:
        """f of one frame, x f32 and stage as an index; NaN of any kind."""
        raise NotImplementedError

    def rows(self, constants: dict[str, np.ndarray], energy: np.ndarray, status: np.ndarray | None, stage: np.ndarray | None, out: np.ndarray) -> None:
        """The same for energy (n, npix), in parallel."""
        raise NotImplementedError

    def stage(self, plan: Plan, frame: tuple[int, ...]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """The .cl, the arguments of its STEM_PARAMS, its defines."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what every such op has
    def outputs(self, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        shape = self.require("energy", energy, np.float32, ("n", *(self.frame or frame_of(energy)))).shape
        self.require_marks(shape, pixel_status=pixel_status, gain_stage=gain_stage)
        if self.planes > 1 and gain_stage is None:
            raise ValueError(f"{self.name}: constants of {self.planes} gain stages need the input gain_stage uint8 {shape}: calib.Gain(gain_stage=True)")
        return (Spec(self.pixel_output, shape, np.dtype(np.float32)), *self.frame_outputs(shape[0], frame_status, live))

    def traffic(self, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any) -> int:
        read = nbytes(energy, pixel_status, gain_stage if self.planes > 1 else None, frame_status, live)
        first = nbytes(*self.constants().values()) // self.planes       # what every frame needs: the constants of one stage
        return read + nbytes(*self.outputs(energy, pixel_status, gain_stage, frame_status, live)) + first

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, out: Any, new_status: Any = None) -> None:
        for f in range(live_rows(energy, live)):
            stage = np.zeros(energy[f].shape, np.intp) if self.planes == 1 else np.minimum(gain_stage[f], self.planes - 1).astype(np.intp)
            with np.errstate(over="ignore", invalid="ignore"):      # Inf, and NaN of Inf, are what f gives
                y = self.value(plan.constants, energy[f], stage)
            y = np.where(np.isnan(y), NAN, y)
            out[f] = y if pixel_status is None else np.where(pixel_status[f] == 0, y, self.left(energy[f]))
        if new_status is not None:
            n = live_rows(energy, live)
            new_status[:n] = frame_status[:n]

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, out: Any, new_status: Any = None) -> None:
        n, shape = live_rows(energy, live), (len(energy), math.prod(energy.shape[1:]))
        status, stage = (None if a is None else a.reshape(shape)[:n] for a in (pixel_status, gain_stage if self.planes > 1 else None))
        self.rows(plan.constants, energy.reshape(shape)[:n], status, stage, out.reshape(shape)[:n])
        if new_status is not None:
            new_status[:n] = frame_status[:n]

    def device(self, plan: Plan, energy: Any, pixel_status: Any, gain_stage: Any, frame_status: Any, live: Any, out: Any, new_status: Any = None) -> None:
        flags = new_status is not None and carries(energy)    # the fused op's own status pass may be gone: carry its bits
        plan.start_status(frame_status, new_status, live)
        write_pixels(plan, (energy, pixel_status, gain_stage, frame_status, live), out, None, None, new_status if flags else None, live)

    def pixel(self, plan: Plan, energy: Any, pixel_status: Any, *x: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        file, args, defines = self.stage(plan, tuple(energy.shape[1:]))
        stem = file.rpartition("/")[2].removesuffix(".cl").upper()
        return file, args, {f"{stem}_STATUS": pixel_status is not None, f"{stem}_PLANES": self.planes, **{f"{stem}_{k}": v for k, v in defines.items()}}

    def give(self, plan: Plan, x: tuple[Any, ...], out: tuple[Any, ...]) -> list[tuple[str, str, tuple[Any, ...], dict[str, Any]]]:
        file, args, defines = self.pixel(plan, *x)
        step = [(file, "APPLY", args, defines)]
        return step if out[0] is None else [*step, (self.given_by, "GIVE", (out[0],), {})]


def of_stage(planes: np.ndarray, stage: np.ndarray) -> np.ndarray:
    """(*frame): of constants (planes, *frame), those of each pixel's stage. np.choose would do, for up to 31 planes."""
    found: np.ndarray = np.take_along_axis(planes, stage[None], axis=0)[0]
    return found


def write_pixels(plan: Plan, x: tuple[Any, ...], energy: Any, pixel_status: Any, gain_stage: Any, new_status: Any, live: Any) -> None:
    """On a device: energy, and of the others what is there, as the op's device function gives them of the op's inputs x."""
    marks = {k: a for k, a in (("pixel_status", pixel_status), ("gain_stage", gain_stage)) if a is not None}
    load = Fused(plan, x, marks)
    walk(plan, load, energy.shape, energy, new_status, live, FLAGS=new_status is not None, BLOCKS_AT_LEAST=4 if len(load.stages) < 4 else 3)


def walk(plan: Plan, load: Any, shape: tuple[int, ...], energy: Any, new_status: Any, live: Any, given: Given | None = None, **defines: Any) -> None:
    """The kernel that takes in what load gives, and stores it as energy, if that is there, or leaves it to what it is given to."""
    n, npix, wide, frames = shape[0], math.prod(shape[1:]), plan.device.vector, plan.device.frames
    some = given.some if energy is None and given is not None else energy       # stands in where the kernel never looks
    optional = [some if a is None else a for a in (energy, new_status, live)]
    plan.launch(
        "pixelwise.cl", "pixelwise", frame_grid(n, npix, wide, frames), 128, (*optional, np.uint32(n), np.uint32(npix)), load=load, give=given,
        VECTOR=vector(npix, wide), FRAMES=f"{frames}u", LIVE=live is not None, STORED=energy is not None,
        GIVE_FLAGS=given is not None and given.flags and new_status is not None, **defines,
    )
