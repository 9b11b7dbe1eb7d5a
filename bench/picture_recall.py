"""Draw what peak finders find: python bench/picture_recall.py -> bench/results/recall.png and recall.csv (needs matplotlib, from the extra `test`).

Poisson frames of a constant background with Gaussian peaks (sigma 1 pixel) at places known to a fraction of a pixel. The signal-to-noise ratio of a
peak is its counts over the root of all counts within 3 pixels of it. Found: a listed peak, or the centroid of strong pixels, within 1.5 pixels of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage
from scipy.special import ndtr

import gpuredux
from gpuredux.features import Dispersion, DispersionExtended, PeakFinder8, PeakFinderAzimuthal, PeakFinderV3r3, Rings, strong_pixels

SIDE, EVERY, FRAMES = 512, 32, 6
BACKGROUNDS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)       # [counts per pixel]
RATIOS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0)
DISC = 29                                           # pixels within 3 of one
Found = list[np.ndarray]                            # (k, 2) of each frame: row, col


def total(ratio: float, background: float) -> float:
    """The counts of a peak of this signal-to-noise ratio: ratio = total / sqrt(total + DISC * background)."""
    return (ratio**2 + np.sqrt(ratio**4 + 4 * ratio**2 * DISC * background)) / 2


def frames(ratio: float, background: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(FRAMES, SIDE, SIDE) u16 of counts, and where the peaks are: (FRAMES, peaks, 2)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(EVERY // 2, SIDE, EVERY)] * 2, indexing="ij"), -1).reshape(-1, 2)
    at = grid + rng.uniform(-4, 4, (FRAMES, *grid.shape))
    mean = np.full((FRAMES, SIDE, SIDE), background)
    edges = np.arange(SIDE + 1) - 0.5
    for f in range(FRAMES):
        rows, cols = (np.diff(ndtr(edges[None] - at[f, :, k, None]), axis=1) for k in (0, 1))
        mean[f] += total(ratio, background) * rows.T @ cols
    return rng.poisson(mean).astype(np.uint16), at


def of_table(op: gpuredux.Op) -> Callable[[np.ndarray], Found]:
    """Peaks that an op lists."""
    def find(counts: np.ndarray) -> Found:
        t = op(counts)
        return [np.stack([t.peak_row[f, : t.peak_count[f]], t.peak_col[f, : t.peak_count[f]]], 1) for f in range(len(counts))]
    return find


def of_bits(op: gpuredux.Op) -> Callable[[np.ndarray], Found]:
    """Centroids of the connected strong pixels that an op marks, of two pixels or more."""
    def find(counts: np.ndarray) -> Found:
        found = []
        for frame, strong in zip(counts, strong_pixels(op(counts).strong, counts.shape[-1]), strict=True):
            label, n = ndimage.label(strong)
            sizes = ndimage.sum_labels(strong, label, np.arange(1, n + 1))
            found.append(np.reshape(ndimage.center_of_mass(frame, label, 1 + np.flatnonzero(sizes >= 2)), (-1, 2)))
        return found
    return find


def finders() -> dict[str, Callable[[np.ndarray], Found]]:
    """By name, each with parameters for counted photons that are the same at every background."""
    radius = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2)).astype(np.float32)
    frame = {"of": "photons"}
    return {
        "PeakFinder8": of_table(PeakFinder8(radius, adc_threshold=1.0, min_snr=4.0, min_pix=2, max_pix=50, local_bg_radius=4, **frame)),
        "Dispersion": of_bits(Dispersion(**frame)),
        "DispersionExtended": of_bits(DispersionExtended(**frame)),
        "PeakFinderAzimuthal": of_table(PeakFinderAzimuthal(Rings.from_radius(radius), error_model="azimuthal", cutoff_peak=3.0, connected=3, **frame)),
        "PeakFinderV3r3": of_table(PeakFinderV3r3(rank=3, r0=5.0, dr=2.0, nsigm=7.0, npix_min=2, npix_max=30, son_min=7.0, **frame)),
    }


def scored(found: Found, at: np.ndarray) -> tuple[float, float, float]:
    """(share of the peaks found, median distance of those [pixel], peaks beside them in a frame)."""
    hits, distances, beside = 0, [], 0
    for listed, true in zip(found, at, strict=True):
        apart = np.hypot(*(listed[:, None] - true[None]).transpose(2, 0, 1)) if len(listed) else np.zeros((0, len(true)))
        nearest = apart.min(0, initial=np.inf)
        hits += int((nearest <= 1.5).sum())
        distances += nearest[nearest <= 1.5].tolist()
        beside += int((apart.min(1, initial=np.inf) > 1.5).sum())
    return hits / at[..., 0].size, float(np.median(distances)) if distances else np.nan, beside / len(at)


def main() -> None:
    rows = []
    for b, background in enumerate(BACKGROUNDS):
        for k, ratio in enumerate(RATIOS):
            counts, at = frames(ratio, background, 100 * b + k)
            rows += [(name, background, ratio, round(total(ratio, background), 1), *np.round(scored(find(counts), at), 3)) for name, find in finders().items()]
    folder = Path(__file__).parent / "results"
    with open(folder / "recall.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("finder", "background", "snr", "counts", "recall", "position_error", "beside"), *rows])
    names = list(finders())
    figure, axes = plt.subplots(2, len(names), figsize=(2.7 * len(names), 5.2), dpi=80, layout="constrained", sharex=True, sharey="row")
    for column, name in zip(axes.T, names, strict=True):
        for background, colour in zip(BACKGROUNDS, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(BACKGROUNDS))), strict=True):
            of = [r for r in rows if r[0] == name and r[1] == background]
            column[0].plot([r[2] for r in of], [r[4] for r in of], "o-", color=colour, label=f"{background:g}", markersize=3)
            column[1].plot([r[2] for r in of], [r[5] for r in of], "o-", color=colour, markersize=3)
        column[0].set(ylim=(-0.03, 1.03))
        column[0].set_title(name, fontsize="medium")
        column[1].set(ylim=(0, 0.8))
    figure.supxlabel("signal-to-noise ratio of the peak")
    axes[0, 0].set_ylabel("share of the peaks found")
    axes[1, 0].set_ylabel("median position error [pixels]")
    axes[0, -1].legend(title="background\n[counts per pixel]", loc="lower right", fontsize="small")
    figure.savefig(folder / "recall.png", metadata={"Software": f"gpuredux {gpuredux.__version__}, matplotlib {matplotlib.__version__}",
                                                    "Description": "python bench/picture_recall.py"})
    print(f"{folder / 'recall.png'}: {len(rows)} points, {FRAMES * (SIDE // EVERY) ** 2} peaks each")


if __name__ == "__main__":
    main()
