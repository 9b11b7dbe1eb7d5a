"""energy = table[which][x]: the nonlinear response of a detector, or of each ASIC, by table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import Plan
from ..pixelwise import Pixelwise
from .pixelwise_numba import look_up_rows


@dataclass(frozen=True, eq=False)
class LookUp(Pixelwise):
    """energy = a + (b - a) * (u - i), a and b the table's nodes i and i + 1, u = (x - start) * (1 / step), i = floor(u); each step rounded once in float32.

    For whole x and start, and step 1, these are the nodes themselves: a table of every adc is read after calib.Gain with pedestal 0 and adu=True.
    fields: table (planes, tables, nodes) of 2 to 65536 nodes, rounded to float32, finite; which (*frame) u8; start and
            step of the nodes [the unit of energy]; beyond the ends the last two nodes are extended in a straight line
    in:  energy (n, *frame) f32; pixel_status (n, *frame) u8: pixels with a status stay as they are; gain_stage (n, *frame) u8, needed with planes > 1
         (a stage beyond the planes takes the last one); frame_status (n,) u32; live (1,) i32
    out: energy (n, *frame) f32, NaN in one form; frame_status (n,) u32, when given: unchanged
    exact: bit-identical on every backend
    source: linear interpolation in a table; of the adc, the usual correction of DEPFET detectors, whose response is nonlinear by design
    """

    name: ClassVar[str] = "calib.look_up"
    sloping: ClassVar[bool] = False     # the slope is written

    table: np.ndarray
    which: np.ndarray
    start: float = 0.0
    step: float = 1.0

    def __post_init__(self) -> None:
        table = self.own("table", np.float32)
        if table.ndim != 3 or not 1 <= table.shape[1] <= 256 or not 2 <= table.shape[2] <= 65536 or not np.isfinite(table).all():
            raise ValueError(f"{self.name}: table must be finite (planes, tables, nodes), 1 to 256 tables of 2 to 65536 nodes, got {table.shape}")
        self.require_planes("table", table)
        which = self.own("which")
        if which.dtype != np.uint8 or which.ndim < 1 or which.size == 0 or which.max() >= table.shape[1]:
            raise ValueError(f"{self.name}: which must be uint8 (*frame) below {table.shape[1]}, the number of tables, got {which.dtype} {which.shape}"
                             + (f" up to {which.max()}" if which.size else ""))
        step = np.float64(self.number("step"))
        if not np.isfinite(np.float32(self.number("start"))):
            raise ValueError(f"{self.name}: start must be finite, got {self.start}")
        if not (step > 0 and np.isfinite(np.float32(1 / step)) and np.float32(1 / step) > 0):
            raise ValueError(f"{self.name}: step must be above 0 and 1 / step a float32, got {self.step}")

    def slope(self) -> LookUp:
        """The op that writes slope (n, *frame) f32, (b - a) * (1 / step) of each pixel's nodes: what its errors are multiplied by."""
        return LookUpSlope(**self._fields())

    @property
    def frame(self) -> tuple[int, ...]:
        return self.which.shape

    @property
    def planes(self) -> int:
        return len(self.table)

    @property
    def _scale(self) -> tuple[np.float32, np.float32]:
        return np.float32(self.start), np.float32(1.0 / self.step)

    def nodes(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The values of the two nodes, and how far from the first, in steps."""
        start, inverse = self._scale
        u = (x - start) * inverse
        node = np.where(np.floor(u) > 0, np.floor(u), np.float32(0))
        node = np.minimum(node, np.float32(self.table.shape[2] - 2))
        a, b = (constants["table"][stage, constants["which"], node.astype(np.intp) + k] for k in (0, 1))
        return a, b, u - node

    def value(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> np.ndarray:
        a, b, part = self.nodes(constants, x, stage)
        result: np.ndarray = a + (b - a) * part
        return result

    def rows(self, constants: dict[str, np.ndarray], energy: np.ndarray, status: np.ndarray | None, stage: np.ndarray | None, out: np.ndarray) -> None:
        look_up_rows(energy, status, stage, constants["table"], constants["which"].reshape(-1), *self._scale, self.sloping, out)

    def stage(self, plan: Plan, frame: tuple[int, ...]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        args = (plan.constants["table"], plan.constants["which"], *self._scale)
        return "calib/look_up.cl", args, {"NODES": f"{self.table.shape[2]}u", "TABLES": f"{self.table.shape[1]}u", "SLOPE": self.sloping}


@dataclass(frozen=True, eq=False)
class LookUpSlope(LookUp):
    """slope = (b - a) * (1 / step), a and b as of calib.look_up; LookUp.slope() makes it."""

    writes: ClassVar[tuple[str, ...]] = ("slope",)
    pixel_output: ClassVar[str] = "slope"
    sloping: ClassVar[bool] = True

    def value(self, constants: dict[str, np.ndarray], x: np.ndarray, stage: np.ndarray) -> np.ndarray:
        a, b, _ = self.nodes(constants, x, stage)
        result: np.ndarray = (b - a) * self._scale[1]
        return result
