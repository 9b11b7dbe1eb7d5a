"""The bytes that a run holds from its start to its end, counted from what it was built with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import nbytes
from .pipeline import Pipeline


def memory(pipeline: Pipeline) -> dict[str, int]:
    """Bytes by purpose, an array counted once: on the host all slots, constants (as they were read, and as operations keep them), plans (intermediate
    arrays and scratch); on the device inputs and outputs, constants, plans. Not in it: what the source holds, the journal's and the parts' lists, and
    what momentary() says."""
    seen: set[int] = set()

    def size(arrays: Any) -> int:
        new = {id(a): a.nbytes for a in arrays if id(a) not in seen}
        seen.update(new)
        return sum(new.values())

    packing = pipeline.packing
    device_arrays = (*pipeline.device_in.values(), *pipeline.device_out.values(), *(packing[2].values() if packing else ()))
    states = size([*pipeline.state.values(), *pipeline._next_state.values()])
    own = [p for plan in (pipeline.raw_plan, pipeline.exact_plan) if plan for p in plan.parts()]
    plans = [(p, pipeline.on_host) for p in (*pipeline.plan.parts(), *(packing[0].parts() if packing else ()))] + [(p, True) for p in own]
    held = [pipeline.constants, *({k: v for k, v in vars(op).items() if hasattr(v, "nbytes") and not isinstance(v, np.generic)} for op in pipeline.ops)]
    found = {"slots": pipeline.document.config.run.slots * pipeline.slot().nbytes, "constants": 0, "device_batch": size(device_arrays), "device_constants": 0,
             "plans": size([pipeline.raw_rows, *pipeline.exact_out.values()]), "device_plans": 0}
    found["plans" if pipeline.on_host else "device_plans"] += states
    found["constants"] = sum(size(arrays.values()) for arrays in held)
    statics = [s for op in pipeline.ops for s in op.statics()]
    found["constants"] += size(a for s in statics for a in s.arrays().values())
    for plan, host in plans:
        where = "" if host else "device_"
        found[f"{where}constants"] += size([*plan.constants.values(), *getattr(plan, "statics", {}).values()])
        found[f"{where}plans"] += size(plan.scratch.values())
    if pipeline.follower:
        found["constants"] += pipeline.follower.tracker.host_bytes
        found["plans" if pipeline.on_host else "device_plans"] += size(pipeline.follower.tracker.arrays)
    if pipeline.exact_plan:
        exact = pipeline.exact_out[pipeline.values[0]]
        found["plans"] += nbytes(*pipeline.pack.scratch(*pipeline.pack.bind([exact], {})))      # of the plan that the op keeps for them
    return found


def momentary(pipeline: Pipeline) -> int:
    """Bytes that come and go: the chunk that the writer encodes a frame into that has more outliers than its list holds, one at a time."""
    if pipeline.exact_plan is None:
        return 0
    return nbytes(*pipeline.pack.outputs(*pipeline.pack.bind([pipeline.exact_out[pipeline.values[0]]], {})))


def words(found: dict[str, int], slots: int, moment: int) -> list[str]:
    """For a person: a line for the host, one for the device, if it has memory of its own, and one for what comes and goes."""
    mb = {k: f"{v / 1e6:.1f} MB" for k, v in found.items()}
    host = sum(v for k, v in found.items() if not k.startswith("device_"))
    device = sum(found.values()) - host
    lines = [f"{host / 1e6:.1f} MB on the host: {mb['slots']} in {slots} slots, {mb['constants']} of constants, {mb['plans']} of intermediate arrays"]
    if device:
        lines.append(f"{device / 1e6:.1f} MB on the device: {mb['device_batch']} in and out, {mb['device_constants']} of constants, "
                     f"{mb['device_plans']} of intermediate arrays")
    if moment:
        lines.append(f"{moment / 1e6:.1f} MB more on the host while a frame with too many outliers for its list is encoded without loss")
    return lines
