"""First-order Markov over noisy counts: a guarantee for each patient with all visits, learned in one look of seconds.

What ``Markov`` learns are shares of visits, and a patient of many visits counts in many. So each patient's counts of
all tables are one vector, shortened as a whole where it is long: then what patients have, and what they have it among,
are of the same visits, and shares stay right but for the long records, which count less. A table is measured by the
length that few patients exceed, told with noise before (Amin, Kulesza, Munoz Medina and Vassilvitskii, Bounding user
contributions: a bias-variance trade-off in differential privacy, ICML 2019). How many visits records have, and who
dies, counts once for each patient, whatever its length.

    y  =  sum over i of x_i / max(1, |x_i|) + sigma N(0, 1),      x_ib  =  root of share_b * counts_ib / most_b

What noise explains is left to what is known of all rows, ranges or codes (James and Stein, 1961).
"""

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.accounting import rho_within
from ehrsynth.models import options
from ehrsynth.models.noisy_looks import NoisySums, norm_sub
from ehrsynth.models.visits.calendar import DIES, GAP, MEASURED, STAY
from ehrsynth.models.visits.counted import CAME, FIRSTS, SOME, STAYED, WENT, Counted, ends_of
from ehrsynth.models.visits.markov import NEVER, Markov
from ehrsynth.models.visits.noisy_rows import noisy_rows
from ehrsynth.models.visits.noisy_tables import PLAIN, Added, plain, row_shares, shares, shrunk, without_tail
from ehrsynth.schema import Schema
from ehrsynth.seeding import secret_rng
from ehrsynth.visits import Visits, VisitSchema

FULL = 1 - 1e-6  # of rho that is spent, in these shares:
SHARES = {"rows": 0.1, "dates": 0.2, "records": 0.1, "visits": 0.6}
TABLES = {"kinds": 0.1, "gaps": 0.1, "stays": 0.1, "measured": 0.1, "values": 0.1, "firsts": 0.2, "codes": 0.3}
LENGTHS = 2.0 ** np.arange(0, 12, 0.5)  # that what a patient adds to a table may have; none is shorter than one
LONG = 0.1  # of the patients, that a table lets count less


