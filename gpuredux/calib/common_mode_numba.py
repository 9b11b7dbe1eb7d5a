"""The banks of calib.common_mode for the CPU."""

import numpy as np
from numba import njit, prange

PEAK = 127
fast = njit(cache=True, nogil=True, error_model="numpy")


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def common_mode_banks(energy, status, stage, out, modes, good, factor, shape, steps, statistic, excluded, limits, npix_min):
    """Fill out (n, npix) and modes (n, banks, 1 + rows + cols), each bank of each frame by itself.

    shape: rows and cols of a bank, width of the frame; steps: 0 bank, 1 rows, 2 cols; limits: cormax, threshold, bin width, 1 / it."""
    n, npix = energy.shape
    rows, cols, width = shape
    across = width // cols
    banks = npix // (rows * cols)
    for task in prange(n * banks):
        f, b = task // banks, task % banks
        origin = b // across * rows * width + b % across * cols
        work, chosen, mode = np.empty((rows, cols), np.float32), np.empty(rows * cols, np.float32), np.zeros(1 + rows + cols, np.float32)
        _take(energy[f], None if status is None else status[f], None if stage is None else stage[f], good, work, origin, width, excluded)
        _correct(work, mode, chosen, steps, statistic, limits, npix_min)
        _give(energy[f], out[f], work, origin, width)
        if factor is not None:
            _convert(out[f], None if status is None else status[f], None if stage is None else stage[f], factor, shape, origin)
        if modes is not None:
            modes[f, b] = mode


@fast
def _take(energy, status, stage, good, work, origin, width, excluded):
    """work = the used pixels of a bank; NaN stands for the others."""
    for r in range(work.shape[0]):
        for c in range(work.shape[1]):
            i = origin + r * width + c
            x = energy[i]
            used = np.isfinite(x)
            if status is not None:
                used &= status[i] == 0
            if stage is not None:
                used &= stage[i] >= 32 or (excluded >> stage[i]) & 1 == 0
            if good is not None:
                used &= good[i] != 0
            work[r, c] = x if used else np.float32(np.nan)


@fast
def _give(energy, out, work, origin, width):
    """out = work where it is a number, else what it was, by its bits: a signalling NaN stays one."""
    bits, new = energy.view(np.uint32), out.view(np.uint32)
    for r in range(work.shape[0]):
        for c in range(work.shape[1]):
            i = origin + r * width + c
            if np.isnan(work[r, c]):
                new[i] = bits[i]
            else:
                out[i] = work[r, c]


@fast
def _convert(out, status, stage, factor, shape, origin):
    """Out of a bank times 1 / gain, in place, where the status is 0."""
    for r in range(shape[0]):
        for c in range(shape[1]):
            i = origin + r * shape[2] + c
            if status is not None:
                if status[i] != 0:
                    continue
            s = 0
            if stage is not None:
                s = np.int64(stage[i])
            y = out[i] * factor[s, i] if s < factor.shape[0] else np.float32(np.nan)
            out[i] = np.float32(np.nan) if np.isnan(y) else y


@fast
def _correct(work, mode, chosen, steps, statistic, limits, npix_min):
    """The steps on one bank, in place."""
    rows, cols = work.shape
    for step in steps:
        if step == 0:
            m = mode[0] = _mode(work.reshape(-1), chosen, statistic, limits, npix_min)
            for r in range(rows):
                for c in range(cols):
                    work[r, c] -= m
        elif step == 1:
            for r in range(rows):
                m = mode[1 + r] = _mode(work[r], chosen, statistic, limits, npix_min)
                for c in range(cols):
                    work[r, c] -= m
        else:
            for c in range(cols):
                m = mode[1 + rows + c] = _mode(work[:, c], chosen, statistic, limits, npix_min)
                for r in range(rows):
                    work[r, c] -= m


@fast
def _mode(x, chosen, statistic, limits, npix_min):
    """What is subtracted from one group."""
    cormax, threshold, width, inverse = limits
    n, mode = 0, np.float32(0)
    for i in range(x.shape[0]):
        if x[i] <= threshold:
            chosen[n] = x[i]
            n += 1
    if statistic == 1:
        n, mode = _mean(chosen[:n])
    elif statistic == 2:
        n, mode = _peak(chosen[:n], width, inverse)
    elif n > npix_min:
        mode = _median(chosen[:n])
    return mode + np.float32(0) if n > npix_min and abs(mode) < cormax else np.float32(0)


@fast
def _mean(x):
    total, n = np.int64(0), 0
    for i in range(x.shape[0]):
        if abs(x[i]) < np.float32(2.0**26):
            total += np.int64(np.rint(x[i] * np.float32(65536)))
            n += 1
    return n, np.float32(np.float64(total) / np.float64(max(n, 1)) / 65536.0)


@fast
def _peak(x, width, inverse):
    count, n = np.zeros(2 * PEAK + 1, np.int64), 0
    for i in range(x.shape[0]):
        q = np.rint(x[i] * inverse)
        if abs(q) <= np.float32(PEAK):
            count[int(q) + PEAK] += 1
            n += 1
    best = 0
    for k in range(1, PEAK + 1):        # 0, -1, 1, -2 ...: of equals the first
        for q in (-k, k):
            if count[q + PEAK] > count[best + PEAK]:
                best = q
    return n, np.float32(best) * width


@fast
def _median(x):
    """The middle value, or the mean of the two; x, without NaN, is put in another order."""
    n = x.shape[0]
    high = _nth(x, n // 2)
    if n % 2:
        return high
    low = x[0]
    for i in range(1, n // 2):
        low = max(low, x[i])
    return (low + high) * np.float32(0.5)


@fast
def _nth(x, k):
    """The value that has k others before it in order: x is partitioned around x[k] (Hoare's selection)."""
    low, high = 0, x.shape[0] - 1
    while low < high:
        pivot, i, j = x[(low + high) // 2], low, high
        while i <= j:
            while x[i] < pivot:
                i += 1
            while x[j] > pivot:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return x[k]
