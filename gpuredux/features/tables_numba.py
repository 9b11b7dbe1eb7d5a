"""Tables of what was found in frames, on the CPU: columns (n, capacity), an entry a row."""

from numba import njit


@njit(cache=True, nogil=True)
def clear_behind(whole, real, f, some):
    """Zeros behind the first `some` entries of a frame, of which the table may hold fewer. whole, real: tuples of columns, each of one dtype."""
    rest = min(some, whole[0].shape[1])
    for column in whole:
        column[f, rest:] = 0
    for column in real:
        column[f, rest:] = 0
