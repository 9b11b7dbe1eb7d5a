"""What a frame becomes: peaks, regions, curves, bins, sums over frames."""

from .azimuthal_integrate import AzimuthalIntegrate
from .baseline import Baseline
from .bin import Bin
from .constant_fraction import ConstantFraction
from .cube import Cube
from .dispersion import Dispersion, strong_pixels
from .dispersion_extended import DispersionExtended
from .droplets import Droplets
from .dwt import DWT
from .edge import Edge
from .histogram import Histogram
from .idwt import IDWT
from .lifting import Lifting
from .peak_finder8 import PeakFinder8
from .projections import Projections
from .region_sums import RegionSums
from .regions import Regions
from .rings import Rings
from .running import Running
from .sigma_clip import SigmaClip
from .wavelet_threshold import WaveletThreshold
from .windows import Windows
from .zero_suppress import ZeroSuppress

OPS = (
    Droplets, SigmaClip, AzimuthalIntegrate, PeakFinder8, Bin, RegionSums, DWT, Running, Windows, Projections, Cube, IDWT, Dispersion,
    DispersionExtended, Baseline, ZeroSuppress, Histogram, ConstantFraction, Edge, Lifting, WaveletThreshold,
)

__all__ = [
    "DWT", "IDWT", "OPS", "AzimuthalIntegrate", "Baseline", "Bin", "ConstantFraction", "Cube", "Dispersion", "DispersionExtended", "Droplets",
    "Edge", "Histogram", "Lifting", "PeakFinder8", "Projections", "RegionSums", "Regions", "Rings", "Running", "SigmaClip", "WaveletThreshold",
    "Windows", "ZeroSuppress", "strong_pixels",
]
