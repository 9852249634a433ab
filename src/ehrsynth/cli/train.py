"""``ehrsynth train``: the composition root. A run is built here and nowhere else."""

import logging
import sys
import warnings
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from ehrsynth.callbacks.curves import LossCurves
from ehrsynth.callbacks.evaluate import EvaluateCheckpoints
from ehrsynth.callbacks.progress import EpochProgress
from ehrsynth.cli.console import err, out, progress, steps
from ehrsynth.cli.handover import hand_over
from ehrsynth.cli.launch import users_fault
from ehrsynth.cli.main import run
from ehrsynth.cli.options import whole_number
from ehrsynth.cli.prepare import prepare_from
from ehrsynth.cli.run_folder import RunFolder, identity, resolved
from ehrsynth.cli.study import StudyEnd, finish_sweep, matrix_folder, study_folder
from ehrsynth.cli.tables import checkpoint_line, score_table
from ehrsynth.constraints import Rules
from ehrsynth.data.datamodule import EhrDataModule
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import OptionError
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.files import sweep_leftovers, write_text
from ehrsynth.models.base import SyntheticModel
from ehrsynth.tracking import Tracker, tracking

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
# Lightning's own use of a torch class that newer versions deprecate; nothing a user could mend.
warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")


def task(cfg: DictConfig) -> None:
    """Train one run, or return the finished one, and print its scores and its three paths."""
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        folder = train(cfg)
        StudyEnd.runs.append(folder)
    except Exception as error:
        if sweeping:  # it goes on with the other jobs; its end repeats only the first error
            job = " ".join(HydraConfig.get().overrides.task)
            err.print(f"failed {job}: {users_fault(error) or f'{type(error).__name__}: {error}'}", soft_wrap=True)
        raise
    if not sweeping:
        out.print(score_table(folder.scores(), f"{folder.path}"))
        out.print(f"report     {folder.html}\nsynthetic  {folder.synthetic}\ncheckpoint {folder.chosen_checkpoint}")


finish = finish_sweep


def train(cfg: DictConfig) -> RunFolder:
    """Carry one run from the matrix to the report.

    Raises:
        InputError: an option or the data are wrong.
        TrainingError: the loss became NaN or infinite.
    """
    check_options(cfg)
    matrix = open_matrix(cfg)
    config = resolved(cfg)
    run_id = identity(config, matrix.fingerprint)
    study = study_folder(cfg)
    model_name = cfg.model["_target_"].rsplit(".", 2)[-2]
    folder = RunFolder(study / model_name / run_id)
    if folder.finished:
        out.print(f"{model_name} seed {cfg.seed}: finished already  {folder.path}")
        return folder
    out.print(f"{model_name} seed {cfg.seed}: {folder.path}")
    sweep_leftovers(folder.path)
    write_text(folder.config, OmegaConf.to_yaml(cfg, resolve=True))
    matrix.schema.save(folder.schema)
    with tracking(
        **config["logger"],
        group=study.name,
        name=f"{model_name}-seed{cfg.seed}",
        run_id=run_id,
        folder=folder.path,
    ) as tracker:
        tracker.log_config(config)
        data = EhrDataModule(matrix=matrix, batch_size=cfg.data.batch_size, seed=cfg.seed, drop_last=cfg.data.drop_last)
        try:
            model = instantiate(cfg.model, _partial_=True)(schema=matrix.schema, seed=cfg.seed)
        except (TypeError, ValueError, RuntimeError) as error:
            raise OptionError(f"model={model_name}: its options do not fit ({error})") from error
        seconds = {"train": fit(cfg, model, data, folder, tracker)}
        hand_over(cfg, folder, data, tracker, seconds)
    return folder


def check_options(cfg: DictConfig) -> None:
    """Raise an ``OptionError`` for values that no part below could explain as well."""
    for key in ("seed", "evaluation.seed"):
        whole_number(cfg, key)
    for key in (
        "trainer.max_epochs",
        "evaluation.checkpoints",
        "evaluation.rows",
        "evaluation.trees",
        "data.batch_size",
    ):
        whole_number(cfg, key, least=1)
    if cfg.n is not None:
        whole_number(cfg, "n", least=1)
    if cfg.trainer.devices != 1 and cfg.trainer.strategy == "auto":
        raise OptionError(
            f"trainer.devices={cfg.trainer.devices}: several processes need a strategy; use trainer=ddp, or"
            " trainer.strategy=ddp_fork_find_unused_parameters_true"
        )
    measured = {card.name for card in instantiate(cfg.evaluation.quick).cards}
    if not measured & set(cfg.profile.weights):
        raise OptionError(
            f"profile={cfg.profile.name}: the suite at the checkpoints measures none of its metrics, so it could not"
            " choose one; use another profile or suite@evaluation.quick"
        )


def open_matrix(cfg: DictConfig) -> Matrix:
    """Open ``data.matrix``, or prepare what ``source`` and its companions name, once, and keep it."""
    folder = matrix_folder(cfg)
    if cfg.data.matrix is not None:
        return Matrix.open(folder)
    try:
        with steps(f"preparing {folder.name}") as step:
            return prepare_from(cfg, folder, step)
    except OptionError as error:
        raise OptionError(f"{error}; paths.matrices=DIR keeps the demo's matrices elsewhere") from error


def fit(cfg: DictConfig, model: SyntheticModel, data: EhrDataModule, folder: RunFolder, tracker: Tracker) -> float:
    """Train, from the latest checkpoint if the run was interrupted, and return the seconds it took."""
    start = perf_counter()
    data.setup("fit")
    train_records, validation = data.records["train"], data.records["validation"]
    model.rules = Rules(data.matrix.constraints, data.schema)
    model.observe(data.filled)
    suite = instantiate(cfg.evaluation.quick).fit(
        RealData(data.schema, train_records, validation, data.matrix.constraints), cfg.evaluation.seed
    )
    epochs = cfg.trainer.max_epochs
    with progress(f"training {folder.path.parent.name}") as advance:
        callbacks: list[pl.Callback] = [
            LossCurves(folder=folder.path),
            EvaluateCheckpoints(
                suite=suite,
                rows=min(cfg.evaluation.rows, len(train_records)),
                seed=cfg.seed,
                scoring_seed=cfg.evaluation.seed,
                every=max(1, -(-epochs // cfg.evaluation.checkpoints)),
                folder=folder.path,
                show=show_checkpoint,
            ),
            EpochProgress(advance=advance),
            tracker.callback(),
        ]
        try:
            trainer: pl.Trainer = instantiate(cfg.trainer, _partial_=True)(callbacks=callbacks, logger=tracker.loggers)
        except (TypeError, MisconfigurationException) as error:
            raise OptionError(f"trainer: {error}") from error
        try:
            trainer.fit(model, data, ckpt_path=folder.latest_checkpoint(data.schema), weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
    return perf_counter() - start


def show_checkpoint(row: Mapping[str, Any]) -> None:
    """Print the headline scores of a checkpoint."""
    out.print(checkpoint_line(row))


if __name__ == "__main__":
    run("train", sys.argv[1:])
