"""Evaluation draws from its own streams: watching a training may not change it, and its one seed reaches every draw."""

import random
from functools import cache

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth.evaluation.evaluator import Evaluator
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.suite import Suite
from ehrsynth.study.conf import conf_dir
from tests.evaluation_toy import toy_real, toy_records

WITHOUT_DRAWS = {
    "ExactCopies",
    "KnowledgeViolation",
    "SexRestriction",
    "ConstraintViolation",
    "OneHotIntegrity",
    "ValueRange",
    "UnseenLevels",
    "Representation",
    "MembershipGap",
}


@cache
def evaluators() -> list[Evaluator]:
    cfg = OmegaConf.create({"evaluation": {"trees": 5}, "suite": OmegaConf.load(conf_dir() / "suite" / "full.yaml")})
    for node in cfg.suite.evaluators:
        if "known" in node:
            node.known = 4  # the toy has twelve codes
        if "max_rows" in node:
            node.max_rows = 150  # so that rows are drawn
        if "below" in node:
            node.below += 0.3  # and has no rare ones
    return list(instantiate(cfg.suite).evaluators)


def global_streams() -> tuple[object, ...]:
    return random.getstate(), np.random.get_state()[1:3], torch.get_rng_state().tolist()  # noqa: NPY002


def test_no_evaluator_of_the_full_suite_moves_a_global_stream() -> None:
    real, synthetic = toy_real(200, 100), toy_records(200, 5)
    for evaluator in evaluators():
        before = global_streams()
        Suite(evaluators=[evaluator]).fit(real, 1).score(synthetic)
        np.testing.assert_equal(global_streams(), before, err_msg=type(evaluator).__name__)


@pytest.mark.parametrize("evaluator", evaluators(), ids=lambda evaluator: type(evaluator).__name__)
def test_the_seed_reaches_every_draw_and_nothing_else(evaluator: Evaluator) -> None:
    def scored(seed: int) -> list[tuple[object, ...]]:
        real = toy_real(650, 300)
        scores: list[Score] = Suite(evaluators=[evaluator]).fit(real, seed).score(real.train[:200])
        assert all(score.status != "failed" for score in scores)
        return [(score.metric, score.value, score.ci, dict(score.parts)) for score in scores]

    assert scored(1) == scored(1)
    assert (scored(1) == scored(2)) == (type(evaluator).__name__ in WITHOUT_DRAWS)
