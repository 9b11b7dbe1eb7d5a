"""Bounded error and standard chunks."""

from .bitshuffle_lz4 import BitshuffleLZ4
from .bitshuffle_lz4_decode import BitshuffleLZ4Decode, decode_chunk
from .dequantize import Dequantize
from .quantize import Quantize

OPS = (Quantize, Dequantize, BitshuffleLZ4, BitshuffleLZ4Decode)

__all__ = ["OPS", "BitshuffleLZ4", "BitshuffleLZ4Decode", "Dequantize", "Quantize", "decode_chunk"]
