"""compress.restore for the CPU: segments of a frame as if nothing were listed, then, only if there is any, what is; left_up pixel by pixel."""

import numpy as np

from ..backends import share
from ..op import read_only
from .precondition_numba import FRAME_BEFORE, LEFT_UP, NO_PREDICTOR, PEDESTAL, SEGMENT, biased, fast, planes, words


def restore_frames(code, index, value, count, previous, constants, how, raw):
    """Fill raw of the frames code."""
    n, npix = len(code), int(np.prod(code.shape[1:]))
    out = raw.reshape(len(raw), npix).view(f"u{raw.itemsize}")
    gaps, held, pedestal = planes(constants, out.dtype)
    before = read_only(np.empty(0, out.dtype)) if previous is None else words(previous, -1)
    lists = (read_only(index), read_only(value.view(np.uint32)), read_only(count))
    given = (words(code, n, npix), *lists, gaps, held, how)
    if how[0] == LEFT_UP:
        share(_waves, n * (npix // int(how[2] * how[3])), *given, out)
        return
    groups = -(-n // int(how[1])) if how[0] == FRAME_BEFORE else n
    share(_segments, groups * -(-npix // SEGMENT), *given, before, pedestal, out)


@fast
def _segments(first, last, code, index, value, count, gaps, held, how, before, pedestal, out):
    n, npix = code.shape
    segments, predictor, bias, group = (npix + SEGMENT - 1) // SEGMENT, how[0], np.uint32(how[5]), how[1] if how[0] == FRAME_BEFORE else 1
    fill, narrow, expected = np.uint32(how[9]), how[10], np.empty(SEGMENT, np.uint32)
    for item in range(first, last):
        g, a = item // segments, item % segments * SEGMENT
        b = min(a + SEGMENT, npix)
        hole = gaps[a:b] if len(gaps) else gaps
        for f in range(g * group, min(g * group + group, n)):
            c, x = code[f, a:b], out[f, a:b]
            plain = predictor == NO_PREDICTOR or (predictor == FRAME_BEFORE and f == g * group and not (f == 0 and len(before)))
            if plain:
                _plain(c, np.uint32(how[11]), x)
            else:
                if predictor == PEDESTAL:
                    biased(pedestal[a:b], bias, expected)
                elif f == g * group:
                    biased(before[a:b], bias, expected)
                else:
                    biased(out[f - 1, a:b], bias, expected)
                _sums(c, bias, expected, x)
            if len(hole):
                _fill_gaps(hole, held, x)
            if narrow or len(hole):
                _listed(c, hole, fill, narrow, index[f], value[f], np.int64(count[f]), a, x)


@fast
def _plain(c, sign, x):
    for i in range(np.uint64(len(c))):
        x[i] = np.uint32(np.uint32(np.uint32(c[i]) ^ sign) - sign)


@fast
def _sums(c, bias, expected, x):
    for i in range(np.uint64(len(c))):
        z = np.uint32(c[i])
        d = np.uint32(z >> np.uint32(1)) ^ np.uint32(np.uint32(0) - np.uint32(z & np.uint32(1)))
        x[i] = np.uint32(expected[i] + d) ^ bias


@fast
def _fill_gaps(hole, held, x):
    for begin in range(0, len(hole), 64):
        end, some = min(begin + 64, len(hole)), np.uint8(0)
        for i in range(np.uint64(begin), np.uint64(end)):
            some |= hole[i]
        if some:
            for i in range(np.uint64(begin), np.uint64(end)):
                if hole[i]:
                    x[i] = held[np.uint64(hole[i]) - np.uint64(1)]


@fast
def _listed(c, hole, fill, narrow, index, value, count, a, x):
    some = np.uint32(0)
    for i in range(np.uint64(len(c))):
        some |= np.uint32(np.uint32(c[i]) == fill)
    if some:
        for i in range(len(c)):
            if np.uint32(c[i]) == fill and (narrow or hole[i]):
                slot = _find(index, count, a + i)
                if slot >= 0:
                    x[i] = value[slot]


@fast
def _find(index, count, pixel):
    """The pixel's place in a frame's list, or -1."""
    listed = min(count, np.int64(len(index)))
    low, high = np.int64(0), listed
    while low < high:
        middle = (low + high) // 2
        if np.int64(index[middle]) < pixel:
            low = middle + 1
        else:
            high = middle
    return low if low < listed and np.int64(index[low]) == pixel else np.int64(-1)


@fast
def _waves(first, last, code, index, value, count, gaps, held, how, out):
    npix, rows, cols = code.shape[1], how[2], how[3]
    panels = npix // (rows * cols)
    known = np.empty(cols, np.uint32)
    for item in range(first, last):
        f, base = item // panels, item % panels * rows * cols
        for r in range(rows):
            a = base + r * cols
            _row(code[f, a : a + cols], index[f], value[f], np.int64(count[f]), gaps[a : a + cols] if len(gaps) else gaps, held, how, r, a, known,
                 out[f, a : a + cols])


@fast
def _row(code, index, value, count, hole, held, how, r, a, known, out):
    """known: of the row above, then of this one: biased words, BIAS in gaps."""
    bias, fill, narrow, mask = np.uint32(how[5]), np.uint32(how[9]), how[10] != 0, np.uint32((1 << how[4]) - 1)
    left, some = bias, len(hole) > 0
    for i in range(len(code)):
        z, up = np.uint32(code[i]), known[i]
        mean = np.uint32(left & up) + np.uint32(np.uint32(left ^ up) >> np.uint32(1))
        expected = (mean if r > 0 else left) if i > 0 else (up if r > 0 else bias)
        d = np.uint32(z >> np.uint32(1)) ^ np.uint32(np.uint32(0) - np.uint32(z & np.uint32(1)))
        word = np.uint32(expected + d) & mask
        x, gap = np.uint32(word ^ bias), some and hole[i] != 0
        if gap:
            x = held[np.int64(hole[i]) - 1]
        if z == fill and (narrow or gap):
            slot = _find(index, count, a + i)
            if slot >= 0:
                x = value[slot] & mask
        left = bias if gap else np.uint32(x ^ bias)
        known[i] = left
        out[i] = x
