"""Raw words to physics."""

from .assemble import Assemble
from .assemble_split import AssembleSplit
from .assemble_tiles import AssembleTiles
from .breakpoint import Breakpoint
from .common_mode import CommonMode
from .counts import Counts
from .dark_sums import DarkSums
from .gain import Gain
from .look_up import LookUp
from .polynomial import Polynomial
from .scale import Scale
from .status_count import StatusCount
from .threshold_gain import ThresholdGain
from .variance import Variance

OPS = (Gain, ThresholdGain, Scale, Polynomial, Breakpoint, LookUp, Variance, StatusCount, Assemble, AssembleTiles, AssembleSplit, Counts, CommonMode, DarkSums)
