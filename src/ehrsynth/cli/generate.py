"""``ehrsynth generate``: a run folder -> a synthetic table."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from ehrsynth.chunks import write_chunks
from ehrsynth.cli.console import out, progress
from ehrsynth.cli.main import run
from ehrsynth.cli.options import device, path, whole_number
from ehrsynth.cli.run_folder import RunFolder
from ehrsynth.data.matrix import LOW_PREVALENCE, read_low_prevalence
from ehrsynth.errors import OptionError
from ehrsynth.files import TABLE_SUFFIXES, sha256
from ehrsynth.models.base import load_model
from ehrsynth.sampling import Acceptance, synthesize
from ehrsynth.schema import Column, Schema


def task(cfg: DictConfig) -> Path:
    """Draw ``cfg.n`` records from the chosen checkpoint of ``cfg.run`` and write them to ``cfg.out``."""
    folder = RunFolder.open(path(cfg, "run"))
    target = path(cfg, "out")
    if not target.name.endswith(TABLE_SUFFIXES):
        raise OptionError(f"out={target}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    n = int(folder.provenance["rows"]["train"]) if cfg.n is None else whole_number(cfg, "n", least=1)
    seed = whole_number(cfg, "seed")
    rare: list[tuple[Column, float]] = []
    if cfg.reintroduce:  # the rare codes stay with the patients; a run folder does not carry them
        file = Path(folder.provenance["matrix"]["folder"]) / LOW_PREVALENCE
        if not file.is_file() or sha256(file) != folder.provenance["data"]["low_prevalence"]:
            raise OptionError(f"reintroduce=true: the rare codes stay in {file}, which is gone or another one now")
        rare = [(code.column, code.prevalence) for code in read_low_prevalence(file.parent)]
    model = load_model(folder.chosen_checkpoint, Schema.load(folder.schema)).to(device(cfg.device))
    acceptance = Acceptance()
    with progress("generating", n) as advance:
        chunks = synthesize(
            model,
            n,
            seed,
            condition={str(column): str(value) for column, value in cfg.condition.items()},
            acceptance=acceptance,
            low_prevalence=rare,
            progress=lambda done: advance(done, None),
        )
        rows = write_chunks(target, chunks)
    if acceptance.way != "none":
        out.print(f"condition: {acceptance}")
    out.print(f"{rows:,} records x {len(model.schema.columns) + len(rare)} columns  {target}")
    return target


if __name__ == "__main__":
    run("generate", sys.argv[1:])
