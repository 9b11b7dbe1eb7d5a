"""Bounded error and standard chunks."""

from .bitshuffle_lz4 import BitshuffleLZ4
from .bitshuffle_lz4_decode import BitshuffleLZ4Decode, decode_chunk
from .bitshuffle_zstd_decode import BitshuffleZstdDecode, decode_bitshuffle_zstd
from .dequantize import Dequantize
from .dequantize_counts import DequantizeCounts
from .quantize import Quantize
from .quantize_counts import QuantizeCounts
from .shuffle_zstd_decode import ShuffleZstdDecode, decode_shuffle_zstd
from .verify import Verification, verify

OPS = (Quantize, Dequantize, QuantizeCounts, DequantizeCounts, BitshuffleLZ4, BitshuffleLZ4Decode)

__all__ = [
    "OPS", "BitshuffleLZ4", "BitshuffleLZ4Decode", "BitshuffleZstdDecode", "Dequantize", "DequantizeCounts", "Quantize", "QuantizeCounts",
    "ShuffleZstdDecode", "Verification", "decode_bitshuffle_zstd", "decode_chunk", "decode_shuffle_zstd", "verify",
]
