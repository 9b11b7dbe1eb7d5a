"""pyFAI geometry: a PONI file and its detector. One plain panel is a PONI alone; anything else has its pixels' corners in HDF5.

pyFAI's axes 1, 2, 3 are y, x, z here. A PONI file is a list of entries of which the last counts; here each key of that last
entry must be there, and none is taken from the entries before. pyFAI computes with float32 corners, (rows, cols, 4, (z, y, x)),
about 1e-4 of a pixel; beside them write keeps the panels themselves, exact, in `gpuredux_panels`. Of other corners panels are made
by cutting the grid of pixels where neighbours do not touch or the plane turns. Distorted detectors are refused; so are
orientations but 3: for those pyFAI 2026.9's own centres and corners lie many pixels apart.
source: https://www.silx.org/doc/pyFAI/latest/geometry.html
"""

from __future__ import annotations

import json
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .geometry import Geometry
from .geometry_grid import TOUCH, panels_of
from .geometry_io import fault, finite, foreign, lines_of, needs
from .geometry_panel import Panel, too_large

NUMBERS = ("distance", "poni1", "poni2", "rot1", "rot2", "rot3")
OTHERS = ("poni_version", "detector", "detector_config", "pixelsize1", "pixelsize2", "splinefile", "wavelength", "parallax")
EXACT = "gpuredux_panels"        # panels as JSON, in an HDF5 detector file
TO_LAB = [1, 0, 2]               # (1, 2, 3) <-> (x, y, z)


def read(path: Path, *, shape: tuple[int, int] | None = None, segments: int = 1) -> Geometry:
    """shape (rows, cols): for detectors without one of their own (a PONI with pixel sizes alone).

    segments: how many modules are stacked along the image's rows."""
    entry = _last_entry(path)
    detector, stored = _detector(path, entry, shape)
    _check(path, entry, detector)
    with foreign(path), np.errstate(over="ignore", invalid="ignore"):
        return _placed(path, entry, detector, stored, segments)


