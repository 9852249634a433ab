"""A launcher on Ray's tasks: the runs of a sweep on as many nodes as a cluster has; Ray itself is imported late."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class RayLauncher(Launcher):
    """Run every job as a task of Ray, as soon as a node has what it asks for.

    Args:
        address: of a cluster; None starts one on this machine, and ends it.
        num_cpus: cores of a job; its libraries use so many threads.
        num_gpus: GPUs of a job, which sees no others.
    """

    def __init__(self, address: str | None = None, num_cpus: float = 1, num_gpus: float = 0) -> None:
        super().__init__()
        self.address, self.resources = address, {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what a job needs."""
        self.config, self.hydra_context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return how each ended.

        Raises:
            OptionError: Ray is not installed.
            ray.exceptions.RayError: the process of a job was killed.
        """
        from ehrsynth.errors import OptionError

        try:
            import ray
        except ImportError:
            raise OptionError(
                "hydra/launcher=ray: Ray is not installed; pip install 'ehrsynth[ray]' brings it"
            ) from None

        assert self.config is not None
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        ray.init(address=self.address, include_dashboard=False, log_to_driver=True, logging_level="warning")
        try:
            # What was killed is launched again by the sweep, which counts how often.
            job = ray.remote(**self.resources, max_retries=0)(_run)
            state = Singleton.get_state()
            shared = ray.put((self.hydra_context, self.config, self.task_function, state, str(Path.cwd())))
            tasks = [
                job.remote(shared, list(overrides), initial_job_idx + place)
                for place, overrides in enumerate(job_overrides)
            ]
            ray.wait(tasks, num_returns=len(tasks))  # or the first that was killed would end the others
            return list(ray.get(tasks))
        finally:
            ray.shutdown()


def _run(shared: Any, overrides: list[str], number: int) -> JobReturn:
    """Run one job; relative paths mean what they mean where the sweep was started."""
    import os

    context, config, task_function, state, folder = shared
    os.chdir(folder)
    Singleton.set_state(state)
    setup_globals()
    own = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(own):
        own.hydra.job.id, own.hydra.job.num = f"{own.hydra.job.name}_{number}", number
    return run_job(
        hydra_context=context,
        task_function=task_function,
        config=own,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
