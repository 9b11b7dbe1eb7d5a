"""The three ways of assembling on the CPU: in parallel over tiles of the image, which walk the frames with their part of the map in cache."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..backends import share
from ..op import read_only
from ..turn_numba import turned

TILE = 1 << 14
LINE = 16       # floats in a cache line
FLOATS = ir.VectorType(ir.FloatType(), LINE)
NAN = np.float32(np.nan)
fast = njit(cache=True, nogil=True, error_model="numpy")


def _tiles(pixels):
    return -(-pixels // TILE)


def _marks_or_none(status, image_status):
    """Both, or one of no rows for what is not there: the loops are compiled once, not once for each choice."""
    none = np.empty((0, 0), np.uint8)
    return read_only(none if status is None else status), none if image_status is None else image_status


@fast
def _marks(status, source, image_status, f, start, stop, gap_bit):
    for j in range(start, stop):
        at = source[j]
        bit = np.uint8(0)
        if len(status):
            bit = status[f, np.uint64(max(at, 0))]
        image_status[f, j] = bit if at >= 0 else gap_bit


def assemble_rows(energy, status, source, image, image_status, gap, gap_bit):
    """image (n, pixels) = energy (n, npix) at source (pixels,), gap where that is -1; image_status likewise."""
    share(_energies, _tiles(len(source)), energy, source, image, gap, *_marks_or_none(status, image_status), gap_bit)


@fast
def _energies(first, last, energy, source, image, gap, status, image_status, gap_bit):
    n, pixels = energy.shape[0], source.shape[0]
    for tile in range(first, last):
        start, stop = np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, pixels))
        for f in range(n):
            for j in range(start, stop):
                at = source[j]
                x = energy[f, np.uint64(max(at, 0))]
                x = x if x == x else NAN
                image[f, j] = x if at >= 0 else gap
            if len(image_status):
                _marks(status, source, image_status, f, start, stop, gap_bit)


def photon_rows(photons, status, source, image, image_status, gap, gap_bit):
    """The same of whole numbers, which go as bits."""
    bits = np.dtype(f"u{photons.itemsize}")
    whole = np.array([gap], photons.dtype).view(bits)[0]
    share(_photons, _tiles(len(source)), photons.view(bits), source, image.view(bits), whole, *_marks_or_none(status, image_status), gap_bit)


@fast
def _photons(first, last, photons, source, image, gap, status, image_status, gap_bit):
    n, pixels = photons.shape[0], source.shape[0]
    for tile in range(first, last):
        start, stop = np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, pixels))
        for f in range(n):
            for j in range(start, stop):
                at = source[j]
                image[f, j] = photons[f, np.uint64(max(at, 0))] if at >= 0 else gap
            if len(image_status):
                _marks(status, source, image_status, f, start, stop, gap_bit)


def tile_rows(energy, status, tiles, rows, cols, gaps, image, image_status, gap, gap_bit):
    """image at start + r * down + c * across = energy of tile t; tiles (t, 4): first pixel of the frame, start, down, across; gaps: pixels of no tile."""
    share(_copy, len(tiles) + 1, energy, read_only(tiles), rows, cols, read_only(gaps), image, gap, *_marks_or_none(status, image_status), gap_bit)


@fast
def _copy(first, last, energy, tiles, rows, cols, gaps, image, gap, status, image_status, gap_bit):
    n = energy.shape[0]
    for t in range(first, last):
        for f in range(n):
            if t == tiles.shape[0]:
                for j in range(gaps.shape[0]):
                    image[f, np.uint64(gaps[j])] = gap
                    if len(image_status):
                        image_status[f, np.uint64(gaps[j])] = gap_bit
            else:
                _tile(energy[f], tiles[t], rows, cols, image[f])
                if len(image_status):
                    _tile_marks(status, f, tiles[t], rows, cols, image_status)


@intrinsic
def _turn(typingctx, source, source_step, target, target_step):
    """target[c, r] = source[r, c] of 16 x 16 energies by address, NaN in one form; steps: bytes from row to row."""

    def codegen(context, builder, sig, args):
        source, source_step, target, target_step = args
        rows = []
        for _ in range(LINE):
            rows.append(builder.load(builder.inttoptr(source, FLOATS.as_pointer())))
            rows[-1].align = 4
            source = builder.add(source, source_step)
        for x in turned(builder, rows):
            one = builder.select(builder.fcmp_unordered("uno", x, x), ir.Constant(FLOATS, [float("nan")] * LINE), x)
            builder.store(one, builder.inttoptr(target, FLOATS.as_pointer())).align = 4
            target = builder.add(target, target_step)
        return context.get_dummy_value()

    u64 = types.uint64
    return types.void(u64, u64, u64, u64), codegen


@fast
def _tile(energy, tile, rows, cols, image):
    """One tile: row by row where its rows are the image's; a turned one in squares of 16 x 16 pixels, and the rest of it pixel by pixel."""
    first, start, down, across, pitch = tile
    if across == 1:
        for r in range(rows):
            at, to = np.uint64(first + r * pitch), np.uint64(start + r * down)
            for c in range(np.uint64(cols)):
                x = energy[at + c]
                image[to + c] = x if x == x else NAN
        return
    squares = abs(down) == 1        # or turned by half
    whole_rows, whole_cols = (rows // LINE * LINE, cols // LINE * LINE) if squares else (0, 0)
    leftmost = 0 if down == 1 else LINE - 1     # of 16 rows, in the image
    for c in range(0, whole_cols, LINE):
        for r in range(leftmost, whole_rows, LINE):
            source, target = first + r * pitch + c, start + r * down + c * across
            _turn(np.uint64(energy.ctypes.data + 4 * source), np.uint64(4 * down * pitch), np.uint64(image.ctypes.data + 4 * target), np.uint64(4 * across))
    for r in range(rows):
        for c in range(whole_cols if r < whole_rows else 0, cols):
            x = energy[np.uint64(first + r * pitch + c)]
            image[np.uint64(start + r * down + c * across)] = x if x == x else NAN


@fast
def _tile_marks(status, f, tile, rows, cols, image_status):
    first, start, down, across, pitch = tile
    for r in range(rows):
        for c in range(cols):
            bit = np.uint8(0)
            if len(status):
                bit = status[f, np.uint64(first + r * pitch + c)]
            image_status[f, np.uint64(start + r * down + c * across)] = bit


def split_rows(energy, status, first, source, weight, image, image_status, gap, gap_bit):
    """image[j] = the sum of weight * energy over the entries first[j] to first[j + 1], in their order; entries with a status are left out."""
    lists = (read_only(a) for a in (first, source, weight))
    image_status = _marks_or_none(None, image_status)[1]        # status is None or not: an entry that asks whether there is one takes 20 % longer
    share(_sums, _tiles(len(first) - 1), energy, *lists, image, gap, status, image_status, gap_bit)


@fast
def _sums(first_tile, last_tile, energy, first, source, weight, image, gap, status, image_status, gap_bit):
    n, pixels = energy.shape[0], first.shape[0] - 1
    for tile in range(first_tile, last_tile):
        start, stop = np.uint64(tile * TILE), np.uint64(min(tile * TILE + TILE, pixels))
        for f in range(n):
            for j in range(start, stop):
                total, bits, used = np.float32(0), np.uint8(0), False
                for e in range(np.uint64(first[j]), np.uint64(first[j + np.uint64(1)])):
                    at, bit = np.uint64(source[e]), np.uint8(0)
                    if status is not None:
                        bit = status[f, at]
                    bits |= bit
                    if bit == 0:
                        total += weight[e] * energy[f, at]
                        used = True
                total = total if total == total else NAN
                image[f, j] = total if used else gap
                if len(image_status):
                    image_status[f, j] = bits if first[j + np.uint64(1)] > first[j] else gap_bit
