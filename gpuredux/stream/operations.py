"""From the stages of a configuration to the operations of one chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import OPS, Chain, Op
from ..calib.assemble import Assemble
from ..calib.gain import Gain
from ..calib.scale import Scale
from ..veto import Compact
from .config import Document
from .constants import Known, of_stage
from .faults import ConfigError
from .image import IMAGE, PIXELS, QuantizeImage, assembled
from .wiring import ASSEMBLE, PACK, QUANTIZE, SOURCES, STEPS, VETO

Fields = dict[str, Any]


@dataclass(frozen=True)
class Operations:
    """calibration: from words to energies; the others, where they are there."""

    calibration: tuple[Op, ...]
    veto: Op | None
    assemble: Assemble | None
    beam: tuple[float, float] | None        # (row, col) in the image
    quantize: Any
    pack: Op

    @property
    def values(self) -> tuple[str, str]:
        """The names of what is quantised, and of its status."""
        return PIXELS if self.assemble is None else IMAGE

    @property
    def energies(self) -> Op | None:
        """From words to what is quantised, as one op."""
        ops = [*self.calibration, *([self.assemble] if self.assemble else ())]
        return Chain(ops, keep=self.values) if len(ops) > 1 else ops[0] if ops else None

    @property
    def chain(self) -> list[Op]:
        """All of them as they run. For the frames that a veto keeps, the gain alone runs again, fused, which costs less than to write the energies of all
        and move them; more than that does not."""
        coded = [*([self.assemble] if self.assemble else ()), self.quantize] if self.quantize else []
        if self.veto is None:
            return [*(self.calibration if coded else ()), *coded, self.pack]
        names = ("code",) if not coded else ("raw",) if len(self.calibration) == 1 else ("energy", "pixel_status")      # without codes, `code` is the words
        again = self.calibration if names == ("raw",) else ()
        return [*self.calibration, self.veto, Compact(names=names), *again, *coded, self.pack]


def operations(document: Document, held: Known) -> Operations:
    """Raises ConfigError with all that the operations refuse."""
    stages, faults, made, beam = document.config.stages, list[str](), dict[str, Op](), None
    fields: dict[str, Fields] = {}
    for i, stage in enumerate(stages):
        try:
            fields[stage.type] = of_stage(document, i)
        except ConfigError as e:
            faults += e.lines
    for i, stage in enumerate(stages) if not faults else ():
        try:
            if stage.type == ASSEMBLE:
                made[stage.type], beam = assembled(document, i, held.kind)
            else:
                made[stage.type] = _made(document, i, _completed(document, i, held, fields, made))
        except ConfigError as e:
            faults += e.lines
    if faults:
        raise ConfigError(faults)
    calibration, assemble = tuple(made[k] for k in (*SOURCES, *STEPS) if k in made), made.get(ASSEMBLE)
    assert assemble is None or isinstance(assemble, Assemble)
    quantize = made.get(QUANTIZE) if assemble is None else QuantizeImage(**fields[QUANTIZE])
    return Operations(calibration, made.get(VETO), assemble, beam, quantize, made[PACK])


def _made(document: Document, i: int, fields: Fields) -> Op:
    """The operation of a stage; what it refuses becomes a line with the key's place."""
    stage = document.config.stages[i]
    try:
        return OPS[stage.type](**fields)
    except (TypeError, ValueError) as e:
        raise ConfigError([refused(document, str(e))]) from None


def refused(document: Document, said: str) -> str:
    """What an operation says of itself, as a line with the place of its stage and key."""
    who, _, words = said.partition(": ")
    i, stage = next(((i, s) for i, s in enumerate(document.config.stages) if s.type == who), (0, None))
    if stage is None:
        return document.at(("stages",), said)
    key, _, rest = words.partition(" ")
    return document.at(("stages", i, key), rest) if key in stage.fields() else document.at(("stages", i), words)


