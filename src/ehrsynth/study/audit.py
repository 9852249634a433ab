"""An audit of a run: canaries planted by coins among its training rows, and guessed from what it has learned.

Steinke et al., Privacy auditing with one (1) training run, NeurIPS 2023; see ``metrics.audit``. Two things are audited:
the mechanism, by how likely the final weights find each canary, and the release, by how near it is to a synthetic
record. The canaries are made of the columns alone, and are training rows for the model and for nobody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ehrsynth.errors import FileError
from ehrsynth.files import read_object, write_json
from ehrsynth.layout import Records
from ehrsynth.metrics.audit import Canary, audit_of_scores
from ehrsynth.metrics.canaries import drawn_canaries
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest
from ehrsynth.models.adversarial import AdversarialModel
from ehrsynth.models.base import SyntheticModel
from ehrsynth.reporting.audited import Audience, Audited, Found
from ehrsynth.schema import Schema
from ehrsynth.seeding import secret_rng, torch_rng
from ehrsynth.study.privacy import AuditOptions
from ehrsynth.study.run_folder import RunFolder

WRONG = 0.05  # chance that any bound of a run is too high
SHARE = 1 / 3  # of the canaries about which a guess is made, unless told otherwise: the surest are rightest
DRAWS = 64  # of the loss of a canary


@dataclass(frozen=True)
class Canaries:
    """The canaries of a run, by their kind.

    Attributes:
        made: all of them.
        planted: which of these are training rows, bool [m].
    """

    made: Mapping[Canary, Records]
    planted: Mapping[Canary, Tensor]

    @classmethod
    def of(
        cls, asked: AuditOptions | None, schema: Schema, seed: int, folder: RunFolder, *, secret: bool
    ) -> "Canaries | None":
        """Return the canaries of a run; None if it is not audited.

        The coins are kept in the run's folder, so that a training goes on with those that it began with.

        Args:
            asked: the options.
            schema: the columns.
            seed: of the run, and of the canaries.
            folder: of the run.
            secret: whether the coins are drawn from a stream that nobody knows, as the noise is; else a run that is
                made again is the same.

        Raises:
            FileError: the training has begun, and its coins are lost or damaged.
        """
        if asked is None:
            return None
        made = {
            kind: drawn_canaries(schema, kind, asked.canaries, torch_rng(seed, "canaries", kind))
            for kind in asked.kinds
        }
        file = folder.canaries
        if not file.is_file():
            if any((folder.path / "checkpoints").glob("*.ckpt")):
                raise FileError(f"{file}: no such file, and training has begun; remove {folder.path}, and run it again")
            coins = secret_rng() if secret else torch_rng(seed, "coins")
            fallen = {kind: (torch.rand(asked.canaries, generator=coins) < 0.5).int().tolist() for kind in asked.kinds}
            write_json(file, {"planted": {kind: "".join(map(str, each)) for kind, each in fallen.items()}})
        kept = read_object(file, planted=dict)["planted"]
        fits = set(kept) == set(made) and all(
            isinstance(each, str) and len(each) == asked.canaries and set(each) <= {"0", "1"} for each in kept.values()
        )
        if not fits:
            raise FileError(f"{file}: {asked.canaries} coins, 0 or 1, of each of {', '.join(made)} were expected")
        return cls(made, {kind: torch.tensor([coin == "1" for coin in kept[kind]]) for kind in made})

    @property
    def rows(self) -> Records:
        """Those that are training rows."""
        return Records.joined(made[self.planted[kind].nonzero().flatten()] for kind, made in self.made.items())


def audited(
    canaries: Canaries,
    asked: AuditOptions,
    model: SyntheticModel,
    synthetic: Records,
    *,
    patients: int,
    claimed: float | None,
) -> Audited:
    """Guess from the weights, and from the synthetic records, which canaries were training rows.

    Args:
        canaries: of the run.
        asked: its options.
        model: trained, in evaluation mode.
        synthetic: what it hands over.
        patients: training rows beside the canaries.
        claimed: epsilon that must not be excluded, at the delta of the options.
    """
    scores = {kind: scores_of(model, made) for kind, made in canaries.made.items()}
    means = observed_means(synthetic.values)
    table = Points.of(synthetic, means)
    each: list[tuple[Audience, Canary, str, Tensor]] = []
    for kind, made in canaries.made.items():
        if (known := scores[kind]) is not None:
            each.append(("mechanism", kind, *known))
        each.append(("release", kind, "nearness to a record", -nearest(Points.of(made, means), table)[0]))
    confidence = 1 - WRONG / len(each)  # Bonferroni
    guesses = asked.guesses or max(2, round(SHARE * asked.canaries))
    found = [
        Found(of, kind, by, audit_of_scores(score, canaries.planted[kind], asked.delta, guesses, confidence))
        for of, kind, by, score in each
    ]
    return Audited(
        tuple(found),
        {kind: int(coins.sum()) for kind, coins in canaries.planted.items()},
        patients,
        asked.delta,
        confidence,
        claimed,
        "" if any(scores.values()) else "the model tells neither a likelihood nor a loss or score of a record",
    )


@torch.no_grad()
def scores_of(model: SyntheticModel, records: Records) -> tuple[str, Tensor] | None:
    """Return by what, and how well [n], a model knows records: by likelihood, its critic, or the loss of each.

    The loss of each record is of the same draws, those that no record is by chance luckier with.

    Args:
        model: in evaluation mode.
        records: without missing values.

    Returns:
        None of a model that tells nothing of single records.
    """
    if (likelihood := model.log_likelihood(records)) is not None:
        return "likelihood", likelihood.double().cpu()
    rows = records.dense().to(model.device)
    if isinstance(model, AdversarialModel):
        return "score of the critic", model.judged(rows).flatten().double().cpu()
    if model.private != "gradients" or model.prevents_privacy() is not None:
        return None
    losses = [model.record_losses(row, torch_rng(0, "audit", device=model.device), DRAWS) for row in rows.split(1)]
    return "loss", -torch.cat(losses).double().cpu()
