"""Peak lists in CXI files, as CrystFEL reads them: indexamajig --peaks=cxi.

/entry_1/result_1   of N frames, one row each, W entries a row, 0 behind a frame's last peak:
  nPeaks             (N,) i32     peaks of the frame
  peakXPosRaw        (N, W) f32   fast scan [pixel], 0 = centre of the first pixel, as the frame lies in the file: CrystFEL adds half a pixel
  peakYPosRaw        (N, W) f32   slow scan: panels stacked, row + panel * rows of a panel
  peakTotalIntensity (N, W) f32   sum above background
  peakMaximumValue, peakSNR, peakNPixels (N, W) f32, f32, i32   where the finder has them, as Cheetah names them
  nPeaksFound        (N,) i32     peaks that the finder counted: more than nPeaks where its table was full, -1 where it looked for none, because more
                                  pixels were strong than it looks at (TOO_MANY in frame_status, if the table has that); no other program needs it
attributes of result_1: gpuredux_version; rows_of_panel; finder (JSON: name, configuration), finder_digest: SHA-256 of configuration and constants

source: the CXI file format, F. R. N. C. Maia, Nat. Methods 9 (2012) 854; these names: Cheetah, A. Barty et al., J. Appl. Cryst. 47 (2014) 1118
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..op import Op
from ..status import Frame

RESULT = "/entry_1/result_1"
VERSION = 160       # of the format
ENTRIES = {"peakXPosRaw": ("col",), "peakYPosRaw": ("row",), "peakTotalIntensity": ("total", "adu"), "peakMaximumValue": ("max",), "peakSNR": ("snr",),
           "peakNPixels": ("pixels",)}
NEEDED = ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity")


def append_peaks(path: str | Path, table: Any, rows_of_panel: int, finder: Op | None = None, frames: int | None = None, result: str = RESULT) -> int:
    """Put a batch's peaks behind those that a file has; the number of frames in the list then. The file may be new, or hold the frames.

    table: what a finder returns, or a mapping: <thing>_panel, _row, _col, _total or _adu, [_max, _snr, _pixels,] (n, cap) and <thing>_count (n,), NumPy arrays,
    thing being peak or droplet; rows_of_panel: of the frames (n, panels, rows, cols), or (n, rows, cols); finder: the op, for provenance;
    frames: only the first ones, where fewer rows of the batch are live.
    Raises ValueError for a table without these columns, and for a file whose list is of another kind."""
    columns, found = _columns(table, rows_of_panel, frames)
    n, width = columns["peakXPosRaw"].shape
    with h5py.File(path, "a") as file:
        group = file.get(result)
        if group is None:
            group = _start(file, result, columns, rows_of_panel, finder)
        differ = set(columns) ^ (set(group) & set(ENTRIES))
        if differ or group.attrs.get("rows_of_panel") != rows_of_panel:
            raise ValueError(f"{path}: {result} has other columns ({', '.join(sorted(differ)) or 'none'}) or another rows_of_panel than these peaks")
        old = len(group["nPeaks"])
        for name, column in columns.items():
            group[name].resize((old + n, max(width, group[name].shape[1])))
            group[name][old:, :width] = column
        for name, count in (("nPeaks", np.clip(found, 0, width)), ("nPeaksFound", found)):
            group[name].resize((old + n,))
            group[name][old:] = count
    return int(old + n)


def read_peaks(path: str | Path, rows_of_panel: int, result: str = RESULT) -> dict[str, np.ndarray]:
    """The columns of a peak list, whoever wrote it: peak_panel, peak_row, peak_col, peak_total and what else it has (N, W); peak_count (N,): nPeaks.

    rows_of_panel: of the stacked frame's panels; the number of its rows if it is one panel. Raises KeyError where a file has no such list."""
    with h5py.File(path) as file:
        group = file[result]
        held = {thing[0]: np.asarray(group[name][()]) for name, thing in ENTRIES.items() if name in group or name in NEEDED}
        count = np.asarray(group["nPeaks"][()]).reshape(-1).astype(np.int32)
    width = held["col"].shape[1]
    if not ((count >= 0) & (count <= width)).all():
        raise ValueError(f"{path}: {result}/nPeaks must be 0 to {width}, got {count.min()} to {count.max()}")
    panel = np.floor((held["row"].astype(np.float64) + 0.5) / rows_of_panel).astype(np.int32)
    row = (held["row"] - (panel * rows_of_panel).astype(np.float64)).astype(np.float32)
    listed = np.arange(width) < count[:, None]
    named = {"panel": panel, "row": row, **{k: v for k, v in held.items() if k != "row"}}
    return {**{f"peak_{k}": np.where(listed, v, 0).astype(v.dtype) for k, v in named.items()}, "peak_count": count}


def _columns(table: Any, rows_of_panel: int, frames: int | None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The entries by CXI's names, zeros behind each frame's last, and the finder's true counts."""
    named: Mapping[str, Any] = table if isinstance(table, Mapping) else table._asdict()
    thing = next((k[: -len("_count")] for k in named if k.endswith("_count") and f"{k[: -len('_count')]}_panel" in named), None)
    if thing is None:
        raise ValueError(f"cxi: a table needs <thing>_panel and <thing>_count, got {', '.join(named)}")
    found = np.asarray(named[f"{thing}_count"])[:frames].astype(np.int32)
    if "frame_status" in named:
        found = np.where(np.asarray(named["frame_status"])[:frames] & Frame.TOO_MANY, np.int32(-1), found)
    columns = {}
    for name, kinds in ENTRIES.items():
        got = next((np.asarray(named[f"{thing}_{k}"])[:frames] for k in kinds if f"{thing}_{k}" in named), None)
        if got is not None:
            columns[name] = got.astype(np.int32 if name == "peakNPixels" else np.float32)
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise ValueError(f"cxi: a table needs {thing}_row, {thing}_col and {thing}_total or {thing}_adu, got {', '.join(named)}")
    panel = np.asarray(named[f"{thing}_panel"])[:frames].astype(np.float64)
    columns["peakYPosRaw"] = (panel * rows_of_panel + columns["peakYPosRaw"]).astype(np.float32)
    listed = np.arange(panel.shape[1]) < found[:, None]
    return {k: np.where(listed, v, 0).astype(v.dtype) for k, v in columns.items()}, found


def _start(file: h5py.File, result: str, columns: dict[str, np.ndarray], rows_of_panel: int, finder: Op | None) -> h5py.Group:
    """An empty list, with its provenance."""
    from .. import __version__  # not at import: the package imports this family first

    if "cxi_version" not in file:
        file["cxi_version"] = VERSION
    group = file.create_group(result)
    group.attrs["gpuredux_version"], group.attrs["rows_of_panel"] = __version__, rows_of_panel
    if finder is not None:
        group.attrs["finder"] = json.dumps({"op": finder.name, **finder.config()}, default=str)
        group.attrs["finder_digest"] = finder.digest()
    for name, column in columns.items():
        width = max(column.shape[1], 1)
        group.create_dataset(name, (0, column.shape[1]), column.dtype, maxshape=(None, None), chunks=(max(1, 2**14 // width), width), compression="gzip")
    for name in ("nPeaks", "nPeaksFound"):
        group.create_dataset(name, (0,), np.int32, maxshape=(None,), chunks=(4096,))
    return group
