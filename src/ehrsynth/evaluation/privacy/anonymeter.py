"""Two of the three risks that European regulators name: linkability and inference.

After Giomi et al., PoPETs 2023 (Anonymeter). Every attack is run on training patients and, as a
control, on real patients the generator never saw: only the difference can come from training.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.columns import Levels, mixed, most_entropic
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.privacy.attempts import GIOMI, RATES, as_value, rate_parts
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics import inference
from ehrsynth.metrics.linkability import linked
from ehrsynth.metrics.rates import Attempts, excess
from ehrsynth.seeding import numpy_rng, torch_rng

LINKABILITY = Card(
    name="privacy/linkability",
    direction="lower",
    low=-1,
    high=1,
    definition="The attacker holds two disjoint halves of the columns (each domain dealt out evenly at random) of the"
    " same patients, takes the nearest record of S (Gower's distance) on each half, and links them when they meet:"
    " share linked of random rows of R minus the same share of H. Records of S at the same distance are tried in one"
    " random order on both sides. Newcombe interval." + RATES,
    reading="Does the synthetic table join two data sets about one patient? On sparse codes a half of a record has"
    " few codes, many synthetic records are equally near, and the link fails for members and strangers alike: near 0"
    " there means that this attack is weak, and excludes no other. The interval holds for this one division of the"
    " columns; another moves the value by more where rows are copied.",
    paper=GIOMI,
)
INFERENCE = Card(
    name="privacy/inference",
    direction="lower",
    low=-1,
    high=1,
    definition="The attacker knows every column of a patient but one, takes the nearest record of S (Gower's distance,"
    " the earliest in a random order among ties) and reads the secret off it: right if equal, for a number within 5 %"
    " of the true one. Mean share right over the secrets (outcomes, sensitive columns, and the most entropic others)"
    " on random rows of R minus the same on H. Newcombe interval on the share per patient." + RATES,
    reading="Can one hidden attribute of a training patient be read off the synthetic table better than that of a"
    " stranger? For a rare secret the guess 'no' is nearly always right; the control is right as often, so only"
    " the difference counts. attribute_f1_excess asks the same of many hidden codes at once.",
    paper=GIOMI,
)


class Linkability(Evaluator):
    """Whether synthetic records join two halves of what is known of training patients.

    Args:
        attacks: rows of each of R and H to attack, drawn at random.
        neighbours: nearest synthetic records on each side.
        known: the names of the columns on each side; None deals every domain out to both.
    """

    cards = (LINKABILITY,)
    uses_holdout = True

    def __init__(
        self, *, attacks: int = 2000, neighbours: int = 1, known: tuple[Sequence[str], Sequence[str]] | None = None
    ) -> None:
        self.attacks = attacks
        self.neighbours = neighbours
        self.known = known

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Divide the columns and draw the patients."""
        if len(real.schema.columns) < 2:
            raise NotApplicableError("the data have a single column, which no two data sets can share out")
        sides = [set(side) for side in self.known] if self.known else _halves(real, seed)
        _check("linkability: known", set().union(*sides), real)
        if sides[0] & sides[1]:
            raise OptionError("linkability: known: the two sides must have no column in common")
        targets = _targets(real, self.attacks, seed, "linkability")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            shuffled = _shuffled(synthetic, seed)
            source = mixed(shuffled, sides[0]), mixed(shuffled, sides[1])
            found = {
                name: Attempts(
                    int(linked((mixed(table, sides[0]), mixed(table, sides[1])), source, self.neighbours).sum()),
                    len(table),
                )
                for name, table in zip(("attack", "control"), targets, strict=True)
            }
            n, m, rng = len(targets[0]), len(synthetic), numpy_rng(seed, "baseline")
            one, other = (rng.integers(m, size=(n, min(self.neighbours, m))) for _ in range(2))
            found["baseline"] = Attempts(int((one[:, :, None] == other[:, None]).any((1, 2)).sum()), n)
            return {
                LINKABILITY.name: Value(*excess(found["attack"], found["control"]), parts=rate_parts("rate", found))
            }

        return score


