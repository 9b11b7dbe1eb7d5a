"""code = the 5/3 wavelet coefficients of whole numbers, with their sign in the last bit: lossless, for encoders of chunks to come."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..features.frames import FrameOp
from ..features.lifting import KEPT, Lifting
from ..op import Plan, Spec, frame_grid, frame_of, live_rows, nbytes, read_only, vector
from .wavelet_decode import MOST_LEVELS
from .wavelet_numba import fold_rows, unfold_rows

LIFTED = {"uint8": "uint8", "int16": "int16", "uint16": "int16", "int32": "int32", "uint32": "int32"}     # of 16 and 32 bits: modulo, so no bit is added
CODES: dict[str, np.dtype[Any]] = {"int16": np.dtype(np.uint16), "int32": np.dtype(np.uint32)}


@dataclass(frozen=True, eq=False)
class ReversibleWavelet(FrameOp):
    """code = 2 c, or -2 c - 1 where c < 0; c = DWT(raw), 5/3, modulo 2**16 or 2**32; with back: raw from code.

    What stands before an encoder of chunks: Chain([ReversibleWavelet("uint16"), BitshuffleZstd()]) is lossless. Behind Quantize, with of="code", it is
    a float codec that keeps Quantize's bound: Chain([Quantize(abs), ReversibleWavelet("int16", of="code"), BitshuffleZstd()]).
    fields: words: dtype of the frames: uint8, int16, uint16, int32, uint32; levels 1 to 8; of: the name of the input that holds the frames (raw); back
    in:  raw (n, *panels, rows, cols) of dtype words, or what `of` names; with back: code; live (1,) i32
    out: code (n, *frame) u16 (32-bit words: u32): the approximation in the first corner (features.Lifting). With back: raw, or what `of` names
    exact: every word comes back, masks such as 65535 too: 16-bit words are lifted as int16, modulo 2**16. Bit-identical on every backend
    source: ITU-T T.800 (JPEG 2000) annex F
    """

    name: ClassVar[str] = "compress.reversible_wavelet"
    inputs: ClassVar[tuple[str, ...]] = ("raw", "live?")
    writes: ClassVar[tuple[str, ...]] = ("code",)

    words: str = "uint16"
    levels: int = 4
    back: bool = False
    of: str = field(default="raw", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("words", *LIFTED)
        if not 1 <= self.number("levels", whole=True) <= MOST_LEVELS:
            raise ValueError(f"{self.name}: levels must be 1 to {MOST_LEVELS}, got {self.levels}")
        if not isinstance(self.back, bool):
            raise TypeError(f"{self.name}: back must be True or False, got {self.back!r}")

    def _name_inputs(self) -> None:
        object.__setattr__(self, "inputs", ("code" if self.back else self.of, "live?"))
        object.__setattr__(self, "writes", (self.of if self.back else "code",))

    @cached_property
    def lifting(self) -> Lifting:
        return Lifting("5/3", LIFTED[self.words], self.levels, back=self.back)

    @property
    def kept(self) -> np.dtype[Any]:
        """Of coefficients."""
        return np.dtype(KEPT[LIFTED[self.words]])

    @property
    def code(self) -> np.dtype[Any]:
        return CODES[self.kept.name]

    def inverse(self) -> ReversibleWavelet:
        return dataclasses.replace(self, back=not self.back)

    def outputs(self, x: Any, live: Any) -> tuple[Spec, ...]:
        words = np.dtype(self.words)
        shape = self.require(self.inputs[0], x, self.code if self.back else words, ("n", *frame_of(x))).shape
        if len(shape) < 3 or min(shape[1:]) < 1:
            raise ValueError(f"{self.name}: {self.inputs[0]} must have frames of 2 axes or more and no empty one, got {shape}")
        self.require_live(live)
        return (Spec(self.writes[0], shape, words if self.back else self.code),)

    def scratch(self, x: Any, live: Any) -> tuple[Spec, ...]:
        kept = Spec("coefficients", tuple(x.shape), self.kept)
        return kept, *self.lifting.scratch(kept, None)

    def moved(self, x: Any, live: Any = None) -> int:
        """The bytes that level after level reads and writes."""
        return self.traffic(x, live) + 2 * nbytes(*self.scratch(x, live))

    def numpy(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        n, bits = live_rows(x, live), 8 * self.kept.itemsize
        if self.back:
            folded = x[:n].astype(np.int64)
            out[:n] = self.lifting((folded >> 1 ^ -(folded & 1)).astype(self.kept), backend="numpy").view(self.words)
        else:
            c = self.lifting(x[:n].view(LIFTED[self.words]), backend="numpy").astype(np.int64)
            out[:n] = (c << 1 ^ c >> bits - 1).astype(self.code)

    def numba(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        n = live_rows(x, live)
        flat, c = (n * math.prod(x.shape[1:-1]), x.shape[-1]), plan.scratch["coefficients"][:n]
        if self.back:
            unfold_rows(read_only(x[:n].reshape(flat)), c.reshape(flat))
            self.lifting.numba(plan, read_only(c), None, out[:n].view(LIFTED[self.words]))
        else:
            self.lifting.numba(plan, read_only(x[:n].view(LIFTED[self.words])), None, c)
            fold_rows(read_only(c.reshape(flat)), out[:n].reshape(flat))

    def device(self, plan: Plan, x: Any, live: Any, out: Any) -> None:
        n, npix, c = x.shape[0], math.prod(x.shape[1:]), plan.scratch["coefficients"]
        defines: dict[str, Any] = {"VECTOR": vector(npix), "LIVE": live is not None, "WORD_BITS": 8 * self.kept.itemsize, "BACK": self.back}
        if not self.back:
            self.lifting.device(plan, viewed(x, LIFTED[self.words]), live, c)
        pair = (x, c) if self.back else (c, out)
        args = (*pair, c if live is None else live, np.uint32(n), np.uint32(npix))
        plan.launch("compress/reversible_wavelet.cl", "reversible_fold", frame_grid(n, npix), 128, args, **defines)
        if self.back:
            self.lifting.device(plan, c, live, viewed(out, LIFTED[self.words]))


def viewed(x: Any, dtype: str) -> Any:
    """An array's words as those of another type of the same width; of a Spec, in a dry run, too."""
    return x._replace(dtype=np.dtype(dtype)) if isinstance(x, Spec) else x.view(np.dtype(dtype))
