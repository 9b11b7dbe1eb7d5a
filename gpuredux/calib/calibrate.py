"""Calibrate: every correction that is switched on, as one Chain, in the order of the physics. Over 200 lines: what does not fit together is refused here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..detectors import Detector, detector
from ..op import Chain, Op
from .assemble import Assembly
from .assemble_split import AssembleSplit
from .common_mode import CommonMode
from .constants import Constants
from .counts import Counts
from .gain import Gain
from .photons import Photons
from .scale import Scale, product
from .shared_photons import SharedPhotons
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
    A pixel that is no measurement is NaN, unless bad_value=0 is asked for. Whole numbers have no NaN: photons come with pixel_status, and an image of
    them with image_status, whether asked for or not; in both such a pixel is 0, a saturated one the largest of its type, as calib.photons says.

    in:  raw (n, *raw_frame) of the detector's words; cell (n,) u16, of detectors with memory cells; frame_status (n,) u32; live (1,) i32
    out: by the last step, energy (n, *frame) f32 [the unit of gain]; or photons (n, *frame) of their dtype; or image (n, rows, cols) f32, of photons
         their dtype; frame_status (n,) u32, when given; and what is asked for:
         pixel_status (n, *frame) u8: of energy, or behind photons, SATURATED then being theirs too; image_status (n, rows, cols) u8, of an assembly
         with status=True: of the pixel there, GAP between the panels
         variance f32 of the shape of energy or of image [its unit squared]: NaN where a pixel has a status; in gaps the image's fill
         status_count (n, 8) u32: pixels of the detector with each bit of status.Pixel, behind the last step that sets one: photons if they are there.
         With image_status image_status_count (n, 8) u32 too: pixels of the image, so that pixels in no image, or twice in it, count so often
         common_mode (n, banks, 1 + rows + cols of a bank) f32, of a CommonMode with report=True: NaN where a group stays as it is
    On a device the steps are one pass over the raw words, photons and image included, up to one that reads neighbours (crosstalk, SharedPhotons) or mixes
    pixels (an assembly that splits): what follows these reads memory. Passes of their own are status_count, an image's variance, the slope that a
    variance behind a nonlinearity takes with that variance, and, without common mode and photons, the pixel_status beside an image. `plan.passes`
    lists them
    exact: bit-identical on every backend
    source: the order of the field's detectors: what the electronics add is taken off in ADU, before the gain
    """

    name: ClassVar[str] = "calib.calibrate"

    def __init__(
        self, detector: str | Detector, constants: Constants | Mapping[str, Any], *, good: np.ndarray | None = None, bad: Sequence[str] = (),
        nonlinearity: Op | Sequence[Op] | None = None, common_mode: CommonMode | None = None, divide: Sequence[Any] = (), multiply: Sequence[Any] = (),
        crosstalk: Op | Sequence[Op] | None = None, photons: Photons | SharedPhotons | None = None, assemble: Assembly | None = None,
        variance: bool | float = False, status: bool = False, status_count: bool = False, bad_value: float = math.nan, invalid: str = "mask",
    ) -> None:
        """constants: a set of constants, of which those of the detector's segments are taken by their ids; or pedestal, gain (and threshold, noise,
        cells) by name, of the detector's frame, or of a photon counter fields of calib.Counts; good (*frame) bool and bad (names of bits of the set's
        status) leave pixels out, as the set's own good does. nonlinearity, in ADU; common_mode, in ADU, without gain; divide and multiply: numbers,
        (*frame) or (planes, *frame), folded into the gain, as Scale.folding takes them (divide=[flat, solid_angle, polarisation, keV_per_photon]);
        crosstalk, photons, assemble: ops that take energy; photons are assembled by a map or tiles.
        variance: True, or one photon in the unit of energy, for photon noise. The noise goes through the slope of one nonlinearity (calib.polynomial,
        breakpoint or look_up), one calib.stencil of crosstalk, or an assembly that splits; what correlates pixels twice is refused, and so are
        photons, whose rounding is no propagation of errors. What a common mode adds, a part of 1 / its pixels, is left out.
        status, status_count: give these too; bad_value NaN or 0. Raises ValueError and TypeError as the ops do, and for constants that lack segments
        of the detector or are of another frame."""
        kind, constants = _chosen(detector, constants)
        curve, spread, noisy = _listed(nonlinearity), _listed(crosstalk), variance is not False
        count, image = _ends(kind, photons, assemble)
        last = [*spread, *count, *image]
        if noisy:
            _check_variance(curve, spread, count, image)
        wanted = {"bad_value": bad_value, "invalid": invalid, "status": status or bool(curve or common_mode or last or noisy or status_count)}
        by_stage = noisy or any(getattr(op, "planes", 1) > 1 or getattr(op, "exclude_stages", ()) for op in (*curve, common_mode, *last))
        if kind.counts:
            if curve or common_mode is not None or bad or isinstance(constants, Constants):
                raise ValueError(f"{self.name}: {kind.name} counts photons: it has no nonlinearity but the dead time's table, no common mode, and its"
                                 " constants are fields of calib.Counts")
            ops = _of_counter(kind, {**constants, **wanted, "good": _both(kind, good, constants.get("good"))}, divide, multiply, noisy)
            noise_op = [Variance(np.zeros((1, *kind.shape)), quantum=1.0)] if noisy else []
        else:
            given, noise = _arguments(kind, constants, good, bad)
            gain = _folded(given["gain"], np.shape(given["pedestal"]), int(given.get("cells", 0)), divide, multiply)
            ops = _of_adc(kind, {**given, **wanted, "gain": gain, "gain_stage": by_stage}, curve, common_mode, noisy)
            noise_op = [_variance(noise, gain, 0.0 if variance is True else float(variance), int(given.get("cells", 0)))] if noisy else []
        kept = _end(ops, spread, count, image, noise_op, status, status_count)
        report = common_mode is not None and common_mode.report
        Chain.__init__(self, ops, keep=[*kept, *(["common_mode"] if report else []), "frame_status?"])

    @property
    def titles(self) -> tuple[str, ...]:
        """The names of the steps that are switched on, in their order."""
        return tuple(op.name for op in self.ops)

    def check_fields(self, fields: dict[str, Any]) -> None:
        other = sorted(set(fields) - {"pedestal"})
        if other:
            raise ValueError(f"{self.name}: {', '.join(other)} cannot be updated, for steps hold what was made of it: make another one;"
                             " pedestal (with its offset) can")


