"""What ops of waveforms share on the CPU."""

import numpy as np
from numba import njit

NAN = np.float32(np.nan)


@njit(cache=True, nogil=True)
def halved(lanes):
    """The sum of the lanes: the upper half is added to the lower, and again."""
    half = len(lanes) // 2
    while half:
        for l in range(half):
            lanes[l] += lanes[l + half]
        half //= 2
    return lanes[0]
