"""Evaluation draws from its own streams: watching a training may not change it."""

import random

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth.evaluation.suite import Suite
from ehrsynth.study.conf import conf_dir
from tests.evaluation_toy import toy_real, toy_records


def global_streams() -> tuple[object, ...]:
    return random.getstate(), np.random.get_state()[1:3], torch.get_rng_state().tolist()  # noqa: NPY002


def test_no_evaluator_of_the_full_suite_moves_a_global_stream() -> None:
    cfg = OmegaConf.create({"evaluation": {"trees": 5}, "suite": OmegaConf.load(conf_dir() / "suite" / "full.yaml")})
    for node in cfg.suite.evaluators:
        if "known" in node:
            node.known = 4  # the toy has twelve codes
    real, synthetic = toy_real(200, 100), toy_records(200, 5)
    for evaluator in instantiate(cfg.suite).evaluators:
        before = global_streams()
        Suite(evaluators=[evaluator]).fit(real, 1).score(synthetic, 1)
        np.testing.assert_equal(global_streams(), before, err_msg=type(evaluator).__name__)
