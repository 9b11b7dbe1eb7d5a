"""Is a file whole? Everything that read() would refuse, frame by frame, without giving up at the first."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..op import DecodeError
from .hdf5_chunks import damage
from .hdf5_reader import Stored, opened


class Report(NamedTuple):
    """What verify() found. frames: those committed; stored_bytes: of the good ones; problems: one line each, empty if all is well."""

    frames: int
    chunks: int
    stored_bytes: int
    outliers: int
    lossless_frames: int
    problems: tuple[str, ...]


def verify(where: Any, name: str) -> Report:
    """Read every frame of a dataset: sizes, CRCs, decoding, lists. Raises as read() does if the file or the dataset cannot be opened at all."""
    with opened(where) as group, damage(f"{name!r} of {group.file.filename}"):
        stored = Stored(group, name)
        main, problems = stored.main, []
        there = main.dataset.id.get_num_chunks() // main.per_frame
        if main.crc is None:
            problems.append(f"{main.label} has no chunk_crc32c: nothing can be verified")
        elif stored.committed < len(main):
            problems.append(f"frames {stored.committed} to {len(main) - 1} of {main.label} were not committed: the writer did not end")
        if there < stored.committed:
            problems.append(f"{main.label} has CRCs of {stored.committed} frames, and chunks of {there}")
        total = outliers = 0
        for row in range(min(stored.committed, there)):
            try:
                with damage(f"frame {row} of {main.label}"):
                    size = stored.check_sizes([row])
                    stored.frames([row], None)
                    outliers += int(stored.outliers([row])[2][0]) if stored.codes else 0
                    total += size
            except DecodeError as e:
                problems.append(str(e))
        exact = len(stored.lossless_rows) if stored.codes else 0
        return Report(stored.committed, stored.committed * main.per_frame, total, outliers, exact, tuple(problems))
