"""What an operation gets beside the keys of its stage: what the detector, its constants and the other stages say; and whether its own arrays fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calib.gain import Gain
from ..calib.scale import Scale, product
from ..op import Op
from .config import Document
from .constants import Known
from .faults import ConfigError
from .wiring import COMMON_MODE, CROSSTALK, CURVES, SCALE, VARIANCE

Fields = dict[str, Any]


class Stages:
    """The stages of a configuration on their way to operations: their keys, arrays read, and what was made of them."""

    def __init__(self, document: Document, held: Known) -> None:
        self.document, self.held = document, held
        self.kinds = [s.type for s in document.config.stages]
        self.fields: dict[int, Fields] = {}
        self.made: dict[int, Op] = {}

    def of(self, kind: str) -> Fields | None:
        """The keys of the stage of this kind, if there is one."""
        return next((self.fields[i] for i, k in enumerate(self.kinds) if k == kind), None)

    def ops(self, *kinds: str) -> list[Op]:
        """What was made of the stages of these kinds, in their order."""
        return [self.made[i] for i, k in enumerate(self.kinds) if k in kinds]

    def fault(self, i: int, key: str, words: str) -> ConfigError:
        """A fault of a stage's key."""
        return ConfigError([self.document.at(("stages", i, key), words)])

    @property
    def late(self) -> bool:
        """Whether the gain comes behind something that wants ADU."""
        own = self.of("calib.gain")
        return own is not None and not own["adu"] and any(k in (COMMON_MODE, *CURVES) for k in self.kinds)

    @property
    def by_stage(self) -> bool:
        """Whether something behind the gain asks which gain stage a pixel was in."""
        mode, frame = self.of(COMMON_MODE), self.held.kind.shape
        curved = any(a.shape[:1] > (1,) for i, k in enumerate(self.kinds) if k in CURVES for a in _planes(k, self.fields[i]).values())
        scaled = any(np.ndim(a) > len(frame) for a in _factors(self.of(SCALE)))
        asks = self.late or (mode is not None and mode["exclude_stages"]) or curved or scaled or VARIANCE in self.kinds
        return bool(asks) and self.held.kind.n_planes > 1


def completed(stages: Stages, i: int) -> Fields:
    """The fields of a stage's operation. Raises ConfigError."""
    kind = stages.kinds[i]
    more = {"calib.gain": _gain, "calib.counts": _counts, COMMON_MODE: _common_mode, SCALE: _scale, VARIANCE: _variance,
            **dict.fromkeys(CURVES, _curve), **dict.fromkeys(CROSSTALK, _crosstalk)}.get(kind)
    return stages.fields[i] if more is None else more(stages, i)


def _gain(stages: Stages, i: int) -> Fields:
    own, held = stages.fields[i], stages.held
    given = {"detector": held.kind, "status": True, **{k: a for k, a in held.arrays.items() if k != "noise"}}
    if held.flagged is not None and own["invalid"] == "raise":      # for all but what `bad` leaves out
        sound = {"pedestal": np.where(held.flagged, 0, held.arrays["pedestal"]), "gain": np.where(held.flagged, 1, held.arrays["gain"])}
        Gain(**{**own, **given, **sound})
        own = {**own, "invalid": "mask"}
    return {**own, **given, "adu": own["adu"] or stages.late, "gain_stage": stages.by_stage}


def _counts(stages: Stages, i: int) -> Fields:
    return {**stages.fields[i], "good": stages.held.arrays.get("good"), "status": True}


def _planes(kind: str, own: Fields) -> dict[str, Any]:
    """The arrays of a nonlinearity that have a plane for all gain stages, or one for each."""
    return {k: np.asarray(own[k]) for k in {"calib.polynomial": ("coefficients",), "calib.breakpoint": ("knee", "low", "high")}.get(kind, ("table",))}


def _curve(stages: Stages, i: int) -> Fields:
    """A nonlinearity, of the detector's frame and gain stages."""
    own, kind, name = stages.fields[i], stages.held.kind, stages.kinds[i]
    axes = {"calib.polynomial": ("terms", *kind.shape), "calib.look_up": ("tables", "nodes")}.get(name, kind.shape)
    for key, a in _planes(name, own).items():
        fits = a.ndim == 1 + len(axes) and all(isinstance(w, str) or w == k for w, k in zip(axes, a.shape[1:], strict=True))
        if not fits or len(a) not in (1, kind.n_planes) or a.dtype.kind not in "fiu":
            shape = ", ".join(map(str, axes))
            more = f" or ({kind.n_planes}, {shape}), one for each gain stage" if kind.n_planes > 1 else ""
            raise stages.fault(i, key, f"must be numbers (1, {shape}){more}, got {a.dtype} {a.shape}")
    which = np.asarray(own.get("which", np.zeros(kind.shape, np.uint8)))
    if which.dtype != np.uint8 or which.shape != kind.shape:
        raise stages.fault(i, "which", f"must be uint8 {kind.shape}, the table of each pixel, got {which.dtype} {which.shape}")
    return own


