"""Recorded detector frames: they lie outside of the repository, under licences of their own (README.md beside this file)."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the filters that the files use
import numpy as np


def folder(repository: Path | None = None) -> Path | None:
    """GPUREDUX_DATA, which must then exist, else shared/data beside the repository, else None."""
    named = os.environ.get("GPUREDUX_DATA")
    if named:
        if not Path(named).is_dir():
            raise FileNotFoundError(f"GPUREDUX_DATA={named} is no folder")
        return Path(named)
    beside = None if repository is None else repository.parent / "shared" / "data"
    return beside if beside is not None and beside.is_dir() else None


def read(where: Path, file: str, dataset: str) -> np.ndarray:
    """One dataset of one file. Raises FileNotFoundError or KeyError with the names there are."""
    if not (where / file).is_file():
        raise FileNotFoundError(f"{file} is not in {where}: it holds {', '.join(sorted(p.name for p in where.glob('*.h5')))}")
    with h5py.File(where / file) as f:
        if dataset not in f:
            raise KeyError(f"{file} has no dataset {dataset!r}")
        return np.asarray(f[dataset][()])
