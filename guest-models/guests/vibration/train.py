"""Trains the network of the hand-written example on simulated vibration.

A shaft turns at about 1/32 of the sample rate. In order: noise and a little of the
shaft. Unbalanced: much of the shaft. Bearing worn: short bursts at a high frequency.
Writes weights.bin, test.npz (`samples`, `label`) and prints the accuracy. NumPy only.
"""
import numpy as np

SAMPLES, FEATURES, HIDDEN, CLASSES = 256, 7, 16, 3


def window(rng, kind):
    t = np.arange(SAMPLES)
    shaft = 2 * np.pi * t * rng.uniform(0.028, 0.036) + rng.uniform(0, 2 * np.pi)
    x = rng.normal(0, 300, SAMPLES) + rng.uniform(50, 200) * np.sin(shaft)
    if kind == 1:
        x += rng.uniform(900, 3000) * np.sin(shaft)
    if kind == 2:
        ring = np.sin(2 * np.pi * t * rng.uniform(0.3, 0.45))
        x += rng.uniform(2000, 5000) * ring * np.exp(-((t % rng.integers(20, 40)) / 4))
    return np.clip(x + rng.uniform(-500, 500), -32768, 32767).astype("<i2")


def data(rng, count):
    labels = rng.integers(0, CLASSES, count)
    return np.stack([window(rng, k) for k in labels]), labels


def features(samples):
    x = samples.astype(np.float64)
    x = (x - x.mean(1, keepdims=True)) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SAMPLES) / SAMPLES))
    energy = np.abs(np.fft.fft(x)) ** 2
    octaves = np.stack([energy[:, 1 << o : 2 << o].sum(1) for o in range(FEATURES)], 1)
    return np.log(octaves / (octaves.sum(1, keepdims=True) + 1) + 1e-4)


def train(x, y, rng):
    a, b = rng.normal(0, 0.3, (HIDDEN, FEATURES + 1)), rng.normal(0, 0.3, (CLASSES, HIDDEN + 1))
    x = np.c_[x, np.ones(len(x))]
    for _ in range(8000):
        h = x @ a.T
        r = np.c_[np.maximum(h, 0), np.ones(len(x))]
        p = np.exp(r @ b.T - (r @ b.T).max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        d = (p - np.eye(CLASSES)[y]) / len(x)
        a -= 0.05 * ((d @ b[:, :-1]) * (h > 0)).T @ x
        b -= 0.05 * d.T @ r
    return a.astype("<f4"), b.astype("<f4")


def main():
    rng = np.random.default_rng(1)
    samples, label = data(rng, 1500)
    a, b = train(features(samples), label, rng)
    samples, label = data(rng, 60)
    r = np.maximum(np.c_[features(samples), np.ones(60)] @ a.T, 0)
    seen = (np.c_[r, np.ones(60)] @ b.T).argmax(1)
    with open("weights.bin", "wb") as file:
        file.write(a.tobytes() + b.tobytes())
    np.savez("test.npz", samples=samples.view(np.uint8).reshape(60, 2 * SAMPLES), label=label)
    print(f"{(seen == label).sum()} of 60 right")


if __name__ == "__main__":
    main()
