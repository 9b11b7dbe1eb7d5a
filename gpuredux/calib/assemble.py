"""image = the panels of a frame at their places, by an inverse map: each pixel is written once. Over 200 lines: with what all ways share, and photons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Op, Plan, Spec, bits_define, carries, frame_grid, live_rows
from ..pixelwise import NAN
from ..status import Pixel
from .assemble_numba import assemble_rows, photon_rows
from .photons import WHOLE


@dataclass(frozen=True, eq=False)
class Assembly(Op):
    """What the three ways of assembling have in common: panels in, an image out. A subclass gives shape (of the image) and the implementations.

    variance() and photons() are the same image of these two, inputs of their own."""

    inputs: ClassVar[tuple[str, ...]] = ("energy", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("image", "image_status")
    loads: ClassVar[tuple[str, ...]] = ("energy", "pixel_status")
    dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    given_by: ClassVar[str] = "calib/place.cl"
    given_constants: ClassVar[bool] = False     # it goes by give_tables

    frame: tuple[int, ...] = ()
    fill: float = math.nan
    status: bool = False

    def check_update(self, new: Op) -> None:
        raise ValueError(f"{self.name}: where pixels go is part of the plan: make another op for another geometry")

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", tuple(int(k) for k in self.frame))
        if not self.frame or min(self.frame) < 1:
            raise ValueError(f"{self.name}: frame must be the shape of one frame of energies, got {self.frame}")
        self.zero_or_nan("fill")

    @property
    def shape(self) -> tuple[int, int]:
        """Of the image."""
        raise NotImplementedError

    @property
    def npix(self) -> int:
        return math.prod(self.frame)

    @property
    def gap(self) -> np.float32:
        """What is written where no pixel lies."""
        return NAN if np.isnan(self.fill) else np.float32(0)

    def variance(self) -> Assembly:
        """The op that makes of variance (n, *frame) f32 that of the image, variance (n, rows, cols), of pixels that are independent of each other."""
        raise NotImplementedError

    def photons(self) -> Assembly:
        """The op that takes photons (n, *frame) of calib.Photons instead of energy, image being of their dtype; gaps are 0 in whole numbers."""
        raise NotImplementedError

    def shown(self) -> np.ndarray:
        """For each pixel of the image the one that it shows, -1 = none: (rows * cols,) i32."""
        raise NotImplementedError

    def give_tables(self) -> dict[str, np.ndarray]:
        """The places of each pixel of the frame, side by side: target[first[pixel]] up to first[pixel + 1]; the gaps of the image."""
        shown = self.shown()
        order, gaps = np.argsort(shown, kind="stable").astype(np.int32), int(np.count_nonzero(shown < 0))
        first = np.concatenate([[0], np.cumsum(np.bincount(shown[shown >= 0], minlength=self.npix))]).astype(np.int32)
        return {"first": first, "target": np.append(order[gaps:], np.int32(0)), "gaps": np.append(order[:gaps], np.int32(-1))}      # none is empty

    def give(self, plan: Plan, x: tuple[Any, ...], out: tuple[Any, ...]) -> list[tuple[str, str, tuple[Any, ...], dict[str, Any]]]:
        value, pixel_status, _, live = x
        image, image_status = out
        marks, gaps, n, frames = image if image_status is None else image_status, plan.scratch["gaps"], value.shape[0], plan.device.frames
        given = {"PLACE_PIXELS": f"{math.prod(self.shape)}u", "PLACE_STATUS": image_status is not None}
        plan.launch(
            "calib/assemble_gaps.cl", "assemble_gaps", frame_grid(n, gaps.shape[0], 1, frames), 128,
            (image, marks, image if live is None else live, gaps, np.uint32(n), np.uint32(gaps.shape[0])), VECTOR=1, FRAMES=f"{frames}u",
            LIVE=live is not None, GAP_BITS=8 * np.dtype(value.dtype).itemsize, GAP_VALUE=self.gap_bits(np.dtype(value.dtype)), **given,
        )
        return [(self.given_by, "GIVE", (image, marks, plan.scratch["first"], plan.scratch["target"]),
                 {**given, "PLACE_MARKED": pixel_status is not None, "PLACE_PHOTONS": self.inputs[0] == "photons"})]

    def gap_bits(self, dtype: np.dtype[Any]) -> str:
        """gap as a define, by its bits."""
        return bits_define(self.gap) if dtype.kind == "f" else "0u"

    def outputs(self, energy: Any, pixel_status: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        given = self.require(self.inputs[0], energy, self.dtypes, ("n", *self.frame))
        n = given.shape[0]
        self.require_marks((n, *self.frame), pixel_status=pixel_status)
        out = [Spec(self.writes[0], (n, *self.shape), given.dtype)]
        if self.status:
            out.append(Spec("image_status", (n, *self.shape), np.dtype(np.uint8)))
        return (*out, *self.frame_outputs(n, frame_status, live))

    def launch(self, plan: Plan, file: str, kernel: str, threads: int, x: tuple[Any, ...], out: tuple[Any, ...], args: tuple[Any, ...], **defines: Any) -> None:
        """The kernel of a subclass, a thread for each of `threads` pixels over groups of frames; args: its own, behind the outputs."""
        energy, pixel_status, frame_status, live = x
        image, image_status, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        flags = new_status is not None and carries(energy)
        optional = [image if a is None else a for a in (image_status, new_status if flags else None, live)]
        n, frames = energy.shape[0], plan.device.frames
        counts = (np.uint32(n), np.uint32(self.npix), np.uint32(threads))
        plan.launch(
            file, kernel, frame_grid(n, threads, 1, frames), 128, (image, *optional, *args, *counts), load=(energy, pixel_status),
            VECTOR=1, FRAMES=f"{frames}u", IMAGE_STATUS=self.status, USE_STATUS=pixel_status is not None, FLAGS=flags, LIVE=live is not None,
            GAP_VALUE=bits_define(self.gap), IMAGE_PIXELS=f"{math.prod(self.shape)}u", **defines,
        )


@dataclass(frozen=True, eq=False)
class Assemble(Assembly):
    """image[j] = energy[source[j]], or fill where source[j] is -1.

    fields: frame, the shape of a frame of energies; source (rows, cols) i32, for each pixel of the image the number of its pixel in the frame, -1 = gap:
            calib.assembly.by_map makes it of a geometry; fill NaN or 0; status: write image_status
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8; frame_status (n,) u32; live (1,) i32
    out: image (n, rows, cols) f32: the energies as they are, NaN in one form
         image_status (n, rows, cols) u8, with status=True: of the pixel there (0 without pixel_status), GAP between the panels
         frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    source: gather by an inverse map, one read a pixel of the image; of the pixels that lie over each other the map has one
    """

    name: ClassVar[str] = "calib.assemble"

    source: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        source = self.own("source")
        if source.dtype.kind not in "iu" or source.ndim != 2 or source.size == 0:
            raise ValueError(f"{self.name}: source must be whole numbers (rows, cols), got {source.dtype} {source.shape}")
        if source.min() < -1 or source.max() >= self.npix:
            raise ValueError(f"{self.name}: source must hold pixels 0 to {self.npix - 1} of frames {self.frame}, or -1; got {source.min()} to {source.max()}")
        self.own("source", np.int32)

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape[0], self.source.shape[1]

    def shown(self) -> np.ndarray:
        return self.source.reshape(-1)

    def variance(self) -> Assemble:
        return AssembleVariance(**{**self._fields(), "status": False})

    def photons(self) -> Assemble:
        return AssemblePhotons(**self._fields())

    def constants(self) -> dict[str, np.ndarray]:
        """The map, and behind it the pixels of the frame that the image lacks: a fused kernel reads them for the frame's status."""
        seen = np.zeros(self.npix, bool)
        seen[self.source[self.source >= 0]] = True
        return {"source": np.concatenate([self.source.reshape(-1), np.flatnonzero(~seen).astype(np.int32)])}

    _rows: ClassVar[Any] = staticmethod(assemble_rows)

    def _moved(self, x: np.ndarray) -> np.ndarray:
        """What the image has of a pixel: every NaN the same one."""
        one: np.ndarray = np.where(np.isnan(x), NAN, x)
        return one

    def _gap(self, dtype: np.dtype[Any]) -> Any:
        return self.gap

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        image, image_status, new_status = plan.every_output(out)
        there = self.source >= 0
        for f in range(live_rows(energy, live)):
            image[f] = np.where(there, self._moved(energy[f].reshape(-1)[self.source]), self._gap(energy.dtype))
            if image_status is not None:
                of_pixel = 0 if pixel_status is None else pixel_status[f].reshape(-1)[self.source]
                image_status[f] = np.where(there, of_pixel, np.uint8(Pixel.GAP))
            if new_status is not None:
                new_status[f] = frame_status[f]

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        image, image_status, new_status = plan.every_output(out)
        n, flat, whole = live_rows(energy, live), (len(energy), self.npix), (len(energy), math.prod(self.shape))
        self._rows(
            energy.reshape(flat)[:n], None if pixel_status is None else pixel_status.reshape(flat), self.source.reshape(-1), image.reshape(whole),
            None if image_status is None else image_status.reshape(whole), self._gap(energy.dtype), np.uint8(Pixel.GAP),
        )
        if new_status is not None:
            new_status[:n] = frame_status[:n]

    def device(self, plan: Plan, *x_and_out: Any) -> None:
        x, out = x_and_out[:4], x_and_out[4:]
        threads = plan.constants["source"].shape[0] if carries(x[0]) else self.source.size
        self.launch(plan, "calib/assemble.cl", "assemble", threads, x, out, (plan.constants["source"],))


