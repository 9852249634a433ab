"""MLflow: the study as its experiment, in a database beside the studies or on the server that is named."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from ehrsynth.errors import OptionError
from ehrsynth.tracking.destination import About, Asked, Destination, Ending, Outcome, Say

FOLDER = ".mlflow"  # below the folder of the studies
RUN_ID = "ehrsynth.run_id"  # the tag by which a resumed run is found
STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MlflowRun(Destination):
    """A run in MLflow; a resumed one goes on."""

    title = "MLflow"
    logger: "_Lasting"

    def __init__(self, asked: Asked, about: About, folder: Path, say: Say) -> None:
        # A server that is gone is tried for seconds, not minutes, and no connection is carried into another process.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        server, place = _server(asked), folder.absolute().parents[2] / FOLDER
        with _quiet():
            from mlflow.exceptions import MlflowException

            try:
                if server is not None:
                    self.logger = _opened(server, None, about, say)
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    uri = (
                        f"sqlite:///{place / 'mlflow.db'}?timeout=60"  # seconds for which one of several writers waits
                    )
                    with FileLock(place / ".lock"):  # the tables are made once
                        self.logger = _opened(uri, (place / "artifacts").as_uri(), about, say)
            except MlflowException as error:
                raise OptionError(f"logger=mlflow: {server or place} does not take the run ({error})") from error

    @classmethod
    def wanted(cls, asked: Asked) -> bool:
        """Whether it is asked for."""
        return "mlflow" in asked

    @classmethod
    def require(cls, asked: Asked) -> None:
        """Raise an ``OptionError`` if a package is absent."""
        needed = ["mlflow", *(["sqlalchemy", "alembic"] if _server(asked) is None else [])]
        if absent := [name for name in needed if find_spec(name) is None]:
            raise OptionError(
                f"logger=mlflow needs the package {absent[0]}; pip install 'ehrsynth[trackers]' brings it"
            )

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log every option as a parameter."""
        self.logger.log_hyperparams(dict(config))

    def log_outcome(self, outcome: Outcome) -> None:
        """Log final scores and anchors as metrics, figures and pages as artifacts."""
        client, run_id = self.logger.experiment, self.logger.run_id
        self.logger.log_metrics(outcome.numbers)
        for path in outcome.figures.values():
            client.log_artifact(run_id, str(path), "figures")
        for path in outcome.documents:
            client.log_artifact(run_id, str(path), "report")

    def close(self, ending: Ending, reason: str) -> None:
        """Mark how it ended; the tag ``failure`` says why."""
        client, run_id = self.logger.experiment, self.logger.run_id
        if reason:
            client.set_tag(run_id, "failure", reason)
        client.set_terminated(run_id, STATUS[ending])


def _server(asked: Asked) -> str | None:
    return asked["mlflow"]["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI") or None


def _opened(uri: str, artifacts: str | None, about: About, say: Say) -> "_Lasting":
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(uri)
    with suppress(MlflowException):  # of that name there is one already
        client.create_experiment(about.study, artifact_location=artifacts)
    experiment = client.get_experiment_by_name(about.study).experiment_id
    before = client.search_runs([experiment], f"tags.`{RUN_ID}` = '{about.run_id}'", max_results=1)
    if not before:
        tags = {RUN_ID: about.run_id, "model": about.model, "seed": str(about.seed), "data": about.data}
        return _Lasting(uri, client.create_run(experiment, run_name=about.name, tags=tags).info.run_id, {}, say)
    run_id, data = before[0].info.run_id, before[0].data
    client.update_run(run_id, status="RUNNING")
    if "failure" in data.tags:
        client.delete_tag(run_id, "failure")
    known = {name: max(told.step for told in client.get_metric_history(run_id, name)) for name in data.metrics}
    return _Lasting(uri, run_id, known, say)


class _Lasting(MLFlowLogger):
    """Lightning's logger, which outlives its store, and leaves out what it was told before the run was resumed."""

    def __init__(self, uri: str, run_id: str, known: Mapping[str, int], say: Say) -> None:
        super().__init__(tracking_uri=uri, run_id=run_id)
        self._known, self._say, self._lost = known, say, False

    @property
    def experiment(self) -> Any:
        """The client; Lightning's property also makes its address that of the whole process, and of its children."""
        return self._mlflow_client

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        new = {name: value for name, value in metrics.items() if step is None or step > self._known.get(name, 0)}
        if not self._lost:
            try:
                super().log_metrics(new, step)
            except Exception as error:  # whatever its store raises
                self._lost = True
                self._say(
                    f"MLflow is told no more ({type(error).__name__}); the run goes on, and its folder has it all"
                )

    @override
    def finalize(self, status: str = "success") -> None:
        """Leave it open: training is not the end of a run."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what MLflow says of the tables it makes, and of what its database library will drop one day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401  # which sets the level of its log

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        yield