class Inference(Evaluator):
    """Whether a hidden attribute of training patients can be read off synthetic records.

    Args:
        attacks: rows of each of R and H to attack, drawn at random.
        secrets: names of the columns to guess, one at a time; None takes outcomes, sensitive columns, and the
            ``entropic`` most entropic others.
        entropic: how many of the most entropic columns to add where ``secrets`` is None.
    """

    cards = (INFERENCE,)
    uses_holdout = True

    def __init__(self, *, attacks: int = 2000, secrets: Sequence[str] | None = None, entropic: int = 4) -> None:
        self.attacks = attacks
        self.secrets = secrets
        self.entropic = entropic

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose the secrets and draw the patients."""
        if len(real.schema.columns) < 2:
            raise NotApplicableError("the data have a single column: nothing is known of a patient but the secret")
        named = list(self.secrets) if self.secrets is not None else self._default(real)
        _check("inference: secrets", set(named), real)
        if not named:
            raise NotApplicableError("no column to keep secret: no outcome, no sensitive column, none named")
        levels = Levels(real.schema)
        everything = set(real.schema.names)
        discrete = np.array([not real.schema.by_name[name].numeric for name in named])
        targets = _targets(real, self.attacks, seed, "inference")

        def right(target: Records, source: Records) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
            truth, offered = levels.of(target, named), levels.of(source, named)
            scaled = levels.scaled(target, named), levels.scaled(source, named)
            near = inference.nearest_without(mixed(target, everything), mixed(source, everything), scaled, discrete)
            blind = np.arange(len(target)) % len(source)  # the records of S are in random order
            return (
                inference.right(np.take_along_axis(offered, near, axis=0), truth, discrete),
                inference.right(offered[blind], truth, discrete),
            )

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            shuffled = _shuffled(synthetic, seed)
            (attack, baseline), (control, _) = (right(table, shuffled) for table in targets)
            guesses = {"attack": attack, "control": control, "baseline": baseline}
            found = {name: Attempts(float(hits.mean(1).sum()), len(hits)) for name, hits in guesses.items()}
            parts = rate_parts("rate", found)
            for i, name in enumerate(named):
                each = {side: Attempts(int(hits[:, i].sum()), len(hits)) for side, hits in guesses.items()}
                parts["column", name] = Value(*excess(each["attack"], each["control"]))
                parts |= {
                    ("column_attack", name): as_value(each["attack"]),
                    ("column_control", name): as_value(each["control"]),
                }
            return {INFERENCE.name: Value(*excess(found["attack"], found["control"]), parts=parts)}

        return score

    def _default(self, real: RealData) -> list[str]:
        named = [column.name for column in real.schema.columns if column.role in ("outcome", "sensitive")]
        return named + most_entropic(real, self.entropic, without=named)


def _halves(real: RealData, seed: int) -> list[set[str]]:
    """Deal the columns of each domain out to two sides at random."""
    columns = sorted(real.schema.columns, key=lambda column: column.name)
    places = numpy_rng(seed, "linkability/columns").permutation(len(columns))
    dealt = sorted(zip(columns, places, strict=True), key=lambda pair: (pair[0].domain, pair[1]))
    names = [column.name for column, _ in dealt]
    return [set(names[::2]), set(names[1::2])]


def _targets(real: RealData, attacks: int, seed: int, name: str) -> tuple[Records, Records]:
    return capped(real.train, attacks, seed, f"{name}/train"), capped(real.holdout, attacks, seed, f"{name}/holdout")


def _shuffled(records: Records, seed: int) -> Records:
    return records[torch.randperm(len(records), generator=torch_rng(seed, "order"))]


def _check(option: str, names: set[str], real: RealData) -> None:
    if unknown := sorted(names - set(real.schema.names)):
        raise OptionError(f"{option}: the schema has no column {unknown[0]!r}")
