"""gpuredux: data reduction for X-ray detectors on every device. OPS is the catalogue of all operations."""

from importlib.metadata import PackageNotFoundError, version

from . import backends, calib, compress, features, veto
from .op import Chain, DecodeError, Op, Plan, Spec

try:
    __version__ = version("gpuredux")
except PackageNotFoundError:     # a source tree that was not installed
    __version__ = "0+unknown"

FAMILIES = (calib, compress, features, veto)
OPS: dict[str, type[Op]] = {op.name: op for family in FAMILIES for op in family.OPS}

__all__ = ["FAMILIES", "OPS", "Chain", "DecodeError", "Op", "Plan", "Spec", "backends", "calib", "compress", "features", "veto"]
