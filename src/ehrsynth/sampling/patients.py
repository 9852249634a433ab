"""From a trained model of visits to synthetic patients, some at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ehrsynth.constraints.over_time import RulesOverTime
from ehrsynth.constraints.policy import Policy
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.models.visits.base import VisitModel, sampled
from ehrsynth.sampling.acceptance import Acceptance
from ehrsynth.sampling.in_time import InTime
from ehrsynth.seeding import derive
from ehrsynth.visits import Integers, Visits

RAREST = 200  # patients drawn for each that is wanted before a condition counts as too rare
TRIED = 4096  # drawn before that is judged


class Patients(NamedTuple):
    """Patients through time.

    Attributes:
        static: [n], what is said of each once; NaN where missing.
        visits: theirs.
    """

    static: Records
    visits: Visits

    def of(self, rows: Integers) -> "Patients":
        """Return some of them, in the order of ``rows``."""
        return Patients(self.static[torch.from_numpy(rows)], self.visits.of_patients(rows))

    @classmethod
    def joined(cls, parts: Iterable["Patients"]) -> "Patients":
        """Return the patients of one or more batches, one after the other."""
        static, visits = zip(*parts, strict=True)
        return cls(Records.joined(static), Visits.joined(visits))

    @classmethod
    def pooled(cls, parts: Iterable["Patients"], sizes: Iterable[int]) -> Iterator["Patients"]:
        """Yield as many patients as each of the sizes says, as long as there are some; the last may be fewer."""
        rest = iter(parts)
        waiting: list[Patients] = []
        for size in sizes:
            while sum(len(part.visits) for part in waiting) < size and (part := next(rest, None)) is not None:
                waiting.append(part)
            if not waiting:
                return
            pool = cls.joined(waiting)
            rows = np.arange(len(pool.visits))
            waiting = [pool.of(rows[size:])] if len(rows) > size else []
            yield pool.of(rows[:size])


def drawn_patients(
    model: VisitModel,
    n: int,
    seed: int,
    static: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Patients]:
    """Draw patients, and yield them as they come.

    Args:
        model: a trained model.
        n: patients, at least 1.
        seed: of the draws.
        static: encoded rows [n, s] that they shall have; drawn if not given.
        progress: called with the number of patients done so far.

    Raises:
        OptionError: ``n`` is not positive, or not as many rows are given.
    """
    for rows, visits in sampled(model, n, seed, static, progress=progress):
        yield Patients(Records.of_dense(model.layout, rows), visits)


def accepted_patients(
    model: VisitModel,
    n: int,
    seed: int,
    acceptance: Acceptance,
    *,
    rows: Callable[[int, int], Tensor | None] = lambda count, seed: None,
    asked: InTime | None = None,
    rules: RulesOverTime | None = None,
    policy: Policy = "keep",
    progress: Callable[[int], None] | None = None,
) -> Iterator[Patients]:
    """Draw patients until enough have what is asked of their visits and keep the rules; see ``drawn_patients``.

    Args:
        model: a trained model.
        n: patients, at least 1.
        seed: of the draws.
        acceptance: filled in with how many were drawn, and what became of them.
        rows: from a number of patients and a seed to rows that they shall have, or None for the model's own.
        asked: of their visits.
        rules: to be kept as ``policy`` says.
        policy: ``reject`` draws others for patients who break a rule, ``repair`` leaves out what breaks it.
        progress: called with the number of patients done so far.

    Raises:
        OptionError: fewer than one of ``RAREST`` patients drawn may be handed over.
    """
    done = batch = 0
    enforced = rules is not None and policy != "keep"
    while done < n:
        if acceptance.drawn >= TRIED and done * RAREST < acceptance.drawn:
            what = [*([f"condition {asked}"] if asked else []), *([f"constraints.policy={policy}"] if enforced else [])]
            raise OptionError(
                f"{' and '.join(what)}: {done} of {acceptance.drawn:,} patients drawn could be kept, fewer than one in"
                f" {RAREST}; ask for something less rare"
            )
        own = derive(seed, "accepted", batch)
        count = model.sample_batch
        drawn, visits = next(sampled(model, count, own, rows(count, own)))
        batch += 1
        acceptance.drawn += count
        kept = np.ones(count, bool) if asked is None else asked.met_by(visits)
        acceptance.accepted += int(kept.sum())
        if rules is not None and enforced:
            broken = rules.broken(visits) & kept
            acceptance.broken += int(broken.sum())
            if policy == "repair" and broken.any():
                some = np.flatnonzero(kept)  # in which those that break no rule come back as they are
                visits, changed = rules.repaired(visits.of_patients(some))
                drawn, kept = drawn[torch.from_numpy(some)], ~rules.broken(visits)
                acceptance.changed += int(changed[kept].sum())
                kept &= np.ones(len(some), bool) if asked is None else asked.met_by(visits)
            else:
                kept &= ~broken
        chosen = np.flatnonzero(kept)[: n - done]
        done += len(chosen)
        if progress is not None:
            progress(done)
        if len(chosen):
            yield Patients(Records.of_dense(model.layout, drawn), visits).of(chosen)