@dataclass(frozen=True, eq=False)
class AssembleVariance(Assemble):
    """variance[j] = variance[source[j]]: calib.assemble on a variance; Assemble.variance() makes it."""

    inputs: ClassVar[tuple[str, ...]] = ("variance", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("variance", "image_status")
    loads: ClassVar[tuple[str, ...]] = ("variance", "pixel_status")


@dataclass(frozen=True, eq=False)
class AssemblePhotons(Assemble):
    """image[j] = photons[source[j]], of their dtype, 0 in the gaps of whole numbers and fill in those of float32; Assemble.photons() makes it."""

    inputs: ClassVar[tuple[str, ...]] = ("photons", "pixel_status?", "frame_status?", "live?")
    loads: ClassVar[tuple[str, ...]] = ()
    dtypes: ClassVar[tuple[str, ...]] = tuple(WHOLE)

    def constants(self) -> dict[str, np.ndarray]:
        return {"source": self.source.reshape(-1)}

    _rows: ClassVar[Any] = staticmethod(photon_rows)

    def _moved(self, x: np.ndarray) -> np.ndarray:
        return x

    def _gap(self, dtype: np.dtype[Any]) -> Any:
        return self.gap if dtype.kind == "f" else dtype.type(0)

    def device(self, plan: Plan, photons: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        image, image_status, new_status = plan.every_output(out)
        plan.start_status(frame_status, new_status, live)
        n, pixels, frames, kind = photons.shape[0], self.source.size, plan.device.frames, np.dtype(photons.dtype)
        optional = [image if a is None else a for a in (pixel_status, image_status, live)]      # image stands in where the kernel never looks
        plan.launch(
            "calib/assemble.cl", "assemble_photons", frame_grid(n, pixels, 1, frames), 128,
            (photons, image, *optional, plan.constants["source"], np.uint32(n), np.uint32(self.npix), np.uint32(pixels)), VECTOR=1, FRAMES=f"{frames}u",
            PHOTON_BITS=8 * kind.itemsize, IMAGE_STATUS=image_status is not None, USE_STATUS=pixel_status is not None, LIVE=live is not None,
            GAP_VALUE=self.gap_bits(kind),
        )
