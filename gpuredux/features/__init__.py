"""What a frame becomes: peaks, regions, curves, bins, sums over frames."""

from .bin import Bin

OPS = (Bin,)

__all__ = ["OPS", "Bin"]