def _chosen(which: str | Detector, constants: Any) -> tuple[Detector, Any]:
    """The detector, and its constants: of its segments, in its order, and of its frame."""
    kind = detector(which)
    who = f"calib.calibrate: {kind.name}"
    if isinstance(constants, Constants):
        if detector(constants.detector).name != kind.name:
            raise ValueError(f"calib.calibrate: these are constants of {constants.detector}, the detector is {kind.name}")
        missing = sorted(set(kind.ids) - set(constants.segments))
        if missing:
            raise ValueError(f"{who} has the segments {kind.ids}, and the constants lack {missing}: they hold {constants.segments}; for a part of the"
                             " detector pass Detector.select(ids)")
        constants = constants if constants.segments == kind.ids else constants.select(kind.ids)
        shapes = {"constants": constants.shape}
    else:
        given = constants.get("detector", kind)
        if detector(given).name != kind.name:
            raise ValueError(f"calib.calibrate: these are constants of {detector(given).name}, the detector is {kind.name}")
        lead = 2 if constants.get("cells") else 1
        shapes = {k: np.shape(constants[k])[0 if k in ("good", "plane") else lead :] for k in ("pedestal", "gain", "noise", "threshold", "good", "plane")
                  if constants.get(k) is not None}
    for name, shape in shapes.items():
        if shape != kind.shape:
            raise ValueError(f"{who} has frames {kind.shape}, the frames of {name} are {shape}; for a part of the detector pass Detector.select(ids), for"
                             " another shape dataclasses.replace(detector, shape=..., segments=())")
    return kind, constants


def _ends(kind: Detector, photons: Any, assemble: Any) -> tuple[list[Any], list[Any]]:
    """The steps that make photons and an image: such as mark what is no measurement, and of this frame."""
    if photons is not None and not isinstance(photons, (Photons, SharedPhotons)):
        raise TypeError(f"calib.calibrate: photons must be calib.Photons or calib.SharedPhotons, got {type(photons).__name__}")
    if assemble is not None and not isinstance(assemble, Assembly):
        raise TypeError(f"calib.calibrate: assemble must be one of calib.assembly's, got {type(assemble).__name__}")
    count = [] if photons is None else [replace(photons, status=True)]
    if assemble is None:
        return count, []
    if assemble.frame != kind.shape:
        if assemble.frame != (1, *kind.shape):
            raise ValueError(f"calib.calibrate: {kind.name} has frames {kind.shape}, the geometry of the image has {assemble.frame}")
        assemble = replace(assemble, frame=kind.shape)
    return count, [replace(assemble, status=True).photons() if count else assemble]


def _end(ops: list[Any], spread: list[Any], count: list[Any], image: list[Any], noise: list[Any], status: bool, status_count: bool) -> list[str]:
    """Behind the gain: all else, in its order, with the variance (noise: its op) beside it, and the counts of what each last writes; what comes out."""
    if status_count and not count:
        ops.insert(1, StatusCount())        # nothing behind the source sets a status
    of_image = [op.variance() for op in image if noise]
    if spread:
        ops += [*noise, *(op.variance() for op in spread if noise), *spread, *count, *image, *of_image]
    else:
        ops += [*count, *image, *noise, *of_image]      # next to each other: one pass over the words makes the image's variance
    marked = any(op.status for op in image)
    ops += [StatusCount.alone()] * bool(status_count and count) + [StatusCount.alone(image=True)] * bool(status_count and marked)
    more = (("image_status", marked), ("pixel_status", status or bool(count and not image)), ("variance", bool(noise)), ("status_count", status_count),
            ("image_status_count", status_count and marked))
    return ["image" if image else "photons" if count else "energy", *(name for name, asked in more if asked)]


