"""What a run is built from: constants, operations as one planned Chain, and the slots. Over 200 lines: plans, their memory and the way through them."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from .. import OPS, Chain, Plan, Spec, backends
from ..backends import BackendUnavailable
from ..compress import Pack
from ..op import Taken
from ..status import Frame
from .config import Document
from .constants import known
from .event import Ids
from .faults import ConfigError
from .features import Feature, start_of, stored
from .follow import Follower, follower
from .image import BESIDE
from .operations import operations, refused
from .recheck import Recheck
from .said import event_specs, unfed
from .slot import Slot
from .source import Source
from .wiring import PACKS, VARIANCE

Array = Any


class Pipeline:
    """The planned chain of a configuration, and the way of a slot through it. run() is for one thread: the one that made it may hand it over."""

    def __init__(self, document: Document, source: Source) -> None:
        run = document.config.run
        self.document, self.frame, self.batch = document, source.frame, run.batch
        self.parallel = threading.Lock()    # the host's kernels use all its threads: one at a time
        held = known(document, source)
        noisy = any(s.type == VARIANCE for s in document.config.stages)
        self.constants, self.about_constants = {k: a for k, a in held.arrays.items() if k != "noise" or noisy}, held.about
        try:
            self.backend = backends.get(run.backend)
            self.device = self.backend.devices()[run.device]
        except BackendUnavailable as e:
            raise ConfigError([document.at(("run", "backend"), str(e))]) from None
        except IndexError:
            count = len(self.backend.devices())
            raise ConfigError([document.at(("run", "device"), f"{run.backend} has {count} devices, counted from 0; got {run.device}")]) from None
        made = operations(document, held)
        self.ops, self.energies = made.chain, made.energies
        self.gain = made.calibration[0] if made.calibration else None
        self.veto, self.quantize, self.pack = made.veto, made.quantize, made.pack
        self.photons, self.beside = made.photons, made.beside
        self.encoder: Any = made.encoder or OPS[PACKS[0]]()
        self.features: tuple[Feature, ...] = made.features
        if run.verify and self.pack is None:
            raise ConfigError([document.at(("run", "verify"), "there are no chunks to be decoded again: no stage is a codec")])
        self.computed: list[tuple[Ids, Ids]] = []       # pulse ids that the chain has taken in, of batches: all, and those kept
        self.values, self.beam, self.stored_frame = made.values, made.beam, made.assemble.shape if made.assemble else self.frame
        try:
            self._build(event_specs(document, source.values, run.batch, made.features))
        except ConfigError:
            raise
        except MemoryError as e:
            raise ConfigError([document.at(("run", "batch"), f"takes more memory than there is: {e}")]) from None
        except (TypeError, ValueError) as e:
            raise ConfigError([refused(document, str(e))]) from None
        self.packing = self._packing()
        self.follower: Follower | None = follower(self, held.arrays.get("noise"))

    def _build(self, values: dict[str, Spec]) -> None:
        """The plan, the arrays of the device, and a plan on the host for events that are kept unreduced."""
        n, frame, run = self.batch, self.frame, self.document.config.run
        packed = self.pack.inputs[0] if self.pack else ""
        shapes = {"raw": ((n, *frame), np.uint16), "code": ((n, *frame), np.uint16), "pulse_id": ((n,), np.uint64), "live": ((1,), np.int32)}
        specs = {k: Spec(k, shape, np.dtype(dtype)) for k, (shape, dtype) in shapes.items()} | values
        chain, start = Chain(self.ops), start_of(self.features, self.ops, specs)
        self.said = {k: s for k, s in values.items() if k in chain.input_names}
        specs |= {k: Spec(k, a.shape, a.dtype) for k, a in start.items()}
        unfed(self.ops, self.features, specs, self.document)
        wired = {k: s for k, s in specs.items() if k in chain.input_names}
        slots, steps, _ = chain.wire(*chain.bind((), wired))
        written = {s.name for s in slots[len(wired):]}
        self.features = stored(self.document, self.features, slots, steps, n, math.prod(frame))
        if self.pack is None and not start and not any(f.store for f in self.features):
            raise ConfigError([self.document.at(("stages",), "nothing would be stored: no frames, and of no feature an output")])
        keep: list[str | Taken] = [*start, *dict.fromkeys(t for f in self.features for t in f.taken.values())]
        keep += [k for k in ("decision", "source", "live", "frame_status", "outlier_index", "outlier_value", "outlier_count", "max_error", "payload", "size",
                            "filter_mask", *BESIDE, *([packed] if run.verify and self.pack else [])) if k in written]
        self.chain = Chain(self.ops, keep=keep)
        self.plan: Plan = self.chain.plan(backend=self.backend.name, device=self.device, **wired)
        self.inputs = tuple(k for k in wired if k not in start)
        self.on_host = self.backend.is_mine(np.empty(0))
        self.device_in = {} if self.on_host else {k: self.backend.empty(s.shape, s.dtype, self.device) for k, s in wired.items() if k not in start}
        outs = {} if self.on_host else {s.name: self.backend.empty(s.shape, s.dtype, self.device) for s in self.plan.outs}
        self.device_out: dict[str, Array] = {k: a for k, a in outs.items() if k not in start}
        self.state: dict[str, Array] = start if self.on_host else {k: self.backend.put(a, self.device) for k, a in start.items()}
        self._next_state = {k: np.empty_like(a) if self.on_host else outs[k] for k, a in start.items()}
        self.recheck = Recheck(run.verify, self.encoder, packed, packed in written, self.stored_frame if packed in written else frame, self.stored,
                               "numpy" if self.backend.name == "numpy" else "numba", self.quantize, self._again) if run.verify and self.pack else None
        self.keeps_raw = bool(self.veto is not None and self.veto.config()["raw_every"])
        self.host = backends.get("numpy" if self.backend.name == "numpy" else "numba")     # what encodes the frames that the chain does not
        self.raw_plan: Plan | None = None if not self.keeps_raw else \
            self.encoder.plan(code=specs["code"], live=specs["live"], backend=self.host.name)
        self.raw_rows = np.zeros((n if self.keeps_raw else 0, *frame), np.uint16)
        one = Spec("raw", (1, *frame), np.dtype(np.uint16))     # frames that overflow, one at a time; on the host the constants are those of the chain
        self.exact_plan: Plan | None = self.energies.plan(raw=one, backend=self.host.name) if self.energies and self.quantize else None
        self.exact_out = {s.name: np.zeros(s.shape, s.dtype) for s in self.exact_plan.outs} if self.exact_plan else {}
        if self.exact_plan:
            self.pack(self.exact_out[self.values[0]], backend=self.host.name)     # its plan for such a frame, for the writers of all parts

    def _packing(self) -> tuple[Plan, dict[str, Array], dict[str, Array]] | None:
        """Of a device: the plan that puts the chunks of a batch one behind another, what it takes, and what it makes."""
        if "payload" not in self.device_out:
            return None
        live = self.device_out.get("live", self.device_in.get("live"))
        given = {"payload": self.device_out["payload"], "size": self.device_out["size"], **({} if live is None else {"live": live})}
        plan = Pack().plan(**given, backend=self.backend.name, device=self.device)
        return plan, given, {s.name: self.backend.empty(s.shape, s.dtype, self.device) for s in plan.outs}

    @property
    def stored(self) -> np.dtype[Any]:
        """Of the reduced frames in the files: codes, photons, or raw words."""
        coded = self.quantize or self.photons
        return coded.kind.dtype if coded else np.dtype(np.uint16)

    def slot(self) -> Slot:
        """A new slot."""
        n = self.batch
        out = {s.name: np.zeros(s.shape, s.dtype) for s in self.plan.outs if s.name not in self.state}
        none = (Spec("payload", (0, 0), np.dtype(np.uint8)), Spec("size", (0,), np.dtype(np.uint32)))
        raw = [np.zeros(s.shape, s.dtype) for s in (self.raw_plan.outs if self.raw_plan else none)]
        return Slot(np.zeros((n, *self.frame), np.uint16), np.zeros(n, np.uint64), np.zeros(1, np.int32), out, raw[0], raw[1],
                    raw[2] if len(raw) > 2 else None, values={k: np.zeros(s.shape, s.dtype) for k, s in self.said.items()})

    # ------------------------------------------------------------------ a batch
    def run(self, slot: Slot) -> None:
        """Reduce the batch of a slot: afterwards its outputs lie on the host."""
        slot.live[0] = slot.n
        given = {"raw": slot.raw, "code": slot.raw, "pulse_id": slot.pulse_id, "live": slot.live, **slot.values}
        if not self.on_host:
            self._run_on_device(slot, given)
        with self.parallel:
            if self.on_host:
                self._run_plan(slot.out, {k: given[k] for k in self.inputs})
            slot.kept = int(slot.out["live"][0]) if "live" in slot.out else slot.n
            slot.source = slot.out["source"][: slot.kept] if "source" in slot.out else np.arange(slot.n)
            if self.state:
                self.computed.append((slot.pulse_id[: slot.n].copy(), slot.pulse_id[slot.source]))
            self._pack_raw(slot)
            if self.recheck is not None:
                self.recheck.look(slot)
        overflowed = slot.out["frame_status"][: slot.kept] & Frame.OUTLIER_OVERFLOW if self.exact_plan else ()
        slot.overflowed = np.flatnonzero(overflowed).tolist()
        if self.follower is not None:
            with self.parallel:
                at = given if self.on_host else self.device_in
                self.follower.add(slot.n, at["raw"], at["live"], bool(slot.overflowed))

    def _run_plan(self, out: dict[str, Array], given: dict[str, Array]) -> None:
        """The chain on a batch; what accumulates is then that with this batch in it."""
        into = {**out, **self._next_state}
        self.plan(out=[into[s.name] for s in self.plan.outs], **given, **self.state)
        self.state, self._next_state = self._next_state, self.state

    def accumulated(self) -> dict[str, Array]:
        """On the host, what accumulated over all batches: the state of operations by the names of its arrays."""
        return {k: self.backend.get(a) for k, a in self.state.items()}

    def _run_on_device(self, slot: Slot, given: dict[str, Array]) -> None:
        """In, run, wait; then the sizes, then only the bytes that are used: all chunks in one copy."""
        for k, array in self.device_in.items():
            self.backend.overwrite(array, given["raw" if k == "code" else k])
        self._run_plan(self.device_out, self.device_in)
        if self.packing is not None:
            plan, given_chunks, made = self.packing
            plan(**given_chunks, out=list(made.values()))
        self.backend.wait(self.device)
        found = self.device_out
        lists = {BESIDE[0]: BESIDE[1], "outlier_index": "outlier_count", "outlier_value": "outlier_count"}
        for name, array in found.items():
            if name != "payload" and name not in lists and not (self.recheck and name == self.recheck.name):
                slot.out[name][...] = self.backend.get(array)
        rows = int(slot.out["live"][0]) if "live" in slot.out else slot.n
        if self.packing is not None and rows:
            offset = self.backend.get(made["offset"])[: rows + 1].tolist()
            packed = self.backend.get(made["packed"][: offset[-1]])
            for i, (at, k) in enumerate(zip(offset[:-1], slot.out["size"][:rows].tolist(), strict=True)):
                slot.out["payload"][i, :k] = packed[at : at + k]
        for name, count in lists.items():
            if name in found:
                to = slot.out[name]
                for i, k in enumerate(np.minimum(slot.out[count][:rows], to.shape[1]).tolist()):
                    if k:
                        to[i, :k] = self.backend.get(found[name][i, :k])
        if (recheck := self.recheck) is not None and recheck.made:
            for i in recheck.turns(rows):
                slot.out[recheck.name][i] = self.backend.get(found[recheck.name][i])

    def _pack_raw(self, slot: Slot) -> None:
        """Events to be kept unreduced: their raw words, losslessly, on the host."""
        if self.raw_plan is None:
            slot.raw_source = np.zeros(0, np.int64)
            return
        slot.raw_source = np.flatnonzero(slot.decision["raw"])
        m = len(slot.raw_source)
        np.take(slot.raw[: slot.n], slot.raw_source, axis=0, out=self.raw_rows[:m], mode="clip")   # nothing to clip; any other mode copies `out`
        self.raw_plan(code=self.raw_rows, live=np.array([m], np.int32), out=[a for a in (slot.raw_payload, slot.raw_size, slot.raw_mask) if a is not None])

    def _again(self, slot: Slot, row: int) -> tuple[Array, Array]:
        """The energies of a row, anew from its raw words, and their status: always the same two arrays."""
        assert self.exact_plan is not None
        event = slot.source[row]
        self.exact_plan(raw=slot.raw[event : event + 1], out=list(self.exact_out.values()))
        energy, status = (self.exact_out[k][0] for k in self.values)
        return energy, status

    def exact(self, slot: Slot, row: int) -> Array:
        """The energies of a row that has more outliers than its list holds, anew from its raw words; masked is no number, as codes say it.

        For the sink, under `parallel`. It is always the same array: a batch of them would be twice as large as its raw words."""
        energy, status = self._again(slot, row)
        masked = np.not_equal(status, 0, out=status.view(np.bool_))
        np.copyto(energy, np.float32(np.nan), where=masked)
        return energy
