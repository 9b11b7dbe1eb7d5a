"""One door to the five formats of detector geometry, and what their readers share: lines of text, numbers, errors."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .geometry import Geometry

FORMATS = ("psana", "crystfel", "extra", "nexus", "pyfai")
SUFFIXES = {".data": "psana", ".geom": "crystfel", ".poni": "pyfai", ".nxs": "nexus", ".h5": "", ".hdf5": "", ".cxi": ""}


def read(path: str | Path, format: str | None = None, *, overlaps: str = "refuse", panels: int | None = None, **options: Any) -> Geometry:
    """The geometry of a file; its format by extension and content unless named. `panels`: how many there must be.

    overlaps="allow" takes panels that lie over each other by more than a pixel; otherwise ValueError. For the options of a
    format see its module; all errors of content are ValueErrors that name the file, and the line where there are lines."""
    path = Path(path)
    if overlaps not in ("refuse", "allow"):
        raise ValueError(f"overlaps must be 'refuse' or 'allow', got {overlaps!r}")
    try:
        found = _module(format or _sniff(path)).read(path, **options)
    except ValueError as e:     # of the model, which knows no file
        raise e if str(path) in str(e) or not path.is_file() else fault(path, None, str(e)) from None
    if panels is not None and len(found.panels) != panels:
        raise ValueError(f"{path}: {len(found.panels)} panels, and {panels} were expected")
    if overlaps == "refuse" and (over := found.overlaps()):
        named = ", ".join(f"{found.panels[o.first].name} and {found.panels[o.second].name} by {o.pixels:.3g} pixels" for o in over[:4])
        raise ValueError(f"{path}: {len(over)} pairs of panels overlap: {named}; overlaps='allow' takes them")
    return found


def write(geometry: Geometry, path: str | Path, format: str | None = None, **options: Any) -> None:
    """Write it; the format by extension unless named. What a format cannot hold to 1e-6 of a pixel is a ValueError."""
    path = Path(path)
    if format is None and not SUFFIXES.get(path.suffix):
        raise ValueError(f"{path}: say format=, one of {', '.join(FORMATS)}")
    _module(format or SUFFIXES[path.suffix]).write(geometry, path, **options)


def _module(format: str) -> ModuleType:
    if format not in FORMATS:
        raise ValueError(f"geometry format {format!r} is unknown: choose from {', '.join(FORMATS)}")
    return importlib.import_module(f".geometry_{format}", __package__)


def _sniff(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: no known extension ({', '.join(SUFFIXES)}); say format=, one of {', '.join(FORMATS)}")
    if SUFFIXES[path.suffix]:
        return SUFFIXES[path.suffix]
    return "extra" if _module("extra").is_quadrants(path) else "nexus"


def fault(path: Path, line: int | None, text: str) -> ValueError:
    """The error of a file's content: it names the file and, if there is one, the line."""
    return ValueError(f"{path}{'' if line is None else f', line {line}'}: {text}")


@contextmanager
def foreign(path: Path, line: int | None = None, doing: str = "cannot be read; it is damaged, or something else") -> Iterator[None]:
    """Whatever a library finds wrong while it reads a file, as one ValueError of one line; what names the file already stays."""
    try:
        yield
    except (FileNotFoundError, ImportError):
        raise
    except Exception as e:      # flipped bytes reach any line of h5py, nexusformat and pyFAI
        if isinstance(e, ValueError) and str(path) in str(e):
            raise
        raise fault(path, line, f"{doing}: {' '.join(str(e).split()) or type(e).__name__}") from None


def needs(module: str) -> ModuleType:
    """An optional library, imported when first needed."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise ImportError(f"this geometry format needs {module.partition('.')[0]} ({e}): pip install 'gpuredux[geometry]'") from e


def lines_of(path: Path) -> list[str]:
    """The lines of a text file; anything else is refused."""
    content = path.read_bytes()
    if not content.strip():
        raise fault(path, None, "the file is empty")
    if content.startswith(b"\x89HDF") or b"\0" in content:
        raise fault(path, None, "not a text file (HDF5?): say format= if the extension misleads")
    try:
        return content.decode("utf-8").splitlines()
    except UnicodeDecodeError as e:
        raise fault(path, content[: e.start].count(b"\n") + 1, f"not text in UTF-8: {e.reason}") from None


def whole_lines(path: Path, comment: str = ";") -> None:
    """Raises ValueError if the last line is not ended: of a number cut short, what is left is a number, too."""
    *_, last = lines = lines_of(path)
    if last.partition(comment)[0].strip() and not path.read_bytes().endswith((b"\n", b"\r")):
        raise fault(path, len(lines), "the file ends inside a line: is it whole? If it is, end the line")


def finite(path: Path, line: int, name: str, text: str) -> float:
    """A number of a text file; NaN and Inf are refused."""
    try:
        value = float(text)
    except ValueError:
        raise fault(path, line, f"{name} must be a number, got {text!r}") from None
    if not np.isfinite(value):
        raise fault(path, line, f"{name} must be finite, got {text!r}")
    return value
