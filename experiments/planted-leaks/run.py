"""Plant copies of training patients among fresh real ones and see which attack finds them; see README.md.

python run.py MATRIX --seeds 3 --fresh 20
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from ehrsynth.bits import unpack
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.matrix import Matrix
from ehrsynth.evaluation.anchors import halves
from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.privacy.attribute_inference import AttributeInference
from ehrsynth.evaluation.privacy.closeness import AdversarialAccuracy
from ehrsynth.evaluation.privacy.copies import ExactCopies, NearCopies
from ehrsynth.evaluation.privacy.inference import Inference
from ehrsynth.evaluation.privacy.linkability import Linkability
from ehrsynth.evaluation.privacy.membership import ClassifierAttack, DensityAttack, Membership
from ehrsynth.evaluation.privacy.singling_out import SinglingOut
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.evaluation.suite import Suite
from ehrsynth.layout import Records
from ehrsynth.seeding import numpy_rng, torch_rng

ATTACKS = Suite(
    evaluators=[
        Membership(),
        DensityAttack(),
        ClassifierAttack(),
        AdversarialAccuracy(),
        ExactCopies(),
        NearCopies(),
        AttributeInference(),
        SinglingOut(),
        Linkability(),
        Inference(),
    ]
)
PLANTS = [(0.0, 0)] + [(share, flips) for share in (0.01, 0.1) for flips in range(4)]
Plant = tuple[float, int]


def main() -> None:
    """Score every plant for every seed; print one table of values and one of signals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="seeds that score every plant")
    parser.add_argument("--fresh", type=int, default=20, help="seeds that score the fresh rows, these included")
    options = parser.parse_args()
    start, found = perf_counter(), defaultdict(list)
    for seed in range(options.fresh):
        for plant, scores in scored(options.matrix, PLANTS if seed < options.seeds else PLANTS[:1], seed):
            for score in scores:
                found[score.metric, plant].append(score)
    print(table(found, shown))
    print(table(found, signals))
    print(f"{perf_counter() - start:.0f} s")


def scored(folder: Path, plants: Sequence[Plant], seed: int) -> Iterator[tuple[Plant, list[Score]]]:
    """Yield the scores of every plant; all real rows are dealt anew to R, to H and, as fresh rows, to S."""
    matrix = Matrix.open(folder)
    encoder = Encoder(matrix.schema)
    parts = [encoder.encode(part) for part in (matrix.train, matrix.validation, matrix.holdout)]
    pool = Records.joined(parts)
    order = torch.randperm(len(pool), generator=torch_rng(seed, "deal"))
    members, unseen = pool[order[: -len(parts[2])]], pool[order[-len(parts[2]) :]]
    fresh, control = halves(unseen, seed)
    suite = ATTACKS.fit(RealData(matrix.schema, members, control), seed)
    codes = code_columns(matrix.schema, pool.layout)
    for share, flips in plants:
        yield (share, flips), suite.score(planted(fresh, members, codes, share, flips, seed))


def planted(fresh: Records, members: Records, codes: list[int], share: float, flips: int, seed: int) -> Records:
    """Replace a share of the rows by copies of members, each with ``flips`` codes turned to the other value."""
    rng = numpy_rng(seed, "plants")
    n = round(share * len(fresh))
    copies = members[torch.from_numpy(rng.choice(len(members), n, replace=False))]
    bits = unpack(copies.bits).clone()
    for row in bits:
        row[rng.choice(codes, flips, replace=False)] ^= 1
    return Records(
        fresh.layout, torch.cat([bits, unpack(fresh.bits[n:])]), torch.cat([copies.values, fresh.values[n:]])
    )


def shown(metric: str, scores: list[Score]) -> str:
    """Return value and interval of the first seed."""
    score = scores[0]
    if score.value is None:
        return score.status
    low, high = score.ci or (np.nan, np.nan)
    return f"{score.value:.4f} ({low:.4f}, {high:.4f})"


def signals(metric: str, scores: list[Score]) -> str:
    """Return in how many seeds the whole interval lies above the null."""
    null = card_of(metric).null
    assert null is not None
    above = sum(score.ci is not None and score.ci[0] > null for score in scores)
    return f"{above}/{len(scores)}"


def table(found: Mapping[tuple[str, Plant], list[Score]], cell: object) -> str:
    """Return a Markdown table of attacks that have a null by plants."""
    assert callable(cell)
    head = ["attack", *("fresh" if not share else f"{share:.0%}, {flips} flipped" for share, flips in PLANTS)]
    metrics = [card.name for card in ATTACKS.cards if card.null is not None]
    rows = [[name.removeprefix("privacy/"), *(cell(name, found[name, plant]) for plant in PLANTS)] for name in metrics]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


if __name__ == "__main__":
    main()
