"""NeXus geometry: an NXdetector_module a panel, placed by chains of NXtransformations. The frame (McStas's) is geometry.py's.

fast_pixel_direction and slow_pixel_direction are translations whose value is the size of a pixel, module_offset the outer corner
of the first pixel (as dxtbx takes it); each hangs, by depends_on, on a chain of translations and rotations that ends in ".".
data_origin and data_size place the module in the raw frame: (slow, fast) or (segment, slow, fast).
NeXus's modules know no wide lines: write splits panels there, which is exact.
source: https://manual.nexusformat.org/classes/base_classes/NXtransformations.html and NXdetector_module.html
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

import numpy as np

from .geometry import Geometry
from .geometry_io import fault, foreign, needs
from .geometry_panel import Panel

LENGTHS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "micron": 1e-6, "\u00b5m": 1e-6, "\u03bcm": 1e-6, "nm": 1e-9}
ANGLES = {"deg": np.pi / 180, "degree": np.pi / 180, "degrees": np.pi / 180, "rad": 1.0, "radian": 1.0, "radians": 1.0}


def read(path: Path, *, detector: str | None = None) -> Geometry:
    """detector: the path of the NXdetector in the file, needed where there are several with modules."""
    nexus = needs("nexusformat.nexus")
    if not path.is_file():
        raise FileNotFoundError(path)
    with foreign(path, doing="not a NeXus file, cut short or damaged"), nexus.nxload(str(path), mode="r") as root:
        found = {g.nxpath: g for g in root.walk() if getattr(g, "nxclass", "") == "NXdetector" and _modules(g)}
        if not found or (detector is not None and detector not in found) or (detector is None and len(found) > 1):
            raise fault(path, None, f"detector={detector!r}, and the NXdetectors with NXdetector_modules are: {', '.join(found) or 'none'}")
        group = found[detector] if detector is not None else next(iter(found.values()))
        panels = [_panel(path, root, module) for module in _modules(group)]
        return Geometry(panels)


def _modules(group: Any) -> list[Any]:
    """In the order of their names, numbers in them by value."""
    modules = [c for c in group.values() if getattr(c, "nxclass", "") == "NXdetector_module"]
    return sorted(modules, key=lambda m: (len(m.nxname), m.nxname))


def _panel(path: Path, root: Any, module: Any) -> Panel:
    names = ("data_origin", "data_size", "module_offset", "fast_pixel_direction", "slow_pixel_direction")
    lacks = [n for n in names if n not in module]
    if lacks:
        raise fault(path, None, f"{module.nxpath} has no {', '.join(lacks)}: is the file cut short?")
    origin, size = (_whole(path, module[n]) for n in names[:2])
    if len(origin) not in (2, 3) or len(size) != len(origin) or (size < 1).any() or (origin < 0).any() or (len(size) == 3 and size[0] != 1):
        raise fault(path, None, f"{module.nxpath}: data_origin {origin.tolist()} and data_size {size.tolist()} must be (slow, fast) or (segment, slow, fast)")
    corner = _chain(path, root, module["module_offset"].nxpath)[:3, 3]
    steps = []
    for name in names[3:]:
        matrix = _chain(path, root, module[name].nxpath)
        before = _chain(path, root, _depends(module[name]))
        steps.append(matrix[:3, 3] - before[:3, 3] - before[:3, :3] @ _offset(path, module[name]))
    segment = int(origin[0]) if len(origin) == 3 else 0
    try:
        return Panel(module.nxname, corner, steps[0], steps[1], (int(size[-2]), int(size[-1])), segment=segment, first=(int(origin[-2]), int(origin[-1])))
    except ValueError as e:
        raise fault(path, None, f"{module.nxpath}: {e}") from None


def _whole(path: Path, field: Any) -> np.ndarray:
    value = np.atleast_1d(field.nxvalue)
    if value.dtype.kind not in "iuf" or not (np.isfinite(value) & (value == np.floor(value))).all():
        raise fault(path, None, f"{field.nxpath} must be whole numbers, got {value.tolist()}")
    return value


def _attribute(field: Any, name: str, default: Any = None) -> Any:
    value = field.attrs.get(name, default)
    value = getattr(value, "nxdata", value)
    return value.decode() if isinstance(value, bytes) else value


def _depends(field: Any) -> str:
    """The absolute path of what a field depends on, "." at the chain's end. Relative ones start from the field's own group."""
    on = str(_attribute(field, "depends_on", "."))
    return on if on == "." else posixpath.normpath(posixpath.join(posixpath.dirname(field.nxpath), on))


def _offset(path: Path, field: Any) -> np.ndarray:
    offset = np.array(_attribute(field, "offset", (0.0, 0.0, 0.0)), np.float64)
    if offset.any():
        translates = _attribute(field, "transformation_type") == "translation"
        if offset.shape != (3,) or not np.isfinite(offset).all():
            raise fault(path, None, f"{field.nxpath}: offset must be three finite numbers, got {offset.tolist()}")
        offset = offset * _unit(path, field, _attribute(field, "offset_units", _attribute(field, "units") if translates else None), LENGTHS)
    return offset


def _unit(path: Path, field: Any, name: Any, units: dict[str, float]) -> float:
    if not isinstance(name, str) or name not in units:
        raise fault(path, None, f"{field.nxpath}: units {name!r}, expected one of {', '.join(units)}")
    return units[name]


def _chain(path: Path, root: Any, at: str) -> np.ndarray:
    """The matrix (4, 4) that takes the frame at `at` to the laboratory."""
    total, seen = np.eye(4), []
    while at != ".":
        if at in seen:
            raise fault(path, None, f"{at} depends on itself, by {' '.join(seen)}")
        seen.append(at)
        if at not in root:
            raise fault(path, None, f"depends_on: there is no {at}")
        field = root[at]
        value, vector = np.ravel(field.nxvalue), np.array(_attribute(field, "vector", ()), np.float64)
        if value.size != 1 or vector.shape != (3,) or not np.isfinite([*value, *vector]).all() or not vector.any():
            raise fault(path, None, f"{at}: one finite value and a vector of three numbers expected, got {value.tolist()} along {vector.tolist()}")
        kind, step = _attribute(field, "transformation_type"), np.eye(4)
        vector = vector / np.linalg.norm(vector)
        if kind == "translation":
            step[:3, 3] = vector * float(value[0]) * _unit(path, field, _attribute(field, "units"), LENGTHS)
        elif kind == "rotation":
            step[:3, :3] = _turn(vector, float(value[0]) * _unit(path, field, _attribute(field, "units"), ANGLES))
        else:
            raise fault(path, None, f"{at}: transformation_type must be translation or rotation, got {kind!r}")
        step[:3, 3] += _offset(path, field)
        total, at = step @ total, _depends(field)
    return total


def _turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """The rotation about a unit axis (Rodrigues)."""
    across = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * across @ across


def write(geometry: Geometry, path: Path) -> None:
    """/entry/instrument/detector with a module for each panel; the distance is an axis of its own, `transformations/distance`."""
    if not path.suffix:
        raise ValueError(f"{path}: give the file an extension, nexusformat would add one of its own")
    nx = needs("nexusformat.nexus")
    chain = "/entry/instrument/detector/transformations/distance"
    parts = [part for panel in geometry.panels for part in panel.split("NeXus")]
    detector = nx.NXdetector(depends_on=nx.NXfield(chain), number_of_modules=nx.NXfield(len(parts)))
    detector["transformations"] = nx.NXtransformations(distance=_axis(nx, np.array([0, 0, geometry.distance]), "."))
    for k, p in enumerate(parts):
        name = f"module_{k}"
        on = f"/entry/instrument/detector/{name}/module_offset"
        module = nx.NXdetector_module(
            data_origin=nx.NXfield(np.array([p.segment, *p.first])), data_size=nx.NXfield(np.array([1, *p.shape])),
            data_stride=nx.NXfield(np.array([1, 1, 1])),
            module_offset=_axis(nx, p.corner - (0, 0, geometry.distance), chain),
            fast_pixel_direction=_axis(nx, p.fs, on), slow_pixel_direction=_axis(nx, p.ss, on),
        )
        detector[name] = module
    root = nx.NXroot(nx.NXentry(instrument=nx.NXinstrument(detector=detector)))
    root.save(str(path), mode="w")
    root.close()


def _axis(nx: Any, vector: np.ndarray, on: str) -> Any:
    """A translation by a vector [m]."""
    length = float(np.linalg.norm(vector))
    unit = vector / length if length else np.array([0.0, 0, 1])
    return nx.NXfield(length, vector=unit, transformation_type="translation", units="m", offset=np.zeros(3), offset_units="m", depends_on=on)
