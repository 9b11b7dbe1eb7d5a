"""Bounded error and standard chunks."""

from .bitshuffle_lz4 import BitshuffleLZ4
from .bitshuffle_lz4_decode import BitshuffleLZ4Decode, decode_chunk
from .bitshuffle_zstd_decode import BitshuffleZstdDecode, decode_bitshuffle_zstd
from .dequantize import Dequantize
from .quantize import Quantize
from .shuffle_zstd_decode import ShuffleZstdDecode, decode_shuffle_zstd

OPS = (Quantize, Dequantize, BitshuffleLZ4, BitshuffleLZ4Decode)

__all__ = [
    "OPS", "BitshuffleLZ4", "BitshuffleLZ4Decode", "BitshuffleZstdDecode", "Dequantize", "Quantize", "ShuffleZstdDecode", "decode_bitshuffle_zstd",
    "decode_chunk", "decode_shuffle_zstd",
]
