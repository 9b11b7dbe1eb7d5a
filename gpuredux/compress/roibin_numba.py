"""compress.roibin and compress.roibin_decode for the CPU: a frame a task."""

import numpy as np
from numba import njit

from .rounding import rounded_up

ABOVE = 1.0 + 2.0**-52      # of roibin.apart

fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, error_model="numpy")
def reduce_frames(begin, end, frames, good, status, panel, top, left, peaks, side, size, rule, limits, code, bits, roi, count, background_error, max_error):
    """Fill code to max_error. good, status: of no pixels where there are none; top, left (n, cap): corners of windows; rule, limits: see Roibin._rule and
    numba. f64 holds sums of whole numbers exactly: 65535 of 32 bits are less than 2**48."""
    for f in range(begin, end):
        reduce_frame(np.int64(f), frames, good, status, panel, top, left, peaks, side, size, rule, limits, code, bits, roi, count, background_error,
                     max_error)


@fast
def reduce_frame(f, frames, good, status, panel, top, left, peaks, side, size, rule, limits, code, bits, roi, count, background_error, max_error):
    x = frames[f]
    kept = np.zeros(x.shape, np.uint8)      # bits: 1: no measurement, or too far from its code; 2: not good; 4: in a window
    mark(kept.reshape(-1), x.reshape(-1), good.reshape(-1), status[f].reshape(-1) if len(status) else good.reshape(-1)[:0])
    cover(kept, panel[f], top[f], left[f], peaks[f], side)
    bin_of = np.arange(x.shape[2]) // size[1]
    total, used, y = np.empty((2, code.shape[3])), np.empty((2, code.shape[3])), np.empty(code.shape[3])
    worst, far = 0.0, 0.0
    for p in range(x.shape[0]):
        for row in range(code.shape[2]):
            first, last = row * size[0], min(row * size[0] + size[0], x.shape[1])
            total[:], used[:] = 0.0, 0.0    # of pixels in no window, and of those in one
            for r in range(first, last):
                add_row(x[p, r], kept[p, r], bin_of, total, used)
            worst = max(worst, code_row(total, used, rule, limits, code[f, p, row], y))
            for r in range(first, last):
                far = max(far, keep_row(x[p, r], kept[p, r], bin_of, y, rule[3]))
    background_error[f], max_error[f] = rounded_up(worst), rounded_up(far)
    count[f] = pack(x.reshape(-1), kept.reshape(-1), bits[f], roi[f])


@fast
def mark(kept, x, good, status):
    """What is no measurement, and what is not good."""
    for k in range(len(x)):
        kept[k] = not np.isfinite(x[k])
    for k in range(len(status)):
        kept[k] |= status[k] != 0
    for k in range(len(good)):
        kept[k] |= 2 * (good[k] == 0)


@fast
def cover(kept, panel, top, left, peaks, side):
    """Mark the windows' pixels."""
    panels, rows, cols = kept.shape
    for k in range(min(peaks, len(panel))):
        if 0 <= panel[k] < panels:
            for r in range(max(top[k], 0), min(top[k] + side, rows)):
                for c in range(max(left[k], 0), min(left[k] + side, cols)):
                    kept[panel[k], r, c] |= 4


@fast
def add_row(x, kept, bin_of, total, used):
    for c in range(np.uint64(len(x))):
        if kept[c] & 3 == 0:
            total[kept[c] >> 2, bin_of[c]] += x[c]
            used[kept[c] >> 2, bin_of[c]] += 1.0


@fast
def code_row(total, used, rule, limits, code, y):
    """Fill code, and y with what pixels it makes, NaN of which none is within a bound; the largest error of the means."""
    step, most, worst = rule[0], rule[2], 0.0
    lowest, highest = np.float64(limits[0]), np.float64(limits[1])
    for col in range(len(y)):
        some = used[0, col] if used[0, col] > 0.0 else used[1, col]
        mean = (total[0, col] if used[0, col] > 0.0 else total[1, col]) / max(some, 1.0)
        q = min(max(np.rint(mean * rule[1]), lowest), highest)
        e = abs(mean - q * step)
        if not e <= most:
            q += 1.0 if mean > q * step else -1.0
            e = abs(mean - q * step)
        fits = e <= most and lowest <= q <= highest and some > 0.0
        code[col] = np.int64(q) & 0xFFFF if fits else limits[2] if some > 0.0 else limits[3]
        worst = max(worst, e) if fits else worst
        whole = min(max(np.rint(q * step), rule[4]), rule[5]) if rule[4] > -np.inf else q * step
        y[col] = whole if fits else np.nan
    return worst


@fast
def keep_row(x, kept, bin_of, y, bound):
    """The largest distance of pixels from what their code makes; those beyond the bound are kept."""
    far = 0.0
    for c in range(np.uint64(len(x))):
        value, made = np.float64(x[c]), y[bin_of[c]]
        d = value - made
        back = d - value
        lost = (value - (d - back)) - (made + back)     # what d rounded off (Knuth)
        e = abs(d) * (ABOVE if d * lost > 0.0 else 1.0)
        within = e <= bound
        far = max(far, e) if within and kept[c] == 0 else far
        kept[c] |= not within
    return far


@fast
def pack(x, kept, bits, roi):
    """Fill bits and roi: how many pixels are kept."""
    some, npix, room = 0, len(x), len(roi)
    for w in range(len(bits)):
        word = np.uint32(0)
        for k in range(32 * w, min(32 * w + 32, npix)):
            if kept[k] & 5 and not kept[k] & 2:
                word |= np.uint32(1) << np.uint32(k & 31)
                if some < room:
                    roi[some] = x[k]
                some += 1
        bits[w] = word
    return some


@njit(cache=True, nogil=True, error_model="numpy")
def rebuild_frames(begin, end, code, bits, roi, count, good, size, table, filler, marks, energy, wrong):
    """Fill energy, and marks (CORRUPT, OUTLIER_OVERFLOW) where they belong. code: as u16; roi, energy: as unsigned words; table: of each code's pixels."""
    for f in range(begin, end):
        rebuild_frame(np.int64(f), code, bits, roi, count, good, size, table, filler, marks, energy, wrong)


@fast
def rebuild_frame(f, code, bits, roi, count, good, size, table, filler, marks, energy, wrong):
    a, b = size
    panels, rows, cols = energy.shape[1:]
    for p in range(panels):
        for r in range(rows):
            for col in range(code.shape[3]):
                y = table[code[f, p, r // a, col]]
                for c in range(col * b, min(col * b + b, cols)):
                    energy[f, p, r, c] = y
    listed, beyond = put_exact(bits[f], roi[f], energy[f].reshape(-1))
    if listed != count[f] or beyond:
        wrong[f] |= marks[0]
    if listed > roi.shape[1]:
        wrong[f] |= marks[1]
    for k in range(good.size):
        if good[k] == 0:
            energy[f].reshape(-1)[k] = filler


@fast
def put_exact(bits, roi, energy):
    """How many bits are set; whether any is behind the last pixel."""
    some, beyond = 0, False
    for w in range(len(bits)):
        word = bits[w]
        if word:
            for k in range(32):
                if word >> np.uint32(k) & np.uint32(1):
                    if 32 * w + k >= len(energy):
                        beyond = True
                    elif some < len(roi):
                        energy[32 * w + k] = roi[some]
                    some += 1
    return some, beyond
