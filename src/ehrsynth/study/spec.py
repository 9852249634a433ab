"""What a run is to be, as plain data, and its identity."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ehrsynth.constraints.policy import POLICIES
from ehrsynth.data.prepare import MATRIX, TRAJECTORIES
from ehrsynth.data.proposals.propose import PROPOSE
from ehrsynth.data.trajectories import VISITS_JSON
from ehrsynth.errors import OptionError, expect
from ehrsynth.study.build import build
from ehrsynth.study.conf import Node
from ehrsynth.study.privacy import AuditOptions, Privacy

RECIPE = ("source", "cohort", "features", "preprocess", "split", "constraints")
# Where results go and who is told of them does not change what they are; the matrix stands in for its recipe.
IDENTITY = ("model", "trainer", "profile", "evaluation", "seed", "n")
# Options of the trainer that are ours, not Lightning's, with their defaults: runs of before they existed had these.
OURS = {"tf32": True, "compile": False, "processor_seconds": None}
LATER = ("keep", "temporal", "privacy", "federation", "audit")  # what configurations of earlier versions lack
UNCONFIGURED = ("command", "tuning")  # how it came about: no part of the configuration either
UNRULED: Node = {"weight": 0, "policy": "keep"}  # what is done about the rules of the matrix, unless told otherwise


@dataclass(frozen=True)
class Spec:
    """One run, in the words of ``conf/train.yaml``: JSON can hold it, and whoever has it can carry it out.

    Attributes:
        model, trainer, profile: the class and its options.
        evaluation: the suites ``quick`` (at so many ``checkpoints``, on so many ``rows``) and ``full``, their ``seed``.
        data: ``matrix``, the folder, or None for one that ``recipe`` makes, called ``name``; ``batch_size``,
            ``drop_last``.
        rows: which training rows the model sees, and how often: the options of ``TrainingRows``.
        recipe: the parts of a ``Recipe``.
        constraints: ``weight`` of the penalty for broken rules, and the ``policy`` of sampling.
        logger, paths: who is told, and where results go.
        seed: of weights, batches and samples.
        n: synthetic records; None takes as many as there are training rows.
        study: the runs it belongs to; None takes the name of the data.
        command: that asked for it.
        keep: checkpoints of the finished run, by what the profile thinks of them; None keeps all.
        tuning: what it took to find these settings, if they were searched for.
        temporal: what patients through time are asked besides: the suites ``quick`` and ``full``, and what is asked of
            the ``model`` itself.
        privacy: the options of a private training; None trains without.
        federation: ``by``, the column whose levels are sites, or None for the sites of a matrix that was put together;
            and ``rounds`` of federated averaging, or the one ``site`` whose rows are trained on. None knows no sites.
        audit: the options of ``AuditOptions``; None audits nothing.
    """

    model: Node
    trainer: Node
    profile: Node
    evaluation: Node
    data: Node
    rows: Node
    recipe: Node
    constraints: Node
    logger: Node
    paths: Node
    seed: int
    n: int | None
    study: str | None
    command: str
    keep: int | None = None
    tuning: Node | None = None
    temporal: Node | None = None
    privacy: Node | None = None
    federation: Node | None = None
    audit: Node | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], command: str) -> "Spec":
        """Take a spec out of what ``conf/train.yaml`` composes to."""
        apart = ("recipe", "constraints", *LATER, *UNCONFIGURED)
        own = [field.name for field in fields(cls) if field.name not in apart]
        asked = config["constraints"]
        given = asked if isinstance(asked, Mapping) else {}
        constraints = {**UNRULED, **{key: value for key, value in given.items() if key != "rules"}}
        recipe = {name: config[name] for name in RECIPE} | {"constraints": rules_asked_for(asked)}
        recipe["form"] = config.get("form", MATRIX)
        later: Node = {name: config.get(name) for name in LATER}
        return cls(
            **{name: config[name] for name in own}, **later, recipe=recipe, constraints=constraints, command=command
        )

    @property
    def config(self) -> Node:
        """The spec as ``conf/train.yaml`` lays it out."""
        content = {name: value for name, value in asdict(self).items() if name not in UNCONFIGURED}
        recipe: Node = content.pop("recipe")
        for name in ("privacy", "federation", "audit"):
            if content[name] is None:
                del content[name]
        return {**content, **recipe, "constraints": {"rules": recipe["constraints"], **self.constraints}}

    @property
    def through_time(self) -> bool:
        """Whether it is about trajectories: their folder says so, or what is to be prepared."""
        if self.data["matrix"] is None:
            return bool(self.recipe["form"] == TRAJECTORIES)
        return (Path(str(self.data["matrix"])) / VISITS_JSON).is_file()

    @property
    def checkpoint_every(self) -> int:
        """Epochs from one checkpoint to the next; the last epoch is one in any case."""
        return max(1, -(-int(self.trainer["max_epochs"]) // int(self.evaluation["checkpoints"])))

    @property
    def model_name(self) -> str:
        """What the runs of this model are filed under: its ``_name_``, or else the name of the model's module."""
        if "_name_" in self.model:
            return str(self.model["_name_"])
        module, name = str(self.model["_target_"]).rsplit(".", 1)
        return name if module == "__main__" else module.rsplit(".", 1)[-1]

    def identity(self, fingerprint: str) -> str:
        """Return the run's identity: a hash of what decides the results.

        Args:
            fingerprint: of the matrix, which stands for the folder it happens to lie in.
        """
        kept = {name: getattr(self, name) for name in IDENTITY}
        kept["trainer"] = {key: value for key, value in self.trainer.items() if key not in OURS or value != OURS[key]}
        if unusual := {key: value for key, value in self.constraints.items() if value != UNRULED[key]}:
            kept["constraints"] = {key: value if key == "policy" else float(value) for key, value in unusual.items()}
        if any(self.rows.values()):
            kept["rows"] = self.rows
        if self.through_time:
            kept["temporal"] = self.temporal
        if (private := Privacy.of(self.privacy)) is not None:
            kept["privacy"] = private.identity
        if self.federation is not None:
            kept["federation"] = self.federation
        if (audit := AuditOptions.of(self.audit)) is not None:
            kept["audit"] = asdict(audit)
        data = {"fingerprint": fingerprint, **{key: self.data[key] for key in ("batch_size", "drop_last")}}
        return hashlib.sha256(json.dumps({**kept, "data": data}, sort_keys=True).encode()).hexdigest()[:10]

    def variant(self, fingerprint: str) -> str:
        """Return the identity without the seed: runs that share it are repetitions of one another."""
        return replace(self, seed=None).identity(fingerprint)  # type: ignore[arg-type]

    def check(self) -> None:
        """Raise an ``OptionError`` for values that no part below could explain as well."""
        try:
            json.dumps(self.config)
        except TypeError as error:  # by what then should this run be known?
            raise OptionError(
                f"an option is no plain value ({error}); numbers, texts and lists were expected"
            ) from None
        whole("seed", self.seed)
        whole("evaluation.seed", self.evaluation["seed"])
        whole("trainer.max_epochs", self.trainer["max_epochs"], least=1)
        for key in ("checkpoints", "rows", "trees"):
            whole(f"evaluation.{key}", self.evaluation[key], least=1)
        whole("data.batch_size", self.data["batch_size"], least=1)
        expect(isinstance(self.rows, Mapping), "rows", self.rows, "rows.oversample, rows.reweight or rows.only")
        for name in ("oversample", "only"):
            expect(isinstance(self.rows[name], Mapping), f"rows.{name}", self.rows[name], f"rows.{name}.COLUMN=VALUE")
        for name in ("n", "keep"):
            if (count := getattr(self, name)) is not None:
                whole(name, count, least=1)
        expect(
            self.trainer["devices"] not in (0, "0"), "trainer.devices", self.trainer["devices"], "at least one device"
        )
        if self.trainer["devices"] != 1 and self.trainer["strategy"] == "auto":
            raise OptionError(
                f"trainer.devices={self.trainer['devices']}: several processes need a strategy; use trainer=ddp, or"
                " trainer.strategy=ddp_fork_find_unused_parameters_true"
            )
        if unknown := sorted(set(self.constraints) - set(UNRULED)):
            raise OptionError(f"constraints.{unknown[0]}: no such option; use one of rules, {', '.join(UNRULED)}")
        weight, policy = self.constraints["weight"], self.constraints["policy"]
        number = isinstance(weight, Real) and not isinstance(weight, bool) and 0 <= float(weight) < inf
        expect(number, "constraints.weight", weight, "a number, at least 0,")
        expect(policy in POLICIES, "constraints.policy", policy, f"one of {', '.join(POLICIES)}")
        Privacy.of(self.privacy)  # says which of its options is wrong
        if AuditOptions.of(self.audit) is not None and self.through_time:
            raise OptionError("audit.canaries: they are rows, and these data are patients through time; use 0")
        measured = {card.name for card in build(self.evaluation["quick"], "evaluation.quick").cards}
        if not measured & set(self.profile["weights"]):
            raise OptionError(
                f"profile={self.profile['name']}: the suite at the checkpoints measures none of its metrics, so it"
                " could not choose one; use another profile or suite@evaluation.quick"
            )


def rules_asked_for(constraints: Any) -> str:
    """Return which rules a matrix is to have: a text says just that, a mapping under ``rules``."""
    return str(constraints.get("rules", PROPOSE) if isinstance(constraints, Mapping) else constraints)


def whole(key: str, value: Any, *, least: int | None = None) -> int:
    """Return ``value`` if it is a whole number.

    Raises:
        OptionError: it is something else, or less than ``least``; the message calls it ``key``.
    """
    fits = isinstance(value, Integral) and not isinstance(value, bool) and (least is None or int(value) >= least)
    expect(fits, key, value, "a whole number" if least is None else f"a whole number, at least {least},")
    return int(value)
