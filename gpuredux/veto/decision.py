"""The verdict on a frame: 16 bytes that every veto writes and that compaction, journal and files read."""

from enum import IntEnum

import numpy as np

DECISION = np.dtype([("keep", "i4"), ("raw", "i4"), ("reason", "i4"), ("score", "f4")])
"""A row of `decision (n, 4) i32`. On the host `decision.view(DECISION)[:, 0]` is (n,) records: keep and raw are 0 or 1,
reason is a Reason, score is what the veto measured (its float32 bits lie in the fourth word)."""


class Reason(IntEnum):
    """Why a frame is not kept; 0 = it is."""

    KEPT = 0
    TOO_FEW = 1     # fewer lit pixels than min_lit
    TOO_MANY = 2    # more lit pixels than max_lit
