"""Geometry files of a configuration, and the rings that features integrate over."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calib import geometry
from ..calib.geometry import Geometry
from ..detectors import DETECTORS, Detector
from ..features import Rings, SplitRings
from ..features.rings import radial_of
from .config import Document
from .constants import Known, dataset
from .faults import ConfigError
from .stages import NormalisationBlock, RingsBlock


def geometry_of(document: Document, place: tuple[str | int, ...], name: str, kind: Detector) -> Geometry:
    """A geometry file, of the panels that are read. Raises ConfigError."""
    path, rows, cols = document.resolve(name), *kind.shape[-2:]
    try:
        if not path.exists():
            raise ValueError(f"{path}: no such file")
        there, whole = geometry.read(path), DETECTORS[kind.name].n_panels
        if kind.n_panels < whole and there.shape[0] * there.shape[1] == whole * rows:
            there = there.reframed((whole, rows, cols)).select(kind.ids)
        return there.reframed((kind.n_panels, rows, cols))
    except (ValueError, ImportError, OSError) as e:
        words = " ".join(str(e).split()).replace(str(path), name)
        raise ConfigError([document.at(place, words if words.startswith(name) else f"{name}: {words}")]) from None


def rings_of(document: Document, held: Known, place: tuple[str | int, ...], block: RingsBlock) -> Rings | SplitRings:
    """The rings of a geometry. Raises ConfigError."""
    there = geometry_of(document, (*place, "geometry"), block.geometry, held.kind)
    try:
        good = held.arrays.get("good") if block.good is None else dataset(document, block.good)
        if block.bins is None:
            odd = sorted(block.model_fields_set - {"geometry", "good", "bins"})
            if odd:
                raise ConfigError([document.at((*place, odd[0]), "goes with bins: without them rings are one pixel wide")])
            at = there.pixel_positions()
            radius = np.hypot(at[..., 0], at[..., 1]) / np.sqrt(there.pixel_area)
            return Rings.from_radius(radius.reshape(held.kind.shape), good)
        more: dict[str, Any] = {"split": block.split} if block.split != "no" else {}
        if block.azimuth_bins > 1 or "azimuth_range" in block.model_fields_set:
            more |= {"azimuth_bins": block.azimuth_bins, "azimuth_range": block.azimuth_range}
        return Rings.from_geometry(there, block.bins, block.unit, block.wavelength, held.kind.shape, radial_range=block.radial_range, good=good, **more)
    except ConfigError:
        raise
    except (TypeError, ValueError) as e:
        raise ConfigError([document.at(place, str(e).removeprefix("Rings: "))]) from None


def radius_of(document: Document, held: Known, place: tuple[str | int, ...], block: RingsBlock) -> np.ndarray[Any, Any]:
    """(*frame): each pixel's radius, in the unit of the rings. Raises ConfigError."""
    there = geometry_of(document, (*place, "geometry"), block.geometry, held.kind)
    return radial_of(there, block.unit, block.wavelength).reshape(held.kind.shape).astype(np.float64)


def normalisation_of(document: Document, held: Known, place: tuple[str | int, ...], block: NormalisationBlock) -> np.ndarray[Any, Any]:
    """(*frame) f32: solid angle and polarisation of each pixel, as asked. Raises ConfigError."""
    there = geometry_of(document, (*place, "geometry"), block.geometry, held.kind)
    try:
        found = there.solid_angle() if block.solid_angle else np.ones(there.shape)
        if block.polarisation is not None:
            found = found * there.polarisation(block.polarisation, np.deg2rad(block.axis))
    except ValueError as e:
        raise ConfigError([document.at((*place, "geometry"), f"{block.geometry}: {e}")]) from None
    return found.reshape(held.kind.shape).astype(np.float32)
