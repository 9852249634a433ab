"""The model of a finished run, ready to draw."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from ehrsynth.errors import OptionError, expect
from ehrsynth.files import sha256
from ehrsynth.models.base import SyntheticModel, load_model
from ehrsynth.schema import Schema
from ehrsynth.study.build import located
from ehrsynth.study.run_folder import PROVENANCE, RunFolder
from ehrsynth.study.watch import Watch


class Loaded(NamedTuple):
    """The model of a finished run.

    Attributes:
        folder: the run.
        model: from its chosen checkpoint, in evaluation mode, on the device asked for.
        rows: training rows.
        about: what names it in the provenance of what it draws.
    """

    folder: RunFolder
    model: SyntheticModel
    rows: int
    about: dict[str, object]

    @property
    def seen(self) -> dict[str, Any]:
        """What was done to its training rows; nothing, by a version that could not."""
        return (
            self.folder.facts(training_rows=dict)["training_rows"] if "training_rows" in self.folder.provenance else {}
        )


def loaded_run(
    run: RunFolder | str | Path, device: str, model_class: type[SyntheticModel] | str | None, watch: Watch
) -> Loaded:
    """Open a run and load its model.

    Raises:
        InputError: there is no such run, a file of it is not as it was written, or an option is wrong.
    """
    expect(isinstance(run, RunFolder | str | Path), "run", run, "a run, or its folder,")
    folder = RunFolder.open(run.path if isinstance(run, RunFolder) else Path(run))
    known = model_class_of(model_class, SyntheticModel)
    folder.require(folder.path / PROVENANCE)
    folder.require(folder.chosen_checkpoint, folder.schema)
    if folder.hashes is None:
        watch.say(f"{folder.path}: by a version that kept no hashes: its files were not checked")
    facts = folder.facts(model=str, rows={"train": int})
    model = load_model(folder.chosen_checkpoint, Schema.load(folder.schema), known).to(torch_device(device))
    checkpoint = {"file": folder.chosen_checkpoint.name, "sha256": sha256(folder.chosen_checkpoint)}
    about = {"run_id": folder.path.name, "model": facts["model"], "checkpoint": checkpoint}
    return Loaded(folder, model, facts["rows"]["train"], about)


def model_class_of(given: type | str | None, kind: type) -> Any:
    """Return the class that the user gives or names, of a kind of models; that of this package needs none.

    Raises:
        OptionError: it is no such class.
    """
    found = located(given, "model_class") if isinstance(given, str) else given
    if found is not None and not (isinstance(found, type) and issubclass(found, kind)):
        raise OptionError(f"model_class={given}: no model; a subclass of {kind.__module__}.{kind.__name__} is one")
    return found


def torch_device(name: str) -> torch.device:
    """Return the device to sample on: ``auto`` takes a GPU if there is one.

    Raises:
        OptionError: no such device, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError):
        raise OptionError(f"device={name}: not on this machine; use auto, cpu or cuda") from None
    return found
