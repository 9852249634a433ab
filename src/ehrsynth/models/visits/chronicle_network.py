"""The network of Chronicle: that of Tally, which is told what was before a visit, and says whether another follows."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from ehrsynth.models.departures.network import DepartureNetwork
from ehrsynth.models.departures.pairs import Pairs
from ehrsynth.models.departures.past import Past
from ehrsynth.models.departures.variables import Variables
from ehrsynth.models.tally import Tally
from ehrsynth.models.visits.calendar import SEASON, towards_season
from ehrsynth.models.visits.companions import NONE, Companions
from ehrsynth.models.visits.history import FEATURES, NEVER, STATES, History
from ehrsynth.models.visits.markers import BEGINS, Markers
from ehrsynth.models.visits.visit_rows import CODE
from ehrsynth.models.visits.waits import Waits

FATES = 3  # another visit, none, none for the patient has died
STD = 0.02  # of what vectors of codes start with


class HistoryNetwork(DepartureNetwork):
    """Adds the past of n visits to what a ``DepartureNetwork`` reads, and to its log odds of codes.

        sum      +=  sum of A[codes of the latest visit] + sum of B[codes before] log(1 + times)
        odds_c   +=  sum over f of (a_f + u_fc + w_fc + s_fc) feature_f(c) see ``History.features``
        odds_c   +=  ever_c(state, d ever before) + now_c(state, d in this visit)
        odds_c   +=  marked_c(state, m in this visit)                      of what begins
        odds_c   +=  g_c log(1 + gap) - its usual                          of what never was, at later visits
        odds_c   +=  sum over seasons of (v_sc + z_sc) towards_s           of the day of the visit itself
        fate      =  softmax(F h + sum of G[codes of the latest visit] + sum of H[codes before] log(1 + times)),
                     of the state h before anything of a visit is known

    u is what training visits say of each code in first visits, and later if it never was, was in the latest visit,
    or before only, and v what they say of its seasons: the odds start there, which is a Markov chain; so do ever
    and now, of the code d that tells most of it, see ``companions``, marked, of the measurement m, see ``markers``,
    and g, see ``waits``. A, B, F, G, H, a, w and z are learned from nothing; s is zero until a trained network is
    settled, see ``Chronicle.settle``. Where a code is mostly present, its absence departs, whose odds get minus
    these.

    Args:
        variables: of visits as rows.
        pairs: of them.
        width: of h.
        depth: number of residual blocks.
        dropout: share of units left out in training.
        codes: how many there are, the first variables of a row.
        deaths: ranges of days until death.
    """

    stay = frozenset({"by_level", "each", "ended", "told", "marked", "waits"})
    usual: Tensor  # u, [FEATURES, codes]
    settled: Tensor  # s, of the first STATES features
    companions: Tensor  # d of each code, ever and now
    marker: Tensor  # m of each code
    threshold: Tensor  # of m
    usual_wait: Tensor  # what g makes of the usual gap, [codes]
    usual_season: Tensor  # v, [seasons, codes]
    place: Tensor  # of each code among the variables
    sign: Tensor  # of its odds: a code that is usually present departs by being absent

    def __init__(
        self, variables: Variables, pairs: Pairs, width: int, depth: int, dropout: float, codes: int, deaths: int
    ) -> None:
        super().__init__(variables, pairs, width, depth, dropout)
        self.register_buffer("usual", torch.zeros(FEATURES, codes))
        self.register_buffer("settled", torch.zeros(STATES, codes))
        self.register_buffer("usual_season", torch.zeros(len(SEASON), codes))
        place = torch.empty(variables.states.codes, dtype=torch.int64, device=variables.order.device)
        place[variables.order[variables.alone :]] = torch.arange(
            variables.tallies.stop, variables.tallies.stop + len(place), device=place.device
        )
        place = place[:codes]
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("sign", 1.0 - 2.0 * (variables.no_news[place] == 1), persistent=False)
        self.register_buffer("companions", torch.full((2, codes), NONE))
        self.told = nn.Parameter(torch.zeros(2, STATES, 2, codes))
        markers = Markers.none(codes)
        self.register_buffer("marker", markers.of)
        self.register_buffer("threshold", markers.at)
        self.marked = nn.Parameter(markers.beyond)
        self.register_buffer("usual_wait", torch.zeros(codes))
        self.waits = nn.Parameter(torch.zeros(codes))
        self.every = nn.Parameter(torch.zeros(FEATURES))
        self.each = nn.Parameter(torch.zeros(FEATURES, codes))
        self.season = nn.Parameter(torch.zeros(len(SEASON), codes))
        self.latest = nn.Parameter(STD * torch.randn(codes, width))
        self.earlier = nn.Parameter(STD * torch.randn(codes, width))
        self.ended = nn.Parameter(torch.zeros(2, codes, FATES))
        self.fate, self.death = nn.Linear(width, FATES), nn.Linear(width, deaths)
        for head in (self.fate, self.death):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def start_again(self, odds: Tensor, seasons: Tensor, fates: Tensor, latest_kinds: slice) -> None:
        """Let odds and fates start at those of ``Recurrence``, ``usual_seasons`` and ``usual_fates``.

        What the latest kind makes of codes then is zero: the odds say it, by what came again.
        """
        self.fate.bias.data.copy_(fates)
        self.usual_season.copy_(seasons)
        odds = odds.to(self.usual.device)
        self.usual[:STATES] = odds[:STATES] - odds[-1]
        self.hazard.bias.data[self.place] = odds[-1] * self.sign  # of all visits, not of one of each patient
        self.by_level.data[latest_kinds] = 0.0

    def start_told(self, ever: Companions, now: Companions) -> None:
        """Let codes start at what others say of them."""
        for row, found in enumerate((ever, now)):
            self.companions[row] = found.of
            self.told.data[row] = found.beyond

    def start_marked(self, markers: Markers) -> None:
        """Let codes start at what is measured."""
        self.marker.copy_(markers.of)
        self.threshold.copy_(markers.at)
        self.marked.data.copy_(markers.beyond)

    def start_waiting(self, waits: Waits) -> None:
        """Let codes begin as the gap before makes it."""
        self.waits.data.copy_(waits.growth)
        self.usual_wait.copy_(waits.less)

    def past(self, history: History) -> Past:
        """Return what was before the visits of n patients."""
        sums = history.latest.float() @ self.latest + history.times.log1p() @ self.earlier
        weights = self.every[:, None] + self.usual + self.each
        weights = torch.cat([weights[:STATES] + self.settled, weights[STATES:]])
        features = history.features()
        odds: Tensor = (features * weights).sum(1)
        told = self.told * (self.companions != NONE)[:, None, None]
        ever, now = torch.einsum("nsc,esjc->enjc", features[:, :STATES], told)
        by, beside = self.companions.clamp(min=0)
        odds = self._of_codes(odds + torch.where(history.again[:, by], ever[:, 1], ever[:, 0]))
        places = self.place.new_zeros(len(self.sizes)).index_copy(0, self.place, self.place[beside])
        return Past(sums, odds, places, torch.stack([self._of_codes(one) for one in now.unbind(1)], dim=1))

    def of_visit(self, history: History, days: Tensor, values: Tensor) -> Tensor:
        """Return what visits themselves add to the log odds [n, V] of their codes, before any of these is known.

        Args:
            history: what was before them.
            days: float64 [n], of each since 1970.
            values: [n, measurements], NaN where not measured.
        """
        odds, features = towards_season(days) @ (self.usual_season + self.season), history.features()
        gaps = history.until(days).log1p()
        odds = odds + features[:, NEVER] * (gaps[:, None] * self.waits - self.usual_wait)
        if values.shape[1]:
            marked = self.marked * (self.marker != NONE)
            not_measured, below, above = torch.einsum("nsc,sdc->dnc", features[:, :BEGINS], marked)
            value = values.float()[:, self.marker.clamp(min=0)]
            odds = odds + torch.where(value.isnan(), not_measured, torch.where(value >= self.threshold, above, below))
        return self._of_codes(odds)

    def _of_codes(self, odds: Tensor) -> Tensor:
        """Return log odds [n, codes] as those of the departures of all variables [n, V]."""
        return odds.new_zeros(len(odds), len(self.sizes)).index_copy(1, self.place, odds * self.sign)

    def fates(self, h: Tensor, history: History) -> Tensor:
        """Return the logits [n, FATES] of what comes after the visits of n patients, of h ``before`` anything else."""
        latest, earlier = self.ended
        fates: Tensor = self.fate(h) + history.latest.float() @ latest + history.times.log1p() @ earlier
        return fates

    def before(self, variables: Variables, x: Tensor, known: Tensor, past: Past) -> Tensor:
        """Return h [n, width] before anything of a visit is known but the past: ``fates`` and ``death`` read it."""
        return self.states(self.given(self.tables(), variables, x, known) + past.sums)


class VisitTally(Tally):
    """A Tally of visits as rows, whose network is told what was before them; see ``Chronicle``."""

    @override
    def made_network(self) -> HistoryNetwork:
        codes = sum(name.startswith(CODE) for name in self.schema.names)
        pairs, deaths = Pairs(self.parents, self.pairs), 2 * self.ranges
        return HistoryNetwork(self.variables, pairs, self.width, self.depth, self.dropout, codes, deaths)
