"""What ops share that look at fixed places of every frame, or at windows around each frame's peaks: which of the two, their inputs, their kernels' defines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .frames import FrameOp, word
from .regions import MOST_HALF, in_panels

PEAKS = ("peak_panel", "peak_row", "peak_col", "peak_count")


@dataclass(frozen=True, eq=False)
class AroundPeaks(FrameOp):
    """fields: half: with it, windows of 2 half + 1 rows and cols around the peaks that come as inputs, in place of `fixed`, the field of fixed places."""

    fixed: ClassVar[str] = ""

    half: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.half is None) == (getattr(self, self.fixed) is None):
            raise ValueError(f"{self.name}: give either {self.fixed} or half, the half size of windows around the peaks of each frame")
        if self.half is not None and not 0 <= self.number("half", whole=True) <= MOST_HALF:
            raise ValueError(f"{self.name}: half must be 0 to {MOST_HALF}, got {self.half}")

    def _name_inputs(self) -> None:
        super()._name_inputs()
        if self.half is None:
            object.__setattr__(self, "inputs", tuple(k for k in self.inputs if k not in PEAKS))

    def lists(self) -> dict[str, str]:
        """See Op."""
        return {} if self.half is None else dict.fromkeys(self.writes, "peak_count")

    def named(self, x: tuple[Any, ...]) -> tuple[dict[str, Any], list[Any], Any]:
        """The inputs by name, `frames` and None for those that this op does not take among them; the outs; and of them frame_status, None if not given."""
        names = tuple("pixel_status" if n == self.marks else n for n in self.input_names)
        got = {**dict.fromkeys((*PEAKS, "frame_status")), **dict(zip(("frames", *names[1:]), x, strict=False))}
        outs = list(x[len(names):])
        return got, outs, outs.pop() if outs and got["frame_status"] is not None else None

    def require_peaks(self, got: dict[str, Any], n: int) -> int:
        """The capacity of the lists of peaks."""
        cap = self.require("peak_panel", got["peak_panel"], np.int32, (n, "cap")).shape[1]
        places = (np.dtype(np.float32), np.dtype(np.int32))
        self.require("peak_row", got["peak_row"], places, (n, cap))
        self.require("peak_col", got["peak_col"], got["peak_row"].dtype, (n, cap))
        self.require("peak_count", got["peak_count"], np.int32, (n,))
        if cap < 1:
            raise ValueError(f"{self.name}: peak_panel must be int32 (n, cap) with room for a peak, got int32 ({n}, 0)")
        return int(cap)

    def frame_panels(self, x: Any) -> tuple[int, int, int]:
        """panels, rows, cols of the frames, after a check that they are such."""
        if len(x.shape) < 3 or max(x.shape[-2:]) > 65535:
            raise ValueError(f"{self.name}: {self.of} must be (n, [panels,] rows, cols), sides up to 65535, got {x.dtype} {tuple(x.shape)}")
        return in_panels(tuple(int(k) for k in x.shape[1:]))

    def defines(self, got: dict[str, Any]) -> dict[str, Any]:
        """Of kernels: the frames' words and, with peaks, where these are."""
        frames, peaks = got["frames"], self.half is not None
        kind = {"u": 0, "i": 1, "f": 2}[np.dtype(frames.dtype).kind]
        place = word(got["peak_row"]) if peaks else "i32"
        return {"WORD": word(frames), "WORD_KIND": kind, "PEAKS": peaks, "PLACE": place, "PLACE_FLOAT": place == "f32"}


def flat(x: Any, *shape: int) -> Any:
    """The same in another shape; None stays."""
    return None if x is None else x.reshape(*shape)
