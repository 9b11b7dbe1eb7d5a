"""What a frame becomes: peaks, regions, curves, bins, sums over frames."""

from .bin import Bin
from .dwt import DWT
from .region_sums import RegionSums
from .regions import Regions
from .running import Running

OPS = (Bin, DWT, RegionSums, Running)

__all__ = ["DWT", "OPS", "Bin", "RegionSums", "Regions", "Running"]
