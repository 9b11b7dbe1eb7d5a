"""compress.precondition for the CPU: segments of a frame, in loops that vectorise. Words are biased as precondition_words.cl has them."""

import numpy as np
from numba import njit

from ..backends import share
from ..op import read_only

SEGMENT = 4096      # pixels of one task, whose prediction stays in the first cache; with left_up it is a row
NO_PREDICTOR, FRAME_BEFORE, LEFT_UP, PEDESTAL = range(4)

fast = njit(cache=True, nogil=True, error_model="numpy")


def words(x, *shape):
    """An array as unsigned words of its width, for reading."""
    return read_only(x.reshape(shape).view(f"u{x.itemsize}"))


def planes(constants, kind):
    """gaps, gap_value, pedestal: of no pixels where there are none."""
    gaps, held, pedestal = (constants.get(k) for k in ("gaps", "gap_value", "pedestal"))
    gaps, held = (np.empty(0, t) if a is None else a.reshape(-1) for a, t in ((gaps, np.uint8), (held, np.uint32)))
    pedestal = np.empty(0, kind) if pedestal is None else words(pedestal, -1)
    return read_only(gaps), read_only(held), read_only(pedestal)


def precondition_frames(raw, constants, how, code, index, value, number):
    """Fill code, index, value and number of the frames raw."""
    n, npix = len(raw), raw[:1].size or int(np.prod(raw.shape[1:]))
    width = how[3] if how[0] == LEFT_UP else SEGMENT
    counts = np.zeros((n, -(-npix // width)), np.int64)
    x, codes, lists = words(raw, n, npix), code.reshape(len(code), npix), value.view(np.uint32)
    codes = codes.view(f"u{codes.itemsize}")
    gaps, held, pedestal = planes(constants, x.dtype)
    share(_encode, counts.size, x, gaps, held, pedestal, how, width, codes, counts)
    number[:n] = counts.sum(axis=1)
    starts = np.cumsum(counts, axis=1) - counts
    if counts.any():
        share(_list, counts.size, x, gaps, how, width, codes, counts, starts, index, lists)


@fast
def _encode(first, last, x, gaps, held, pedestal, how, width, code, counts):
    npix, segments, expected = x.shape[1], counts.shape[1], np.empty(width, np.uint32)
    predictor, every, reach, beyond, fill, narrow = how[0], how[1], how[7], how[8], how[9], how[10]
    bias = np.uint32(how[5])
    for item in range(first, last):
        f, s = item // segments, item % segments
        a = s * width
        size = min(width, npix - a)
        row, out = x[f, a : a + size], code[f, a : a + size]
        hole = gaps[a : a + size] if len(gaps) else gaps
        if predictor == NO_PREDICTOR or (predictor == FRAME_BEFORE and f % every == 0):
            _plain(row, bias, np.uint32(how[6]), np.uint32(reach), np.uint32(beyond), out)
        else:
            if predictor == FRAME_BEFORE:
                biased(x[f - 1, a : a + size], bias, expected)
            elif predictor == PEDESTAL:
                biased(pedestal[a : a + size], bias, expected)
            else:
                _left_up(x[f], gaps, a, size, how, expected)
            _differences(row, bias, np.uint32(how[4]), expected, np.uint32(fill if narrow else reach), np.uint32(beyond), out)
        if len(hole):
            _fill_gaps(row, hole, held, np.uint32(fill), out)
        if narrow or len(hole):
            counts[f, s] = _listed(out, hole, np.uint32(fill), narrow)


@fast
def _plain(row, bias, lowest, reach, beyond, out):
    for i in range(np.uint64(len(row))):
        v = np.uint32(np.uint32(np.uint32(row[i]) ^ bias) - bias)
        out[i] = v if np.uint32(v - lowest) < reach else beyond


@fast
def biased(row, bias, expected):
    for i in range(np.uint64(len(row))):
        expected[i] = np.uint32(row[i]) ^ bias


@fast
def _left_up(x, gaps, a, size, how, expected):
    """Of a row that begins at a."""
    rows, cols, bias = how[2], how[3], np.uint32(how[5])
    left, above = x[a : a + size], x[a - cols : a - cols + size] if a // cols % rows else x[a:a]
    for i in range(np.uint64(1), np.uint64(size)):
        expected[i] = np.uint32(left[i - np.uint64(1)]) ^ bias
    if len(gaps):
        hole = gaps[a : a + size]
        for i in range(np.uint64(1), np.uint64(size)):
            expected[i] = bias if hole[i - np.uint64(1)] else expected[i]
    if len(above) == 0:
        expected[0] = bias
        return
    hole = gaps[a - cols : a - cols + size] if len(gaps) else gaps
    u = np.uint32(above[0]) ^ bias
    expected[0] = u if len(hole) == 0 or hole[0] == 0 else bias
    if len(hole):
        for i in range(np.uint64(1), np.uint64(size)):
            u = bias if hole[i] else np.uint32(above[i]) ^ bias
            expected[i] = np.uint32(u & expected[i]) + np.uint32(np.uint32(u ^ expected[i]) >> np.uint32(1))
    else:
        for i in range(np.uint64(1), np.uint64(size)):
            u = np.uint32(above[i]) ^ bias
            expected[i] = np.uint32(u & expected[i]) + np.uint32(np.uint32(u ^ expected[i]) >> np.uint32(1))


@fast
def _differences(row, bias, bits, expected, reach, beyond, out):
    mask, half = np.uint32((1 << bits) - 1), np.uint32(((1 << bits) - 1) >> 1)
    for i in range(np.uint64(len(row))):
        d = np.uint32(np.uint32(np.uint32(row[i]) ^ bias) - expected[i]) & mask
        z = np.uint32(np.uint32(d << np.uint32(1)) ^ (mask if d > half else np.uint32(0))) & mask       # no shift by a variable: numba makes 64 bits of it
        out[i] = z if z < reach else beyond


@fast
def _fill_gaps(row, hole, held, fill, out):
    """64 pixels without any are passed at once, for gaps lie together."""
    for begin in range(0, len(row), 64):
        end, some = min(begin + 64, len(row)), np.uint8(0)
        for i in range(np.uint64(begin), np.uint64(end)):
            some |= hole[i]
        if some:
            for i in range(np.uint64(begin), np.uint64(end)):
                if hole[i]:
                    out[i] = 0 if np.uint32(row[i]) == held[np.uint64(hole[i]) - np.uint64(1)] else fill


@fast
def _listed(out, hole, fill, narrow):
    some = np.uint32(0)
    if narrow:
        for i in range(np.uint64(len(out))):
            some += np.uint32(np.uint32(out[i]) == fill)
    else:
        for i in range(np.uint64(len(out))):
            some += np.uint32((np.uint32(out[i]) == fill) & (hole[i] != 0))
    return np.int64(some)


@fast
def _list(first, last, x, gaps, how, width, code, counts, starts, index, value):
    npix, segments, bias, fill, narrow = x.shape[1], counts.shape[1], np.uint32(how[5]), np.uint32(how[9]), how[10]
    for item in range(first, last):
        f, s = item // segments, item % segments
        slot = starts[f, s]
        if counts[f, s]:
            for j in range(s * width, min(s * width + width, npix)):
                if np.uint32(code[f, j]) == fill and slot < index.shape[1] and (narrow or gaps[j]):
                    index[f, slot], value[f, slot] = j, np.uint32(np.uint32(x[f, j]) ^ bias) - bias
                    slot += 1
