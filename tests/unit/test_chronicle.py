"""Chronicle before it is trained: a Markov chain of what was counted."""

import pytest
import torch

from ehrsynth.models.visits.chronicle import Chronicle
from ehrsynth.visit_batch import batch_of
from ehrsynth.visits import UNKNOWN
from tests.visits import SCHEMA, simulated, visit_schema

CODES = 24


def test_untrained_it_draws_what_was_counted() -> None:
    """Given what was before, codes of the latest visit come again as often as they did, and others; so do ends."""
    static, visits = simulated(600, codes=CODES)
    model = Chronicle(schema=SCHEMA, visit_schema=visit_schema(CODES), width=8, warmup_steps=1)
    model.observe(static, visits)
    visited = model.eval()._visited(batch_of(visits, static, 1))
    found = model.step(visited.past, torch.Generator().manual_seed(0)).codes
    hot = visited.rows[:, :CODES] > 0
    for which in (visited.past.latest, visited.past.again & ~visited.past.latest, ~visited.past.again):
        truth = float(hot[which].float().mean())
        assert float(found[which].float().mean()) == pytest.approx(truth, rel=0.15)

    going, dies = model.going_on(visited.past, torch.Generator().manual_seed(0))
    assert float(going.float().mean()) == pytest.approx(1 - len(visits) / visits.count, abs=0.05)
    dead = float((visits.died != UNKNOWN).mean())
    assert float(dies[~going].isfinite().float().mean()) == pytest.approx(dead, abs=0.05)
