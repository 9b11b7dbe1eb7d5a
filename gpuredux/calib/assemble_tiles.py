"""image = tiles copied to whole places: panels or ASICs that were snapped to the pixels of the image. No map is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan, live_rows
from ..pixelwise import NAN
from ..status import Pixel
from .assemble import Assemble, AssemblePhotons, Assembly
from .assemble_numba import tile_rows


@dataclass(frozen=True, eq=False)
class AssembleTiles(Assembly):
    """image[start[t] + r * down[t] + c * across[t]] = energy of pixel (r, c) of tile t; fill where no tile lies.

    fields: frame, the shape of a frame of energies, ([panels,] rows, cols); tile (rows, cols), which divides every panel; image (rows, cols), its shape;
            place (tiles, 3) i32: start, down and across, for the tiles of a frame in the order of their first pixels: calib.assembly.snapped_tiles
            makes them of a geometry; fill NaN or 0; status: write image_status
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8; frame_status (n,) u32; live (1,) i32
    out: image (n, rows, cols) f32: the energies as they are, NaN in one form
         image_status (n, rows, cols) u8, with status=True: of the pixel there (0 without pixel_status), GAP between the panels
         frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    raises ValueError for tiles that leave the image or lie over each other: use calib.assemble, whose map says which pixel is seen
    source: the usual fast assembly of modules that are turned by whole quarters: copies of tiles
    """

    name: ClassVar[str] = "calib.assemble_tiles"

    tile: tuple[int, int] = (0, 0)
    image: tuple[int, int] = (0, 0)
    place: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("tile", "image"):
            value = tuple(int(k) for k in getattr(self, field))
            object.__setattr__(self, field, value)
            if len(value) != 2 or min(value) < 1:
                raise ValueError(f"{self.name}: {field} must be (rows, cols), got {value}")
        rows, cols = (*(1,), *self.frame)[-2:]
        if len(self.frame) < 2 or rows % self.tile[0] or cols % self.tile[1]:
            raise ValueError(f"{self.name}: tiles of {self.tile} do not divide panels of {self.frame[-2:]}")
        count = self.npix // math.prod(self.tile)
        place = self.own("place")
        if place.dtype.kind not in "iu" or place.shape != (count, 3):
            raise ValueError(f"{self.name}: place must be whole numbers ({count}, 3), start, down and across of each tile, got {place.dtype} {place.shape}")
        self.own("place", np.int32)
        at = self.targets()
        if at.min() < 0 or at.max() >= math.prod(self.image):
            raise ValueError(f"{self.name}: tiles leave the image {self.image}")
        if len(np.unique(at)) != at.size:
            raise ValueError(f"{self.name}: tiles lie over each other; use calib.assemble, whose map says which pixel is seen")

    @property
    def shape(self) -> tuple[int, int]:
        return self.image

    @property
    def grid(self) -> tuple[int, int, int]:
        """How many tiles: panels, and down and across a panel."""
        rows, cols = self.frame[-2:]
        return math.prod(self.frame[:-2]), rows // self.tile[0], cols // self.tile[1]

    def targets(self) -> np.ndarray:
        """The pixel of the image for each pixel of the frame: (npix,) i64."""
        panels, down, across = self.grid
        place = self.place.astype(np.int64).reshape(panels, down, across, 3)[:, :, None, :, None]
        r, c = np.arange(self.tile[0])[:, None, None], np.arange(self.tile[1])
        at: np.ndarray = place[..., 0] + r * place[..., 1] + c * place[..., 2]
        return at.reshape(-1)

    def variance(self) -> AssembleTiles:
        return AssembleTilesVariance(**{**self._fields(), "status": False})

    def photons(self) -> Assemble:
        """By the map that says the same: photons are not worth a kernel of their own."""
        return AssemblePhotons(frame=self.frame, fill=self.fill, status=self.status, source=self.shown().reshape(self.image))

    def shown(self) -> np.ndarray:
        source = np.full(math.prod(self.image), -1, np.int32)
        source[self.targets()] = np.arange(self.npix)
        return source

    def constants(self) -> dict[str, np.ndarray]:
        left = np.ones(math.prod(self.image), bool)
        left[self.targets()] = False
        return {"place": self.place, "gaps": np.flatnonzero(left).astype(np.int32)}

    def numpy(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        image, image_status, new_status = plan.every_output(out)
        at = self.targets()
        for f in range(live_rows(energy, live)):
            image[f], x = self.gap, energy[f].reshape(-1)
            image[f].reshape(-1)[at] = np.where(np.isnan(x), NAN, x)
            if image_status is not None:
                image_status[f] = Pixel.GAP
                image_status[f].reshape(-1)[at] = 0 if pixel_status is None else pixel_status[f].reshape(-1)
            if new_status is not None:
                new_status[f] = frame_status[f]

    def numba(self, plan: Plan, energy: Any, pixel_status: Any, frame_status: Any, live: Any, *out: Any) -> None:
        image, image_status, new_status = plan.every_output(out)
        n, flat, whole = live_rows(energy, live), (len(energy), self.npix), (len(energy), math.prod(self.shape))
        (panels, down, across), (rows, cols), pitch = self.grid, self.tile, self.frame[-1]
        first = (np.arange(panels)[:, None, None] * down * rows + np.arange(down)[:, None] * rows) * pitch + np.arange(across) * cols
        tiles = np.column_stack([first.reshape(-1), self.place, np.full(len(self.place), pitch)]).astype(np.int64)
        tile_rows(
            energy.reshape(flat)[:n], None if pixel_status is None else pixel_status.reshape(flat), tiles, rows, cols, plan.constants["gaps"],
            image.reshape(whole), None if image_status is None else image_status.reshape(whole), self.gap, np.uint8(Pixel.GAP),
        )
        if new_status is not None:
            new_status[:n] = frame_status[:n]

    def device(self, plan: Plan, *x_and_out: Any) -> None:
        x, out = x_and_out[:4], x_and_out[4:]
        _, down, across = self.grid
        place, gaps = plan.constants["place"], plan.constants["gaps"]
        self.launch(
            plan, "calib/assemble_tiles.cl", "assemble_tiles", self.npix + gaps.shape[0], x, out, (place, gaps),
            TILE_ROWS=f"{self.tile[0]}u", TILE_COLS=f"{self.tile[1]}u", TILES_DOWN=f"{down}u", TILES_ACROSS=f"{across}u",
        )


@dataclass(frozen=True, eq=False)
class AssembleTilesVariance(AssembleTiles):
    """variance at start[t] + r * down[t] + c * across[t] = that of pixel (r, c) of tile t; AssembleTiles.variance() makes it."""

    inputs: ClassVar[tuple[str, ...]] = ("variance", "pixel_status?", "frame_status?", "live?")
    writes: ClassVar[tuple[str, ...]] = ("variance", "image_status")
    loads: ClassVar[tuple[str, ...]] = ("variance", "pixel_status")
