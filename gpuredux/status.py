"""The names of the status bits, of pixels and of frames."""

from enum import IntFlag


class Pixel(IntFlag):
    """Why a pixel's value is not a measurement; 0 = good. One byte a pixel."""

    INVALID_CODE = 1    # gain bits that the detector never sends
    SATURATED = 2       # beyond the last gain stage
    MISSING = 4         # the word that stands for a lost packet
    MASKED = 8          # the user's mask
    BAD_CONSTANT = 16   # NaN, Inf or zero gain, found with invalid="mask"
    GAP = 32            # of an assembled image: between the panels
    STREAK = 64         # in this frame, under the streak of a liquid jet: features.jet_streak


class Frame(IntFlag):
    """What happened to a frame. The low byte is the OR of its pixels' bits that come from the data, not from constants."""

    INVALID_CODE = 1
    SATURATED = 2
    MISSING = 4
    OUTLIER_OVERFLOW = 1 << 8   # more outliers than the side list holds: store this frame losslessly
    CORRUPT = 1 << 9            # a compressed chunk that could not be decoded in full
    NOT_CORRECTED = 1 << 10     # common mode: a bank, row or column had too few pixels, or a mode beyond cormax, and stays as it is
    BEYOND_UNIT = 1 << 11       # features: a value was more units than 32 bits count, and was taken as the most that they do
    TOO_MANY = 1 << 12          # features: more pixels above threshold than the op looks at: none of them is listed
    NOT_HELD = 1 << 13          # compress.zfp: a value is NaN or Inf, or beyond what the codec holds: its bound is broken, take compress.Quantize


FROM_DATA = int(Pixel.INVALID_CODE | Pixel.SATURATED | Pixel.MISSING)


def defines() -> str:
    """The same names for kernels: PIXEL_SATURATED, FRAME_CORRUPT ..."""
    lines = [f"#define {cls.__name__.upper()}_{bit.name} {bit.value}u" for cls in (Pixel, Frame) for bit in cls]
    return "\n".join([*lines, f"#define PIXEL_FROM_DATA {FROM_DATA}u", ""])


MOST_PLANES = 32        # gain stages that an op has constants for
