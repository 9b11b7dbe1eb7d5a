"""CrystFEL geometry files (.geom): `panel/key = value`, lengths in pixels of 1/res metres, corners outer, ranges inclusive.

A value without a panel is the default of panels that are first mentioned later. z is clen + coffset. The file is checked line
by line here; cfel_fmt then applies the format's rules. The raw frame is (segments, ss, fs): the whole number among a panel's
dims is its segment. Masks and bad regions are no geometry and are left out. CrystFEL knows no wide pixels: write splits panels
at wide lines, which is exact: their fs and ss are longer than 1.
source: https://www.desy.de/~twhite/crystfel/manual-crystfel_geometry.html
"""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .geometry import Geometry
from .geometry_io import fault, finite, lines_of, needs, whole_lines
from .geometry_panel import MOST_PIXELS, Panel

WHOLE = ("min_fs", "max_fs", "min_ss", "max_ss")
NUMBER = ("corner_x", "corner_y", "coffset", "res")
KNOWN = {
    "rail_direction", "clen_for_centering", "adu_per_eV", "adu_per_photon", "max_adu", "badrow_direction", "no_index", "mask", "mask_file",
    "saturation_map", "saturation_map_file", "data", "rigid_group", "flag_lessthan", "flag_morethan", "flag_equal", "peak_sep", "integr_radius",
    "mask_good", "mask_bad", "photon_energy", "photon_energy_scale", "photon_energy_bandwidth", "wavelength", "electron_voltage", "bandwidth",
    "peak_info_location", "peak_list",
}
PATTERNS = re.compile(r"mask\d_(file|data|goodbits|badbits)|rigid_group_\w+|group_\w+")
BAD = {*WHOLE, "min_x", "max_x", "min_y", "max_y", "panel"}
TERM = re.compile(r"([+-]?)((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?([xyz])")
LENGTH = re.compile(r"([-+.\deE]+)(m|mm)?")


class Entry(NamedTuple):
    """One line; panel is '' for a default."""

    line: int
    panel: str
    key: str
    value: str


def read(path: Path, *, clen: float | None = None, unknown: str = "refuse") -> Geometry:
    """clen [m]: instead of the file's, which may be a place in the data's headers; 0 for a mere layout.

    unknown="ignore": keys that this reader does not know (detector_shift is one) are passed over."""
    entries = _entries(path, unknown)
    whole_lines(path)
    named: dict[str, int] = {}
    for e in entries:
        if e.panel:
            named.setdefault(e.panel, e.line)
    if not named:
        raise fault(path, None, "no panels: is this a CrystFEL geometry file, and whole?")
    cfel, plain = needs("cfel_fmt.geometry"), _plain(path, entries, clen)
    try:
        panels = cfel.load_crystfel_geometry(StringIO(plain)).detector["panels"]
    except (RuntimeError, ValueError) as e:
        at = next((line for name, line in named.items() if re.search(rf"\b{re.escape(name)}\b", str(e))), None)
        raise fault(path, at, f"{e}") from None
    _complete(path, entries, panels, named)
    places = _segments(path, panels, named)
    return Geometry([_panel(path, name, panels[name], named[name], places[name]) for name in panels])


def _entries(path: Path, unknown: str) -> list[Entry]:
    found = []
    lines = ((n, text.partition(";")[0].strip()) for n, text in enumerate(lines_of(path), 1))
    for n, text in ((n, text) for n, text in lines if text):
        left, equals, value = (part.strip() for part in text.partition("="))
        panel, slash, key = left.rpartition("/")
        if not equals or not left or not value or (slash and not panel) or "/" in panel or " " in left:
            raise fault(path, n, f"`key = value` or `panel/key = value` expected, got {text!r}")
        if panel.startswith("bad"):
            if key not in BAD:
                raise fault(path, n, f"unknown key {key!r} of a bad region")
            continue
        geometric = key in (*WHOLE, *NUMBER, "fs", "ss", "clen") or re.fullmatch(r"dim\d", key)
        if geometric:
            found.append(Entry(n, panel, key, value))
        elif key not in KNOWN and not PATTERNS.fullmatch(key) and unknown != "ignore":
            raise fault(path, n, f"unknown key {key!r}; unknown='ignore' passes over it")
        elif key.startswith("rigid_group_"):
            found.append(Entry(n, panel, key, value))
    return found


def _plain(path: Path, entries: list[Entry], clen: float | None) -> str:
    """The lines that matter, in the plainest form: cfel_fmt knows no exponents in vectors, no decimals in ranges, no units of clen."""
    plain = [] if clen is None else [f"clen = {float(clen)!r}"]
    if not any(e.key.startswith("dim") for e in entries):
        plain += ["dim0 = ss", "dim1 = fs"]
    for line, panel, key, value in entries:
        if key == "clen" and clen is not None:
            continue
        if key == "clen":
            match = LENGTH.fullmatch(value.replace(" ", ""))
            if not match:
                raise fault(path, line, f"clen is {value!r}, in the data's headers: pass clen=metres, or clen=0 where only the layout matters")
            value = repr(finite(path, line, key, match[1]) * (1e-3 if match[2] == "mm" else 1))
        elif key in WHOLE or (key.startswith("dim") and re.fullmatch(r"[-+]?\d+", value)):
            number = finite(path, line, key, value)
            if number % 1 or not 0 <= number < MOST_PIXELS:
                raise fault(path, line, f"{key} must be a whole number below {MOST_PIXELS}, got {value!r}")
            value = str(int(number))
        elif key in NUMBER:
            number = finite(path, line, key, value)
            if key == "res" and number <= 0:
                raise fault(path, line, f"res must be positive, got {value!r}")
            value = repr(number)
        elif key in ("fs", "ss"):
            value = _vector_text(_vector(path, line, value))
        plain.append(f"{panel}/{key} = {value}" if panel else f"{key} = {value}")
    return "\n".join(plain)


