"""Seeded detector physics: a gain-switching detector of the Jungfrau kind. Over 200 lines: its fields, constants and frames are one thing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .status import Pixel

__all__ = ["Simulation", "Truth"]

CONSTANTS, FRAMES, DARKS = 0, 1, 2      # what a random stream is for: streams of different purpose never meet
GAIN_BITS = np.array([0x0000, 0x4000, 0xC000], np.uint16)
PACKET_ROWS = 4     # rows of one panel that one network packet carries
PEDESTAL, PEDESTAL_SPREAD = (2900.0, 14500.0, 14900.0), (60.0, 120.0, 120.0)     # [ADU]
GAIN, GAIN_SPREAD = (41.0, -1.4, -0.1), 0.02                                    # [ADU/keV], relative
NOISE, NOISE_SPREAD = (20.0, 5.0, 5.0), 0.1                                     # [ADU] r.m.s., relative
HOT_CHARGE = 300.0  # mean leakage charge of a hot pixel in a frame [keV], exponential


@dataclass(frozen=True)
class Truth:
    """What the frames of a batch really are.

    energy (n, *shape) f32 [keV]: deposited, whatever the word says of it; hit (n,) bool: has Bragg peaks
    peaks: for each frame (k, ndim + 1) f64: the centre by array axis ([panel,] row, col) and the photons that it got
    pulse_id (n,) u64; status (n, *shape) u8: SATURATED, MISSING, INVALID_CODE where the word is no measurement"""

    energy: np.ndarray
    hit: np.ndarray
    peaks: list[np.ndarray]
    pulse_id: np.ndarray
    status: np.ndarray


@dataclass(frozen=True)
class Simulation:
    """adc = rint(pedestal[g] + gain[g] * charge + noise[g] * normal), g = 0, 1, 2 by two switching charges; word = gain bits | adc.

    Photons are whole, each in one pixel: a flat Poisson background, a powder ring about the centre (panels lie one above the
    other), and on hits Bragg peaks (round Gaussians, photons log-uniform, positions uniform, never cut by a panel's edge).
    A frame depends on (the fields, its number) alone, not on how batches are cut. For one release of NumPy it is the same
    everywhere, up to the last bit of its exp, log, sin and cos; NumPy promises the random bits for ever, not the distributions.
    With the default fields LitPixels(lit_threshold, lit_pixels, good=good) tells hits from the rest.

    source: Mozzanica et al., J. Instrum. 9 (2014) C05010: the three gains; switching charges and noise are of that order
    """

    shape: tuple[int, ...] = (512, 1024)
    seed: int = 0
    photon_energy: float = 9.5                      # [keV]
    background: float = 0.1                         # mean photons of a pixel in a frame
    ring: float = 0.3                               # the same, added on the ring's crest
    ring_radius: float | None = None                # [pixels], None = 0.35 of the shorter side
    ring_width: float = 8.0                         # [pixels] r.m.s.
    hit_fraction: float = 0.3
    peaks_per_hit: float = 25.0                     # mean of a Poisson number, at least one
    peak_photons: tuple[float, float] = (200.0, 20000.0)
    peak_width: float = 1.0                         # [pixels] r.m.s.
    switch: tuple[float, float, float] = (280.0, 8500.0, 120000.0)     # [keV]: to gain 1, to gain 2, to saturated
    dead: float = 1e-4                              # share of pixels that see no charge
    hot: float = 1e-4                               # share of pixels with leakage
    dead_gain: float | None = None                  # what `gain` says of dead pixels: None = as for others; 0 or NaN
    lost_packets: float = 2e-3                      # mean number for a panel and frame
    invalid_words: float = 2e-8                     # share of words with gain bits 0b10
    first_pulse: int = 0
    pulse_stride: int = 1

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape[-2:]) < 2 * self.reach + 1 or min(self.shape) < 1:
            raise ValueError(f"Simulation: shape must be ([panels,] rows, cols) of at least {2 * self.reach + 1} rows and cols, got {self.shape}")
        for field in ("hit_fraction", "dead", "hot", "invalid_words"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"Simulation: {field} must be 0 to 1, got {getattr(self, field)}")
        for field in ("background", "ring", "ring_width", "peaks_per_hit", "peak_width", "lost_packets", "first_pulse", "seed"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ValueError(f"Simulation: {field} must be 0 or more, got {getattr(self, field)}")
        for field in ("photon_energy", "peak_photons", "switch"):
            value = np.array([getattr(self, field)]).ravel()
            if not (np.isfinite(value).all() and value[0] > 0 and (np.diff(value) >= 0).all()):
                raise ValueError(f"Simulation: {field} must be positive and ascending, got {getattr(self, field)}")

    @property
    def reach(self) -> int:
        """Half the side of the square that a peak may fill [pixels]."""
        return max(1, math.ceil(4 * self.peak_width))

    @property
    def lit_threshold(self) -> float:
        """6.5 photons [keV]: a pixel of the default background exceeds it once in 10^10 frames, one on the ring's crest once in 10^6."""
        return 6.5 * self.photon_energy

    @property
    def lit_pixels(self) -> int:
        """Between the chance pixels of an empty frame (hardly any) and those of a weak hit (some 9 for each of its peaks)."""
        return 20

    # ------------------------------------------------------------------------------------------------ constants
    def _planes(self, purpose: int, mean: tuple[float, ...], spread: tuple[float, ...]) -> np.ndarray:
        rng = self._rng(CONSTANTS, purpose)
        planes = np.stack([m + s * rng.standard_normal(self.shape, np.float32) for m, s in zip(mean, spread, strict=True)]).astype(np.float32)
        planes.setflags(write=False)
        return planes

    @cached_property
    def pedestal(self) -> np.ndarray:
        """(3, *shape) f32 [ADU]."""
        return self._planes(0, PEDESTAL, PEDESTAL_SPREAD)

    @cached_property
    def response(self) -> np.ndarray:
        """(3, *shape) f32 [ADU/keV]: the true slope, 0 for dead pixels."""
        slope = self._planes(1, GAIN, tuple(abs(g) * GAIN_SPREAD for g in GAIN)).copy()
        slope[:, self._fault == 1] = 0
        slope.setflags(write=False)
        return slope

    @cached_property
    def gain(self) -> np.ndarray:
        """(3, *shape) f32 [ADU/keV]: the constants as a user has them; dead pixels hold dead_gain, or a usual slope."""
        slope = np.array(self.response)
        for g, usual in enumerate(GAIN):
            slope[g, self._fault == 1] = usual if self.dead_gain is None else self.dead_gain
        slope.setflags(write=False)
        return slope

    @cached_property
    def noise(self) -> np.ndarray:
        """(3, *shape) f32 [ADU] r.m.s."""
        sigma: np.ndarray = np.abs(self._planes(2, NOISE, tuple(s * NOISE_SPREAD for s in NOISE)))
        sigma.setflags(write=False)
        return sigma

    @cached_property
    def _fault(self) -> np.ndarray:
        """(*shape) u8: 1 = dead, 2 = hot."""
        u = self._rng(CONSTANTS, 3).random(self.shape, np.float32)
        return np.where(u < self.dead, 1, np.where(u < self.dead + self.hot, 2, 0)).astype(np.uint8)

    @property
    def good(self) -> np.ndarray:
        """(*shape) bool: neither dead nor hot."""
        good: np.ndarray = self._fault == 0
        return good

    # ------------------------------------------------------------------------------------------------ frames
    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence((self.seed, *stream))))

    def darks(self, n: int, gain: int | None = None, start: int = 0) -> np.ndarray:
        """raw (n, *shape) u16 without photons; gain = 0, 1 or 2 forces that stage, None leaves the pixels to switch."""
        raw, status = np.empty((n, *self.shape), np.uint16), np.zeros(self.shape, np.uint8)
        charge = np.zeros(self.shape, np.float32)
        for f in range(n):
            self._read_out(self._rng(DARKS, 0 if gain is None else gain + 1, start + f), charge, raw[f], status, gain)
        return raw

    def frames(self, start: int, n: int) -> tuple[np.ndarray, Truth]:
        """raw (n, *shape) u16 of the frames numbered start to start + n - 1, and their truth."""
        raw, energy = np.empty((n, *self.shape), np.uint16), np.empty((n, *self.shape), np.float32)
        status, hit, peaks = np.zeros((n, *self.shape), np.uint8), np.zeros(n, bool), []
        for f in range(n):
            rng = self._rng(FRAMES, start + f)
            hit[f] = rng.random() < self.hit_fraction
            photons = self._scattered(rng)
            peaks.append(self._peaks(rng, photons) if hit[f] else np.empty((0, len(self.shape) + 1)))
            np.multiply(photons.reshape(self.shape), self.photon_energy, out=energy[f], casting="same_kind")
            self._read_out(rng, energy[f], raw[f], status[f], None)
            self._lose(rng, raw[f], status[f])
        number = np.arange(start, start + n, dtype=np.uint64)
        return raw, Truth(energy, hit, peaks, number * np.uint64(self.pulse_stride) + np.uint64(self.first_pulse), status)

    def _scattered(self, rng: np.random.Generator) -> np.ndarray:
        """Background and ring, sampled photon by photon: (npix,) i64 counts."""
        rows, cols = math.prod(self.shape[:-1]), self.shape[-1]
        flat = rng.integers(0, rows * cols, rng.poisson(self.background * rows * cols), dtype=np.uint32)
        radius = 0.35 * min(rows, cols) if self.ring_radius is None else self.ring_radius
        count = rng.poisson(self.ring * self.ring_width * math.sqrt(2 * math.pi) * 2 * math.pi * radius)
        r, angle = radius + self.ring_width * rng.standard_normal(count), 2 * math.pi * rng.random(count)
        row, col = (np.rint(c / 2 + r * f(angle)).astype(np.int64) for c, f in ((rows - 1, np.sin), (cols - 1, np.cos)))
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        return np.bincount(np.concatenate([flat, (row * cols + col)[inside]]), minlength=rows * cols)

    def _peaks(self, rng: np.random.Generator, photons: np.ndarray) -> np.ndarray:
        """Add Bragg peaks to the photons; centres and photons of each."""
        k, reach, (rows, cols) = max(1, int(rng.poisson(self.peaks_per_hit))), self.reach, self.shape[-2:]
        centre = reach + rng.random((k, 2)) * (np.array([rows, cols]) - 1 - 2 * reach)
        panel = rng.integers(0, self.shape[0] if len(self.shape) == 3 else 1, k)
        mean = np.exp(rng.uniform(math.log(self.peak_photons[0]), math.log(self.peak_photons[1]), k))
        at = np.rint(centre).astype(np.int64)[:, :, None] + np.arange(-reach, reach + 1)     # (k, 2, side)
        profile = np.exp(-(((at - centre[:, :, None]) / max(self.peak_width, 1e-3)) ** 2) / 2)
        profile /= profile.sum(2, keepdims=True)
        got = rng.poisson(mean[:, None, None] * profile[:, 0, :, None] * profile[:, 1, None, :])
        np.add.at(photons, ((panel[:, None] * rows + at[:, 0])[:, :, None] * cols + at[:, 1, None, :]).ravel(), got.ravel())
        where = [panel, *centre.T] if len(self.shape) == 3 else centre.T
        return np.stack([*where, got.sum((1, 2))], axis=1).astype(np.float64)

    def _read_out(self, rng: np.random.Generator, energy: np.ndarray, raw: np.ndarray, status: np.ndarray, gain: int | None) -> None:
        """Charge to words. The few pixels that switch are done again by index."""
        g = 0 if gain is None else gain
        (hot,) = np.nonzero(self._fault.ravel() == 2)
        charge = energy.ravel()
        if hot.size and gain is None:
            charge = charge.copy()
            charge[hot] += rng.exponential(HOT_CHARGE, hot.size).astype(np.float32)
        normal = rng.standard_normal(charge.size, np.float32)
        adc = self.noise[g].ravel() * normal
        adc += self.response[g].ravel() * charge
        adc += self.pedestal[g].ravel()
        np.clip(np.rint(adc, out=adc), g > 0, 0x3FFF - (g > 0), out=adc)
        word = raw.reshape(-1)
        np.copyto(word, adc, casting="unsafe")
        word |= GAIN_BITS[g]
        if gain is None:
            self._switch(charge, normal, word, status.reshape(-1))

    def _switch(self, charge: np.ndarray, normal: np.ndarray, word: np.ndarray, status: np.ndarray) -> None:
        (i,) = np.nonzero((charge > self.switch[0]) & (self._fault.ravel() != 1))
        g = np.where(charge[i] > self.switch[1], 2, 1)
        pedestal, slope, noise = (a.reshape(3, -1)[g, i] for a in (self.pedestal, self.response, self.noise))
        adc = np.clip(np.rint(pedestal + slope * charge[i] + noise * normal[i]), 1, 0x3FFE)     # adc 0 and 0x3FFF make error codes
        word[i] = adc.astype(np.uint16) | GAIN_BITS[g]
        full = i[charge[i] > self.switch[2]]
        word[full], status[full] = 0xC000, Pixel.SATURATED

    def _lose(self, rng: np.random.Generator, raw: np.ndarray, status: np.ndarray) -> None:
        """Invalid words, then lost packets over them."""
        where = rng.integers(0, raw.size, rng.poisson(self.invalid_words * raw.size))
        raw.reshape(-1)[where], status.reshape(-1)[where] = raw.reshape(-1)[where] & 0x3FFF | 0x8000, Pixel.INVALID_CODE
        panels = raw.reshape(-1, *self.shape[-2:])
        for _ in range(rng.poisson(self.lost_packets * len(panels))):
            panel, first = rng.integers(0, len(panels)), PACKET_ROWS * rng.integers(0, -(-self.shape[-2] // PACKET_ROWS))
            panels[panel, first : first + PACKET_ROWS] = 0xFFFF
            status.reshape(panels.shape)[panel, first : first + PACKET_ROWS] = Pixel.MISSING
