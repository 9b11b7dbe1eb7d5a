"""What a frame becomes: peaks, regions, curves, bins, sums over frames."""

from .bin import Bin
from .dwt import DWT

OPS = (Bin, DWT)

__all__ = ["DWT", "OPS", "Bin"]
