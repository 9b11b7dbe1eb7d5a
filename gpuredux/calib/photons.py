"""photons = floor(energy / photon_energy + offset), a whole number of a stated type that never wraps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..op import Given, Op, Plan, Spec, carries, frame_of, live_rows
from ..pixelwise import walk
from ..status import FROM_DATA, Pixel
from .photons_numba import photon_tiles


class Whole(NamedTuple):
    """How photons are written: top stands for all that is as many or more, so that it always means saturated."""

    dtype: np.dtype[Any]
    top: int

    @property
    def signed(self) -> bool:
        return self.dtype.kind != "u"

    def defines(self) -> dict[str, Any]:
        """What the kernels must know: the numbers as they are stored, in as many bits as they have."""
        bits = 8 * self.dtype.itemsize
        low, high = (int(self.dtype.type(v).view(f"u{bits // 8}")) for v in ((-self.top if self.signed else 0), self.top))
        return {"PHOTON_BITS": bits, "PHOTON_SIGNED": self.signed, "PHOTON_FLOAT": self.dtype.kind == "f", "PHOTON_TOP": f"{float(self.top)!r}f",
                "PHOTON_HIGH": f"{high}u", "PHOTON_LOW": f"{low}u"}


WHOLE = {name: Whole(np.dtype(name), top) for name, top in (("uint8", 2**8 - 1), ("uint16", 2**16 - 1), ("int32", 2**31 - 1), ("float32", 2**24))}


@dataclass(frozen=True, eq=False)
class Photons(Op):
    """photons = floor(energy * (1 / photon_energy) + offset), each step rounded once in float32; 1 / photon_energy is taken on the host in float64.

    fields: photon_energy [unit of energy], above 0; offset: 0.5 rounds to the nearest number; dtype "uint8", "uint16", "int32" or "float32"
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8, 0 = use; frame_status (n,) u32; live (1,) i32
    out: photons (n, *frame) of dtype: below 0 is 0 for unsigned types; the largest of the type (float32: 2**24, up to which it holds
         every whole number) stands for as many or more photons and for a SATURATED pixel, its negative (signed types) for as few or fewer;
         0 where the pixel status is anything else
         pixel_status (n, *frame) u8, with status=True: the input's; else SATURATED as said, MASKED for an energy of NaN (what a masked
         pixel is where no status tells) or -Inf
         frame_status (n,) u32, when given: with the OR of the pixels' bits that come from the data
    exact: bit-identical on every backend
    source: Jungfrau pipelines, e.g. floor((E + 6.2 keV) / 12.4 keV): Leonarski et al., Struct. Dyn. 7 (2020) 014305
    """

    name: ClassVar[str] = "calib.photons"
    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("photons", "pixel_status")
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status")
    stores: ClassVar[bool] = True
    gives: ClassVar[str] = "photons"
    given_by: ClassVar[str] = "calib/photons.cl"
    hands_on: ClassVar[str] = "photons"
    flags_frames: ClassVar[bool] = True

    photon_energy: float
    offset: float = 0.5
    dtype: str = "uint16"
    status: bool = False

    def __post_init__(self) -> None:
        check_photons(self)
        if not abs(self.number("offset")) <= 2.0**20:
            raise ValueError(f"{self.name}: offset must be a number of photons up to 2**20, got {self.offset}")
        object.__setattr__(self, "offset", self.number("offset") + 0.0)     # no -0

    @property
    def kind(self) -> Whole:
        return WHOLE[self.dtype]

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        return photon_outputs(self, energy, pixel_status, frame_status, live)

    def _steps(self) -> tuple[np.float32, np.float32]:
        """1 / photon_energy and offset."""
        return np.float32(1.0 / self.photon_energy), np.float32(self.offset)

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        photons, new_pixels, new_status = plan.every_output(out)
        inverse, offset = self._steps()
        for f in range(live_rows(energy, live)):
            x = energy[f]
            with np.errstate(over="ignore", invalid="ignore"):
                q = np.floor(x * inverse + offset)
            status = np.where(np.isnan(x) | np.isneginf(x), np.uint8(Pixel.MASKED), np.uint8(0))
            if pixel_status is not None:
                status = np.where(pixel_status[f] == 0, status, pixel_status[f])
            photons[f], status = whole(q, status, self.kind)
            if self.status:
                new_pixels[f] = status
            if new_status is not None:
                new_status[f] = frame_status[f] | np.bitwise_or.reduce(status & FROM_DATA, axis=None)

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        photons, new_pixels, new_status = plan.every_output(out)
        n, shape = live_rows(energy, live), (len(energy), math.prod(energy.shape[1:]))
        given, made = (None if a is None else a.reshape(shape) for a in (pixel_status, new_pixels))
        low = -self.kind.top if self.kind.signed else 0
        flags = photon_tiles(energy.reshape(shape)[:n], given, photons.reshape(shape), made, *self._steps(), np.float32(self.kind.top),
                             self.kind.dtype.type(low), self.kind.dtype.type(self.kind.top), self.kind.signed)
        if new_status is not None:
            new_status[:n] = frame_status[:n] | flags

    def device(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        photons, new_pixels, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        given = Given(flags=True)
        for stage in self.give(plan, (energy, pixel_status), (photons, new_pixels)):
            given.add(*stage)
        if plan.given is not None:
            given.extend(plan.given)
        walk(plan, (energy, pixel_status), energy.shape, None, new_status, live, given, FLAGS=new_status is not None and carries(energy))

    def give(self, plan: Plan, x: tuple[Any, ...], out: tuple[Any, ...]) -> list[tuple[str, str, tuple[Any, ...], dict[str, Any]]]:
        photons, new_pixels = out
        defines = {"PHOTONS_STATUS": x[1] is not None, "PHOTONS_STORED": photons is not None, "PHOTONS_MARKS": new_pixels is not None}
        return [(self.given_by, "GIVE", (photons, new_pixels, *self._steps()), {**defines, **self.kind.defines()})]


def check_photons(op: Any) -> None:
    """What the ops that count photons have in common: photon_energy and dtype."""
    if not isinstance(op.dtype, str) or op.dtype not in WHOLE:
        raise ValueError(f"{op.name}: dtype must be one of {', '.join(WHOLE)}, got {op.dtype!r}")
    value = op.number("photon_energy")
    if not 2.0**-100 <= value <= 2.0**100:
        raise ValueError(f"{op.name}: photon_energy must be 2**-100 to 2**100, got {op.photon_energy}")
    object.__setattr__(op, "photon_energy", value)


def photon_outputs(op: Any, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
    """photons, pixel_status with status=True, frame_status when given."""
    shape = op.require("energy", energy, np.float32, ("n", *frame_of(energy))).shape
    op.require_marks(shape, pixel_status=pixel_status)
    out = [Spec("photons", shape, op.kind.dtype)]
    if op.status:
        out.append(Spec("pixel_status", shape, np.dtype(np.uint8)))
    return (*out, *op.frame_outputs(shape[0], frame_status, live))


def whole(q: np.ndarray, status: np.ndarray, kind: Whole) -> tuple[np.ndarray, np.ndarray]:
    """The numbers q as they are written, and the status with what saturates."""
    good, top = status == 0, np.float32(kind.top)
    high, low = good & (q >= top), good & (q <= (-top if kind.signed else 0))
    inside = good & ~high & ~low
    written = np.where(inside, q, 0).astype(kind.dtype)
    if kind.signed:
        written[low] = -kind.top
        status = np.where(low, np.uint8(Pixel.SATURATED), status)
    status = np.where(high, np.uint8(Pixel.SATURATED), status)
    written[(status == Pixel.SATURATED) & ~(low & kind.signed)] = kind.top
    return written, status
