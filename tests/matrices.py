"""Matrices as the command line would prepare them, for tests that need one in this process."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from ehrsynth.cli.launch import conf_dir
from ehrsynth.cli.prepare import prepare_from
from ehrsynth.data.features.base import Feature
from ehrsynth.data.matrix import Matrix


def config(*overrides: str) -> DictConfig:
    """Return what ``ehrsynth prepare OVERRIDES`` composes."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("prepare", list(overrides))


def features(cfg: DictConfig) -> list[Feature]:
    """Return the features of ``cfg``, less those that are left out."""
    return [feature for feature in instantiate(cfg.features, _convert_="all").values() if feature is not None]


def make(out: Path, *overrides: str, seed: int = 0) -> Matrix:
    """Prepare a matrix folder."""
    return prepare_from(config(*overrides, f"seed={seed}"), out)
