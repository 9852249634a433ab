"""Questions of a run that take the model itself, not only the patients it has drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ehrsynth.errors import expect
from ehrsynth.evaluation.privacy.likelihood import likelihood_membership, without_likelihood
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.temporal.continuations import (
    CutOff,
    continuation_scores,
    days_to,
    logistic_odds,
    without_continuations,
)
from ehrsynth.layout import Records
from ehrsynth.metrics.temporal.content import most_common
from ehrsynth.models.condition import Condition
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.base import VisitModel
from ehrsynth.seeding import numpy_rng, torch_rng
from ehrsynth.study.watch import Step
from ehrsynth.visits import Visits

FEATURES = 100  # codes that the regression looks at
LEARNED_FROM = 5_000  # records of R that it learns from


@dataclass(kw_only=True)
class AskedOfModel:
    """Whether training patients are likelier to the model than others, and whether it continues records as they went.

    Args:
        attacked: patients of R, and of H, whose likelihood is compared.
        patients: of H whose records are continued; 0 continues none.
        draws: continuations of each.
        codes: how many events are asked for, the most common codes of R.
        horizons: days within which they come.
    """

    attacked: int = 2_000
    patients: int = 300
    draws: int = 20
    codes: int = 5
    horizons: tuple[int, ...] = (30, 90, 365)

    def __post_init__(self) -> None:
        for name, least in (("attacked", 0), ("patients", 0), ("draws", 1), ("codes", 1)):
            value = getattr(self, name)
            fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
            expect(fits, f"temporal.model.{name}", value, f"a whole number, at least {least},")
        fits = bool(self.horizons) and all(isinstance(days, int | float) and days > 0 for days in self.horizons)
        expect(fits, "temporal.model.horizons", self.horizons, "some numbers of days")

    def scores(
        self, model: VisitModel, static: Mapping[str, Tensor], visits: Mapping[str, Visits], seed: int, step: Step
    ) -> list[Score]:
        """Ask a trained model.

        Args:
            model: in evaluation mode.
            static: the encoded rows of ``train`` and ``holdout``, without missing values.
            visits: theirs.
            seed: of all draws.
            step: told what is about to be asked.
        """
        step("membership by likelihood")
        found = self._likelihood(model, static, visits, seed)
        step("continued records")
        return found + self._continued(model, static, visits, seed)

    @torch.no_grad()
    def _likelihood(
        self, model: VisitModel, static: Mapping[str, Tensor], visits: Mapping[str, Visits], seed: int
    ) -> list[Score]:
        nats = []
        n = min(self.attacked, *map(len, visits.values()))
        for part in ("train", "holdout"):
            rows = numpy_rng(seed, "likelihood", part).permutation(len(visits[part]))[:n]
            some = visits[part].of_patients(rows)
            found = model.log_likelihood(static[part][torch.from_numpy(rows)], some)
            if found is None:
                return without_likelihood(f"{type(model).__name__} has no likelihood")
            nats.append(-found.double().cpu() / torch.from_numpy(np.maximum(some.per_patient, 1)))
        members, others = nats
        return likelihood_membership(members, others, seed)

    def _continued(
        self, model: VisitModel, static: Mapping[str, Tensor], visits: Mapping[str, Visits], seed: int
    ) -> list[Score]:
        if not model.continues:
            return without_continuations(f"{type(model).__name__} draws whole records; it continues none")
        if not self.patients:
            return without_continuations("temporal.model.patients=0")
        schema, width = model.visit_schema, len(model.visit_schema.codes)
        train = CutOff.of(visits["train"], LEARNED_FROM, numpy_rng(seed, "continued/train"))
        test = CutOff.of(visits["holdout"], self.patients, numpy_rng(seed, "continued/holdout"))
        counts = np.bincount(visits["train"].codes, minlength=width)
        events = np.argsort(-counts, kind="stable")[: min(self.codes, int((counts > 0).sum()))]
        if not len(events) or not len(test.lengths):
            return without_continuations("no visit, or no code")
        odds = logistic_odds(train, test, schema, most_common(visits["train"], width, FEATURES), events, self.horizons)
        known, rows, drawn = test.known, static["holdout"][torch.from_numpy(test.patients)], []
        size = max(1, model.sample_batch // self.draws)
        for number, start in enumerate(range(0, len(known), size)):
            some = np.repeat(np.arange(start, min(start + size, len(known))), self.draws)
            generator = torch_rng(seed, "continued", number, device=model.device)
            given = _without_outcomes(model, rows[torch.from_numpy(some)], generator)
            longer = model.continue_from(known.of_patients(some), given, generator)
            days = days_to(longer, test.lengths[some], events, width)
            drawn.append(days.reshape(-1, self.draws, len(events)))
        names = [schema.codes[code].name for code in events]
        came = days_to(test.visits, test.lengths, events, width)
        return continuation_scores(came, np.concatenate(drawn), odds, names, self.horizons)


def truncated(model: VisitModel) -> str | None:
    """Return a warning if what the model draws is cut by construction; None if it draws as it has learned."""
    how = getattr(model, "truncation", Truncation())
    if how == Truncation():
        return None
    return (
        f"drawn with temperature {how.temperature:g} and top_p {how.top_p:g}: these are not the chances that the model"
        " has learned, and truncation cuts rare codes by construction"
    )


@torch.no_grad()
def _without_outcomes(model: VisitModel, static: Tensor, generator: torch.Generator) -> Tensor:
    """Return rows [n, s] whose outcomes, which lie in the future, are drawn given the rest."""
    others = [column.name for column in model.schema.columns if column.role != "outcome"]
    if len(others) == len(model.schema.columns):
        return static
    asked = Condition.of(Records.of_dense(model.layout, static), others).to(model.device)
    return model.static_rows(len(static), generator, asked)
