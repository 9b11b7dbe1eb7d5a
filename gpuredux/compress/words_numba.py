"""Bytes as words, and their zeros, for numba: the intrinsics that all codecs of the CPU share."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I1, I8, I32, I64 = (ir.IntType(k) for k in (1, 8, 32, 64))


def _at(context, builder, ty, array, index, to):
    """The address of byte `index` of a byte array, as a pointer to `to`."""
    data = context.make_array(ty)(context, builder, array).data
    return builder.bitcast(builder.gep(builder.bitcast(data, I8.as_pointer()), [index]), to.as_pointer())


def _load(context, builder, ty, array, index, to):
    value = builder.load(_at(context, builder, ty, array, index, to))
    value.align = 1
    return value


@intrinsic
def load64(typingctx, array, i):
    """The 8 bytes from byte i on, little endian."""

    def codegen(context, builder, sig, args):
        return _load(context, builder, sig.args[0], args[0], args[1], I64)

    return types.uint64(array, types.int64), codegen


@intrinsic
def store64(typingctx, to, i, word):
    """8 bytes from byte i on = the word."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _at(context, builder, sig.args[0], args[0], args[1], I64), align=1)
        return context.get_dummy_value()

    return types.void(to, types.int64, types.uint64), codegen


def _zeros(count):
    @intrinsic
    def zeros(typingctx, x):
        def codegen(context, builder, sig, args):
            return getattr(builder, count)(args[0], ir.Constant(I1, 0))

        return types.int64(types.uint64 if x == types.uint64 else types.int64), codegen

    return zeros


trailing_zeros, leading_zeros = _zeros("cttz"), _zeros("ctlz")      # of 64 bits; 64 for 0


@intrinsic
def lent(typingctx, array):
    """The same array, of which no references are counted: whoever calls holds it. Counting takes locked instructions, four a call that is not inlined."""

    def codegen(context, builder, sig, args):
        of = context.make_array(sig.args[0])(context, builder, args[0])
        of.meminfo = context.get_constant_null(types.MemInfoPointer(types.voidptr))
        return of._getvalue()

    return array(array), codegen
