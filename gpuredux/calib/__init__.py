"""Raw words to physics."""

from .gain import Gain

OPS = (Gain,)