def _placed(path: Path, entry: dict[str, tuple[int, Any]], detector: Any, stored: Path | None, segments: int) -> Geometry:
    """The detector's panels in the laboratory."""
    rows, cols = detector.shape
    if stored is not None:
        with foreign(stored):
            own = _exact(stored, detector)
    elif detector.uniform_pixel and detector.IS_FLAT:
        own = Geometry([Panel("p0", np.zeros(3), np.array([detector.pixel2, 0, 0]), np.array([0, detector.pixel1, 0]), (rows, cols))])
    else:
        corners = np.asarray(detector.get_pixel_corners(), np.float64)
        if corners.shape[2:] != (4, 3):
            raise fault(path, None, f"pixels of {corners.shape[2]} corners: only rectangles can be read")
        own = Geometry(panels_of(path, corners[..., ::-1]), (1, rows, cols))
    at = {k: entry[k][1] for k in NUMBERS}
    turn = _turn(at["rot1"], at["rot2"], at["rot3"])[np.ix_(TO_LAB, TO_LAB)]
    sample = np.array([at["poni2"], at["poni1"], -at["distance"]])      # in the detector's own frame (2, 1, 3)
    panels = [replace(p, corner=turn @ (p.corner - sample), fs=turn @ p.fs, ss=turn @ p.ss) for p in own.panels]
    if own.shape[0] == 1 and segments > 1:
        if rows % segments:
            raise ValueError(f"{path}: {rows} rows are not {segments} segments")
        return Geometry(panels, own.shape).reframed((segments, rows // segments, cols))
    return Geometry(panels, own.shape)


def _check(path: Path, entry: dict[str, tuple[int, Any]], detector: Any) -> None:
    """What pyFAI takes as it is given."""
    line = entry.get("detector_config", entry.get("detector", (None, "")))[0]
    if detector.orientation not in (0, 3):
        raise fault(path, line, f"orientation {detector.orientation}: only 3, pyFAI's usual one, can be read")
    shape = detector.shape
    if not isinstance(shape, (tuple, list, np.ndarray)) or len(shape) != 2 or any(not isinstance(k, (int, np.integer)) or k < 1 for k in shape):
        raise fault(path, line, f"the detector's shape must be (rows, cols), got {shape!r}")
    if large := too_large((1, *map(int, shape))):
        raise fault(path, line, large)
    for size in (detector.pixel1, detector.pixel2):
        if not isinstance(size, (int, float, np.number)) or not 0 < size < np.inf:
            raise fault(path, line, f"the size of a pixel must be positive [m], got {size!r}")


def _exact(path: Path, detector: Any) -> Geometry:
    """The panels that write has kept in the detector's file, in its own frame; they must be those of its corners."""
    with h5py.File(path) as f:
        kept = json.loads(f[EXACT][()])
    pairs = ("wide_rows", "wide_cols")
    panels = [Panel(**{k: tuple(map(tuple, v)) if k in pairs else tuple(v) if k in ("shape", "first") else v for k, v in p.items()}) for p in kept["panels"]]
    own = Geometry(panels, tuple(kept["shape"]))
    corners = own.pixel_corners().reshape(*detector.shape, 4, 3)[..., ::-1]
    if not np.nanmax(np.abs(corners - detector.get_pixel_corners())) < TOUCH * np.sqrt(own.pixel_area):
        raise fault(path, None, f"its corners are not those of the panels in {EXACT}: one of them was changed")
    return own


def _last_entry(path: Path) -> dict[str, tuple[int, Any]]:
    """(line, value) of each key, lower case, of the file's last entry."""
    entry: dict[str, tuple[int, Any]] = {}
    for n, text in enumerate(lines_of(path), 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        key, colon, value = (part.strip() for part in text.partition(":"))
        key = {"dist": "distance"}.get(key.lower(), key.lower())
        if not colon or key not in NUMBERS + OTHERS:
            raise fault(path, n, f"a key of a PONI file expected ({', '.join(NUMBERS + OTHERS)}), got {text!r}")
        number = key in NUMBERS or key.startswith("pixelsize") or key == "wavelength"
        entry = {} if key in entry else entry
        entry[key] = (n, finite(path, n, key, value) if number else value)
    lacks = [k for k in NUMBERS if k not in entry]
    if "detector" not in entry:
        lacks += [k for k in ("pixelsize1", "pixelsize2") if k not in entry]
    if lacks:
        raise fault(path, None, f"the last entry has no {', '.join(lacks)}: is the file cut short?")
    for key, plain in (("splinefile", ("none", "")), ("parallax", ("false", "none", ""))):
        if entry.get(key, (0, ""))[1].lower() not in plain:
            raise fault(path, entry[key][0], f"{key} {entry[key][1]}: distorted positions are no flat panels")
    return entry


def _detector(path: Path, entry: dict[str, tuple[int, Any]], shape: tuple[int, int] | None) -> tuple[Any, Path | None]:
    """pyFAI's detector; its file, if that has our panels."""
    detectors, stored = needs("pyFAI.detectors"), None
    line, name = entry.get("detector", (None, "Detector"))
    at = entry.get("detector_config", (line, "{}"))[0]
    with foreign(path, at, "Detector_config is no JSON"):
        config = json.loads(entry.get("detector_config", (None, "{}"))[1])
    if not isinstance(config, dict):
        raise fault(path, at, f"Detector_config must be {{name: value}}, got {config!r}")
    with foreign(path, line, f"detector {name}"):
        if "filename" in config or Path(name).suffix in (".h5", ".nxs"):
            named = Path(config.get("filename", name))
            beside = [p for p in (named, path.parent / named, path.parent / named.name) if p.is_file()]
            if not beside:
                raise fault(path, at if "filename" in config else line, f"the detector's file {named} is not there, nor beside the PONI file")
            if not h5py.is_hdf5(beside[0]):
                raise fault(path, at if "filename" in config else line, f"the detector's file {beside[0]} is no HDF5 file, or cut short")
            detector = detectors.NexusDetector(str(beside[0]), orientation=config.get("orientation", 0))
            stored = beside[0] if _keeps_panels(beside[0]) else None
        elif "pixelsize1" in entry and name == "Detector":
            detector = detectors.Detector(entry["pixelsize1"][1], entry["pixelsize2"][1])
        else:
            detector = detectors.detector_factory(name, config)
    if shape is not None:
        given = tuple(shape) if isinstance(shape, (tuple, list)) else shape
        if detector.shape is not None and tuple(detector.shape) != given:
            raise fault(path, line, f"detector {name} is {tuple(detector.shape)}, shape={shape} was passed")
        detector.max_shape = detector.shape = given
    if detector.shape is None:
        raise fault(path, line, f"detector {name} has no shape: pass shape=(rows, cols)")
    return detector, stored


def _keeps_panels(path: Path) -> bool:
    with h5py.File(path) as f:
        return EXACT in f


def _turn(*rot: float) -> np.ndarray:
    """pyFAI's matrix of rot1 (about -1), rot2 (about -2), rot3 (about 3), in this order, on (1, 2, 3)."""
    (c1, c2, c3), (s1, s2, s3) = (np.cos(rot), np.sin(rot))
    about_1 = np.array([[1, 0, 0], [0, c1, s1], [0, -s1, c1]])
    about_2 = np.array([[c2, 0, -s2], [0, 1, 0], [s2, 0, c2]])
    return np.array([[c3, -s3, 0], [s3, c3, 0], [0, 0, 1]]) @ about_2 @ about_1


def write(geometry: Geometry, path: Path, *, wavelength: float | None = None) -> None:
    """wavelength [m]. Corners go to a file beside it, of the same name and .h5, whose absolute path is in the PONI file."""
    detectors, panel = needs("pyFAI.detectors"), geometry.panels[0]
    ss, fs, corner = (v[TO_LAB] for v in (panel.ss, panel.fs, panel.corner))
    (rows, cols), across = (float(np.linalg.norm(ss)), float(np.linalg.norm(fs))), np.cross(ss, fs)
    plain = len(geometry.panels) == 1 and panel.uniform and (1, *panel.shape) == geometry.shape and abs(ss @ fs) < 1e-12 * rows * cols
    if plain and across @ corner > 0:
        turn = np.stack([ss / rows, fs / cols, across / rows / cols], 1)
        place = (turn[:, 2] @ corner, -turn[:, 0] @ corner, -turn[:, 1] @ corner)
        rot = np.arctan2(-turn[2, 1], turn[2, 2]), np.arcsin(np.clip(turn[2, 0], -1, 1)), np.arctan2(turn[1, 0], turn[0, 0])
        name, config = "Detector", detectors.Detector(rows, cols, max_shape=panel.shape, orientation=3).get_config()
    else:
        low = np.min([p.outline.min(0) for p in geometry.panels], axis=0)
        place, rot = (geometry.distance, -low[1], -low[0]), (0.0, 0.0, 0.0)
        stored = path.with_suffix(".h5")
        _store(geometry.shift((-low[0], -low[1], -geometry.distance)), stored)
        name, config = "NexusDetector", {"filename": str(stored.resolve()), "orientation": 3}
    fields = {key: float(value) for key, value in zip(NUMBERS, (*place, *rot), strict=True)}
    lines = ["poni_version: 2.1", f"Detector: {name}", f"Detector_config: {json.dumps(config)}"]
    lines += [f"{key.capitalize()}: {value!r}" for key, value in fields.items()] + ([] if wavelength is None else [f"Wavelength: {wavelength!r}"])
    path.write_text("\n".join([*lines, ""]))


def _store(geometry: Geometry, path: Path) -> None:
    """The detector in an HDF5 file of pyFAI's own form, segments stacked along the rows; and our panels beside the corners."""
    segments, rows, cols = geometry.shape
    pixel1, pixel2 = (float(np.linalg.norm(v)) for v in (geometry.panels[0].ss, geometry.panels[0].fs))
    detector = needs("pyFAI.detectors").Detector(pixel1, pixel2, max_shape=(segments * rows, cols), orientation=3)
    detector.set_pixel_corners(geometry.pixel_corners().reshape(segments * rows, cols, 4, 3)[..., ::-1])
    path.unlink(missing_ok=True)
    detector.save(str(path))
    panels = [{f.name: getattr(p, f.name) for f in dataclass_fields(p)} for p in geometry.panels]
    with h5py.File(path, "r+") as f:
        f[EXACT] = json.dumps({"shape": geometry.shape, "panels": panels}, default=np.ndarray.tolist)
