"""What a frame becomes: peaks, regions, curves, bins, sums over frames."""

from .azimuthal_integrate import AzimuthalIntegrate
from .azimuthal_median import AzimuthalMedian
from .baseline import Baseline
from .beam_centre import BeamCentre
from .beam_centroid import BeamCentroid
from .bin import Bin
from .constant_fraction import ConstantFraction
from .contrast import Contrast
from .correlate import Correlate
from .cube import Cube
from .densify import Densify
from .dispersion import Dispersion, strong_pixels
from .dispersion_extended import DispersionExtended
from .droplet_photons import DropletPhotons
from .droplets import Droplets
from .dwt import DWT
from .edge import Edge
from .histogram import Histogram
from .hook import Hook
from .idwt import IDWT
from .jet_streak import JetStreak
from .lifting import Lifting
from .peak_finder8 import PeakFinder8
from .peak_finder_azimuthal import PeakFinderAzimuthal
from .peak_finder_v3r3 import PeakFinderV3r3
from .peak_finder_v4r3 import PeakFinderV4r3
from .projections import Projections
from .radial_background import RadialBackground
from .region_sums import RegionSums
from .regions import Regions
from .rings import Rings
from .rings_split import SplitRings
from .running import Running
from .sigma_clip import SigmaClip
from .sparsify import Sparsify
from .wavelet_threshold import WaveletThreshold
from .windows import Windows
from .zero_suppress import ZeroSuppress

OPS = (
    Droplets, SigmaClip, AzimuthalIntegrate, AzimuthalMedian, PeakFinder8, Bin, RegionSums, DWT, Running, Windows, Projections, Cube, IDWT, Dispersion,
    DispersionExtended, Baseline, ZeroSuppress, Histogram, ConstantFraction, Edge, Lifting, WaveletThreshold,
    Sparsify, Densify, PeakFinderAzimuthal, BeamCentroid, BeamCentre, JetStreak, RadialBackground,
    DropletPhotons, Contrast, Correlate, PeakFinderV3r3, PeakFinderV4r3,
)

__all__ = [
    "DWT", "IDWT", "OPS", "AzimuthalIntegrate", "AzimuthalMedian", "Baseline", "BeamCentre", "BeamCentroid", "Bin", "ConstantFraction", "Contrast",
    "Correlate", "Cube", "Densify", "Dispersion", "DispersionExtended", "DropletPhotons", "Droplets", "Edge", "Histogram", "Hook", "JetStreak", "Lifting",
    "PeakFinder8", "PeakFinderAzimuthal", "PeakFinderV3r3", "PeakFinderV4r3", "Projections", "RadialBackground", "RegionSums", "Regions", "Rings", "Running",
    "SigmaClip", "Sparsify", "SplitRings", "WaveletThreshold", "Windows", "ZeroSuppress", "strong_pixels",
]