def _completed(document: Document, i: int, held: Known, fields: dict[str, Fields], made: dict[str, Op]) -> Fields:
    """The fields of a stage's operation with those that the rest of the configuration sets."""
    kind = document.config.stages[i].type
    more = {"calib.gain": _gain, "calib.counts": _counts, "calib.common_mode": _common_mode, "calib.scale": _scale}.get(kind)
    return fields[kind] if more is None else more(document, i, held, fields, made)


def _gain(document: Document, i: int, held: Known, fields: dict[str, Fields], made: dict[str, Op]) -> Fields:
    own, given = fields["calib.gain"], {"detector": held.kind, "status": True, **{k: a for k, a in held.arrays.items() if k != "noise"}}
    if held.flagged is not None and own["invalid"] == "raise":      # for all but what `bad` leaves out
        sound = {"pedestal": np.where(held.flagged, 0, held.arrays["pedestal"]), "gain": np.where(held.flagged, 1, held.arrays["gain"])}
        _made(document, i, {**own, **given, **sound})
        own = {**own, "invalid": "mask"}
    mode, scale = fields.get("calib.common_mode"), fields.get("calib.scale")
    by_stage = [mode is not None and (not own["adu"] or mode["exclude_stages"]), *(np.ndim(a) > len(held.kind.shape) for a in _factors(scale))]
    return {**own, **given, "adu": own["adu"] or mode is not None, "gain_stage": any(by_stage) and held.kind.n_planes > 1}


def _counts(document: Document, i: int, held: Known, fields: dict[str, Fields], made: dict[str, Op]) -> Fields:
    return {**fields["calib.counts"], "good": held.arrays.get("good"), "status": True}


def _common_mode(document: Document, i: int, held: Known, fields: dict[str, Fields], made: dict[str, Op]) -> Fields:
    """In ADU, and then to the gain's unit, as calib.Calibrate does it."""
    own, kind = fields["calib.common_mode"], held.kind
    bank = own["bank"] or kind.bank
    if bank is None:
        raise ConfigError([document.at(("stages", i, "bank"), f"missing: no bank of {kind.name} is known; write bank: [rows, cols]")])
    odd = [k for k in own["exclude_stages"] if k not in kind.planes]
    if odd:
        stages = ", ".join(str(k) for k in sorted(set(kind.planes)) if k >= 0)
        raise ConfigError([document.at(("stages", i, "exclude_stages"), f"{kind.name} has the gain stages {stages}, got {', '.join(map(str, odd))}")])
    if fields["calib.gain"]["adu"]:
        return {**own, "bank": bank}
    gain = made.get("calib.gain")
    if not isinstance(gain, Gain):
        raise ConfigError([])       # it has said why
    return {**own, "bank": bank, "gain": np.where(gain._usable(), gain.gain, 1)}


def _factors(scale: Fields | None) -> list[Any]:
    return [] if scale is None else [*scale["divide"], *scale["multiply"]]


def _scale(document: Document, i: int, held: Known, fields: dict[str, Fields], made: dict[str, Op]) -> Fields:
    """Numbers and arrays, of the frame or of each gain stage, folded into one plane, where no pixel in use may be divided by nothing."""
    own, kind = fields["calib.scale"], held.kind
    shapes, faults = ((), kind.shape, (kind.n_planes, *kind.shape)), []
    for key in ("divide", "multiply"):
        for k, a in enumerate(own[key]):
            if np.shape(a) not in shapes or np.asarray(a).dtype.kind not in "fiu":
                want = f"{shapes[1]}" + (f" or {shapes[2]}, one for each gain stage" if kind.n_planes > 1 else "")
                faults.append(document.at(("stages", i, key, k), f"must be numbers {want}, got {np.asarray(a).dtype} {np.shape(a)}"))
    if not _factors(own):
        faults.append(document.at(("stages", i), "has nothing to do: give divide or multiply, lists of numbers and file.h5:/dataset"))
    if faults:
        raise ConfigError(faults)
    try:
        return {"plane": Scale.folding(kind.shape, own["divide"], own["multiply"], held.arrays.get("good")).plane}
    except ValueError as e:
        raise ConfigError([refused(document, str(e))]) from None
