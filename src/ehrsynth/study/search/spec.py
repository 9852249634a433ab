"""What a search is to be, as plain data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

from ehrsynth.errors import OptionError, expect
from ehrsynth.study.conf import Node
from ehrsynth.study.privacy import AuditOptions
from ehrsynth.study.search.database import DATABASE
from ehrsynth.study.search.looked_at import cards_of
from ehrsynth.study.search.objectives import check_names
from ehrsynth.study.search.spaces import Space, changed, space_of, typed
from ehrsynth.study.spec import Spec, whole
from ehrsynth.study.train import study_folder


@dataclass(frozen=True)
class SearchSpec:
    """A search, in the words of ``conf/search.yaml``; whoever has it can take part in it.

    Attributes:
        config: of the trainings, in the words of ``conf/train.yaml``; what is not searched stays as it is there.
        command: that would train with these settings.
        search: ``space``, ``objectives``, and of the halving ``eta`` (None for none) and ``grace``.
        trials: there shall be in all.
        seconds: of processor time after which no trial begins; None for no end.
        workers: processes.
        winners: to be carried out in full.
    """

    config: Node
    command: str
    search: Node
    trials: int
    seconds: float | None
    workers: int
    winners: int

    @classmethod
    def of(cls, config: Mapping[str, Any], command: str) -> "SearchSpec":
        """Take a search out of what ``conf/search.yaml`` composes to."""
        own = ("search", "trials", "seconds", "workers", "winners")
        rest = {name: value for name, value in config.items() if name not in own}
        return cls(rest, command, **{name: config[name] for name in own})

    @cached_property
    def base(self) -> Spec:
        """The training with the settings as they stand."""
        return Spec.of(self.config, self.command)

    @cached_property
    def space(self) -> Space:
        """What is tried."""
        return space_of(self.search["space"], self.config)

    @property
    def objectives(self) -> Sequence[str]:
        """What is maximised."""
        found: Sequence[str] = self.search["objectives"]
        return found

    @property
    def study(self) -> Path:
        """The folder of all runs, its trials' too."""
        return study_folder(self.base)

    @property
    def database(self) -> Path:
        """The file that keeps its trials, and those of other models."""
        return self.study / DATABASE

    def name(self, fingerprint: str) -> str:
        """Return what the search is known by in its database: the model, and a hash of what decides the trials.

        Args:
            fingerprint: of the data.
        """
        made_from = {"base": self.base.identity(fingerprint), "search": self.search}
        digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.base.model_name}-{digest}"

    def trial(self, values: Mapping[str, Any]) -> Spec:
        """Return the training of a trial."""
        return Spec.of(changed(self.config, values), " ".join([self.command, *typed(values)]))

    def check(self) -> None:
        """Raise an ``OptionError`` for values that no part below could explain as well."""
        for name in ("trials", "workers"):
            whole(name, getattr(self, name), least=1)
        whole("winners", self.winners, least=0)
        number = isinstance(self.seconds, Real) and not isinstance(self.seconds, bool) and self.seconds > 0
        expect(self.seconds is None or number, "seconds", self.seconds, "a number above 0, or null,")
        if self.search["eta"] is not None:
            whole("search.eta", self.search["eta"], least=2)
        whole("search.grace", self.search["grace"], least=1)
        named = isinstance(self.objectives, list | tuple) and all(isinstance(name, str) for name in self.objectives)
        expect(named, "search.objectives", self.objectives, "a list of names")
        expect(
            self.config["retry"] is None, "retry", self.config["retry"], "null (of train -m; a trial failed for good)"
        )
        self.base.check()
        expect(self.base.privacy is None, "privacy", "dp", "none (each trial would spend epsilon, unaccounted)")
        asked = AuditOptions.of(self.base.audit)
        expect(asked is None, "audit.canaries", asked and asked.canaries, "0 (train audits the run that is kept)")
        check_names(self.objectives, {card.name: card for card in cards_of(self.base)})
        if self.base.trainer["devices"] != 1 or "trainer.devices" in self.space:
            raise OptionError(
                f"trainer.devices={self.base.trainer['devices']}: a trial is one process, and several trials run at"
                " once; leave it, and use workers=2"
            )
