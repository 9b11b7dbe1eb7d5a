"""Frames that compress.Precondition took apart, read back from a file. What lies where: hdf5.py."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..op import MOST_PIXELS, DecodeError
from . import hdf5_layout as layout
from .hdf5_chunks import BATCH, are_those, damage, entries
from .hdf5_lists import listed
from .hdf5_place import HOST, Place
from .precondition_form import DTYPES, PREDICTORS
from .restore import Restore

MOST_EVERY = 65535      # of Restore: here key_frame says which frames are plain


def restore_of(stored: Any, attrs: Any, label: str) -> Restore:
    """The inverse of the Precondition that a file describes. Strings are never read: see hdf5_reader."""
    frame, kind = stored.main.shape[1:], stored.lossless.dtype
    if kind.name not in DTYPES or stored.lists["outlier_value"].dtype != (np.int32 if kind.kind == "i" else np.uint32):
        raise DecodeError(f"{label}: its lossless frames are {kind}, its exceptions {stored.lists['outlier_value'].dtype}: not those of words")
    with damage(f"attributes of {label}"):
        said = [np.asarray(attrs[k]) for k in ("predictor", "saturation_value")]
    if any(a.size != 1 or a.dtype.kind not in "iu" for a in said):
        raise DecodeError(f"{label}: its predictor and saturation_value must be whole numbers")
    number, fill = (int(a.item()) for a in said)
    planes = {key: plane_of(stored.side, key, frame, dtype, label) for key, dtype in (("pixel_mask", np.uint32), ("gap_value", kind), ("pedestal", kind))}
    if not 0 <= number < len(PREDICTORS) or (planes["pixel_mask"] is None) != (planes["gap_value"] is None):
        raise DecodeError(f"{label}: predictor {number} is none of {len(PREDICTORS)}, or pixel_mask and gap_value are not both there")
    given: dict[str, Any] = {}
    if planes["pixel_mask"] is not None:
        hole, gaps = planes["pixel_mask"] != 0, np.zeros(frame, np.uint8)
        values, which = np.unique(planes["gap_value"][hole], return_inverse=True)
        if not 1 <= len(values) <= 255:
            raise DecodeError(f"{label}: its gaps hold {len(values)} values; 1 to 255 are known")
        gaps[hole] = which + 1
        given = {"gaps": gaps, "gap_values": tuple(values.tolist())}
    try:
        made = Restore(kind.name, stored.main.dtype.name, PREDICTORS[number], pedestal=planes["pedestal"], every=MOST_EVERY, **given)
    except (ValueError, TypeError) as e:
        raise DecodeError(f"{label}: what it says of itself is of no Precondition: {e}") from None
    if made.fill_code != fill:
        raise DecodeError(f"{label}: its saturation_value {fill} is not the largest {stored.main.dtype}")
    return made


def plane_of(side: Any, key: str, frame: tuple[int, ...], dtype: Any, label: str) -> Any:
    """One value a pixel, if it is there."""
    found = listed(side, key, label, missing=None)
    if found is None:
        return None
    if found.shape != frame or found.dtype != dtype or found.size > MOST_PIXELS:
        raise DecodeError(f"{label}: its {key} must be {np.dtype(dtype)} {frame}, got {found.dtype} {found.shape}")
    with damage(f"{key} of {label}"):
        return found[()]


def restored(stored: Any, rows: Sequence[int], out: Any, place: Place = HOST) -> None:
    """Fill out with these frames."""
    step = place.step(BATCH // layout.frame_nbytes(out.shape[1:], out.dtype), max(len(rows), MOST_EVERY))
    if stored.inverse.predictor != "previous":
        for a in range(0, len(rows), step):
            _batch(stored, rows[a : a + step], None, out[a : a + step] if step < len(rows) else out, place)
        return
    keys, places = _keys(stored), {}
    for i, row in enumerate(rows):
        places.setdefault(row, []).append(i)
    wanted = np.array(sorted(places), np.int64)
    groups = np.searchsorted(keys, wanted, side="right") - 1
    for group in np.unique(groups):
        last = int(wanted[groups == group][-1])
        _follow(stored, range(int(keys[group]), last + 1), step, places, out, place)


def _keys(stored: Any) -> np.ndarray:
    """The numbers of the frames that are plain."""
    label = stored.main.label
    keys = entries(listed(stored.side, "key_frame", label), label).astype(np.int64)
    wrong = len(keys) < 1 or keys[0] != 0 or bool((np.diff(keys) < 1).any()) or bool((np.diff(keys) > MOST_EVERY).any())
    if stored.committed and wrong:
        raise DecodeError(f"{label}: its key_frame is no ascending list from 0 on")
    return np.asarray(keys)


def _follow(stored: Any, chain: range, step: int, places: dict[int, list[int]], out: Any, place: Place) -> None:
    """From a plain frame on to the last one that is wanted, each built on the one before; one that is stored losslessly is a batch of its own."""
    stored.check_sizes(chain)
    exact = [row for row in chain if row in stored.lossless_rows]
    cuts = sorted({*chain[::step], *exact, *(row + 1 for row in exact if row < chain[-1]), chain.stop})
    before = None
    for a, b in pairwise(cuts):
        made = place.empty((b - a, *out.shape[1:]), out.dtype)
        _batch(stored, range(a, b), before, made, place)
        for row in range(a, b):
            for i in places.get(row, []):
                place.backend.copy(made[row - a : row - a + 1], out[i : i + 1])
        before = place.empty((1, *out.shape[1:]), out.dtype)        # of its own: kernels take no array that begins anywhere
        place.backend.copy(made[b - a - 1 : b - a], before)


def _batch(stored: Any, rows: Sequence[int], before: Any, out: Any, place: Place) -> None:
    """Frames together, the first one built on the frame before, if there is one; what is lossless in place of what was made of its codes."""
    inverse, main = stored.inverse, stored.main
    code = place.empty(out.shape, main.dtype)
    main.decode(rows, code, place)
    index, value, count = stored.outliers(rows)
    inverse(code, *map(place.put, (index, value, count)), before, out=out, backend=place.backend.name)
    listed = place.get(code) == inverse.fill_code
    if not inverse.narrow:
        listed &= False if inverse.gaps is None else inverse.gaps > 0
    for i, row in enumerate(rows):
        if row in stored.lossless_rows:
            place.keep(out, i, stored.exact(row))
        elif not are_those(index[i, : count[i]], listed[i]):
            raise DecodeError(f"frame {row} of {main.label}: its exceptions are not where its codes say")
