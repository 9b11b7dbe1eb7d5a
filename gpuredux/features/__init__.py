"""What a frame becomes: peaks, regions, curves, bins, sums over frames."""

from .baseline import Baseline
from .bin import Bin
from .cube import Cube
from .dispersion import Dispersion, strong_pixels
from .dwt import DWT
from .histogram import Histogram
from .idwt import IDWT
from .peak_finder8 import PeakFinder8
from .projections import Projections
from .region_sums import RegionSums
from .regions import Regions
from .rings import Rings
from .running import Running
from .windows import Windows
from .zero_suppress import ZeroSuppress

OPS = (PeakFinder8, Bin, RegionSums, DWT, Running, Windows, Projections, Cube, IDWT, Dispersion, Histogram, Baseline, ZeroSuppress)

__all__ = [
    "DWT", "IDWT", "OPS", "Baseline", "Bin", "Cube", "Dispersion", "Histogram", "PeakFinder8", "Projections", "RegionSums", "Regions", "Rings", "Running",
    "Windows", "ZeroSuppress", "strong_pixels",
]
