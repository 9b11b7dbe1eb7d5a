"""Bounded error and standard chunks."""

from .auto import Auto
from .auto_decode import AutoDecode
from .bitshuffle import Bitshuffle
from .bitshuffle_decode import BitshuffleDecode
from .bitshuffle_lz4 import BitshuffleLZ4
from .bitshuffle_lz4_decode import BitshuffleLZ4Decode, decode_chunk
from .bitshuffle_zstd import BitshuffleZstd
from .bitshuffle_zstd_decode import BitshuffleZstdDecode, decode_bitshuffle_zstd
from .blosc_bitshuffle_lz4 import BloscBitshuffleLZ4
from .blosc_decode import BloscDecode, decode_blosc
from .dequantize import Dequantize
from .dequantize_counts import DequantizeCounts
from .lz4_decode import LZ4Decode, decode_lz4
from .pack import Pack
from .plain_decode import PlainDecode
from .precondition import Precondition
from .precondition_form import find_gaps
from .quantize import Quantize
from .quantize_counts import QuantizeCounts
from .restore import Restore
from .reversible_wavelet import ReversibleWavelet
from .roibin import Roibin
from .roibin_decode import RoibinDecode
from .shuffle_deflate import ShuffleDeflate
from .shuffle_deflate_decode import ShuffleDeflateDecode, inflate_chunk
from .shuffle_zstd import ShuffleZstd
from .shuffle_zstd_decode import ShuffleZstdDecode, decode_shuffle_zstd
from .verify import Verification, verify
from .wavelet import Wavelet
from .wavelet_decode import WaveletDecode
from .zfp import Zfp
from .zfp_decode import ZfpDecode, decode_zfp

OPS = (
    Pack, Quantize, Dequantize, QuantizeCounts, DequantizeCounts, BitshuffleLZ4, BitshuffleLZ4Decode, ShuffleDeflate, ShuffleDeflateDecode, ShuffleZstd,
    ShuffleZstdDecode, BitshuffleZstd, BitshuffleZstdDecode, Zfp, ZfpDecode, Roibin, RoibinDecode, Bitshuffle, BitshuffleDecode,
    BloscBitshuffleLZ4, BloscDecode,
    LZ4Decode, PlainDecode,
    Wavelet, WaveletDecode, ReversibleWavelet,
    Auto, AutoDecode,
    Precondition, Restore,
)

__all__ = [
    "OPS",
    "Auto",
    "AutoDecode",
    "Bitshuffle",
    "BitshuffleDecode",
    "BitshuffleLZ4",
    "BitshuffleLZ4Decode",
    "BitshuffleZstd",
    "BitshuffleZstdDecode",
    "BloscBitshuffleLZ4",
    "BloscDecode",
    "Dequantize",
    "DequantizeCounts",
    "LZ4Decode",
    "Pack",
    "PlainDecode",
    "Precondition",
    "Quantize",
    "QuantizeCounts",
    "Restore",
    "ReversibleWavelet",
    "Roibin",
    "RoibinDecode",
    "ShuffleDeflate",
    "ShuffleDeflateDecode",
    "ShuffleZstd",
    "ShuffleZstdDecode",
    "Verification",
    "Wavelet",
    "WaveletDecode",
    "Zfp",
    "ZfpDecode",
    "decode_bitshuffle_zstd",
    "decode_blosc",
    "decode_chunk",
    "decode_lz4",
    "decode_shuffle_zstd",
    "decode_zfp",
    "find_gaps",
    "inflate_chunk",
    "verify",
]