def _vector(path: Path, line: int, text: str) -> np.ndarray:
    text = text.replace(" ", "")
    terms = list(TERM.finditer(text))
    axes = [t[3] for t in terms]
    if "".join(t[0] for t in terms) != text or len(set(axes)) != len(axes) or any(not t[1] for t in terms[1:]):
        raise fault(path, line, f"a direction such as +0.5x -1y expected, got {text!r}")
    vector = np.zeros(3)
    for t in terms:
        vector["xyz".index(t[3])] = float(t[1] + (t[2] or "1"))
    return vector


def _vector_text(vector: np.ndarray) -> str:
    return " ".join(np.format_float_positional(v, unique=True, trim="0", sign=True) + axis for v, axis in zip(vector, "xyz", strict=True))


def _complete(path: Path, entries: list[Entry], panels: dict[str, Any], named: dict[str, int]) -> None:
    """Each panel has all that places it, and what its neighbours say for themselves: a file cut short is no file."""
    stated: dict[str, set[str]] = {name: set() for name in panels}
    defaults: set[str] = set()
    first: dict[str, set[str]] = {}
    for e in entries:
        (stated[e.panel] if e.panel else defaults).add(e.key)
        first.setdefault(e.panel, set(defaults))
    usual = set.union(*stated.values()) | {*WHOLE, "corner_x", "corner_y", "res", "fs", "ss", "clen"}
    for name in panels:
        lacks = sorted(usual - stated[name] - first[name])
        if "clen" in lacks and np.isfinite(panels[name]["clen"]):
            lacks.remove("clen")     # the caller's
        if lacks:
            hint = "; pass clen=metres, or clen=0 where only the layout matters" if lacks == ["clen"] else ": is the file cut short?"
            raise fault(path, named[name], f"panel {name} has no {', '.join(lacks)}{hint}")


def _segments(path: Path, panels: dict[str, Any], named: dict[str, int]) -> dict[str, int]:
    """The segment of each panel: the one dim with a whole number that differs between panels, or 0."""
    fixed = {name: [d for d in p["dim_structure"] if isinstance(d, int)] for name, p in panels.items()}
    if len({len(f) for f in fixed.values()}) != 1:
        name = next(n for n in fixed if len(fixed[n]) != len(next(iter(fixed.values()))))
        raise fault(path, named[name], f"panel {name} has other dims than the first panel")
    columns = np.array(list(fixed.values()), int).reshape(len(panels), -1)
    varying = [k for k in range(columns.shape[1]) if len(set(columns[:, k])) > 1]
    if len(varying) > 1:
        raise fault(path, None, "two dims number the panels; the raw frame has one for segments")
    which = varying or list(range(columns.shape[1]))[:1]
    return {name: int(columns[k, which[0]]) if which else 0 for k, name in enumerate(panels)}


def _panel(path: Path, name: str, p: dict[str, Any], line: int, segment: int) -> Panel:
    (c0, c1), (r0, r1) = (p["orig_min_fs"], p["orig_max_fs"]), (p["orig_min_ss"], p["orig_max_ss"])
    if c1 < c0 or r1 < r0:
        raise fault(path, line, f"panel {name}: max_fs, max_ss are below min_fs, min_ss")
    corner = (p["cnx"] / p["res"], p["cny"] / p["res"], p["clen"] + p["coffset"])
    fs, ss = (np.array([p[k + axis] for axis in "xyz"]) / p["res"] for k in ("fs", "ss"))
    shape, first = (r1 - r0 + 1, c1 - c0 + 1), (r0, c0)
    if p["dim_structure"].index("fs") < p["dim_structure"].index("ss"):     # the data's rows run along fs
        fs, ss, shape, first = ss, fs, shape[::-1], first[::-1]
    try:
        return Panel(name, corner, fs, ss, shape, segment=segment, first=first)
    except ValueError as e:
        raise fault(path, line, str(e)) from None


def write(geometry: Geometry, path: Path, *, data: str = "/entry/data/data", photon_energy: float | None = None) -> None:
    """data: where the frames are in the HDF5 file; photon_energy [eV]. Panels are split at wide lines, named p<segment>a<number>."""
    res, clen = float(1 / np.sqrt(geometry.pixel_area)), geometry.distance
    lines = ["; written by gpuredux", f"clen = {clen!r}", f"res = {res!r}", "adu_per_photon = 1", f"data = {data}", "dim0 = %"]
    lines += [] if photon_energy is None else [f"photon_energy = {photon_energy!r}"]
    counts: dict[int, int] = {}
    for p in (part for panel in geometry.panels for part in panel.split("CrystFEL")):
        counts[p.segment] = counts.get(p.segment, -1) + 1
        dims = [str(p.segment), "ss", "fs"] if geometry.shape[0] > 1 else ["ss", "fs"]
        x, y = (float(v) for v in p.corner[:2] * res)
        values = {
            **{f"dim{k}": d for k, d in enumerate(dims, 1)},
            "min_fs": p.first[1], "max_fs": p.first[1] + p.shape[1] - 1, "min_ss": p.first[0], "max_ss": p.first[0] + p.shape[0] - 1,
            "fs": _vector_text(p.fs * res), "ss": _vector_text(p.ss * res), "corner_x": repr(x), "corner_y": repr(y),
            "coffset": repr(float(p.corner[2] - clen)),
        }
        lines += ["", *(f"p{p.segment}a{counts[p.segment]}/{key} = {value}" for key, value in values.items())]
    path.write_text("\n".join([*lines, ""]))