def _check_variance(curve: Sequence[Op], spread: Sequence[Op], count: Sequence[Op], image: Sequence[Op]) -> None:
    """Raises ValueError where the variance of what comes out is not known, or not told by each pixel's own."""
    for op in (*curve, *spread, *count):
        if op in count or not hasattr(op, "slope" if op in curve else "variance"):
            raise ValueError(f"calib.calibrate: no variance is known of what comes out of {op.name}; leave variance out, or take it by calib.polynomial,"
                             " breakpoint, look_up, stencil and an assembly of energies")
    mixed = [op.name for op in (*spread, *image) if isinstance(op, (Stencil, AssembleSplit))]
    if len(curve) > 1 or len(mixed) > 1:
        raise ValueError(f"calib.calibrate: a variance goes through one nonlinearity, and through one step that mixes pixels, whose errors then are no"
                         f" longer independent; got {', '.join(op.name for op in curve) if len(curve) > 1 else ', '.join(mixed)}")


def _of_adc(kind: Detector, fields: dict[str, Any], curve: list[Any], common_mode: CommonMode | None, noisy: bool) -> list[Op]:
    """The source, and what follows up to the gain, of a detector that sends an adc; fields are the source's."""
    late = bool(curve or common_mode) and not fields.get("cells")       # the gain then comes behind them, and in front is adc - pedestal
    stages = kind.n_planes > 1 and (late or fields["gain_stage"])
    source = (ThresholdGain if kind.second_image else Gain)(**{**fields, "adu": late, "gain_stage": stages})
    ops: list[Op] = [source]
    for op in curve:
        ops += [op.slope(), op] if noisy else [op]      # of the same input
    gain, usable = fields["gain"], source._usable() if late else True
    if common_mode is not None:
        if common_mode.gain is not None:
            raise ValueError("calib.calibrate: give common_mode without gain: it gets the set's own")
        ops.append(replace(common_mode, gain=np.where(usable, gain, 1)) if late else common_mode)
    elif late:
        ops.append(Scale(np.where(usable, 1 / np.where(usable, gain, 1), 0)))
    return ops


def _of_counter(kind: Detector, fields: dict[str, Any], divide: Sequence[Any], multiply: Sequence[Any], noisy: bool) -> list[Op]:
    """The source of a detector that counts photons; fields are those of calib.Counts."""
    planes = list(multiply) if fields.get("plane") is None else [fields["plane"], *multiply]
    if noisy and (planes or divide or fields.get("table") is not None):
        raise ValueError("calib.calibrate: the variance of counts is theirs before they are divided, and before a dead time, which makes them no longer"
                         " Poisson's: leave plane, divide, multiply and table out, and scale later")
    if planes or divide:
        with np.errstate(divide="ignore", invalid="ignore"):
            fields["plane"] = product("calib.calibrate", kind.shape, planes) / product("calib.calibrate", kind.shape, divide)
    return [Counts(**fields)]


def _listed(ops: Op | Sequence[Op] | None) -> list[Op]:
    return [] if ops is None else [ops] if isinstance(ops, Op) else list(ops)


def _both(kind: Detector, a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    """The user's good and the set's."""
    if a is not None and (np.asarray(a).dtype != bool or np.shape(a) != kind.shape):
        raise ValueError(f"calib.calibrate: good must be bool {kind.shape}, True = use the pixel, got {np.asarray(a).dtype} {np.shape(a)}")
    return b if a is None else a if b is None else a & b


def _arguments(kind: Detector, constants: Any, good: np.ndarray | None, bad: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """What calib.gain takes, good being all that the user and the set say; and the noise."""
    if isinstance(constants, Constants):
        found, constants = constants.to_gain(bad=bad), constants.ordered()
        noise = constants.noise
        if constants.threshold is not None:
            found["threshold"] = constants.threshold
    else:
        found, noise = dict(constants), constants.get("noise")
        found.pop("noise", None)
        if bad:
            raise ValueError("calib.calibrate: bad names bits of a set's status; these constants are bare arrays: use good=")
        missing = [k for k in ("pedestal", "gain") if found.get(k) is None]
        if missing:
            raise ValueError(f"calib.calibrate: constants lack {', '.join(missing)}")
    found |= {"detector": kind, "good": _both(kind, good, found.get("good"))}
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


def _variance(noise: Any, gain: np.ndarray, quantum: float, cells: int) -> Variance:
    if noise is None:
        raise ValueError("calib.calibrate: a variance needs the noise of the pixels among the constants")
    if np.shape(noise) != np.shape(gain):
        raise ValueError(f"calib.calibrate: noise must be {np.shape(gain)} like gain, got {np.shape(noise)}")
    return Variance(noise, gain, quantum, cells)
