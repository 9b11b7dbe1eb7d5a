"""Raw words to physics."""

from .assemble import Assemble
from .assemble_split import AssembleSplit
from .assemble_tiles import AssembleTiles
from .breakpoint import Breakpoint
from .calibrate import Calibrate
from .common_mode import CommonMode
from .constants import Constants
from .counts import Counts
from .dark_median import DarkMedian
from .dark_sums import DarkSums
from .gain import Gain
from .look_up import LookUp
from .photons import Photons
from .polynomial import Polynomial
from .recursive import Recursive
from .scale import Scale
from .shared_photons import SharedPhotons
from .status_count import StatusCount
from .stencil import Stencil
from .threshold_gain import ThresholdGain
from .variance import Variance

OPS = (
    Gain, ThresholdGain, Counts, Polynomial, Breakpoint, LookUp, CommonMode, Scale, Stencil, Recursive, Photons, SharedPhotons, Variance, StatusCount,
    Assemble, AssembleTiles, AssembleSplit, DarkSums, DarkMedian,
)
__all__ = [
    "OPS", "Assemble", "AssembleSplit", "AssembleTiles", "Breakpoint", "Calibrate", "CommonMode", "Constants", "Counts", "DarkMedian", "DarkSums", "Gain",
    "LookUp", "Photons", "Polynomial", "Recursive", "Scale", "SharedPhotons", "StatusCount", "Stencil", "ThresholdGain", "Variance",
]
