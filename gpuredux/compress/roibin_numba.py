"""compress.roibin and compress.roibin_decode for the CPU: a frame a task."""

import numpy as np
from numba import njit, prange

fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def reduce_frames(frames, good, status, panel, top, left, peaks, side, size, rule, limits, code, bits, roi, count, background_error, max_error):
    """Fill code to max_error. good, status: of no pixels where there are none; top, left (n, cap): corners of windows; rule, limits: see Roibin._rule and
    numba. f64 holds sums of whole numbers exactly: 65535 of 32 bits are less than 2**48."""
    for f in prange(len(frames)):
        reduce_frame(np.int64(f), frames, good, status, panel, top, left, peaks, side, size, rule, limits, code, bits, roi, count, background_error,
                     max_error)


@fast
def reduce_frame(f, frames, good, status, panel, top, left, peaks, side, size, rule, limits, code, bits, roi, count, background_error, max_error):
    x = frames[f]
    kept = np.zeros(x.shape, np.uint8)
    cover(kept, panel[f], top[f], left[f], peaks[f], side)
    worst, far = 0.0, 0.0
    for p in range(x.shape[0]):
        for row in range(code.shape[2]):
            near, e = reduce_bins(f, x, good, status, p, row, size, rule, limits, code[f], kept)
            worst, far = max(worst, near), max(far, e)
    background_error[f], max_error[f] = rounded_up(worst), rounded_up(far)
    count[f] = pack(x.reshape(-1), kept.reshape(-1), bits[f], roi[f])


@fast
def cover(kept, panel, top, left, peaks, side):
    """Mark the windows' pixels."""
    panels, rows, cols = kept.shape
    for k in range(min(peaks, len(panel))):
        if 0 <= panel[k] < panels:
            for r in range(max(top[k], 0), min(top[k] + side, rows)):
                kept[panel[k], r, max(left[k], 0) : max(min(left[k] + side, cols), 0)] = 1


@fast
def reduce_bins(f, x, good, status, p, row, size, rule, limits, code, kept):
    """One row of bins: codes and kept pixels; the largest errors of means and pixels."""
    a, b = size
    first, last = row * a, min(row * a + a, x.shape[1])
    bound, worst, far = rule[3], 0.0, 0.0
    for col in range(code.shape[2]):
        total, used = 0.0, 0
        begin, end = col * b, min(col * b + b, x.shape[2])
        for r in range(first, last):
            for c in range(begin, end):
                v = x[p, r, c]
                use = kept[p, r, c] == 0 and np.isfinite(v)
                if len(good):
                    use = use and good[p, r, c] != 0
                if len(status):
                    use = use and status[f, p, r, c] == 0
                if use:
                    total += v
                    used += 1
                else:
                    kept[p, r, c] = 1
        word, e, y = code_of(total / used, rule, limits) if used else (limits[3], 0.0, 0.0)
        worst = max(worst, e)
        code[p, row, col] = word
        coded = word != limits[2]
        for r in range(first, last):
            for c in range(begin, end):
                if kept[p, r, c] == 0:
                    e = abs(np.float64(x[p, r, c]) - y)
                    if coded and e <= bound:
                        far = max(far, e)
                    else:
                        kept[p, r, c] = 1
                elif len(good) and good[p, r, c] == 0:
                    kept[p, r, c] = 0
    return worst, far


@fast
def code_of(mean, rule, limits):
    """As a word, FILL where none fits; what it is off, and what pixels it makes."""
    step, most = rule[0], rule[2]
    q = min(max(np.rint(mean * rule[1]), np.float64(limits[0])), np.float64(limits[1]))
    e = abs(mean - q * step)
    if not e <= most:
        q += 1.0 if mean > q * step else -1.0
        e = abs(mean - q * step)
    if not (e <= most and limits[0] <= q <= limits[1]):
        return limits[2], 0.0, 0.0
    y = q * step
    if rule[4] > -np.inf:
        y = min(max(np.rint(y), rule[4]), rule[5])
    return np.int64(q) & 0xFFFF, e, y


@fast
def pack(x, kept, bits, roi):
    """Fill bits and roi: how many pixels are kept."""
    some, npix, room = 0, len(x), len(roi)
    for w in range(len(bits)):
        word = np.uint32(0)
        for k in range(32 * w, min(32 * w + 32, npix)):
            if kept[k]:
                word |= np.uint32(1) << np.uint32(k & 31)
                if some < room:
                    roi[some] = x[k]
                some += 1
        bits[w] = word
    return some


@fast
def rounded_up(e):
    """The float32 that is not below."""
    near = np.float32(e)
    return np.nextafter(near, np.float32(np.inf)) if np.float64(near) < e else near


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def rebuild_frames(code, bits, roi, count, good, size, table, filler, marks, energy, wrong):
    """Fill energy, and marks (CORRUPT, OUTLIER_OVERFLOW) where they belong. code: as u16; roi, energy: as unsigned words; table: of each code's pixels."""
    for f in prange(len(code)):
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
