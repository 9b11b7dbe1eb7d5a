"""The pixelwise steps of calibration on the CPU: each in parallel over rows of pixels, in plain loops one after the other, which make vectors."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

ROW = 512       # pixels that stay in the first cache from loop to loop
LONG = 2048     # where there is one loop
NAN = np.float32(np.nan)
fast = njit(cache=True, nogil=True, error_model="numpy")


def share_rows(run, energy, status, stage, *constants_and_out, row=ROW):
    """run(first, last, row, energy, status, stage, *constants_and_out) over the rows of all frames. What is not there gets a stand-in without rows: run
    is compiled once, not once for each choice."""
    *constants, out = constants_and_out
    none = np.empty((0, 0), np.uint8)
    marks = (read_only(none if a is None else a) for a in (status, stage))
    share(run, len(energy) * -(-energy.shape[1] // row), row, energy, *marks, *(read_only(a) for a in constants), out)


@fast
def place(task, row, npix):
    """The frame, the first pixel and the one behind the last of a row."""
    rows = (npix + row - 1) // row
    a = task % rows * row
    return np.uint64(task // rows), np.uint64(a), np.uint64(min(a + row, npix))


@fast
def highest(stage, f, a, b, planes):
    """The highest plane of constants of a row."""
    top = np.uint8(0)
    if len(stage):
        for j in range(a, b):
            top = max(top, stage[f, j])
    return min(np.int64(top), planes - 1)


@fast
def merge(y, other, stage, f, a, b, g):
    """y = other where the stage of a row is g or more."""
    least = np.uint8(g)
    for j in range(a, b):
        new, old = other[j - a], y[j - a]       # read in any case: a branch would make no vectors
        y[j - a] = new if stage[f, j] >= least else old


@fast
def keep(energy, status, f, a, b, out):
    """The old values of a row where a status is set."""
    if len(status):
        for j in range(a, b):
            new, old = out[f, j], energy[f, j]
            out[f, j] = new if status[f, j] == 0 else old


@fast
def one_nan(y):
    """Every NaN in one form."""
    return y if y == y else NAN


def scale_rows(energy, status, stage, plane, out):
    """out = energy * plane[stage]; plane (planes, npix)."""
    share_rows(_scale, energy, status, stage, plane, out, row=LONG if stage is None else ROW)


@fast
def _scale(first, last, row, energy, status, stage, plane, out):
    other = np.empty(ROW, np.float32)
    for task in range(first, last):
        f, a, b = place(task, row, energy.shape[1])
        y = out[f, a:b]
        for g in range(highest(stage, f, a, b, len(plane)) + 1):        # planes that no pixel needs are not read
            to = other if g else y
            for j in range(a, b):
                to[j - a] = one_nan(energy[f, j] * plane[g, j])
            if g:
                merge(y, other, stage, f, a, b, g)
        keep(energy, status, f, a, b, out)


def polynomial_rows(energy, status, stage, coefficients, out):
    """out = c[0] + x * (c[1] + x * ...), Horner; coefficients (planes, terms, npix)."""
    share_rows(_polynomial, energy, status, stage, coefficients, out)


@fast
def _polynomial(first, last, row, energy, status, stage, coefficients, out):
    other, terms = np.empty(ROW, np.float32), coefficients.shape[1]
    for task in range(first, last):
        f, a, b = place(task, row, energy.shape[1])
        y = out[f, a:b]
        for g in range(highest(stage, f, a, b, len(coefficients)) + 1):
            to = other if g else y
            for j in range(a, b):
                to[j - a] = one_nan(coefficients[g, terms - 1, j])
            for t in range(terms - 2, -1, -1):
                for j in range(a, b):
                    to[j - a] = one_nan(to[j - a] * energy[f, j] + coefficients[g, t, j])
            if g:
                merge(y, other, stage, f, a, b, g)
        keep(energy, status, f, a, b, out)


def breakpoint_rows(energy, status, stage, knee, low, high, offset, out):
    """out = x * low up to the knee, (x - knee) * high + offset beyond; each (planes, npix)."""
    share_rows(_breakpoint, energy, status, stage, knee, low, high, offset, out, row=LONG if stage is None else ROW)


@fast
def _breakpoint(first, last, row, energy, status, stage, knee, low, high, offset, out):
    other, none, nothing = np.empty(ROW, np.float32), np.float32(0), np.float32(-0.0)
    for task in range(first, last):
        f, a, b = place(task, row, energy.shape[1])
        y = out[f, a:b]
        for g in range(highest(stage, f, a, b, len(knee)) + 1):
            to = other if g else y
            for j in range(a, b):       # in one form for both sides, as x - 0 and x + -0 are x: two branches would make no vectors
                x, bend, near, far, more = energy[f, j], knee[g, j], low[g, j], high[g, j], offset[g, j]
                beyond = x > bend
                to[j - a] = one_nan((x - (bend if beyond else none)) * (far if beyond else near) + (more if beyond else nothing))
            if g:
                merge(y, other, stage, f, a, b, g)
        keep(energy, status, f, a, b, out)


def breakpoint_slopes(energy, status, stage, knee, low, high, out):
    """out = low up to the knee, high beyond; each (planes, npix)."""
    share_rows(_breakpoint_slopes, energy, status, stage, knee, low, high, out, row=LONG if stage is None else ROW)


@fast
def _breakpoint_slopes(first, last, row, energy, status, stage, knee, low, high, out):
    other = np.empty(ROW, np.float32)
    for task in range(first, last):
        f, a, b = place(task, row, energy.shape[1])
        y = out[f, a:b]
        for g in range(highest(stage, f, a, b, len(knee)) + 1):
            to = other if g else y
            for j in range(a, b):
                near, far = low[g, j], high[g, j]
                to[j - a] = one_nan(far if energy[f, j] > knee[g, j] else near)
            if g:
                merge(y, other, stage, f, a, b, g)
        keep(energy, status, f, a, b, out)


def look_up_rows(energy, status, stage, table, which, start, inverse, slope, out):
    """out = table[g, which, u], interpolated at u = (x - start) * inverse; or the slope there; table (planes, tables, nodes), which (npix,)."""
    share_rows(_look_up, energy, status, stage, table.reshape(-1), which, table.shape, start, inverse, slope, out)


@fast
def _look_up(first, last, row, energy, status, stage, table, which, shape, start, inverse, slope, out):
    y, part, at, far = np.empty(ROW, np.float32), np.empty(ROW, np.float32), np.empty(ROW, np.uint64), np.empty(ROW, np.float32)
    for task in range(first, last):
        f, a, b = place(task, row, energy.shape[1])
        nodes(energy, stage, which, shape, start, inverse, f, a, b, at, part)
        two_of(table, at, b - a, y, far)
        if slope:
            for i in range(b - a):
                out[f, a + i] = one_nan((far[i] - y[i]) * inverse)
        else:
            for i in range(b - a):
                out[f, a + i] = one_nan(y[i] + (far[i] - y[i]) * part[i])
        keep(energy, status, f, a, b, out)


@fast
def two_of(table, at, many, near, far):
    """The node in front and the one behind."""
    for i in range(many):
        near[i], far[i] = table[at[i]], table[at[i] + np.uint64(1)]


@fast
def nodes(energy, stage, which, shape, start, inverse, f, a, b, at, part):
    """at = where the node in front of each pixel of a row lies in the tables, laid out one after the other; part: of the way to the next one."""
    planes, tables, many = shape
    last = np.float32(many - 2)
    for j in range(a, b):
        u = (energy[f, j] - start) * inverse
        node = np.floor(u)
        node = node if node > np.float32(0) else np.float32(0)      # NaN too
        node = node if node < last else last
        at[j - a] = np.uint64(np.int64(which[j]) * many + np.int32(node))
        part[j - a] = u - node
    if len(stage):
        for j in range(a, b):
            at[j - a] += np.uint64(min(np.int64(stage[f, j]), planes - 1) * (tables * many))
