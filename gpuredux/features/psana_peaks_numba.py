"""psana's peak finders for the CPU: extrema by running maxima of rows and columns, floods in the bits of rows. Over 200 lines: the two share most of it."""

from typing import NamedTuple

import numpy as np
from numba import njit

from ..backends import share
from .tables_numba import clear_behind

STRIP = 32                      # rows of which extrema are found at once: their running maxima stay in the cache
EXTREME, MAXIMUM, USED = 1, 2, 4        # maximum or minimum of a row or column; maximum of the square
CHUNK = 256                     # pixels that are looked at together for one above the threshold
fast = njit(cache=True, nogil=True, error_model="numpy")


class Numbers(NamedTuple):
    """The fields of the op, and what else its frames are."""

    adaptive: bool      # V3r3
    nsigm: float
    low: float
    high: float
    amax: float
    atot: float
    son: float
    npix_min: int
    npix_max: int
    rank: int
    rows: int
    cols: int
    reach: int          # of the ring
    capacity: int       # maxima of a panel
    marked: bool
    masked: bool


def find(frames, *rest):
    """Fill the tables. whole, real: the i32 and f32 columns, in the order of COLUMNS."""
    share(_frames, len(frames), frames, *rest)


@fast
def _frames(first, last, frames, marks, good, ring, numbers, whole, real, peak_count):
    size = numbers.rows * numbers.cols
    kind = np.zeros(-(-size // 8) * 8 if numbers.adaptive else 8, np.uint8)
    near = ring[:, 0] * numbers.cols + ring[:, 1]
    rows = np.zeros((2, 2 * numbers.rank + 1), np.int64)
    found = np.empty(numbers.capacity, np.uint32)
    for f in range(first, last):
        v, mine, some = frames[f], marks[f if numbers.marked else 0], 0
        for panel in range(len(v) // size):
            if numbers.adaptive:
                count = _extreme(v, mine, good, numbers, panel * size, kind, found)
            else:
                count = _seeds(v, mine, good, numbers, panel * size, found)
            for k in range(count):
                some += _peak(v, mine, good, ring, near, numbers, kind, rows, panel, np.int64(found[k]), whole, real, f, some)
        peak_count[f] = some
        clear_behind(whole, real, f, some)


@fast
def _extreme(v, marks, good, numbers, base, kind, found):
    """V3r3: kind, and the maxima of a panel; how many."""
    for k in range(2):
        _extrema(v, marks, good, numbers, base, kind, np.float32(1 - 2 * k))
    words, count = kind.view(np.uint64), 0
    for k in range(len(words)):
        if words[k] & np.uint64(0x0202020202020202):
            for i in range(8 * k, 8 * k + 8):
                if kind[i] & MAXIMUM:
                    found[count] = i
                    count += 1
    return count


@fast
def _seeds(v, marks, good, numbers, base, found):
    """V4r3: the maxima of a panel; how many."""
    size, count, high = numbers.rows * numbers.cols, 0, np.float32(numbers.high)
    for begin in range(0, size, CHUNK):
        chunk = v[base + begin : base + min(begin + CHUNK, size)]
        if _any_above(chunk, high):
            for c in range(len(chunk)):
                i = begin + c
                if np.float32(chunk[c]) >= high and _is_seed(v, marks, good, numbers, base, i):
                    found[count] = i
                    count += 1
    return count


@fast
def _used(v, marks, good, numbers, i):
    return np.isfinite(np.float32(v[i])) and not (numbers.marked and marks[i] != 0) and not (numbers.masked and not good[i])


@fast
def _any_above(v, high):
    some = False
    for i in range(len(v)):
        some = some | (np.float32(v[i]) >= high)
    return some


@fast
def _is_seed(v, marks, good, numbers, base, i):
    """V4r3: whether a pixel is used, and none of the square that is used is above, or as high and later."""
    x = np.float32(v[base + i])
    if not _used(v, marks, good, numbers, base + i):
        return False
    row, col = i // numbers.cols, i % numbers.cols
    if col + 1 < numbers.cols and np.float32(v[base + i + 1]) >= x and _used(v, marks, good, numbers, base + i + 1):
        return False        # soon, where all are alike
    for r in range(max(row - numbers.rank, 0), min(row + numbers.rank + 1, numbers.rows)):
        for k in range(r * numbers.cols + max(col - numbers.rank, 0), r * numbers.cols + min(col + numbers.rank + 1, numbers.cols)):
            other = np.float32(v[base + k])
            if (other > x or (other == x and k > i)) and _used(v, marks, good, numbers, base + k):
                return False
    return True


# ---------------------------------------------------------------------------------------------------------------- extrema
@fast
def _extrema(v, marks, good, numbers, base, kind, sign):
    """V3r3: kind = EXTREME where sign * v is a maximum of its row or its column, with MAXIMUM of both and its square.

    For sign 1 kind is written, for others added to."""
    rank, rows, cols = numbers.rank, numbers.rows, numbers.cols
    tall, wide, first, inside = STRIP + 2 * rank, cols + 2 * rank, sign > 0, slice(rank, rank + cols)
    high = np.empty((tall, wide), np.float32)           # sign * v, -Inf where no pixel is used
    ahead = np.empty(wide, np.float32)                  # the greatest of rank pixels from here
    widest = np.empty((tall, wide), np.float32)         # the greatest of a row of the square
    over = np.empty((2, wide), np.float32)              # the greatest of a column, of the square
    in_row, last = np.empty(cols, np.uint8), np.full(cols, -rank - 1, np.int32)     # last: the row of the column's last maximum
    for top in range(0, rows, STRIP):
        for y in range(tall):
            _fill(high[y], v, marks, good, numbers, base, top + y - rank, sign)
            _running(high[y], ahead, rank)
            _widest(high[y], ahead, widest[y], rank)
        for y in range(rank, min(STRIP, rows - top) + rank):
            row = top + y - rank
            _greatest(high, y - rank, y + rank + 1, over[0])
            if first:
                _greatest(widest, y - rank, y + rank + 1, over[1])
            _of_row(high[y], widest[y], rank, in_row)
            _judge(high[y, inside], high[y + 1, inside], over[0, inside], over[1, inside], in_row, last, np.int32(row), np.int32(rank),
                   kind[row * cols : (row + 1) * cols], first)


@fast
def _fill(out, v, marks, good, numbers, base, row, sign):
    rank, cols, none = numbers.rank, numbers.cols, np.float32(-np.inf)
    if not 0 <= row < numbers.rows:
        out[:] = none
        return
    out[:rank] = none
    out[rank + cols :] = none
    at, inside = base + row * cols, out[rank : rank + cols]
    given = v[at : at + cols]
    for c in range(cols):
        x = np.float32(given[c])
        inside[c] = x * sign if abs(x) < np.float32(np.inf) else none
    if numbers.marked:
        _leave_out(inside, marks[at : at + cols], np.uint8(0))
    if numbers.masked:
        _leave_out(inside, good[at : at + cols], np.uint8(1))


@fast
def _leave_out(x, use, what):
    for c in range(len(x)):
        x[c] = x[c] if use[c] == what else np.float32(-np.inf)


@fast
def _running(x, out, rank):
    """out[c]: the greatest of x[c] to x[c + rank - 1]."""
    n = len(x) - rank + 1
    for c in range(n):
        out[c] = x[c]
    for k in range(1, rank):
        behind = x[k : k + n]       # slices throughout: where an index is a sum, it might be below 0, and the loop is no vector one
        for c in range(n):
            out[c] = behind[c] if behind[c] > out[c] else out[c]


@fast
def _widest(x, ahead, out, rank):
    n = len(x) - 2 * rank
    left, right, y, inside = ahead[:n], ahead[rank + 1 : rank + 1 + n], x[rank : rank + n], out[rank : rank + n]
    for c in range(n):
        most = left[c] if left[c] > right[c] else right[c]
        inside[c] = y[c] if y[c] > most else most


@fast
def _greatest(x, begin, end, out):
    """out[c]: the greatest of x[begin] to x[end - 1] there."""
    out[:] = np.float32(-np.inf)
    for y in range(begin, end):
        line = x[y]
        for c in range(len(out)):
            out[c] = line[c] if line[c] > out[c] else out[c]


@fast
def _of_row(x, widest, rank, out):
    """out: 1 for pixels above the next one and nowhere below the row's within rank; those are kept that are more than rank behind the last one kept."""
    none, near, n = np.float32(-np.inf), np.uint8(0), len(out)
    y, following, most = x[rank : rank + n], x[rank + 1 : rank + 1 + n], widest[rank : rank + n]
    for c in range(n):
        out[c] = np.uint8((y[c] > none) & (most[c] <= y[c]) & (following[c] < y[c]))
    for k in range(1, min(rank + 1, n)):
        behind = out[k:]
        for c in range(len(behind)):
            near |= out[c] & behind[c]
    if near:
        last = -rank - 1
        for c in range(n):
            if out[c]:
                if c - last > rank:
                    last = c
                else:
                    out[c] = 0


@fast
def _judge(x, below, of_col, of_square, in_row, last, row, reach, kind, first):
    none = np.float32(-np.inf)
    for c in range(len(kind)):
        y = x[c]
        in_col = (y > none) & (of_col[c] <= y) & (below[c] < y) & (row - last[c] > reach)
        last[c] = row if in_col else last[c]
        is_one = np.uint8(EXTREME) if (in_row[c] > 0) | in_col else np.uint8(0)
        if first:
            square = (in_row[c] > 0) & in_col & (of_square[c] <= y)
            kind[c] = is_one | (np.uint8(MAXIMUM) if square else np.uint8(0)) | (np.uint8(USED) if y > none else np.uint8(0))
        else:
            kind[c] |= is_one


# ------------------------------------------------------------------------------------------------------------------ peaks
@fast
def _background(v, marks, good, ring, near, numbers, kind, base, i):
    """Mean and rms of the ring."""
    row, col, reach = i // numbers.cols, i % numbers.cols, numbers.reach
    inside = reach <= row < numbers.rows - reach and reach <= col < numbers.cols - reach
    n, total, squares = 0, 0.0, 0.0
    for k in range(len(near)):
        if inside or (0 <= row + ring[k, 0] < numbers.rows and 0 <= col + ring[k, 1] < numbers.cols):
            at = i + near[k]
            given = np.float32(v[base + at])
            if numbers.adaptive:
                fits = kind[at] == USED
            else:
                fits = (given >= -np.float32(numbers.high)) & (given < np.float32(numbers.high)) & _used(v, marks, good, numbers, base + at)
            x = np.float64(given) if fits else 0.0      # no branch: which pixels fit is anybody's guess
            n, total, squares = n + np.int64(fits), total + x, squares + x * x
    if n == 0:
        return 0.0, 0.0
    mean = total / n
    return mean, np.sqrt(max(squares / n - mean * mean, 0.0))


@fast
def _flood(v, marks, good, numbers, kind, base, i, least, rows):
    """rows[1]: bits of the pixels of the square that are connected to its middle; how many."""
    rank, cols = numbers.rank, numbers.cols
    row, col = i // cols, i % cols
    rows[:] = 0
    for dr in range(max(-rank, -row), min(rank + 1, numbers.rows - row)):
        bits = 0
        for dc in range(max(-rank, -col), min(rank + 1, cols - col)):
            at = i + dr * cols + dc
            used = (kind[at] & USED) != 0 if numbers.adaptive else _used(v, marks, good, numbers, base + at)
            bits |= np.int64(used & (np.float32(v[base + at]) >= least)) << (dc + rank)
        rows[0, dr + rank] = bits
    rows[1, rank] = rows[0, rank] & (1 << rank)
    more = rows[1, rank] != 0
    while more:
        more = False
        for step in range(4 * rank + 1):        # down, and up again
            y = step if step <= 2 * rank else 4 * rank - step
            filled = rows[1, y] | (rows[1, y - 1] if y > 0 else 0) | (rows[1, y + 1] if y < 2 * rank else 0)
            filled, before = filled & rows[0, y], -1
            while filled != before:
                before = filled
                filled |= (filled << 1 | filled >> 1) & rows[0, y]
            more |= filled != rows[1, y]
            rows[1, y] = filled
    pixels = 0
    for y in range(2 * rank + 1):
        bits = rows[1, y]
        while bits:
            bits &= bits - 1
            pixels += 1
    return pixels


@fast
def _centre(weighted, squares, total):
    if not total > 0:
        return 0.0, 0.0
    mean = weighted / total
    return mean, np.sqrt(max(squares / total - mean * mean, 0.0))


@fast
def _peak(v, marks, good, ring, near, numbers, kind, rows, panel, i, whole, real, f, at):
    """1 for a peak, which goes to row `at` of the table if that has one; else 0."""
    rank, cols, base = numbers.rank, numbers.cols, panel * numbers.rows * numbers.cols
    mean, rms = _background(v, marks, good, ring, near, numbers, kind, base, i)
    most = np.float32(np.float64(np.float32(v[base + i])) - mean)
    if not most >= np.float32(numbers.amax):
        return 0
    least = np.float32(mean + numbers.nsigm * rms) if numbers.adaptive else np.float32(numbers.low)
    pixels = _flood(v, marks, good, numbers, kind, base, i, least, rows)
    if pixels == 0 or not numbers.npix_min <= pixels <= numbers.npix_max:
        return 0
    total = row = col = row_squares = col_squares = 0.0
    top, bottom, left, right = rank, -rank, rank, -rank
    for dr in range(-rank, rank + 1):
        for dc in range(-rank, rank + 1):
            if rows[1, dr + rank] >> (dc + rank) & 1:
                net = np.float64(np.float32(v[base + i + dr * cols + dc])) - mean
                total, row, col = total + net, row + net * dr, col + net * dc
                row_squares, col_squares = row_squares + net * (dr * dr), col_squares + net * (dc * dc)
                top, bottom, left, right = min(top, dr), max(bottom, dr), min(left, dc), max(right, dc)
    noise = rms * np.sqrt(np.float64(pixels))
    snr = np.float32(total / noise if noise > 0 else 0.0)
    if not (np.float32(total) >= np.float32(numbers.atot) and snr >= np.float32(numbers.son)):
        return 0
    if at < whole[0].shape[1]:
        r, c = i // cols, i % cols
        d_row, row_sigma = _centre(row, row_squares, total)
        d_col, col_sigma = _centre(col, col_squares, total)
        whole[0][f, at], whole[1][f, at], whole[2][f, at], whole[3][f, at] = panel, pixels, r, c
        whole[4][f, at], whole[5][f, at], whole[6][f, at], whole[7][f, at] = r + top, r + bottom, c + left, c + right
        real[0][f, at], real[1][f, at], real[2][f, at], real[3][f, at] = r + d_row, c + d_col, total, most
        real[4][f, at], real[5][f, at], real[6][f, at], real[7][f, at], real[8][f, at] = mean, rms, snr, row_sigma, col_sigma
    return 1
