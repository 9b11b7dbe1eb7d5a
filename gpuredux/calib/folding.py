"""Constants of all gain states -> the two planes that a pixel's configuration leaves in a run: plane 0 = the word's gain bit clear, 1 = set.

For detectors whose gain is chosen by configuration bits of each pixel together with one bit of the word (ePix10ka, ePixHR: 7 states, ePixUHR: 12), or by
the mode of the whole detector and that bit (ePixM320: 4). Folded once a run, the correction reads two planes, and no configuration. A configuration that
is the same everywhere can be given by name: that of a mode (FH, AHL, SL ...), or of one of its states, which means its mode: AHL_H and AHL_L are both AHL.
source: psana's bit tables, https://confluence.slac.stanford.edu pages EPIX10KA and ePixUHR 35 kHz, with three faults of psana's ePixUHR code avoided: it takes
the gain bit at bit 1 of the word, where data are; it drops bit 3 before it asks for FMG, which is then never found; and the gain bit before it asks for
the switched states; and one of its ePixM320 code, which takes the pedestals of SH and SL for the bit clear and set, whatever the mode is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..detectors import Configuration, Detector, detector
from .constants import Constants
from .constants_given import plain
from .dark_status import DarkStatus

UNKNOWN, OFF = -1, -2


def modes(kind: str | Detector) -> dict[str, tuple[int, int]]:
    """The configurations that have a name: (config, trbit) of each, what does not matter being 0."""
    table = _table(detector(kind))
    return {state.partition("_")[0]: (value & table.bits, int(value & table.transfer != 0)) for state, _, value in table.states}


def _table(kind: Detector) -> Configuration:
    if kind.config is None:
        raise ValueError(f"folding: {kind.name} has no configuration bits; its gain stages {kind.gains} are in the word alone")
    return kind.config


def _named(name: str, trbit: int | np.ndarray, kind: Detector) -> tuple[np.ndarray, int]:
    """The configuration (*frame) and trbit of a mode, or of the mode that a state is of."""
    table, known = _table(kind), modes(kind)
    of_modes = [n for n in table.names if n not in known]
    if name not in known and name not in of_modes:
        raise ValueError(f"folding: {kind.name} has the modes {', '.join(known)} (and their states {', '.join(of_modes)}), got {name!r}")
    mode = name.partition("_")[0]
    code, high = known[mode]
    given = plain("folding: trbit", trbit)
    free = table.transfer and not any(mask & table.transfer for state, mask, _ in table.states if state.partition("_")[0] == mode)
    if given.dtype.kind not in "uib" or ((given != 0) & (given != 1)).any():
        raise ValueError(f"folding: trbit must be 0 or 1, got {given.tolist() if given.size < 9 else given.dtype}")
    if ((given != 0) & (given != high)).any() and not free:
        raise ValueError(f"folding: {name} of {kind.name} has the trbit {high}, got {trbit}; leave it out (0) beside a name")
    return np.full(kind.shape, code), high


def states(config: np.ndarray | str, trbit: int | np.ndarray, kind: str | Detector) -> np.ndarray:
    """The gain state of each pixel with the word's gain bit clear and set: (2, *frame) i8, an index of kind.config.names; UNKNOWN or OFF (masked in config).

    config (*frame) integers, or the name of the mode that all pixels have, which implies trbit (0 is then as good as none)
    trbit 0 or 1, one or an array that broadcasts to the frame (ePix10ka: one an ASIC); 0 for detectors without"""
    kind = detector(kind)
    table = _table(kind)
    if isinstance(config, str):
        config, trbit = _named(config, trbit, kind)
    config, high = plain("folding: config", config), plain("folding: trbit", trbit)
    if config.dtype.kind not in "ui" or config.shape != kind.shape:
        raise ValueError(f"folding: config must be integers {kind.shape} for {kind.name}, got {config.dtype} {config.shape}")
    if high.dtype.kind not in "uib" or ((high != 0) & (high != 1)).any() or (high.any() and not table.transfer):
        raise ValueError(f"folding: trbit must be 0{' or 1' if table.transfer else f', {kind.name} has none'}, got {trbit}")
    code = np.broadcast_to(config & table.bits | high.astype(np.int64) * table.transfer, config.shape)
    found = np.full((2, *config.shape), UNKNOWN, np.int8)
    for bit in (0, 1):
        word = code | bit * table.switched
        for state, (_, mask, value) in reversed(list(enumerate(table.states))):
            found[bit][(word & mask) == value] = state
    odd = config & ~np.asarray(table.bits | _IGNORED, config.dtype) if config.size else config
    found[:, odd != 0] = UNKNOWN
    found[:, (config & table.masked) != 0] = OFF
    return found


_IGNORED = 0b11     # ePix10ka's bits for mask and test pulse; psana ignores them, and its configuration files hold them


def fold(constants: np.ndarray, config: np.ndarray | str, trbit: int | np.ndarray, kind: str | Detector, unknown: str = "raise") -> np.ndarray:
    """Two planes (2, [cells,] *frame) of constants (states, [cells,] *frame); NaN (0 for integers) where the configuration switches the pixel off.

    config, trbit: as of states, "AHL" or "SH" among them
    unknown: "raise" ValueError naming pixels whose code is no state, or "mask": like those that are off"""
    kind = detector(kind)
    found = _checked(states(config, trbit, kind), config, kind, unknown)
    constants = plain("folding: constants", constants)
    names = kind.config.names if kind.config else ()
    frame = kind.shape
    if len(constants) != len(names) or constants.shape[constants.ndim - len(frame):] != frame:
        more = "; complete 8 with low_states" if len(constants) == 8 else ""
        raise ValueError(f"folding: constants must be ({len(names)}, [cells,] {', '.join(map(str, frame))}) in the order {', '.join(names)},"
                         f" got {constants.shape}{more}")
    at = found.reshape(2, *(1,) * (constants.ndim - 1 - len(frame)), *frame)
    planes = np.take_along_axis(constants, np.maximum(at, 0), axis=0)
    planes[np.broadcast_to(at < 0, planes.shape)] = np.nan if planes.dtype.kind == "f" else 0
    return planes


def _checked(found: np.ndarray, config: np.ndarray | str, kind: Detector, unknown: str) -> np.ndarray:
    if unknown not in ("raise", "mask"):
        raise ValueError(f"folding: unknown must be 'raise' or 'mask', got {unknown!r}")
    bad = (found == UNKNOWN).any(axis=0)
    if bad.any() and unknown == "raise":
        where = np.argwhere(bad)
        code = np.asarray(config)       # a name's is a state
        some = ", ".join(f"{tuple(map(int, p))} code {int(code[tuple(p)])}" for p in where[:3])
        raise ValueError(f"folding: the configuration of {len(where)} pixels of {kind.name} is no gain state: {some}{' ...' if len(where) > 3 else ''};"
                         " pass unknown='mask' to leave them out")
    return found


def fold_constants(constants: Constants, config: np.ndarray | str, trbit: int | np.ndarray = 0, unknown: str = "raise", missing: str = "raise") -> Constants:
    """The set with two planes, ready for calib.Gain; pixels that are off or unknown are not good.

    config, trbit: as of states, "AHL" or "SH" among them
    constants: with planes of states, in any order. Dark runs give no switched state (AHL_L, AML_L ...): see switched_pedestal, and calib.darks.merge
    missing: where a pixel's configuration asks for a state that the set lacks, "raise" ValueError naming the states, or "mask": the plane is NaN there,
    which calib.Gain(invalid="mask") makes BAD_CONSTANT, and a status of dark runs TOO_FEW"""
    kind = constants.kind
    names = kind.config.names if kind.config else ()
    if not set(constants.planes) <= set(names):
        raise ValueError(f"folding: the set's planes are {constants.planes}, the states of {kind.name} are {names}")
    found = _checked(states(config, trbit, kind), config, kind, unknown)
    lost = _lost(constants, found, names, missing)
    folded = {n: fold(_all_states(a, constants, names), config, trbit, kind, unknown) for n, a in constants.arrays.items() if n not in ("good", "threshold")}
    usable = (found >= 0).all(axis=0)
    note = f"folded with a configuration: {', '.join(f'{names[s]} {int((found == s).any(axis=0).sum())}' for s in np.unique(found[found >= 0]))} pixels"
    note += f", of which the set lacked {', '.join(lost)}" if lost else ""
    good = usable if constants.good is None else constants.good & usable
    return replace(constants, **folded, good=good, threshold=None, planes=kind.gains, notes="; ".join(filter(None, (constants.notes, note))),
                   units={n: u for n, u in constants.units.items() if n in folded})


def _lost(constants: Constants, found: np.ndarray, names: tuple[str, ...], missing: str) -> list[str]:
    """The states that pixels ask for and the set lacks."""
    if missing not in ("raise", "mask"):
        raise ValueError(f"folding: missing must be 'raise' or 'mask', got {missing!r}")
    lost = [names[s] for s in np.unique(found[found >= 0]) if names[s] not in constants.planes]
    if lost and missing == "raise":
        asked = ", ".join(f"{n} ({int((found == names.index(n)).any(axis=0).sum())} pixels)" for n in lost)
        raise ValueError(f"folding: the configuration asks for {asked}, and the set has only {', '.join(constants.planes)}; add them (calib.darks.merge;"
                         " for switched states folding.switched_pedestal), or pass missing='mask'")
    return lost


def _all_states(a: np.ndarray, constants: Constants, names: tuple[str, ...]) -> np.ndarray:
    """An array of the set with a plane for every state; those that the set lacks: NaN, of a status TOO_FEW, or 0 where its bits are another program's."""
    if constants.planes == names:
        return a
    empty = np.full(a.shape[1:], np.nan if a.dtype.kind == "f" else DarkStatus.TOO_FEW if constants.flags == DarkStatus.__name__ else 0, a.dtype)
    return np.stack([a[constants.planes.index(n)] if n in constants.planes else empty for n in names])


