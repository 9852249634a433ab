"""Draw by MST over mbi what others.py asks for: ``others_mbi.py mbi_mst FOLDER``.

mbi 2.0 estimates a distribution from noisy counts and has no mechanism that takes them. The one here is MST (McKenna,
Miklau and Sheldon, 2021): a third of rho each for counts of columns, for a spanning tree of pairs by the exponential
mechanism on L1 errors of independence, and for counts of these; levels are not merged.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from mbi import Domain, LinearMeasurement
from mbi.estimation import MirrorDescent

ALPHAS = np.arange(1.01, 200, 0.01)


def rho_within(epsilon: float, delta: float) -> float:
    """Return the largest rho of zCDP within epsilon and delta (Canonne, Kamath and Steinke, 2020, Proposition 12)."""
    low, high = 0.0, epsilon
    for _ in range(60):
        rho = (low + high) / 2
        logs = (ALPHAS - 1) * (ALPHAS * rho - epsilon) - np.log(ALPHAS - 1) + ALPHAS * np.log1p(-1 / ALPHAS)
        low, high = (rho, high) if logs.min() <= np.log(delta) else (low, rho)
    return low


def errors_of_pairs(states: np.ndarray, sizes: list[int], shares: list[np.ndarray]) -> np.ndarray:
    """Return the L1 errors [d, d] of independence, by counts of all pairs."""
    starts = np.cumsum([0, *sizes[:-1]])
    indicators = np.zeros((len(states), sum(sizes)), np.float32)
    np.put_along_axis(indicators, states + starts, 1, axis=1)
    told = np.concatenate(shares)
    apart = np.abs(indicators.T @ indicators - len(states) * np.outer(told, told))
    return np.add.reduceat(np.add.reduceat(apart, starts, axis=0), starts, axis=1)


def spanning_tree(errors: np.ndarray, epsilon: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return pairs chosen one by one among those that join two parts, each by the exponential mechanism."""
    part, chosen = np.arange(len(errors)), []
    for _ in range(len(errors) - 1):
        noisy = epsilon / 2 * errors + rng.gumbel(size=errors.shape)
        noisy[part[:, None] == part[None, :]] = -np.inf
        noisy[np.tril_indices(len(errors))] = -np.inf
        a, b = np.unravel_index(noisy.argmax(), errors.shape)
        chosen.append((int(a), int(b)))
        part[part == part[b]] = part[a]
    return chosen


def main(method: str, folder: Path) -> None:
    """Measure, estimate and draw."""
    asked = json.loads((folder / "domain.json").read_text(encoding="utf-8"))
    table, rng = pd.read_csv(folder / "states.csv"), np.random.default_rng()
    names, sizes, states = list(asked["sizes"]), list(asked["sizes"].values()), table.to_numpy()
    third = rho_within(asked["epsilon"], asked["delta"]) / 3

    def told(columns: tuple[int, ...], deviation: float) -> LinearMeasurement:
        shape = [sizes[column] for column in columns]
        counts = np.bincount(np.ravel_multi_index(states[:, columns].T, shape), minlength=np.prod(shape))
        noisy = counts + rng.normal(0, deviation, counts.size)
        return LinearMeasurement(noisy, tuple(names[column] for column in columns), deviation)

    alone = [told((column,), (len(names) / (2 * third)) ** 0.5) for column in range(len(names))]
    shares = [np.clip(each.noisy_measurement, 0.5, None) for each in alone]
    shares = [share / share.sum() for share in shares]
    pairs = len(names) - 1
    tree = spanning_tree(errors_of_pairs(states, sizes, shares), (8 * third / pairs) ** 0.5, rng)
    together = [told(pair, (pairs / (2 * third)) ** 0.5) for pair in tree]
    model = MirrorDescent().estimate(Domain(names, sizes), [*alone, *together], float(len(states)))
    drawn = pd.DataFrame(model.synthetic_data(len(states)).data)
    drawn[names].astype("int64").to_csv(folder / f"{method}.csv", index=False)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
