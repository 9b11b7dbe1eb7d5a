"""Who shares a pass over memory: the rules by which a kernel takes ops in. Over 200 lines: LOAD and GIVE compete for the same steps of a Chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .op import Op, Spec


class Step:
    """One op of a chain with the slots (numbers of arrays) that it reads and writes."""

    def __init__(self, op: Op, reads: tuple[int | None, ...], writes: tuple[int, ...]) -> None:
        self.op, self.reads, self.writes = op, reads, writes
        self.producer: Step | None = None       # the per-pixel op that this one takes in
        self.through_load: tuple[int, ...] = ()     # which of its inputs come from it
        self.stored: dict[str, int] = {}        # what it stores of its producers' arrays, as they are behind this one of them
        self.stored_behind: Step | None = None
        self.given: list[Step] = []             # the ops behind it that its kernel ends with
        self.unwritten: set[int] = set()        # which of its arrays nobody wants in memory

    @property
    def producers(self) -> tuple[Step, ...]:
        """The per-pixel ops that this one takes in, the last stage of LOAD first."""
        return () if self.producer is None else (self.producer, *self.producer.producers)

    @property
    def all(self) -> tuple[Step, ...]:
        """It, and what it takes in."""
        return (self, *self.producers, *(s for g in self.given for s in g.all))

    def read(self, name: str) -> int | None:
        """The slot of an input; None where it is not given, or no input."""
        names = self.op.input_names
        return self.reads[names.index(name)] if name in names else None

    def written(self, name: str, slots: list[Spec]) -> int | None:
        """The slot of an output."""
        return next((w for w in self.writes if slots[w].name == name), None)


def fuse(steps: list[Step], slots: list[Spec], outs: list[int]) -> list[Step]:
    """Kernels that end with GIVE take in the per-pixel ops before them, and then those behind; then all others those before them. Drops producers that
    nobody else needs."""
    handed = {s.written(s.op.gives, slots) for s in steps if s.op.gives}
    _load(steps, slots, handed)
    left = _give(steps, slots, outs)
    _load(left, slots, set())
    left = _drop(left, slots, outs)
    for giver in [s for s in left if s.given]:
        read = {r for s in left for t in s.all if t is not giver and t not in giver.given for r in t.reads} | set(outs)
        for s in (giver, *giver.given):
            s.unwritten = {w for w in s.writes if w not in read and slots[w].name != "frame_status"}
            if s is not giver and not _handed_on(s):        # what ends there is written in any case
                s.unwritten.discard(s.writes[0])
        if all(set(s.writes) <= s.unwritten for s in giver.given):      # a kernel must have an array to write
            giver.given[-1].unwritten.discard(giver.given[-1].writes[0])
    return left


def _load(steps: list[Step], slots: list[Spec], handed: set[int | None]) -> None:
    """Let each op that reads through LOAD take in the per-pixel ops that feed it, where they do not begin with what may be handed on to them."""
    writer = {w: s for s in steps for w in s.writes}
    for step in steps:
        loads = [step.op.input_names.index(n) for n in step.op.loads]
        slot = step.reads[loads[0]] if loads else None
        producer = writer.get(slot) if slot is not None else None
        if producer is None or slot is None or slots[slot].name != producer.op.pixel_output or producer.read("live") not in (None, step.read("live")):
            continue
        line = (producer, *producer.producers)
        first = dict(zip(line[-1].op.input_names, line[-1].reads, strict=True))
        made = {n: first[n] for n in line[-1].op.loads} | {slots[w].name: w for s in reversed(line) for w in s.writes}     # by the last that gives it
        marks = [r for r in (step.reads[i] for i in loads[1:]) if r is not None]
        once = len({_stage_of(s) for s in (*line, step, *step.given)}) == len(line) + 1 + len(step.given)      # a stage's names are its file's
        if once and all(r == made.get(slots[r].name) for r in marks) and not (line[-1].op.loads and line[-1].reads[0] in handed):
            step.producer = producer
            step.through_load = tuple(i for i in loads if step.reads[i] is not None)


def _stage_of(step: Step) -> type:
    """The class that says which .cl an op's stage is."""
    mro = type(step.op).__mro__
    return next((c for c in mro if "stage" in vars(c) or "pixel" in vars(c)), mro[0]) if step.op.pixel_output else mro[0]


def _drop(steps: list[Step], slots: list[Spec], outs: list[int]) -> list[Step]:
    """The steps, less the per-pixel ops whose arrays nobody needs in memory, or somebody stores who takes them in."""
    kept = steps
    for producer in reversed([s for s in steps if s.op.pixel_output]):
        others = [s for s in kept if s is not producer]
        fed = [s for s in others if producer in s.producers]
        status = producer.written("frame_status", slots)
        carried = not any(status in s.reads for s in others if status is not None) or any(status in s.reads for s in fed)     # who ORs its frame bits
        if not fed or not carried or not _store(producer, _wanted(producer, others, status, outs), others, slots):
            continue
        before = producer.read("frame_status")
        for s in others:
            s.reads = tuple(before if r is not None and r == status else r for r in s.reads)
        kept = others
    return kept


