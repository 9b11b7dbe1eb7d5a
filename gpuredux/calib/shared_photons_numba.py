"""The panels of calib.shared_photons for the CPU: a list of each panel's maxima, and rounds over it until nobody is refused."""

import numpy as np
from numba import njit

from ..backends import share


def shared_panels(energy, *rest):
    """photons and, if asked for, their status, of (n, panels, rows, cols); return the OR of the data's status bits of each frame."""
    flags = np.zeros(energy.shape[:2], np.uint8)
    share(_panels, flags.size, flags, energy, *rest)
    return np.bitwise_or.reduce(flags, axis=1)


@njit(cache=True, nogil=True, error_model="numpy")
def _panels(first, last, flags, energy, given, photons, made, inverse, fraction, rounds, top, high):
    panels = flags.shape[1]
    for task in range(first, last):
        f, p = task // panels, task % panels
        flags[f, p] = _panel(energy, given, photons, made, f, p, inverse, fraction, rounds, top, high)


@njit(cache=True, nogil=True, error_model="numpy")
def _panel(energy, given, photons, made, f, p, inverse, fraction, rounds, top, high):
    """One panel of one frame; the OR of its data's status bits."""
    rows, cols = energy.shape[2:]
    whole, part = np.empty((rows, cols), np.float32), np.full((rows + 4, cols + 4), np.float32(-1))
    _split(energy, given, f, p, inverse, whole, part)
    _pair(part, whole, fraction, rounds)
    odd = np.uint8(0)
    for r in range(rows):
        for c in range(cols):
            q = whole[r, c]
            bits = np.uint8(0) if energy[f, p, r, c] > np.float32(-np.inf) else np.uint8(8)
            if given is not None:
                bits = given[f, p, r, c] if given[f, p, r, c] != 0 else bits
            bits = np.uint8(2) if bits == 0 and q >= top else bits
            if bits == 2:
                photons[f, p, r, c] = high
            else:
                photons[f, p, r, c] = q if bits == 0 else np.float32(0)
            odd |= bits
            if made is not None:
                made[f, p, r, c] = bits
    return odd & np.uint8(7)


@njit(cache=True, nogil=True, error_model="numpy")
def _split(energy, given, f, p, inverse, whole, part):
    """whole and part of the photons; part has a border of two pixels."""
    rows, cols = whole.shape
    for r in range(rows):
        for c in range(cols):
            x = energy[f, p, r, c] * inverse
            good = x > 0
            if given is not None:
                good = good and given[f, p, r, c] == 0
            x = x if good else np.float32(0)
            q = np.floor(x)
            whole[r, c] = q
            part[r + 2, c + 2] = x - q if x < np.float32(16777216) else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _pair(part, whole, fraction, rounds):
    """One more photon for each maximum that has a pair at the end."""
    pitch = part.shape[1]
    f = part.ravel()
    ways = np.array([-pitch, -1, 1, pitch])
    count, maxima = np.uint64(0), np.empty(whole.size + 1, np.int64)
    step = np.uint64(pitch)
    for r in range(2, part.shape[0] - 2):
        for at in range(np.uint64(r * pitch + 2), np.uint64(r * pitch + pitch - 2)):     # no branch: one that is taken at random costs more
            x = f[at]
            above = (x > f[at - step]) & (x > f[at - np.uint64(1)]) & (x >= f[at + np.uint64(1)]) & (x >= f[at + step])
            maxima[count] = at
            count += np.uint64(above & (x >= np.float32(0.5)))
    way, refused = np.full(f.size, 4, np.uint8), np.zeros(f.size, np.uint8)     # 4: asks nobody
    asking, active = maxima[:count].copy(), np.int64(count)       # those with somebody new to ask
    for _ in range(rounds):
        for i in range(active):
            way[asking[i]] = _ask(f, asking[i], ways, refused[asking[i]], fraction)
        active = _refuse(f, asking[:active].copy() if active < count else maxima, active, way, refused, ways, asking)
        if active == 0:
            break
    for i in range(np.int64(count)):
        at = maxima[i]
        if way[at] < 4 and refused[at] >> way[at] & 1 == 0:
            whole[at // pitch - 2, at % pitch - 2] += np.float32(1)


@njit(cache=True, nogil=True, error_model="numpy")
def _refuse(f, askers, active, way, refused, ways, losers):
    """Whoever is asked by one of these keeps the largest of all that ask and refuses the others; their number, and they in losers."""
    count = 0
    for i in range(active):
        if way[askers[i]] == 4:
            continue
        asked = askers[i] + ways[way[askers[i]]]
        best = askers[i]
        for k in range(4):
            other = asked + ways[k]
            if way[other] == 3 - k and (f[other] > f[best] or (f[other] == f[best] and other < best)):
                best = other
        for k in range(4):
            other = asked + ways[k]
            if way[other] == 3 - k and other != best and refused[other] >> way[other] & 1 == 0:
                refused[other] |= np.uint8(1 << way[other])
                losers[count] = other
                count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _ask(f, at, ways, refused, fraction):
    """The way to the largest neighbour that has not refused, if the two are enough for a photon; else 4."""
    best, way = np.float32(-1), 4
    for k in range(4):
        x = f[at + ways[k]]
        if refused >> k & 1 == 0 and x > best:
            best, way = x, k
    return np.uint8(way if best >= 0 and f[at] + best >= fraction else 4)
