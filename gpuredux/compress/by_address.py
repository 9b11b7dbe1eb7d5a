"""Functions of numba that are called by their address.

numba optimises what a function calls again for every caller, and for the callers of those: the encoder of zstd, ten deep, took a minute to compile. Called by
address a function is compiled once, and its callers see nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

I64 = ir.IntType(64)


@intrinsic
def call(typingctx, address, args):
    """The i64 that the function there returns; an array of the tuple is given as a pointer to its first element, numbers as i64."""

    def codegen(context, builder, sig, values):
        given = []
        for k, ty in enumerate(sig.args[1]):
            value = builder.extract_value(values[1], k)
            if isinstance(ty, types.Array):
                value = context.make_array(ty)(context, builder, value).data
            elif not isinstance(ty, types.CPointer):
                value = context.cast(builder, value, ty, types.int64)
            given.append(value)
        kind = ir.FunctionType(I64, [x.type for x in given])
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), given)

    return types.int64(types.int64, args), codegen


def address_of(function: Callable[..., Any], arrays: tuple[Any, ...], whole: int) -> int:
    """Of a function that takes pointers to elements of these types, then so many i64, and returns an i64. Compiled here, or taken from numba's cache."""
    signature = types.int64(*(types.CPointer(a) for a in arrays), *[types.int64] * whole)
    return int(cfunc(signature, cache=True, error_model="numpy")(function).address)
