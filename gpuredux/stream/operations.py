"""From the stages of a configuration to the operations of one chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .. import OPS, Chain, Op
from ..calib import Photons, Scale, SharedPhotons
from ..calib.assemble import Assembly
from ..veto import Compact
from .completed import Stages, completed, plane
from .config import Document
from .constants import Known, of_stage
from .faults import ConfigError
from .features import PLACES, Feature, features
from .image import IMAGE, PIXELS, QuantizeImage, assembled, packed
from .stages import FEATURES
from .wiring import ASSEMBLE, COMMON_MODE, CROSSTALK, CURVES, PACKS, PHOTONS, QUANTIZE, SCALE, SOURCES, VARIANCE, VETO


@dataclass(frozen=True)
class Operations:
    """front: the source and all behind it whose output is energies; the others, where they are there."""

    front: tuple[Op, ...]
    crosstalk: tuple[Op, ...]
    variance: Op | None
    veto: Op | None
    photons: Photons | SharedPhotons | None
    assemble: Assembly | None
    beam: tuple[float, float] | None        # (row, col) in the image
    quantize: Any
    pack: Any                               # None: no frames are stored, features alone
    encoder: Any                            # as pack, of whatever it is given
    features: tuple[Feature, ...] = ()
    said: tuple[str, ...] = ()              # what the source says of each event

    @property
    def values(self) -> tuple[str, str]:
        """The names of what is quantised, and of its status."""
        return PIXELS if self.assemble is None else IMAGE

    @property
    def calibration(self) -> tuple[Op, ...]:
        """From words to energies."""
        return self.front + self.crosstalk

    @property
    def energies(self) -> Op | None:
        """From words to what is quantised, as one op."""
        ops = [*self.calibration, *([self.assemble] if self.assemble else ())]
        return Chain(ops, keep=self.values) if len(ops) > 1 else ops[0] if ops else None

    @property
    def noisy(self) -> tuple[Any, ...]:
        """From words to energies, with their variance beside them where it is wanted: behind the front, and mixed as crosstalk mixes energies."""
        if self.variance is None:
            return self.calibration
        front: list[Any] = [o for op in self.front for o in ((op.slope(), op) if hasattr(op, "slope") else (op,))]     # of the same input
        mixed: list[Any] = [*self.crosstalk]
        return (*front, self.variance, *(op.variance() for op in mixed), *mixed)

    @property
    def beside(self) -> str:
        """The second array of a frame that is stored: variance, or what photons alone do not tell; or ''."""
        if self.variance is not None:
            return "variance"
        return "" if self.pack is None else self.values[1] if self.photons is not None and self.photons.status else ""

    @property
    def chain(self) -> list[Op]:
        """All of them as they run. For the frames that a veto keeps, the gain alone runs again, fused, which costs less than to write the energies of all
        and move them; more than that does not."""
        front, late, last = ([f.op for f in self.features if f.place == place] for place in PLACES)
        coded = [*late, *(op for op in (self.photons,) if op), *last]
        coded += [op for op in (self.assemble, self.assemble and self.variance and self.assemble.variance(), self.quantize) if op]
        packs = [*([self.pack] if self.pack else ()), *([packed(self.encoder, self.beside, beside=True)] if self.beside else ())]
        if self.veto is None:
            return [*(self.noisy if coded or front else ()), *front, *coded, *packs]
        given = {*self.said, "pulse_id", *(n for op in front for n in op.writes)} - {"energy", "pixel_status"}
        handed = tuple(sorted({n for op in (*late, *last) for n in op.input_names if n not in op.state} & given))
        if not coded:       # `code` is the words
            return [*self.calibration, *front, self.veto, Compact(names=("code" if self.pack else "pulse_id",)), *packs]
        if len(self.calibration) == 1 and not any({"energy", "pixel_status"} & {*op.writes} for op in front):
            return [*self.calibration, *front, self.veto, Compact(names=("raw", *handed)), *self.noisy, *coded, *packs]
        moved = ("energy", "pixel_status", *(("variance",) if self.variance else ()), *handed)
        return [*self.noisy, *front, self.veto, Compact(names=moved), *coded, *packs]


def operations(document: Document, held: Known) -> Operations:
    """Raises ConfigError with all that the operations refuse."""
    stages, faults, beam, assemble = Stages(document, held), list[str](), None, None
    for i in range(len(stages.kinds)):
        try:
            stages.fields[i] = of_stage(document, i)
        except ConfigError as e:
            faults += e.lines
    found: tuple[Feature, ...] = ()
    if not faults:
        try:
            found = features(document, held, stages.fields)
        except ConfigError as e:
            faults += e.lines
    for i, kind in enumerate(stages.kinds) if not faults else ():
        try:
            if kind == ASSEMBLE:
                assemble, beam = assembled(document, i, held.kind)
            elif kind not in FEATURES:
                stages.made[i] = _made(stages, i)
        except ConfigError as e:
            faults += e.lines
    if faults:
        raise ConfigError(faults)
    return replace(_operations(stages, assemble, beam), features=found, said=tuple(getattr(document.config.source, "values", ())))


def _made(stages: Stages, i: int) -> Op:
    """The operation of a stage; what it refuses becomes a line with the key's place."""
    try:
        return OPS[stages.kinds[i]](**completed(stages, i))
    except ConfigError:
        raise
    except (TypeError, ValueError) as e:
        raise ConfigError([refused(stages.document, str(e), i)]) from None


def _operations(stages: Stages, assemble: Assembly | None, beam: tuple[float, float] | None) -> Operations:
    """What was made, each in its place; with what no stage says: a gain behind a nonlinearity, and who reads an image or photons."""
    front = stages.ops(*SOURCES, *CURVES, COMMON_MODE, SCALE)
    if stages.late and not {COMMON_MODE, SCALE} & set(stages.kinds):
        front.append(Scale(plane(stages, {"divide": [], "multiply": []})))
    photons: Any = next(iter(stages.ops(*PHOTONS)), None)
    one: dict[str, Any] = {k: next(iter(stages.ops(k)), None) for k in (QUANTIZE, VETO, VARIANCE)}
    quantize, veto, variance = one.values()
    pack: Any = next(iter(stages.ops(*PACKS)), None)
    encoder = pack
    if quantize is not None and assemble is not None:
        quantize = QuantizeImage(**stages.of(QUANTIZE) or {})
    if photons is not None:
        assemble = replace(assemble, status=photons.status).photons() if assemble is not None else None
        pack = pack and packed(pack, "photons" if assemble is None else "image")
    return Operations(tuple(front), tuple(stages.ops(*CROSSTALK)), variance, veto, photons, assemble, beam, quantize, pack, encoder)


def refused(document: Document, said: str, at: int | None = None) -> str:
    """What an operation says of itself, as a line with the place of its stage and key; at: the stage, where it is known."""
    who, _, words = said.partition(": ")
    stages = document.config.stages
    i = at if at is not None else next((i for i, s in enumerate(stages) if s.type == who), None)
    if i is None:
        return document.at(("stages",), said)
    if stages[i].type != who:
        return document.at(("stages", i), said)
    key, _, rest = words.partition(" ")
    return document.at(("stages", i, key), rest) if key in stages[i].fields() else document.at(("stages", i), words)
