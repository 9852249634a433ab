"""Several sites -> one generator, or one synthetic table, without rows leaving a site.

import ehrsynth
found = ehrsynth.federate("matrices/demo", "vae", by="insurance", rounds=20)
print(found.frame)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal, get_args

import pandas as pd

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.prepare import Recipe
from ehrsynth.errors import OptionError, expect
from ehrsynth.evaluation.ranking import Profile
from ehrsynth.study import train
from ehrsynth.study.build import build
from ehrsynth.study.call import asked
from ehrsynth.study.conf import Choice, Node
from ehrsynth.study.federate.joined import joined
from ehrsynth.study.federate.merged import SYNTHETIC, merged
from ehrsynth.study.federate.per_site import Tables, note_sites
from ehrsynth.study.federate.rounds import AVERAGED
from ehrsynth.study.federate.sites import sites_of
from ehrsynth.study.privacy import AuditOptions, Privacy
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import NOBODY, Watch

Method = Literal["fedavg", "merged"]
OWN = ("sites", "by", "method", "rounds", "align")


@dataclass(frozen=True)
class FederateSpec:
    """A federated training, in the words of ``conf/federate.yaml``.

    Attributes:
        config: in the words of ``conf/train.yaml``: of the training at every site.
        command: that asked for it.
        sites: folders, one a site; None where ``by`` splits one matrix.
        by: the column whose levels are sites.
        method: ``fedavg`` averages weights in ``rounds``; ``merged`` puts synthetic tables together.
        rounds: over which the epochs of a site are spread.
        align: whether ``sites`` agree on columns, by sums of counts.
    """

    config: Node
    command: str
    sites: Sequence[str] | None
    by: str | None
    method: Method
    rounds: int
    align: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], command: str) -> "FederateSpec":
        """Take it out of what ``conf/federate.yaml`` composes to."""
        rest = {name: value for name, value in config.items() if name not in OWN}
        return cls(rest, command, **{name: config[name] for name in OWN})

    def check(self) -> None:
        """Raise an ``OptionError`` for values that no part below could explain as well."""
        expect(self.method in get_args(Method), "method", self.method, " or ".join(get_args(Method)))
        expect(isinstance(self.align, bool), "align", self.align, "true or false")
        expect(self.by is None or isinstance(self.by, str), "by", self.by, "a column, or null,")
        listed = isinstance(self.sites, list | tuple) and all(isinstance(one, str) for one in self.sites)
        expect(self.sites is None or listed, "sites", self.sites, "a list of folders that prepare wrote")
        if self.sites is not None and self.by is not None:
            raise OptionError(f"by={self.by} sites=...: folders are sites already; leave one of them out")
        retry = self.config["retry"]
        expect(retry is None, "retry", retry, "null (of train -m; the same command goes on)")
        expect(not self.align or self.sites is not None, "align", self.align, "false, for by= splits one matrix,")


@dataclass(frozen=True, repr=False)
class Federated:
    """What sites have made together.

    Attributes:
        folder: a run; or, of merged tables, a folder with ``synthetic.parquet`` and its report.
        sites: names, with their training patients.
        frame: one row a site and table: scores against the patients that this site held out.
        run: the same as ``folder``, of averaged models.
    """

    folder: Path
    sites: Mapping[str, int]
    frame: pd.DataFrame
    run: RunFolder | None = None

    def __repr__(self) -> str:
        """Say where it lies."""
        return f"<Federated over {len(self.sites)} sites: {self.folder}, see .frame>"


def federate(
    data: Matrix | Recipe | str | Path | Sequence[str | Path],
    model: Any = "vae",
    options: Mapping[str, Any] | None = None,
    *,
    by: str | None = None,
    method: Method = "fedavg",
    rounds: int | None = None,
    align: bool = False,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    trainer: Choice = None,
    seed: int | None = None,
    n: int | None = None,
    experiment: str | None = None,
    suite: Choice = None,
    quick: Choice = None,
    evaluation: Mapping[str, Any] | None = None,
    constraints: Mapping[str, Any] | None = None,
    profile: Profile | Choice = None,
    privacy: Choice = None,
    logger: Choice | list[str] = None,
    study: str | None = None,
    runs: str | Path = "runs",
    matrices: str | Path = "matrices",
    watch: Watch = NOBODY,
) -> Federated:
    """Train over several sites as if each kept its rows; all of them are in this process, so nothing is secret from it.

    Args:
        data: a matrix, its folder or a recipe, that ``by`` splits; or a list of folders, one a site.
        model: as ``train`` has it.
        options: of the model.
        by: the column whose levels are sites.
        method: ``fedavg`` averages the weights of the sites' models after every round; ``merged`` puts together what
            a model of each site's own generates.
        rounds: over which the epochs of a site are spread; 10 by default.
        align: let a list of sites agree on columns by sums of counts; else they must have the same.
        max_epochs: of a site's training, all rounds together.
        batch_size: rows of a step at a site.
        trainer: as ``train`` has it.
        seed: of weights, batches and samples; each site has streams of its own.
        n: synthetic records to hand over, of all sites together.
        experiment: as ``train`` has it, as are the next ones.
        suite: for what is handed over.
        quick: for every checkpoint, and for the scores by site.
        evaluation: ``checkpoints``, ``rows``, ``seed``.
        constraints: ``weight`` and ``policy``.
        profile: the use case whose weights choose the checkpoint.
        privacy: every site trains privately, and what was spent on a patient is what the most spending site has.
        logger: of W&B, or a name in ``conf/logger``.
        study: the folder below ``runs``.
        runs: where runs are kept.
        matrices: where what is put together is kept.
        watch: who is told what happens.

    Raises:
        OptionError: models of this kind have no average, or an option is wrong.
        SchemaError: a site has other columns.
        TrainingError: in some round no site has finished.
    """
    given = dict(locals())
    own = {name: given.pop(name) for name in ("by", "method", "rounds", "align")}
    folders = None if isinstance(data, Matrix | Recipe | str | Path) else [str(folder) for folder in data]
    if folders is not None:
        expect(bool(folders), "data", folders, "a matrix, or a list of folders")
        own["sites"], given["data"] = folders, folders[0]
    config, command = asked("federate", {**given, "rows": None}, None, **own)
    if folders is not None:
        config["data"]["matrix"] = None
    config["paths"]["matrices"] = str(matrices)
    return run(FederateSpec.of(config, command.replace("ehrsynth.train", "ehrsynth.federate", 1)), watch)


def run(spec: FederateSpec, watch: Watch = NOBODY) -> Federated:
    """Carry it out, or return what the same command has made before.

    Raises:
        InputError, TrainingError: see ``federate``.
    """
    spec.check()
    base = Spec.of(spec.config, spec.command)
    if spec.sites is not None:
        thresholds = build(base.recipe["preprocess"], "preprocess") if spec.align else None
        folder = joined(spec.sites, thresholds, Path(base.paths["matrices"]), watch).folder
        base = replace(base, data={**base.data, "matrix": str(folder)})
    base.check()
    audit = AuditOptions.of(base.audit)
    expect(audit is None, "audit.canaries", audit and audit.canaries, "0 (an audit over sites is not built)")
    private = Privacy.of(base.privacy)
    if private is not None and private.schema:
        raise OptionError(
            f"privacy.schema={private.schema}: counts of all sites together; privacy.public=schema.json is"
            " known without patients"
        )
    expect(not base.through_time, "data.matrix", base.data["matrix"], "a matrix, for trajectories know no sites yet,")
    matrix = train.open_data(base, watch)
    assert isinstance(matrix, Matrix)
    sites = sites_of(matrix, spec.by, watch.say)
    patients = {site.name: site.patients for site in sites}
    watch.say(f"{len(sites)} sites: {', '.join(f'{name} {count:,}' for name, count in patients.items())}")
    if spec.method == "fedavg":
        together = {"_name_": f"{base.model_name}{AVERAGED}"}
        rounds = {"by": spec.by, "rounds": spec.rounds}
        found = train.run(replace(base, model={**base.model, **together}, federation=rounds), watch)
        rmtree(found.path / "sites", ignore_errors=True)  # what sites went on from
        tables: Tables = {"fedavg": found.synthetic}
        return Federated(found.path, patients, note_sites(found.path, base, sites, tables, watch), found)
    folder, own = merged(base, spec.by, matrix, sites, watch)
    tables = {"merged": folder / SYNTHETIC, "local": dict(zip(patients, own, strict=True))}
    return Federated(folder, patients, note_sites(folder, base, sites, tables, watch))