def low_states(constants: np.ndarray) -> np.ndarray:
    """12 states of ePixUHR from 8: the switched low states take what the fixed ones of the same number have, as psana does. Good for gains;
    a pedestal of a switched state is another than that of the fixed one: see switched_pedestal."""
    constants = plain("folding: constants", constants)
    if len(constants) != 8:
        raise ValueError(f"folding: low_states completes the 8 states of ePixUHR, got {constants.shape}")
    return np.concatenate((constants, constants[[2, 3, 2, 3]]))


def switched_pedestal(offset_low: np.ndarray, offset_high: np.ndarray, pedestal_high: np.ndarray, gain_low: np.ndarray, gain_high: np.ndarray) -> np.ndarray:
    """pedestal_low = offset_low - (offset_high - pedestal_high) * gain_low / gain_high in float64, for AHL_L and AML_L, which no dark run can measure.

    offset: the adc at charge 0 of the lines fitted to a charge injection in the two stages; gain: their slopes (or gains, in one unit)
    raises ValueError for a gain_high of 0"""
    named = {"offset_low": offset_low, "offset_high": offset_high, "pedestal_high": pedestal_high, "gain_low": gain_low, "gain_high": gain_high}
    given = [plain(f"folding: {name}", a).astype(np.float64) for name, a in named.items()]
    if (given[4] == 0).any():
        raise ValueError(f"folding: gain_high is 0 in {int((given[4] == 0).sum())} pixels; set it to NaN where it is not known")
    return given[0] - (given[1] - given[2]) * given[3] / given[4]


