"""Meaningful identity disclosure: recognising a training patient in S, and learning something new of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehrsynth.data.table_files import read_table
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import BENCHMARK, Card
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.privacy.adversary import Adversary
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics.disclosure import Frame, worst_cases
from ehrsynth.metrics.identity import lattice, verification
from ehrsynth.metrics.intervals import Estimate, difference, wilson
from ehrsynth.seeding import numpy_rng

IDENTITY = Card(
    name="privacy/identity_disclosure",
    direction="lower",
    low=0,
    high=1,
    definition="max of (1/N) sum_s (1/f_s) lambda' I_s R_s and (1/n) sum_s (1/F_s) lambda' I_s R_s over the n records"
    " s of R: f_s and F_s count who shares the quasi-identifiers of s in R and in the population of N; I_s: some record"
    " of S shares them; R_s: those records tell at least 5 % of the sensitive attributes right and new (a level with"
    " a share p < 1/2 in R; a number with p |difference| < 1.48 MAD, p the share of its k-means cluster). Each s at its"
    " worst over the generalisations of the quasi-identifiers (at most max_nodes, drawn at random from more; part"
    " count, nodes). lambda' is the mean of (1 + v (1 - (1 - e)^k)) / 2 under the published triangular rates of"
    " verification v and error e. Without a population file the population is R times population_factor; with 1 it"
    " is R itself: the adversary knows that the patient is in the table. Wilson interval on the sum, wider than need"
    " be, since each patient adds a number in [0, 1]. Parts: side, the same on R drawn down to as many rows as H has,"
    " on H as if it had been trained on (the paper has no such control), and the difference; few: the same where"
    " a few attributes (5) are enough for R_s.",
    reading="The chance that somebody who looks for a training patient by sex, age, race and common diagnoses finds"
    " one and learns something true. Usual thresholds of authorities are 0.05 to 0.09. It cannot tell memory from"
    " medicine: unseen patients are recognised as well wherever S is realistic, so read side, excess. On sparse"
    " codes a patient has fewer unusual attributes than 5 % of the columns, so R_s is nearly always 0 for every"
    " table, copies of R included (0.0001 on 401 columns of diabetes130); there read few, excess. With one attribute"
    " enough, a copy and unseen patients score alike, for some common measurement is always near.",
    paper=f"El Emam, Mosquera and Bass, JMIR 2020; {BENCHMARK}",
)


class IdentityDisclosure(Evaluator):
    """Whether training patients can be recognised in S, and something new learned of them.

    Args:
        identifiers: names of the quasi-identifiers; None takes the columns of that role, all demographics, and the
            most common codes.
        codes: how many codes that is.
        learned: share of the sensitive attributes that makes it something new.
        few: number of them that does in the parts of that name.
        max_nodes: largest number of generalisations to look at.
        population: table of the population with decoded values of every quasi-identifier.
        population_factor: without a table, how many times R the population is.
    """

    cards = (IDENTITY,)
    uses_holdout = True

    def __init__(
        self,
        *,
        identifiers: Sequence[str] | None = None,
        codes: int = 7,
        learned: float = 0.05,
        few: int = 5,
        max_nodes: int = 256,
        population: str | None = None,
        population_factor: float = 1.0,
    ) -> None:
        if population_factor < 1:
            raise OptionError(f"identity disclosure: population_factor: {population_factor} is below 1")
        self.identifiers = identifiers
        self.codes = codes
        self.learned = learned
        self.few = few
        self.max_nodes = max_nodes
        self.population = population
        self.population_factor = population_factor

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Choose quasi-identifiers and generalisations, and cut R and H."""
        adversary = Adversary(real, self.identifiers, self.codes, seed)
        size = min(len(real.train), len(real.holdout))
        drawn = numpy_rng(seed, "identity/train").permutation(len(real.train))[:size]
        holdout = capped(real.holdout, size, seed, "identity/holdout")
        patients, others = adversary.cut(real.train), adversary.cut(holdout)
        control = [Frame(others.known)]
        frames = [Frame(patients.known), Frame([[codes[drawn] for codes in column] for column in patients.known])]
        if self.population:
            table = read_table(Path(self.population), text=real.schema.text_columns)
            if len(table) < len(real.train):
                raise OptionError(f"{self.population}: a population has no fewer rows than R ({len(real.train)})")
            frames.append(Frame(adversary.population(table, self.population), complete=True))
        factor = len(table) / len(real.train) if self.population else self.population_factor
        levels = [len(column) + 1 for column in patients.known]
        nodes = lattice(levels, self.max_nodes, numpy_rng(seed, "identity/nodes"))
        discount = verification(len(levels))
        needed = (max(self.learned * adversary.sensitive, 1), self.few)

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            source = adversary.cut(synthetic)
            found = worst_cases(nodes, patients, source, adversary.rank(real.train, synthetic), frames, needed)
            chance = worst_cases(nodes, others, source, adversary.rank(holdout, synthetic), control, needed)[0]
            to_sample = _share(found[0, 0], discount / factor)
            to_population = _share(found[2, 0], discount) if self.population else to_sample
            few = [_share(found[0, 1], discount / factor)]
            if self.population:
                few.append(_share(found[2, 1], discount))
            parts: dict[tuple[str, str], Value | Undefined] = {
                ("direction", "population_to_sample"): Value(*to_sample),
                ("direction", "sample_to_population"): Value(*to_population),
                ("few", "risk"): Value(*max(few)),
                ("count", "nodes"): Value(float(len(nodes))),
                ("count", "lattice"): Value(float(np.prod(levels, dtype=np.float64)) - 1),
                ("count", "identifiers"): Value(float(len(levels))),
            }
            for threshold, kind in enumerate(("side", "few")):
                train, unseen = (
                    _share(risks, discount / factor) for risks in (found[1, threshold][drawn], chance[threshold])
                )
                parts |= {(kind, "train"): Value(*train), (kind, "holdout"): Value(*unseen)}
                parts[kind, "excess"] = Value(*difference(*train, *unseen))
            return {IDENTITY.name: Value(*max(to_sample, to_population), parts=parts)}

        return score


def _share(risks: NDArray[np.float64], discount: float) -> Estimate:
    total, n = float(risks.sum()), len(risks)
    low, high = wilson(total, n)
    return discount * total / n, (discount * low, discount * high)
