"""Datasets of a source's files that have a row for each frame, and what is wrong with them, in words."""

from __future__ import annotations

import re
from typing import Any

import h5py
import numpy as np

from .yaml12 import Path as Key


class Misfit(Exception):
    """A file does not have what the configuration says; key: of the configuration, () for the file itself."""

    def __init__(self, key: Key, what: str) -> None:
        super().__init__(what)
        self.key = key


def dataset_in(file: Any, name: str, key: Key) -> Any:
    """The dataset of this name. Raises Misfit."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise Misfit(key, f" has no dataset {name!r}")
    return found


def row_for_each(file: Any, name: str, n: int, key: Key, kinds: str = "iufb") -> np.ndarray[Any, Any]:
    """A dataset with a row for each of n frames; kinds "iu": whole numbers, one each. Raises Misfit."""
    found, one = dataset_in(file, name, key), kinds == "iu"
    if found.dtype.kind not in kinds or found.shape[:1] != (n,) or found.ndim > (1 if one else 2):
        want = f"integers ({n},)" if one else f"numbers ({n},) or ({n}, k)"
        raise Misfit(key, f":{name} must be {want}, one for each frame, got {found.dtype} {found.shape}")
    try:
        whole: np.ndarray[Any, Any] = found[...]
        return whole
    except OSError as e:
        raise Misfit(key, f":{name} cannot be read: {in_words(e)}") from None


def in_words(e: BaseException) -> str:
    """The system's words out of HDF5's, which has them between times and addresses; on one line."""
    text = " ".join(str(e).split()) or type(e).__name__
    system = re.search(r"error message = '([^']*)'", text)
    return system[1] if system else text
