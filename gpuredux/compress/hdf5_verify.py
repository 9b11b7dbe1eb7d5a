"""Is a file whole? Everything that read() would refuse, frame by frame, without giving up at the first."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..op import DecodeError
from .hdf5_chunks import BATCH, damage
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
        step = max(1, BATCH // (main.nbytes * main.per_frame))
        work = [range(a, min(a + step, stored.committed, there)) for a in range(0, min(stored.committed, there), step)][::-1]
        while work:
            rows = work.pop()
            try:
                with damage(f"frames {rows[0]} to {rows[-1]} of {main.label}"):
                    size = stored.check_sizes(rows)
                    stored.frames(rows, None)
                    outliers += int(stored.outliers(rows)[2].sum()) if stored.codes else 0
                    total += size
            except DecodeError as e:
                if len(rows) == 1:
                    problems.append(str(e))
                else:
                    work.extend(range(k, k + 1) for k in reversed(rows))
        exact = len(stored.lossless_rows) if stored.codes else 0
        return Report(stored.committed, stored.committed * main.per_frame, total, outliers, exact, tuple(problems))
