"""Numbers of the Zstandard format: code tables of sequences, predefined FSE distributions, and how a distribution becomes a table of states.

source: RFC 8878 (tables 4 and 5 of 3.1.1.3.2.1.1, the default distributions of 3.1.1.3.2.2, the FSE tables of 4.1.1, the Huffman weights of 4.2.1)
"""

from __future__ import annotations

import numpy as np

MAGIC = 0xFD2FB528                  # of a frame, little endian: 28 B5 2F FD
SKIPPABLE = 0x184D2A50              # of a skippable frame, and the 15 behind it
RAW, RLE, COMPRESSED, RESERVED = range(4)                       # block types; of literals 0 and 1 are the same
PREDEFINED, ONE_SYMBOL, OWN_TABLE, REPEAT = range(4)            # modes of the three FSE tables of sequences
TREELESS = 3                        # literals with the Huffman tree of an earlier block
MOST_BLOCK = 1 << 17                # no block has more raw bytes, and none has more than the window

# literal lengths: code -> baseline, extra bits
LL_BASE = np.array([*range(16), 16, 18, 20, 22, 24, 28, 32, 40, 48, *(1 << k for k in range(6, 17))], np.uint32)
LL_BITS = np.array([0] * 16 + [1] * 4 + [2, 2, 3, 3, 4, *range(6, 17)], np.uint8)
# match lengths
ML_BASE = np.array([*range(3, 35), 35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, *((1 << k) + 3 for k in range(7, 17))], np.uint32)
ML_BITS = np.array([0] * 32 + [1] * 4 + [2, 2, 3, 3, 4, 4, 5, *range(7, 17)], np.uint8)
# the offset code k has k extra bits; its value is (1 << k) + them: 1 to 3 name one of the last offsets, more is the offset + 3
OF_MOST = 31                        # the largest offset code that is read

# predefined distributions, normalised to 1 << log; -1: less than one, a single state with all bits read anew
LL_DEFAULT_LOG, OF_DEFAULT_LOG, ML_DEFAULT_LOG = 6, 5, 6
LL_DEFAULT = np.array([4, 3] + [2] * 11 + [1, 1, 1] + [2] * 9 + [3, 2] + [1] * 5 + [-1] * 4, np.int16)
OF_DEFAULT = np.array([1] * 6 + [2] * 3 + [1] * 15 + [-1] * 5, np.int16)
ML_DEFAULT = np.array([1, 4, 3] + [2] * 6 + [1] * 37 + [-1] * 7, np.int16)

# the largest table logs that a frame may ask for
LL_LOG_MOST, OF_LOG_MOST, ML_LOG_MOST, WEIGHT_LOG_MOST, HUFFMAN_LOG_MOST = 9, 8, 9, 6, 11

FIRST_OFFSETS = (1, 4, 8)           # of a frame: what the codes of repeated offsets name before any offset was used


def fse_spread(counts: np.ndarray, log: int) -> np.ndarray:
    """The symbol of each of the 1 << log states, u8: symbols of -1 from the last state down, the others in steps over what is left."""
    size = 1 << log
    if log < 5 or np.abs(counts).sum() != size:
        raise ValueError(f"counts that add up to {np.abs(counts).sum()} make no table of {size} states; 32 are the fewest")
    symbol = np.zeros(size, np.uint8)
    rare = [s for s, c in enumerate(counts) if c == -1]
    symbol[size - len(rare) :] = rare[::-1]
    free, step, at = size - len(rare), (size >> 1) + (size >> 3) + 3, 0
    for s, count in enumerate(counts):
        for _ in range(max(int(count), 0)):
            symbol[at] = s
            at = (at + step) % size
            while at >= free:
                at = (at + step) % size
    return symbol


def fse_table(counts: np.ndarray, log: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decoding: of each state the symbol, the bits to read, and what they are added to for the next state (u8, u8, u16)."""
    symbol = fse_spread(counts, log)
    seen = np.abs(np.asarray(counts, np.int64))         # the k-th state of a symbol (from 0) counts as counts + k
    bits, base = np.zeros(1 << log, np.uint8), np.zeros(1 << log, np.uint16)
    for state, s in enumerate(symbol):
        width = log - (int(seen[s]).bit_length() - 1)
        bits[state], base[state] = width, (int(seen[s]) << width) - (1 << log)
        seen[s] += 1
    return symbol, bits, base


def fse_states(counts: np.ndarray, log: int) -> list[np.ndarray]:
    """Encoding: of each symbol its states in order. A state x of the table, plus 1 << log, is left for the symbol s by writing bits until
    counts[s] <= what is left < 2 * counts[s] (for -1: 1), and the next state is fse_states()[s][left - counts[s]]."""
    symbol = fse_spread(counts, log)
    return [np.flatnonzero(symbol == s) for s in range(len(counts))]
