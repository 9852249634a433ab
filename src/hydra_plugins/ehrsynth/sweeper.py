"""The sweeper of ``ehrsynth train -m``; Hydra looks here at every start, so nothing heavy is imported yet."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser


class StudySweeper(BasicSweeper):
    """All combinations of the values that were given, as a study: planned, carried out whatever fails, ranked."""

    def sweep(self, arguments: list[str]) -> Any:
        """Carry out the runs that ``arguments`` ask for.

        Raises:
            EhrsynthError: of the first run that failed, when all others are done.
        """
        from ehrsynth.cli.sweep import Sweep

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
        (jobs,) = self.split_arguments(overrides, None)
        composed = [loader.load_sweep_config(self.config, job) for job in jobs]
        Sweep(self.config, list(zip(jobs, composed, strict=True)), self.launcher).carry_out(self.max_batch_size)