def place(asics: np.ndarray, kind: str | Detector) -> np.ndarray:
    """Panels (..., rows, cols) from ASICs (..., k, rows, cols) as LCLS2's configuration and data hold them, each turned as it lies.

    ePix10ka: the upper row is A2 and A1, turned by 180 degrees, the lower A3 and A0. ePixUHR: the upper row is A0 A1 A2, mirrored left to right,
    the lower A3 A4 A5, mirrored top to bottom. Raises ValueError for others"""
    kind, a = detector(kind), np.asarray(asics)
    many, rows, cols = (4, 176, 192) if kind.name.startswith("epix10ka") else (6, 168, 192)
    if not kind.name.startswith(("epix10ka", "epixuhr3x2")):
        raise ValueError(f"folding: how the ASICs of {kind.name} lie is not known here; epix10ka and epixuhr3x2 are")
    if a.ndim < 3 or a.shape[-3:] != (many, rows, cols):
        raise ValueError(f"folding: ASICs of {kind.name} must be (..., {many}, {rows}, {cols}), got {a.shape}")
    part = [a[..., k, :, :] for k in range(many)]
    if many == 4:
        lines = [[part[2][..., ::-1, ::-1], part[1][..., ::-1, ::-1]], [part[3], part[0]]]
    else:
        lines = [[p[..., ::-1] for p in part[:3]], [p[..., ::-1, :] for p in part[3:]]]
    return np.concatenate([np.concatenate(line, axis=-1) for line in lines], axis=-2)
