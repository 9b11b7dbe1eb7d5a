"""Which pixels of a run's constants are in use, and what the file's status says against them: counted, shown, and warned of."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calib import Constants
from ..calib.flags import KINDS

# Names of bits whose pixels have numbers that were hardly measured; all other bits are a judgement that a person may overrule.
UNMEASURED = ("TOO_FEW", "NO_DARK_DATA")


def counted(held: Constants, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, dict[str, Any]]:
    """By gain stage: pixels, those of them in use, and how many of those carry which bit of the status. arrays: what calib.gain gets, `bad` left out."""
    found: dict[str, dict[str, Any]] = {}
    for k, plane in enumerate(held.planes):
        gain = arrays["gain"][k]
        used = np.isfinite(arrays["pedestal"][k]) & np.isfinite(gain) & (gain != 0) & arrays.get("good", np.True_)
        found[plane] = {"pixels": used.size, "in_use": int(used.sum()), "status": {} if held.status is None else _bits(held.status[k][used], held.flags)}
    return found


def _bits(status: np.ndarray[Any, Any], flags: str) -> dict[str, int]:
    """How many words have which bit, by its name where it has one."""
    names = {int(bit): str(bit.name) for bit in KINDS.get(flags, ())}
    seen, counts = int(np.bitwise_or.reduce(status, initial=status.dtype.type(0))), {}
    for k in range(seen.bit_length()):
        if seen >> k & 1:
            counts[names.get(1 << k, f"bit {k}")] = int(np.count_nonzero(status & status.dtype.type(1 << k)))
    return counts


def rows(about: dict[str, Any] | None) -> list[tuple[str, str]]:
    """For a person, a row for each gain stage."""
    lines = []
    for plane, found in (about["stages"] if about else {}).items():
        told = ", ".join(f"{n} {name}" for name, n in found["status"].items())
        lines.append(f"{plane}: {found['in_use']} of {found['pixels']} in use" + (f"; of these {told}, which bad: does not name" if told else ""))
    return [("" if i else "pixels", line) for i, line in enumerate(lines)]


def warnings(about: dict[str, Any] | None) -> list[str]:
    """A line for each gain stage with pixels in use that were hardly measured."""
    return [f"{about['file']}: {found['status'][name]} of {found['in_use']} pixels in use of stage {plane} are {name}, their numbers mean little: leave them "
            f"out (bad: [{name}]), or measure more dark frames"
            for plane, found in (about["stages"] if about else {}).items() for name in UNMEASURED if about and name in found["status"]]
