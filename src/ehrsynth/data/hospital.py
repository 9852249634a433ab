"""A simulated hospital whose truth is known: who its patients are and what they suffer from.

Each patient has an age, a sex, a race, and two correlated latent factors (``CORRELATION``): *frailty*, of the
body, and *distress*, of the mind. The conditions of ``sources/demo_conditions.csv`` form disease clusters. In patient i

    severity_ik  = age_k (age_i - 60)/15 + female_k [woman] + race_k(race_i)
                   + frailty_k frailty_i + distress_k distress_i + e_ik,       e_ik ~ N(0, 1)
    active_ik    = [severity_ik above its quantile 1 - share_k]                (only in whom the cluster can occur)
    P(condition) = expit(b_j + boost_k active_ik + BURDEN frailty_i)           (0 in the other sex)
    P(death)     = expit(b + AGE_DEATH (age_i - 60)/15 + FRAILTY_DEATH frailty_i
                   + sum_k death_k active_ik + sum INTERACTIONS active_ik active_il)

so conditions of a cluster come together, clusters come together through the two factors, age and sex act through the
clusters, the number of conditions is overdispersed, and the outcome (death within a year) needs the joint structure:
it cannot be predicted from columns drawn one by one. The intercepts b_j and b are solved on a reference population so
that every condition has its listed prevalence and the outcome ``DEATH_PREVALENCE``. Conditions marked F or M never
occur in the other sex; pregnancy never after 50. BMI follows obesity and diabetes, blood pressure follows age and
hypertension, and both are measured more often in the frail (missing not at random).
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from ehrsynth.seeding import numpy_rng

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RACES = {"white": 0.62, "black": 0.16, "hispanic": 0.08, "asian": 0.05, "other": 0.05, "unknown": 0.04}
FEMALE_SHARE = 0.54
CORRELATION = 0.4
BURDEN = 0.5
DEATH_PREVALENCE = 0.12
AGE_DEATH = 0.5
FRAILTY_DEATH = 0.3
INTERACTIONS = {("infection", "renal"): 1.0, ("oncology", "haematological"): 1.0}


@dataclass(frozen=True)
class Cluster:
    """The true parameters of a disease cluster, in the symbols of the module's formulas.

    Attributes:
        share: of the patients in whom it can occur, those in whom it is active.
        age: change of severity per 15 years of age.
        female: change of severity for women.
        frailty, distress: loadings on the two latent factors.
        boost: log-odds an active cluster adds to each of its conditions.
        death: log-odds an active cluster adds to death.
        black: change of severity for black patients, the one planted (mild) race effect.
    """

    share: float
    age: float = 0.0
    female: float = 0.0
    frailty: float = 0.5
    distress: float = 0.0
    boost: float = 3.0
    death: float = 0.0
    black: float = 0.0


CLUSTERS = {
    "cardiometabolic": Cluster(0.40, age=0.8, female=-0.2, frailty=0.8, boost=2.6, death=0.2, black=0.2),
    "endocrine": Cluster(0.20, age=0.3, female=0.6),
    "renal": Cluster(0.22, age=0.6, frailty=1.0, death=0.5, black=0.3),
    "respiratory": Cluster(0.22, age=0.3, frailty=0.9, distress=0.2, death=0.5),
    "oncology": Cluster(0.14, age=0.5, frailty=0.4, boost=3.4, death=1.3),
    "psychiatric": Cluster(0.20, age=-0.5, distress=1.2, frailty=0.2, boost=3.4),
    "musculoskeletal": Cluster(0.22, age=0.4, female=0.2, frailty=0.3, distress=0.4),
    "gastrointestinal": Cluster(0.24, age=0.2, distress=0.2, frailty=0.7),
    "infection": Cluster(0.16, age=0.3, frailty=1.2, boost=3.4, death=0.9),
    "pregnancy": Cluster(0.40, age=-0.8, frailty=-0.2, boost=5.0),
    "gynaecological": Cluster(0.20, age=-0.2, frailty=0.1, boost=3.4),
    "male_genital": Cluster(0.25, age=0.9, frailty=0.1, boost=3.4),
    "neurological": Cluster(0.18, age=0.6, frailty=0.5, distress=0.3, death=0.4),
    "haematological": Cluster(0.18, age=0.3, frailty=0.9, death=0.4, black=0.2),
    "sensory": Cluster(0.15, age=0.8, frailty=0.2),
    "injury": Cluster(0.10, age=0.1, frailty=0.2, distress=0.5, boost=3.5),
}


@cache
def conditions() -> pd.DataFrame:
    """Return the conditions: icd9, icd10, label, cluster, sex (F, M or empty) and prevalence."""
    path = Path(__file__).parent / "sources" / "demo_conditions.csv"
    return pd.read_csv(path, dtype={"icd9": str, "icd10": str}, keep_default_na=False)


@dataclass(frozen=True, eq=False)
class Patients:
    """What is true of n patients, in the symbols of the module's formulas.

    Attributes:
        age: whole years, 18 to 90.
        female: whether a woman.
        race: index into ``RACES``.
        frailty: latent factor of the body, standard normal.
        severity: [n, clusters]; -inf where the cluster cannot occur.
    """

    age: NDArray[np.int64]
    female: Flags
    race: NDArray[np.int64]
    frailty: Floats
    severity: Floats

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator) -> "Patients":
        """Draw ``n`` patients."""
        age = (18 + 73 * rng.beta(2.2, 1.5, n)).astype(np.int64)
        female = rng.random(n) < FEMALE_SHARE
        race = rng.choice(len(RACES), n, p=list(RACES.values()))
        frailty = rng.standard_normal(n)
        distress = CORRELATION * frailty + np.sqrt(1 - CORRELATION**2) * rng.standard_normal(n)
        severity = rng.standard_normal((n, len(CLUSTERS)))
        possible = {"pregnancy": female & (age <= 50), "gynaecological": female, "male_genital": ~female}
        black = race == list(RACES).index("black")
        for k, (name, cluster) in enumerate(CLUSTERS.items()):
            severity[:, k] += cluster.age * (age - 60) / 15 + cluster.female * female + cluster.black * black
            severity[:, k] += cluster.frailty * frailty + cluster.distress * distress
            if name in possible:
                severity[~possible[name], k] = -np.inf
        return cls(age, female, race, frailty, severity)

    @cached_property
    def active(self) -> Flags:
        """Which clusters are active, [n, clusters]."""
        return self.severity > _thresholds()

    def condition_odds(self) -> Floats:
        """Return the log-odds [n, conditions] of each condition without its intercept; -inf where impossible."""
        table = conditions()
        index = [list(CLUSTERS).index(cluster) for cluster in table["cluster"]]
        boost = np.array([CLUSTERS[cluster].boost for cluster in table["cluster"]])
        odds: Floats = self.active[:, index] * boost + BURDEN * self.frailty[:, None]
        odds[~self.female[:, None] & (table["sex"] == "F").to_numpy()] = -np.inf
        odds[self.female[:, None] & (table["sex"] == "M").to_numpy()] = -np.inf
        odds[(self.age[:, None] > 50) & (table["cluster"] == "pregnancy").to_numpy()] = -np.inf
        return odds

    def death_odds(self) -> Floats:
        """Return the log-odds [n] of death within a year without its intercept."""
        names = list(CLUSTERS)
        odds: Floats = AGE_DEATH * (self.age - 60) / 15 + FRAILTY_DEATH * self.frailty
        odds = odds + self.active @ np.array([cluster.death for cluster in CLUSTERS.values()])
        for (one, other), weight in INTERACTIONS.items():
            odds += weight * (self.active[:, names.index(one)] & self.active[:, names.index(other)])
        return odds


def draw_conditions(patients: Patients, rng: np.random.Generator) -> Flags:
    """Draw who has which condition, [n, conditions]."""
    odds = patients.condition_odds() + _condition_intercepts()
    return rng.random(odds.shape) < expit(odds)


def draw_deaths(patients: Patients, rng: np.random.Generator) -> Flags:
    """Draw who dies within a year, [n]."""
    return rng.random(len(patients.age)) < death_probability(patients)


def death_probability(patients: Patients) -> Floats:
    """Return each patient's true probability [n] of dying within a year: no prediction can be better."""
    probability: Floats = expit(patients.death_odds() + _death_intercept())
    return probability


@cache
def _reference() -> Patients:
    """The patients on whom thresholds and intercepts are solved, so that these depend on no seed and no n."""
    return Patients.draw(8_000, numpy_rng(0, "reference hospital"))


@cache
def _thresholds() -> Floats:
    severity = np.where(np.isinf(_reference().severity), np.nan, _reference().severity)
    shares = [cluster.share for cluster in CLUSTERS.values()]
    return np.array([np.nanquantile(severity[:, k], 1 - share) for k, share in enumerate(shares)])


@cache
def _condition_intercepts() -> Floats:
    return _solve(_reference().condition_odds(), conditions()["prevalence"].to_numpy())


@cache
def _death_intercept() -> float:
    return float(_solve(_reference().death_odds()[:, None], np.array([DEATH_PREVALENCE]))[0])


def _solve(odds: Floats, prevalence: Floats) -> Floats:
    """Return the intercepts [m] that give the columns of ``odds`` [n, m] the wanted prevalence, by bisection."""
    low: Floats = np.full(len(prevalence), -30.0)
    high: Floats = -low
    for _ in range(30):
        middle = (low + high) / 2
        above = expit(odds + middle).mean(0) > prevalence
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high