def _crosstalk(stages: Stages, i: int) -> Fields:
    """Crosstalk in whole pieces of a panel; pieces that are none the operation itself refuses."""
    own, panel = stages.fields[i], stages.held.kind.shape[-2:]
    asic = own["asic"]
    if asic is not None and min(asic) > 0 and (len(panel) < 2 or panel[0] % asic[0] or panel[1] % asic[1]):
        raise stages.fault(i, "asic", f"must divide the panels of {panel} in whole pieces, got {list(asic)}")
    return own


def _common_mode(stages: Stages, i: int) -> Fields:
    """In ADU, and then to the gain's unit, as calib.Calibrate does it."""
    own, kind = stages.fields[i], stages.held.kind
    bank = own["bank"] or kind.bank
    if bank is None:
        raise stages.fault(i, "bank", f"missing: no bank of {kind.name} is known; write bank: [rows, cols]")
    odd = [k for k in own["exclude_stages"] if k not in kind.planes]
    if odd:
        there = ", ".join(str(k) for k in sorted(set(kind.planes)) if k >= 0)
        raise stages.fault(i, "exclude_stages", f"{kind.name} has the gain stages {there}, got {', '.join(map(str, odd))}")
    return {**own, "bank": bank, **({"gain": _used_gain(stages)[0]} if stages.late else {})}


def _used_gain(stages: Stages) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The gain where calib.gain can use it, else 1; and where that is."""
    gain = stages.made.get(0)
    if not isinstance(gain, Gain):
        raise ConfigError([])       # it has said why
    usable = gain._usable()
    return np.where(usable, gain.gain, 1), usable


def _factors(scale: Fields | None) -> list[Any]:
    return [] if scale is None else [*scale["divide"], *scale["multiply"]]


def _scale(stages: Stages, i: int) -> Fields:
    """Numbers and arrays, of the frame or of each gain stage, folded into one plane, where no pixel in use may be divided by nothing."""
    own, kind = stages.fields[i], stages.held.kind
    shapes, faults = ((), kind.shape, (kind.n_planes, *kind.shape)), []
    for key in ("divide", "multiply"):
        for k, a in enumerate(own[key]):
            if np.shape(a) not in shapes or np.asarray(a).dtype.kind not in "fiu":
                want = f"{shapes[1]}" + (f" or {shapes[2]}, one for each gain stage" if kind.n_planes > 1 else "")
                faults.append(stages.document.at(("stages", i, key, k), f"must be numbers {want}, got {np.asarray(a).dtype} {np.shape(a)}"))
    if not _factors(own):
        faults.append(stages.document.at(("stages", i), "has nothing to do: give divide or multiply, lists of numbers and file.h5:/dataset"))
    if faults:
        raise ConfigError(faults)
    return {"plane": plane(stages, own)}


def plane(stages: Stages, own: Fields) -> np.ndarray[Any, Any]:
    """What energies are multiplied by; with 1 / gain in it, where a nonlinearity and no common mode comes between. Raises ValueError."""
    kind, good = stages.held.kind, stages.held.arrays.get("good")
    if not stages.late or COMMON_MODE in stages.kinds:
        return Scale.folding(kind.shape, own["divide"], own["multiply"], good).plane
    gain, usable = _used_gain(stages)
    return np.where(usable, Scale.folding(kind.shape, [*own["divide"], gain], own["multiply"], good).plane, 0)


def _variance(stages: Stages, i: int) -> Fields:
    """Of counts their own; else of the noise, in ADU, through the gain and all that energies are scaled by."""
    own, kind, scale = stages.fields[i], stages.held.kind, stages.of(SCALE) or {"divide": [], "multiply": []}
    if kind.counts:
        if own["quantum"] not in (0.0, 1.0):
            raise stages.fault(i, "quantum", f"{kind.name} counts photons, of which one is 1, got {own['quantum']}")
        return {"noise": np.zeros((1, *kind.shape)), "quantum": 1.0}
    gain = stages.made.get(0)
    if not isinstance(gain, Gain):
        raise ConfigError([])
    whole = 1.0 if stages.of("calib.gain")["adu"] else gain.gain.astype(np.float64)      # type: ignore[index]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = product(VARIANCE, kind.shape, scale["divide"]) / product(VARIANCE, kind.shape, scale["multiply"])
    return {**own, "noise": stages.held.arrays["noise"], "gain": np.broadcast_to(whole * factor, gain.gain.shape)}
