"""The stages of a configuration. Their keys are the fields of their operation, derived from the class: it gains a field, and the file may set it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import AfterValidator, Field, create_model
from pydantic_core import PydanticCustomError

from .. import OPS, Op
from ..calib.tracking import Tracking
from ..compress.codecs import CODECS
from ..features import Hook, Rings
from .document import Block

STAGE_OPS = ("calib.gain", "calib.counts", "calib.polynomial", "calib.breakpoint", "calib.look_up", "calib.common_mode", "calib.scale", "calib.variance",
             "calib.stencil", "calib.recursive", "veto.lit_pixels", "calib.photons", "calib.shared_photons", "calib.assemble", "compress.quantize",
             *(f"compress.{name}" for name in CODECS))
SET_BY_STREAM: dict[str, set[str]] = {      # by the rest of a configuration, or kept as they are
    "calib.gain": {"pedestal", "gain", "good", "detector", "status", "cells", "gain_stage"}, "calib.counts": {"good", "codes", "status"},
    "calib.common_mode": {"gain", "report"}, "calib.scale": {"plane"}, "calib.variance": {"noise", "gain", "cells"}, "calib.stencil": {"full_scale"},
    "calib.recursive": {"full_scale"}, "calib.assemble": {"frame", "source", "fill", "status"}, "veto.lit_pixels": {"good"},
    "compress.quantize": {"good"}, **{f"compress.{name}": {"shape", "dtype"} for name in CODECS},
    "features.histogram": {"over"}, "features.region_sums": {"regions", "frame"}, "features.jet_streak": {"x", "y"}, "features.hook": {"declared"},
}
FEATURE_OPS: dict[str, type[Op]] = {**{name: op for name, op in OPS.items() if name.startswith("features.")}, Hook.name: Hook}
FEATURES = tuple(FEATURE_OPS)


def fields_of(cls: type, leave_out: set[str]) -> dict[str, Any]:
    """The fields of a dataclass that are no arrays, with their types and defaults, for a block. A YAML list will do for a tuple."""
    hints, given = get_type_hints(cls), {}
    for f in dataclasses.fields(cls):
        hint = hints[f.name]
        if not (_is_array(hint) or _holds(hint, Rings) or get_origin(hint) is Callable) and f.name not in leave_out:
            hint = Annotated[hint, Field(strict=False)] if any(get_origin(a) is tuple for a in (hint, *get_args(hint))) else hint
            given[f.name] = (hint, ... if f.default is dataclasses.MISSING else f.default)
    return given


def _is_array(hint: Any) -> bool:
    return _holds(hint, np.ndarray)


def _holds(hint: Any, kind: type) -> bool:
    """Whether a type is this one, or may be."""
    return hint is kind or any(_holds(a, kind) for a in get_args(hint))


class Stage(Block):
    """One operation; its fields are those of the operation, arrays as file.h5:/dataset."""

    op: ClassVar[type[Op]]
    arrays: ClassVar[tuple[str, ...]]
    type: str
    input: str | None = None

    def fields(self) -> dict[str, Any]:
        """What the file says about the operation."""
        return {k: getattr(self, k) for k in type(self).model_fields if k not in ("type", "input", "track_pedestal", "store")}


if TYPE_CHECKING:
    TrackBlock = Block
else:
    TrackBlock = create_model("TrackBlock", __base__=Block, __doc__=Tracking.__doc__, **fields_of(Tracking, set()))


def _numbers(value: Any) -> Any:
    """An array that is small enough to stand in the file: a list of numbers, or of such lists, all of one length."""
    rows = value if isinstance(value, list) and value and all(isinstance(row, list) for row in value) else [value]
    plain = all(isinstance(row, list) and row and all(type(k) in (int, float) for k in row) for row in rows)
    if not isinstance(value, str) and not (plain and len({len(row) for row in rows}) == 1):
        raise PydanticCustomError("numbers", "must be file.h5:/dataset, or numbers in brackets, in rows of one length")
    return value


Numbers = Annotated[Any, AfterValidator(_numbers)]
Two = Annotated[tuple[float, float], Field(strict=False)]


class RingsBlock(Block):
    """Bins of radius, as features.Rings.from_geometry makes them; bins: left out, rings one pixel wide, as peakfinder8 has them. good: file.h5:/dataset."""

    geometry: str
    bins: Annotated[int, Field(ge=1)] | None = None
    unit: str = "q_A^-1"
    wavelength: float | None = None         # [m]
    radial_range: Two | None = None
    azimuth_bins: Annotated[int, Field(ge=1)] = 1
    azimuth_range: Two = (-180.0, 180.0)
    split: str = "no"
    good: str | None = None


class NormalisationBlock(Block):
    """What the signal of a pixel is divided by: its solid angle, and polarisation by this factor, at an angle [degree] of its axis to x."""

    geometry: str
    solid_angle: bool = True
    polarisation: Annotated[float, Field(ge=-1, le=1)] | None = None
    axis: float = 0.0


Piece = Annotated[tuple[int, int], Field(strict=False)] | None
MORE: dict[str, dict[str, Any]] = {
    "calib.gain": {"track_pedestal": (TrackBlock | None, None)},
    "calib.common_mode": {"bank": (Piece, None)},      # None: the detector's
    "calib.scale": {"divide": (list[float | str], []), "multiply": (list[float | str], [])},            # its plane is their product
    "calib.stencil": {"weights": (Numbers, ...), "asic": (Piece, None)},
    "calib.recursive": {"coefficients": (Numbers, ...), "asic": (Piece, None)},
    "calib.photons": {"status": (bool, True)},      # else the files could not tell a masked pixel from none
    "calib.shared_photons": {"status": (bool, True)},
    "calib.assemble": {"geometry": (str, ...)},
    "features.region_sums": {"rectangles": (Numbers | None, None)}, "features.jet_streak": {"geometry": (str, ...)},
    "features.hook": {"call": (str, ...), "outputs": (dict[str, list[int | str]], ...)},        # call: module:function
}


def stage_of(op: type[Op]) -> type[Stage]:
    """The block of an operation: its fields, with their types and defaults, and MORE."""
    kept, hints = SET_BY_STREAM.get(op.name, set()), get_type_hints(op)
    given: dict[str, Any] = {"type": (Literal[op.name], ...), **fields_of(op, kept)}
    arrays = {f.name: f.default for f in dataclasses.fields(op) if _is_array(hints[f.name]) and f.name not in kept}
    given |= {k: (str, ...) if default is dataclasses.MISSING else (str | None, None) for k, default in arrays.items()}
    given |= MORE.get(op.name, {})
    made = create_model(f"{op.__name__}Stage", __base__=Stage, __doc__=op.__doc__, **given)
    made.op, made.arrays = op, tuple(arrays)
    return made


def feature_of(op: type[Op]) -> type[Stage]:
    """The block of a feature: its fields; an array as file.h5:/dataset or as numbers in brackets, rings as RingsBlock; input in place of `of`; store."""
    kept, hints = {*SET_BY_STREAM.get(op.name, set()), "of", "marks"}, get_type_hints(op)
    given: dict[str, Any] = {"type": (Literal[op.name], ...), "store": (list[str] | None, None), **fields_of(op, kept)}
    arrays = []
    for f in dataclasses.fields(op):
        hint, must = hints[f.name], f.default is dataclasses.MISSING
        if f.name in kept or not (_is_array(hint) or _holds(hint, Rings)):
            continue
        may = {RingsBlock: _holds(hint, Rings), NormalisationBlock: f.name == "normalisation", float: _holds(hint, float), Numbers: _is_array(hint)}
        kinds = [k for k, there in may.items() if there]
        wanted: Any = reduce(or_, kinds)
        given[f.name] = (wanted, ...) if must else (wanted | None, f.default)
        arrays.append(f.name)
    given |= MORE.get(op.name, {})
    made = create_model(f"{op.__name__}Stage", __base__=Stage, __doc__=op.__doc__, **given)
    made.op, made.arrays = op, (*arrays, *(k for k in ("rectangles",) if k in MORE.get(op.name, {})))
    return made


STAGES = {name: stage_of(OPS[name]) for name in STAGE_OPS} | {name: feature_of(op) for name, op in FEATURE_OPS.items()}

if TYPE_CHECKING:
    AnyStage = Stage
else:
    AnyStage = Annotated[reduce(or_, STAGES.values()), Field(discriminator="type")]
