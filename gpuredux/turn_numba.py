"""Turning squares of values in vector registers, for the CPU texts of several ops."""

from typing import Any

from llvmlite import ir


def turned(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of a square, from its rows: vectors of as many values as there are rows, a power of two; inside an intrinsic's code generation.

    Rows `half` apart exchange the quarters, eighths ... that stand in the wrong one."""
    v, n = list(rows), len(rows)
    half = n // 2
    while half:
        low = [i + (0 if not i & half else n - half) for i in range(n)]
        high = [i + (half if not i & half else n) for i in range(n)]
        places = [ir.Constant(ir.VectorType(ir.IntType(32), n), order) for order in (low, high)]
        for a in (i for i in range(n) if not i & half):
            v[a], v[a + half] = (builder.shuffle_vector(v[a], v[a + half], order) for order in places)
        half //= 2
    return v
