"""How many codes records have: the law of that in a model, exactly, and weights by which it becomes another one.

The number of codes N of a record of a tree is a sum over its variables. So its characteristic function is a pass of
messages in which each present code weighs exp(2 pi i j / K), and the law is a Fourier transform of that:

    P(N = k)  =  1 / K  sum over j < K of  E[exp(2 pi i j N / K)] exp(-2 pi i j k / K)

Where codes are independent, as in a component of a mixture, each shifts the law of those before it by its chance. A
model that is private spends one look on how many codes patients have, and its records are then weighed by theirs:

    p(record)  =  model(record) w(number of its codes)
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ehrsynth.accounting import Gaussian
from ehrsynth.layout import Layout
from ehrsynth.ledger import Look
from ehrsynth.models.condition import Condition
from ehrsynth.models.noisy_looks import norm_sub
from ehrsynth.models.tree import Tree
from ehrsynth.schema import Schema

BINS = 64  # numbers of codes told apart; the last is of more, too
MOST = 512  # codes: K at most, for no record has as many
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 8.0  # of a number; their ratio is the most tries that draws take in the mean
NOBODY = 1e-6  # a chance below which a number is not drawn, whatever its weight
SCRATCH = 2**24  # complex numbers held at a time

Draw = Callable[[int, torch.Generator, Condition | None], Tensor]


def places_of_codes(schema: Schema, layout: Layout) -> Tensor:
    """Return which columns of records are codes; codes come first, so those of a tree are variables of these places."""
    codes = [place for place, field in enumerate(layout.fields) if schema.by_name[field.column].is_code]
    return torch.tensor(codes, dtype=torch.int64)


def law_of_number(tree: Tree, present: Tensor, evidence: Tensor | None = None) -> Tensor:
    """Return the chances [m, BINS] of numbers of codes.

    Args:
        tree: of the records.
        present: bool [S], which states of all variables are a code that is there.
        evidence: log weights [m, S] of the states, see ``Tree.sample``; of nothing, m = 1, by default.
    """
    exact = Tree(tree.parents, tree.sizes, tree.tables.double())
    evidence = torch.zeros(1, len(present), device=present.device) if evidence is None else evidence
    size = min(int(present.sum()) + 1, MOST)
    turned = 2j * torch.pi / size * torch.outer(torch.arange(size, device=present.device), present).double()
    found = []
    for part in evidence.double().split(max(1, SCRATCH // (size * len(present)))):
        logs = exact.upward((part[:, None] + turned).flatten(0, 1))[:, -1].view(len(part), size)
        found.append(torch.fft.fft((logs - logs[:, :1].real).exp()).real.clamp(min=0) / size)
    law = torch.cat(found)
    first = law.new_zeros(len(law), BINS)
    first[:, : min(size, BINS)] = law[:, :BINS]
    first[:, -1] += law[:, BINS:].sum(1)
    return first


def law_of_independent(chances: Tensor) -> Tensor:
    """Return the chances [K, BINS] of numbers of independent codes, each there by one of ``chances`` [K, d]."""
    law = torch.zeros(len(chances), BINS, dtype=torch.float64, device=chances.device)
    law[:, 0] = 1
    for chance in chances.double().T.unsqueeze(2):
        more = law * chance
        law -= more
        law[:, 1:] += more[:, :-1]
        law[:, -1] += more[:, -1]  # one more than many is many
    return law


def number_in(states: Tensor, codes: Tensor) -> Tensor:
    """Return how many codes records or their states [n, d] have, at most ``BINS`` - 1; ``codes`` are their places."""
    return (states[:, codes] > 0).sum(1).clamp(max=BINS - 1)


def weights_towards(wanted: Tensor, law: Tensor) -> Tensor:
    """Return log weights [BINS] under which a law [BINS] of numbers is nearly the wanted one, and whose mean is one."""
    weights = (wanted / law.clamp(min=NOBODY)).clamp(LEAST_WEIGHT, MOST_WEIGHT).where(law > NOBODY, 1.0)
    return (weights / (law * weights).sum()).log()


def counted_weights(
    rows: Iterable[Tensor], codes: Tensor, law: Tensor, told: Gaussian, normals: Tensor
) -> tuple[Tensor, Look]:
    """Return log weights [BINS] by how many codes patients have, and the look at them.

    What noise explains of how they differ from the model is left to it: James and Stein, 1961.

    Args:
        rows: records or states of all patients, some at a time; their number is not secret.
        codes: their places.
        law: of numbers of codes in the model, [BINS].
        told: the mechanism; a patient has one number.
        normals: standard normal numbers [BINS], secret.
    """
    found = torch.zeros(BINS, dtype=torch.float64)
    for part in rows:
        found += torch.bincount(number_in(part, codes), minlength=BINS)
    n = float(found.sum())
    beyond = found + told.noise_multiplier * normals - n * law
    kept = (1 - BINS * told.noise_multiplier**2 / beyond.square().sum()).clamp(min=0)
    weights = weights_towards(norm_sub(n * law + kept * beyond, n) / n, law)
    return weights, Look("numbers of codes", told, "how many patients have so many")


def drawn_by_weight(
    draw: Draw, log_weights: Tensor, codes: Tensor, n: int, generator: torch.Generator, condition: Condition | None
) -> Tensor:
    """Return records [n, p] of a model, each drawn until a coin takes it by its weight.

    That ends, since weights are limited; and no coin asks for more than the largest weight that a record may have.

    Args:
        draw: of so many records of the model.
        log_weights: of numbers of codes, [BINS].
        codes: places of codes in records.
        n: records.
        generator: of the draws and the coins.
        condition: of all records, or of each.
    """
    largest = _largest(log_weights, codes, condition).expand(n)

    def refused(rows: Tensor, largest: Tensor) -> Tensor:
        chances = (log_weights[number_in(rows, codes)] - largest).exp()
        return torch.rand(len(rows), generator=generator, device=rows.device) >= chances

    drawn = draw(n, generator, condition)
    waiting = refused(drawn, largest).nonzero().flatten()
    while len(waiting):
        several = waiting.repeat(max(1, n // len(waiting)))
        again = draw(len(several), generator, None if condition is None else condition.of_rows(several))
        taken = ~refused(again, largest[several]).view(-1, len(waiting))
        done, first = taken.any(0), taken.to(torch.uint8).argmax(0)
        drawn[waiting[done]] = again.view(len(taken), len(waiting), -1)[first[done], done.nonzero().flatten()]
        waiting = waiting[~done]
    return drawn


def _largest(log_weights: Tensor, codes: Tensor, condition: Condition | None) -> Tensor:
    """Return the largest log weight [1 or n] of the numbers of codes that a condition leaves."""
    if condition is None:
        return log_weights.max()[None]
    free = (~condition.given[:, codes]).sum(1, keepdim=True)
    least = number_in(condition.low, codes)[:, None]
    numbers = torch.arange(BINS, device=log_weights.device)
    return log_weights.where((least <= numbers) & (numbers <= least + free), -torch.inf).amax(1)
