"""Calibrate: every correction that is switched on, as one Chain, in the order of the physics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..detectors import Detector, detector
from ..op import Chain, Op
from .assemble import Assembly
from .common_mode import CommonMode
from .constants import Constants
from .counts import Counts
from .gain import Gain
from .scale import Scale, product
from .status_count import StatusCount
from .stencil import Stencil
from .threshold_gain import ThresholdGain
from .variance import Variance


@dataclass(frozen=True, eq=False, init=False)
class Calibrate(Chain):
    """words -> pedestal -> nonlinearity -> common mode -> gain and planes -> crosstalk -> photons -> image, of what is switched on. A Chain like any other.

    What can be folded into the gain on the host is: flat field, solid angle, polarisation, photon energy. A step that is None or empty is not there:
    `titles` says which are. Without nonlinearity and common mode all of it is calib.gain alone. With memory cells, whose gains differ, nonlinearity
    and common mode come behind the gain, in its unit, and so do their cormax, threshold and coefficients.

    in:  raw (n, *frame), the words of the detector; cell (n,) u16, of detectors with memory cells; frame_status (n,) u32; live (1,) i32
    out: energy (n, *frame) f32, or photons, or image, by the last step; frame_status (n,) u32; and what is asked for: pixel_status, variance,
         status_count (n, 8), common_mode. On a device every one of these but the last array is a pass of its own over the raw words, as plan.passes says
    exact: bit-identical on every backend
    source: the order of the field's detectors: what the electronics add is taken off in ADU, before the gain
    """

    name: ClassVar[str] = "calib.calibrate"

    def __init__(
        self, detector: str | Detector, constants: Constants | Mapping[str, Any], *, good: np.ndarray | None = None, bad: Sequence[str] = (),
        nonlinearity: Op | Sequence[Op] | None = None, common_mode: CommonMode | None = None, divide: Sequence[Any] = (), multiply: Sequence[Any] = (),
        crosstalk: Op | Sequence[Op] | None = None, photons: Op | None = None, assemble: Assembly | None = None,
        variance: bool | float = False, status: bool = False, status_count: bool = False, bad_value: float = 0.0, invalid: str = "mask",
    ) -> None:
        """constants: a set of constants, or pedestal, gain (and threshold, noise, cells) by name, or of a photon counter fields of calib.Counts; good
        (*frame) bool and bad (names of bits of the set's status) leave pixels out, as the set's own good does. nonlinearity, in ADU; common_mode, in
        ADU, without gain; divide and multiply: numbers, (*frame) or (planes, *frame), folded into the gain, as Scale.folding takes them
        (divide=[flat, solid_angle, polarisation, keV_per_photon]); crosstalk, photons, assemble: ops that take energy. variance: True, or one photon
        in the unit of energy, for photon noise; crosstalk of calib.stencil spreads it. status, status_count: give these too. Raises ValueError and
        TypeError as the ops do."""
        kind, curve, spread = _kind(detector, constants), _listed(nonlinearity), _listed(crosstalk)
        last, noisy = [*spread, *_listed(photons), *_listed(assemble)], variance is not False
        wanted = {"bad_value": bad_value, "invalid": invalid, "status": status or bool(curve or common_mode or last or noisy or status_count)}
        if kind.counts:
            if curve or common_mode is not None or bad or isinstance(constants, Constants):
                raise ValueError(f"{self.name}: {kind.name} counts photons: it has no nonlinearity but the dead time's table, no common mode, and its"
                                 " constants are fields of calib.Counts")
            ops = _of_counter(kind, {**constants, **wanted, "good": _both(good, constants.get("good"))}, divide, multiply, noisy)
        else:
            given, noise = _arguments(kind, constants, good, bad)
            gain = _folded(given["gain"], np.shape(given["pedestal"]), int(given.get("cells", 0)), divide, multiply)
            ops = _of_adc(kind, {**given, **wanted, "gain": gain}, curve, common_mode, noisy)
            if noisy:
                ops.append(_variance(noise, gain, 0.0 if variance is True else float(variance)))
        if status_count:
            ops.insert(1, StatusCount())
        if noisy:
            ops += map(_variance_of, spread)
        ops += last
        written = {name for op in ops for name in getattr(op, "writes", ())}     # what is no op Chain refuses
        final = next(o for o in ("image", "photons", "energy") if o in written)
        more = (("image_status", assemble is not None and assemble.status), ("pixel_status", status), ("variance", noisy),
                ("status_count", status_count), ("common_mode", common_mode is not None and common_mode.report), ("frame_status?", True))
        Chain.__init__(self, ops, keep=[final, *(name for name, asked in more if asked)])

    @property
    def titles(self) -> tuple[str, ...]:
        """The names of the steps that are switched on, in their order."""
        return tuple(op.name for op in self.ops)


def _kind(which: str | Detector, constants: Any) -> Detector:
    kind = detector(which)
    if isinstance(constants, Constants) and detector(constants.detector).name != kind.name:
        raise ValueError(f"calib.calibrate: these are constants of {constants.detector}, the detector is {kind.name}")
    return kind


def _of_adc(kind: Detector, fields: dict[str, Any], curve: list[Op], common_mode: CommonMode | None, noisy: bool) -> list[Op]:
    """The source, and what follows up to the gain, of a detector that sends an adc; fields are the source's."""
    late = bool(curve or common_mode) and not fields.get("cells")       # the gain then comes behind them, and in front is adc - pedestal
    stages = kind.n_planes > 1 and (late or noisy)
    source = (ThresholdGain if kind.second_image else Gain)(**{**fields, "adu": late, "gain_stage": stages})
    ops: list[Op] = [source, *curve]
    gain, usable = fields["gain"], source._usable() if late else True
    if common_mode is not None:
        if common_mode.gain is not None:
            raise ValueError("calib.calibrate: give common_mode without gain: it gets the set's own")
        ops.append(replace(common_mode, gain=np.where(usable, gain, 1)) if late else common_mode)
    elif late:
        ops.append(Scale(np.where(usable, 1 / np.where(usable, gain, 1), 0)))
    return ops


def _of_counter(kind: Detector, fields: dict[str, Any], divide: Sequence[Any], multiply: Sequence[Any], noisy: bool) -> list[Op]:
    """The source, and the variance, of a detector that counts photons; fields are those of calib.Counts."""
    planes = list(multiply) if fields.get("plane") is None else [fields["plane"], *multiply]
    if noisy and (planes or divide):
        raise ValueError("calib.calibrate: the variance of counts is theirs before they are divided: leave plane, divide and multiply out, and scale later")
    if planes or divide:
        with np.errstate(divide="ignore", invalid="ignore"):
            fields["plane"] = product("calib.calibrate", kind.shape, planes) / product("calib.calibrate", kind.shape, divide)
    return [Counts(**fields), *([Variance(np.zeros((1, *kind.shape)), quantum=1.0)] if noisy else [])]


def _listed(ops: Op | Sequence[Op] | None) -> list[Op]:
    return [] if ops is None else [ops] if isinstance(ops, Op) else list(ops)


def _both(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return b if a is None else a if b is None else a & b


def _arguments(kind: Detector, constants: Any, good: np.ndarray | None, bad: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """What calib.gain takes, good being all that the user and the set say; and the noise."""
    if isinstance(constants, Constants):
        found, noise = constants.to_gain(bad=bad), constants.noise
        if constants.threshold is not None:
            found["threshold"] = constants.threshold
    else:
        found, noise = {"detector": kind, **constants}, constants.get("noise")
        found.pop("noise", None)
        if bad:
            raise ValueError("calib.calibrate: bad names bits of a set's status; these constants are bare arrays: use good=")
        missing = [k for k in ("pedestal", "gain") if found.get(k) is None]
        if missing:
            raise ValueError(f"calib.calibrate: constants lack {', '.join(missing)}")
    found["good"] = _both(good, found.get("good"))
    found.pop("invalid", None)
    return found, noise


def _folded(gain: Any, shape: tuple[int, ...], cells: int, divide: Sequence[Any], multiply: Sequence[Any]) -> np.ndarray:
    """gain * divide / multiply in float64: what adc - pedestal is divided by."""
    frame = tuple(shape[2 if cells else 1 :])
    whole = np.asarray(gain, np.float64)
    if divide or multiply:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            factor = product("calib.calibrate", frame, divide) / product("calib.calibrate", frame, multiply)
        if cells and factor.ndim > len(frame):
            factor = factor[:, None]
        whole = whole * factor
    return whole


def _variance_of(op: Op) -> Op:
    if not isinstance(op, Stencil):
        raise ValueError(f"calib.calibrate: no variance is known of what comes out of {op.name}; leave variance out, or take it by calib.stencil")
    return op.variance()


def _variance(noise: Any, gain: np.ndarray, quantum: float) -> Variance:
    if noise is None:
        raise ValueError("calib.calibrate: a variance needs the noise of the pixels among the constants")
    if np.shape(noise) != np.shape(gain):
        raise ValueError(f"calib.calibrate: noise must be {np.shape(gain)} like gain, got {np.shape(noise)}")
    return Variance(noise, gain, quantum)
