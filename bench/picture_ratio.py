"""Draw how small recorded frames become: python bench/picture_ratio.py -> bench/results/ratio.png, of the figures of bench_ratio.py (needs matplotlib)."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import gpuredux

SERIES = (("bslz4", "bitshuffle + LZ4", "o", "0.6"), ("bszstd", "bitshuffle + zstd, level 1", "s", "0.6"),
          ("blosc2", "blosc2, zstd level 5", "^", "tab:orange"), ("Auto", "compress.Auto", "D", "tab:blue"))


def main() -> None:
    folder = Path(__file__).parent / "results"
    source = folder / "amd-epyc-zen4-2cores-ratio.csv"
    rows = list(csv.DictReader(line for line in source.read_text().splitlines() if not line.startswith("#")))
    rows.sort(key=lambda row: float(row["Auto"]))
    names = [f"{row['dataset'].removesuffix('/data')} ({row['dtype']})" for row in rows]
    at = np.arange(len(rows))
    figure, axes = plt.subplots(figsize=(10.5, 6), dpi=80, layout="constrained")
    axes.hlines(at, 1, [float(row["Auto"]) for row in rows], color="0.9", linewidth=1, zorder=0)
    for key, label, marker, colour in SERIES:
        axes.plot([float(row[key]) for row in rows], at, marker, color=colour, label=label, markersize=5, fillstyle="none" if key == "bslz4" else "full")
    axes.plot([float(row["H0"]) for row in rows], at, "|", color="black", label="order-0 entropy of the pixels", markersize=11)
    axes.set(xscale="log", yticks=at, yticklabels=names, xlabel="raw bytes / compressed bytes, lossless", xlim=(1, 250))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(labelsize="small")
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(folder / "ratio.png", metadata={"Software": f"gpuredux {gpuredux.__version__}, matplotlib {matplotlib.__version__}",
                                                   "Description": "python bench/picture_ratio.py"})
    print(f"{folder / 'ratio.png'}: {len(rows)} datasets of {source.name}")


if __name__ == "__main__":
    main()
