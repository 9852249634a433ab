"""A run under differential privacy: what it asks of model and data, how it trains, and what its ledger says."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ehrsynth.accounting import (
    Mechanism,
    SampledGaussian,
    ZeroConcentrated,
    epsilon_of,
    gaussian_within,
    noise_multiplier,
    rho_within,
    steps_within,
)
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.private_module import PrivateDataModule
from ehrsynth.data.trajectories import VISITS_JSON, Trajectories
from ehrsynth.errors import OptionError, expect
from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.score import Score
from ehrsynth.ledger import Ledger, Look, mechanisms_of
from ehrsynth.models.base import SeededModel, SyntheticModel
from ehrsynth.models.noisy_looks import NoisyLooks
from ehrsynth.models.private import PrivateGradients
from ehrsynth.seeding import secret_rng
from ehrsynth.study.conf import Node
from ehrsynth.study.loaded_run import torch_device
from ehrsynth.study.privacy import Privacy
from ehrsynth.study.private_columns import delta_of, looks_of, spent_before
from ehrsynth.study.spec import Spec

LEARNED = {  # by prepare, of training rows; a public schema is in their place
    "vocabulary and rare codes": "preprocess.min_count, min_prevalence",
    "levels of categories": "preprocess.min_level",
    "bounds and decimals of numbers": "preprocess.bounds",
    "columns left out": "preprocess.max_missing",
}
OF_VISITS = {"kinds of visits": "preprocess.min_level"}
PLAIN = {"precision": ("32-true", "32", 32, None), "accumulate_grad_batches": (1, None), "gradient_clip_val": (None,)}
PLAIN |= {"compile": (False, None), "strategy": ("auto", None), "devices": (1, "1", "auto")}
BY_DRAW = ("BySubject", "Given")  # splits in which what becomes of a patient does not hang on the others


def budget_of(spec: Spec, model_class: Any, data: Matrix | Trajectories) -> Node | None:
    """Return the options by which a model that spends epsilon by itself is told how much; None of any other."""
    asked = Privacy.of(spec.privacy)
    if asked is None or getattr(model_class, "private", None) != "release":
        return None
    if not (before := spent_before(data)):
        return {"epsilon": asked.epsilon, "delta": asked.delta}
    delta = delta_of(asked, data)
    left = ZeroConcentrated(rho_within(asked.epsilon, delta, before))
    return {"epsilon": epsilon_of([left], delta).rdp, "delta": delta}


def require_private(spec: Spec, model: SeededModel) -> None:
    """Raise an ``OptionError`` if a private run was asked for that model or options do not allow."""
    if spec.privacy is None:
        if model.private == "release":
            raise OptionError(f"privacy=none model={spec.model_name}: it spends epsilon; privacy=dp says how much")
        return
    if (why := model.prevents_privacy()) is not None:
        raise OptionError(f"privacy=dp model={spec.model_name}: {why}")
    for option, plain in PLAIN.items():
        if (value := spec.trainer.get(option, plain[0])) not in plain:
            raise OptionError(
                f"trainer.{option}={value}: a private training clips the gradients of each patient in one process at"
                f" full precision; trainer.{option}={plain[0]} was expected"
            )
    if spec.constraints["weight"]:
        raise OptionError(
            f"constraints.weight={spec.constraints['weight']}: no part of a private loss; use constraints.policy=reject"
        )
    for option in ("oversample", "reweight"):
        if spec.rows[option]:
            raise OptionError(f"rows.{option}: repeats patients, so that one counts as several; leave it out")


def train_privately(spec: Spec, model: SyntheticModel, data: PrivateDataModule) -> PrivateGradients | None:
    """Let a model look at training records with noise, and return how its gradients are to be made private.

    Its steps draw from a secret stream too: who knows what a step draws for its third record can tell the first two.

    Returns:
        None for a model that has learned all it will.
    """
    asked = Privacy.of(spec.privacy)
    assert asked is not None
    model.seed = int(secret_rng().initial_seed())
    if model.private == "release":
        model.observe(data.filled)
        return None
    n, device = data.patients, torch_device("cpu" if spec.trainer["accelerator"] == "cpu" else "auto")
    delta = asked.delta or 1 / n
    looks: tuple[Look, ...] = ()
    if asked.marginals and model.noisy_looks:
        alone = gaussian_within(asked.marginals * asked.epsilon, delta)
        noisy = NoisyLooks(data.filled, alone, model.noisy_looks, secret_rng())
        model.observe_noisily(noisy)
        looks = noisy.looks
    model.looks = looks
    before = [*spent_before(data.matrix), *mechanisms_of(looks)]
    return private_gradients(asked, before, n, data.rate, device)


def private_gradients(
    asked: Privacy, before: Sequence[Mechanism], n: int, rate: float, device: torch.device
) -> PrivateGradients:
    """Return how gradients are to be made private.

    Args:
        asked: the options.
        before: what was spent before the training.
        n: patients.
        rate: chance of each to be in a batch.
        device: to train on.
    """
    delta = asked.delta or 1 / n

    def noise(steps: int) -> float:
        wanted = asked.noise_multiplier
        return noise_multiplier(asked.epsilon, delta, rate, steps, before) if wanted is None else wanted

    most = None
    if asked.noise_multiplier is not None:
        most = steps_within(asked.epsilon, delta, rate, asked.noise_multiplier, before)
        expect(most > 0, "privacy.noise_multiplier", asked.noise_multiplier, "more noise")
    return PrivateGradients(
        device,
        noise=noise,
        max_grad_norm=asked.max_grad_norm,
        batch=rate * n,
        draws=asked.draws,
        generator=secret_rng(device),
        most=most,
    )


def note_training(model: SeededModel, strategy: PrivateGradients, steps: int, rate: float) -> None:
    """Note what a training of so many steps has spent, into which patients came by coins of this rate."""
    spent = SampledGaussian(strategy.noise_multiplier, rate, steps)
    why = f"DP-SGD: gradients of a patient clipped to {strategy.max_grad_norm:g}, Poisson sampling"
    model.looks = (*model.looks, Look("training", spent, why))


def ledger_of(spec: Spec, model: SeededModel, data: Matrix | Trajectories, n: int) -> Ledger | None:
    """Return all that looked at the patients of a run; None if it was not private.

    Args:
        spec: of the run.
        model: trained.
        data: the matrix, or patients through time.
        n: training patients.
    """
    if (asked := Privacy.of(spec.privacy)) is None:
        return None
    through_time = isinstance(data, Trajectories)
    public, learned = asked.public is not None, LEARNED | (OF_VISITS if through_time else {})
    schemas = str(data.schema.to_dict()) + (str(data.visit_schema.to_dict()) if isinstance(data, Trajectories) else "")
    beside = f" and {VISITS_JSON} beside it" if through_time else ""
    where = f"privacy.public{beside}, sha256 {hashlib.sha256(schemas.encode()).hexdigest()[:10]}"
    found = [Look("number of training patients", "public", "taken as known")]
    found += looks_of(data)
    noisy = bool(found[1:])
    if noisy:
        found.append(Look("columns left out", "public", "none but those of too few patients"))
    for what, by in () if noisy else learned.items():
        found.append(Look(what, "public", where) if public else Look(what, "unaccounted", by))
    recipe = data.provenance
    if recipe.get("preprocess", {}).get("impute") == "marginal":
        found.append(Look("gaps filled with values of other patients", "unaccounted", "preprocess.impute"))
    if (split := recipe.get("split", {}).get("split", BY_DRAW[0])) not in BY_DRAW:
        found.append(Look(f"split {split}", "unaccounted", "who is trained on depends on the others"))
    ruled = data.over_time if isinstance(data, Trajectories) else data.constraints
    if ruled and spec.constraints["policy"] != "keep" and recipe.get("constraints") != "declared":
        found.append(Look("proposed rules", "unaccounted", "constraints.policy"))
    if spec.tuning is not None:
        found.append(Look("settings found by a search", "unaccounted", "each of its trials trained on these patients"))
    found.append(Look("choice of the checkpoint", "public", "the last one, whatever it scores"))
    return Ledger(asked.delta or 1 / n, (*found, *model.looks))


def scores_of(ledger: Ledger) -> list[Score]:
    """Return what a report says of epsilon and delta: a value only if it is of all that looked at patients."""
    epsilon, delta = (card_of(f"privacy/{name}", "lower") for name in ("epsilon", "delta"))
    if ledger.unaccounted:
        skipped = Score(epsilon, None, status="skipped", reason=f"no total: {ledger}")
        return [skipped, replace(skipped, card=delta)]
    return [Score(epsilon, ledger.total.value), Score(delta, ledger.delta)]