class DPMarkov(Markov):
    """``Markov`` of noisy counts, and a calendar and rows of noisy sums; a likelihood it has too.

    Schemas must be public, and the number of patients is taken as known. Days to death are those of the calendar,
    whatever the kind of the last visit.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: kept with the checkpoint; noise has a secret seed of its own.
        epsilon: that it spends.
        delta: at which; None is one over the number of patients.
        visits: of a record, at most.

    Attributes:
        noise: a generator in place of the secret one, for tests alone.

    Raises:
        OptionError: an option is not a value that can work.
    """

    private = "release"

    def __init__(
        self,
        *,
        schema: Schema,
        visit_schema: VisitSchema,
        seed: int = 0,
        epsilon: float = 3.0,
        delta: float | None = None,
        visits: int = 48,
    ) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])
        options.positive(epsilon=epsilon)
        options.whole(1, visits=visits)
        self.epsilon, self.delta, self.visits = epsilon, delta, visits
        self.noise: torch.Generator | None = None

    @override
    def observe(self, static: Tensor, visits: Visits) -> None:
        """Spend epsilon: rows, dates, how long records are and what they add, then all they add."""
        n, delta, rng = len(visits), self.delta or 1 / len(visits), self.noise or secret_rng()
        rho = FULL * rho_within(self.epsilon, delta)
        told = None if self.noise is None else np.random.default_rng(self.noise.initial_seed())
        rows = noisy_rows(self.schema, static, SHARES["rows"] * rho, delta, self.statics.bins, told)
        noisy = {
            name: NoisySums((2 * SHARES[name] * rho) ** -0.5, looks, rng)
            for name, looks in {"dates": self.noisy_looks, "records": 1, "visits": 1}.items()
        }
        self.observe_noisily(static, visits, noisy["dates"], rows)
        self.calendar.most.fill_(self.visits)
        tables = self.tables(visits)
        added = {name: Added.of(table, n) for name, table in self._of_visits(tables, visits).items()}
        most = self._of_records(visits, tables["fates"], added, noisy["records"])
        total = noisy["visits"].told(
            "visits and their codes", (), scaled_sums(added, most), 1.0, "the counts of a patient are one vector"
        )
        parts = total.split([block.shape[0] * block.shape[1] for block in added.values()])
        scales = {name: most[name] / TABLES[name] ** 0.5 for name in added}
        self._learn(
            {name: scales[name] * part.view(added[name].shape) for name, part in zip(added, parts, strict=True)},
            {name: scale * noisy["visits"].noise_multiplier for name, scale in scales.items()},
        )
        self.looks = (*rows.looks, *(look for of in noisy.values() for look in of.looks))

    def _of_visits(self, tables: dict[str, Counted], visits: Visits) -> dict[str, Counted]:
        """Return the tables in the order of ``TABLES``; codes of first visits are one of their own."""
        shape = len(self.visit_schema.kinds), len(self.visit_schema.measurements)
        of_value = visits.visit_of_value
        own, measured = visits.kinds[of_value].astype(np.int64), visits.measured.astype(np.int64)
        first = tables["codes"].rows == FIRSTS
        return {
            **{name: tables[name] for name in ("kinds", "gaps", "stays")},
            "measured": Counted(own, measured, shape, visits.patient[of_value]),
            "values": tables["values"],
            "firsts": tables["codes"].of(first),
            "codes": tables["codes"].of(~first),
        }

    def _of_records(
        self, visits: Visits, fates: Counted, added: dict[str, Added], noisy: NoisySums
    ) -> dict[str, float]:
        """Learn when records end and how; return the length of each table that few patients exceed.

        A patient has one number of visits, one fate, and a length in each table, which together count as one.
        """
        n, each = len(visits), len(added) ** -0.5
        some = visits.per_patient[visits.per_patient > 0]
        ends = np.bincount(some.clip(max=self.visits) - 1, minlength=self.visits)
        fated = np.bincount(fates.cells, minlength=fates.shape[0] * fates.shape[1])
        lengths = [
            np.bincount(np.searchsorted(LENGTHS, block.lengths).clip(max=len(LENGTHS) - 1), minlength=len(LENGTHS))
            for block in added.values()
        ]
        sums = torch.from_numpy(np.concatenate([ends, fated, *(each * one for one in lengths)]))
        what = "numbers of visits, deaths, lengths of counts"
        told = noisy.told(what, (), sums, 3**0.5, "each patient has one of each")
        deviation = 3**0.5 * noisy.noise_multiplier
        found, fate, rest = told.split([len(ends), len(fated), len(told) - len(ends) - len(fated)])
        self.ends = ends_of(without_tail(found, deviation).numpy(), PLAIN * deviation)
        died = float(self.calendar.died)
        self.died = shares(fate.view(fates.shape), deviation, torch.tensor([1 - died, died]).double())[:, 1].float()
        self.died *= died > 0
        self.dies = self._widths(DIES).float().expand(len(self.died), -1).clone()
        most = {}
        for name, counts in zip(added, rest.view(len(added), -1), strict=True):
            up_to = norm_sub(counts / each, float(n)).cumsum(0)
            most[name] = float(LENGTHS[int((up_to < (1 - LONG) * n).sum().clamp(max=len(LENGTHS) - 1))])
        return most

    def _widths(self, number: int) -> Tensor:
        """Return how much of the law of a number lies in each of its ranges."""
        size = self.calendar.numbers.sizes[number]
        return self.calendar.numbers.edges[number, : size + 1].diff().double()

    def _learn(self, counts: dict[str, Tensor], deviations: dict[str, float]) -> None:
        """Take chances from noisy counts."""
        kinds, sizes = counts["kinds"].clamp(min=0), self.calendar.numbers.sizes
        by_kind, records = kinds.sum(0)[:, None], kinds[-1].sum()
        usual = torch.full((kinds.shape[1],), 1 / kinds.shape[1], dtype=torch.float64)
        self.kinds = shares(counts["kinds"], deviations["kinds"], usual).float()
        self.gaps = shares(counts["gaps"], deviations["gaps"], self._widths(GAP)).float()
        unknown = torch.full((1,), 1 / sizes[STAY], dtype=torch.float64)
        usual = torch.cat([self._widths(STAY), unknown])
        self.stays = shares(counts["stays"], deviations["stays"], usual / usual.sum()).float()
        usual = torch.zeros(counts["values"].shape, dtype=torch.float64)
        for place in range(len(usual)):
            usual[place, : sizes[MEASURED + place]] = self._widths(MEASURED + place)
        self.values = row_shares(counts["values"] * self.ranges_of_values, deviations["values"], usual).float()
        usual = by_kind * counts["measured"].sum(0).clamp(min=0) / by_kind.sum().clamp(min=SOME)
        measured = shrunk(counts["measured"].T, usual.T, deviations["measured"]).T
        self.measured = (measured / by_kind.clamp(min=SOME)).clamp(0, 1).float()
        first = plain(counts["firsts"][FIRSTS], deviations["firsts"])
        came, stayed, went = counts["codes"][[CAME, STAYED, WENT]]
        had, noise = (stayed + went).clamp(min=0), deviations["codes"]
        without = (by_kind.sum() - records - had).clamp(min=SOME)
        share = float((stayed.sum() / had.sum().clamp(min=noise)).clamp(0, 1))
        beyond = (1 - share) * stayed - share * went
        apart = noise * (share**2 + (1 - share) ** 2) ** 0.5
        beyond = shrunk(beyond[:, None], torch.zeros(len(had), 1), apart)[:, 0]
        stay = share + beyond / had.clamp(min=noise)
        chances = torch.stack([first / records.clamp(min=SOME), plain(came, noise) / without, stay])
        self.codes = chances.clamp(NEVER, 1 - NEVER).float()


def scaled_sums(added: dict[str, Added], most: dict[str, float]) -> Tensor:
    """Return the sum [cells] of the vectors of all patients, each no longer than one."""
    scales = {name: TABLES[name] ** 0.5 / most[name] for name in added}
    squares = sum((scales[name] * block.lengths) ** 2 for name, block in added.items())
    weights = 1 / np.maximum(1, np.sqrt(squares))
    return torch.cat([scales[name] * block.sums(weights) for name, block in added.items()])
