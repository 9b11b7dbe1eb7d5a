"""Errors as float32, never understated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


def round_up(x: Any) -> np.ndarray:
    """To the next float32 that is not below."""
    exact = np.asarray(x)       # a Python float would be compared as a float32
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
    up: np.ndarray = np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near)
    return up


@njit(cache=True, nogil=True, error_model="numpy")
def rounded_up(e):
    """The float32 that is not below."""
    near = np.float32(e)
    return np.nextafter(near, np.float32(np.inf)) if np.float64(near) < e else near