def _wanted(producer: Step, others: list[Step], status: int | None, outs: list[int]) -> set[int]:
    """Which arrays of a per-pixel op must be in memory: those that are kept, or read otherwise than through LOAD."""
    found = {r for s in others for r in _from_memory(s, producer) if r != status}
    return found | set(producer.writes) & set(outs)


def _from_memory(step: Step, producer: Step) -> set[int]:
    """Which arrays of the producer a step reads otherwise than through LOAD, or a step of its line."""
    found = set()
    for s in (step, *step.producers):
        loaded = s.through_load if producer in s.producers else ()
        found |= {r for i, r in enumerate(s.reads) if r in producer.writes and r is not None and i not in loaded}
    return found


def _store(producer: Step, wanted: set[int], others: list[Step], slots: list[Spec]) -> bool:
    """Let the first that can, of the ops which take the producer in, store what must be in memory of its arrays; whether there is one, or no need."""
    names = {slots[w].name: w for w in wanted}
    for i, s in enumerate(others if wanted else ()):
        if any(_from_memory(o, producer) & wanted for o in others[: i + 1]):
            return False        # comes too late for these
        if producer in s.producers and s.op.stores and s.read("live") == producer.read("live") and _room(s, producer, set(names), slots):
            s.stored, s.stored_behind = s.stored | names, s.stored_behind or producer
            return True
    return not wanted


def _room(step: Step, producer: Step, names: set[str], slots: list[Spec]) -> bool:
    """Whether a step can store these of a producer. It stores in one place of its line: what is stored already lies behind later ones, which leave
    the marks as they are, but for those that they write."""
    later = step.producers[: step.producers.index(producer)]
    taken = {producer.op.pixel_output, *(slots[w].name for o in later for w in o.writes)} if step.stored else set()
    return not names & (taken | set(step.stored) | {"frame_status"})


# ------------------------------------------------------------------------------------------------------------------ GIVE
@dataclass
class _Handed:
    """What GIVE hands on at one place of its line: the slots of the value and of the marks (None: of no array), and the names of the stages so far."""

    value: int | None
    marks: dict[str, int | None]
    names: list[object]


MARKS = ("pixel_status", "gain_stage")


def _give(steps: list[Step], slots: list[Spec], outs: list[int]) -> list[Step]:
    """Let kernels that can hand their pixels on end with the ops behind them: first those that leave a value as it is, then one that changes it."""
    made, left = {w for s in steps for w in s.writes}, list(steps)
    for giver in steps:
        if not giver.op.gives or giver not in left:
            continue
        start = {n: giver.written(n, slots) if n in giver.op.writes else giver.read(n) for n in MARKS}
        handed = _Handed(giver.written(giver.op.gives, slots), start, [_stage_of(s) for s in giver.all])
        while handed.value is not None:
            fitting = [s for s in left[left.index(giver) + 1 :] if _fits(giver, s, handed, made) and _status_is_its(giver, s, left, slots, outs)]
            taker = next((s for s in fitting if not _handed_on(s)), fitting[0] if fitting else None)
            if taker is None:
                break
            left.remove(taker)
            giver.given.append(taker)
            mine, status = taker.written("frame_status", slots), giver.written("frame_status", slots)
            if mine is not None:        # the giver writes it in the taker's place
                giver.writes = tuple(mine if w == status else w for w in giver.writes)
                taker.writes = tuple(w for w in taker.writes if w != mine)
            handed.names += _names(taker)
            if _handed_on(taker):
                new = {n: taker.written(n, slots) for n in MARKS if n in taker.op.writes}
                handed.value, handed.marks = taker.written(_handed_on(taker), slots), handed.marks | new
    return left


def _names(taker: Step) -> list[object]:
    """Of the stages that a taker is: each can stand in one kernel once."""
    return [_stage_of(taker), taker.op.given_by]


def _handed_on(taker: Step) -> str:
    """The output that GIVE hands on behind a taker: a per-pixel op's own, or what it says; none, if the value stays the same."""
    return taker.op.hands_on or taker.op.pixel_output


def _fits(giver: Step, taker: Step, handed: _Handed, made: set[int]) -> bool:
    """Whether an op takes what is handed on here, and else nothing that is not there before the giver."""
    if not taker.op.given_by or taker.producer or taker.reads[0] != handed.value or set(_names(taker)) & set(handed.names):
        return False
    for name, r in zip(taker.op.input_names[1:], taker.reads[1:], strict=True):
        if r is not None and name != "frame_status" and (r != handed.marks.get(name) if name in MARKS else r in made and r != giver.read(name)):
            return False
    return taker.read("live") == giver.read("live")


def _status_is_its(giver: Step, taker: Step, left: list[Step], slots: list[Spec], outs: list[int]) -> bool:
    """Whether the giver can write the frames' status in the taker's place."""
    mine, status = taker.written("frame_status", slots), giver.written("frame_status", slots)
    if mine is None:
        return taker.read("frame_status") is None
    others = [t for s in left if s not in (giver, taker) for t in s.all]
    return status is not None and taker.read("frame_status") == status and status not in outs and not any(status in t.reads for t in others)
