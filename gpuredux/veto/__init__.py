"""Which frames are worth keeping, and how the others leave the batch."""

from .compact import Compact
from .decision import DECISION, Reason
from .lit_pixels import LitPixels

OPS = (LitPixels, Compact)

__all__ = ["DECISION", "OPS", "Compact", "LitPixels", "Reason"]
