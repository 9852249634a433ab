"""A simulated hospital in time whose dynamics are known, to hold models and temporal scores against.

Patient i has an age, a sex and a race, and is admitted again and again until death or the end of follow-up. Of the
conditions in ``CHRONIC`` those that have begun never end. With x = (age - 60)/15:

    onset        hazard of b per year = rate_b exp(age_b x) prod_a HR(a, b)^[a has begun], HR of ``PROGRESSION``,
                 held from the discharge of a visit to the admission of the next (exponential times, so that
                 P(b begins in a gap of g years) = 1 - exp(-hazard g))
    coding       at the first visit after its onset always, at every later one with probability kept_b: this is
                 P(b at visit t + 1 | b at visit t). Conditions in ``ACUTE`` come at a visit with their chance, and once
                 only: that probability is 0
    severity     s = sum of the weights of conditions that have begun + ``ACUTE_WEIGHT`` [a grave acute one]
    gap          from discharge to next admission, in operational days: log g ~ N(GAP_MEAN - GAP_SLOPE s, GAP_SD^2)
    season       the operational clock runs by 1 + SEASON cos(2 pi (day - PEAK)/365.25) a day (``operational``), so
                 admissions are that much more frequent in winter; winter conditions vary with it besides
    death        in hospital with P = expit(DEATH_BASE + DEATH_SEVERITY s + DEATH_AGE x); between visits with a hazard a
                 day of DEATH_RATE exp(DEATH_SEVERITY s + DEATH_AGE x), until the next admission
    drugs        of a condition that is coded, with probability ``GIVEN``, and never without it
    labs         usual_i + effects of conditions that have begun + shift max(0, 1 - days to the outcome/horizon) before
                 the outcome (``Lab.drift``) + noise

Onset, gap and death depend on what a record shows (age, conditions coded so far, which are all that have begun by then)
and on nothing hidden, so a model of records can learn them, and a score can be held against ``hazard_ratio``,
``persistence``, ``gap_law``, ``season``, ``GIVEN`` and ``Lab``.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

YEAR = 365.25
FOLLOW_UP = 9 * YEAR  # days that the hospital is open
MOST_VISITS = 80
FEMALE_SHARE = 0.54
RACES = {"WHITE": 0.65, "BLACK/AFRICAN AMERICAN": 0.17, "HISPANIC/LATINO": 0.09, "ASIAN": 0.05, "UNKNOWN": 0.04}
BEFORE = (6.0, 3.0)  # years at risk before the first visit; only what began in the first can progress in the second
GAP_MEAN, GAP_SLOPE, GAP_SD = 5.9, 0.6, 0.9
SEASON, PEAK = 0.3, 15.0
STAY_MEAN, STAY_SLOPE, STAY_SD = 1.0, 0.2, 0.6  # of the logarithm of days in hospital
ACUTE_WEIGHT = 0.4
DEATH_BASE, DEATH_RATE, DEATH_SEVERITY, DEATH_AGE = -5.0, 2.5e-5, 0.8, 0.5
GIVEN = 0.8


@dataclass(frozen=True)
class Chronic:
    """A condition that stays; the symbols of the module's formulas."""

    label: str
    rate: float
    age: float
    kept: float
    weight: float = 0.0
    drug: str = ""
    sex: str = ""


@dataclass(frozen=True)
class Acute:
    """A condition that comes once: its chance at a visit, its winter amplitude, and whether it is grave."""

    label: str
    chance: float
    winter: float = 0.0
    grave: bool = False


@dataclass(frozen=True)
class Lab:
    """A laboratory test.

    Attributes:
        item, unit: as MIMIC-IV has them.
        usual, between, noise: mean and standard deviation of what is usual for a patient, and of a single value.
        effects: of conditions that have begun.
        drift: an outcome (a condition, or ``death``), the shift at its time, and the days over which it builds up.
    """

    item: int
    unit: str
    usual: float
    between: float
    noise: float
    effects: dict[str, float] = field(default_factory=dict)
    drift: tuple[str, float, float] | None = None


CHRONIC = {
    "I10": Chronic("Essential hypertension", 0.06, 0.5, 0.85, 0.05, "Lisinopril"),
    "E78": Chronic("Disorders of lipoprotein metabolism", 0.05, 0.4, 0.70, 0.0, "Atorvastatin"),
    "E66": Chronic("Overweight and obesity", 0.03, -0.2, 0.60, 0.05),
    "E11": Chronic("Type 2 diabetes mellitus", 0.02, 0.3, 0.90, 0.15, "Metformin"),
    "N18": Chronic("Chronic kidney disease", 0.008, 0.5, 0.90, 0.4),
    "I25": Chronic("Chronic ischemic heart disease", 0.012, 0.6, 0.85, 0.25, "Aspirin"),
    "I50": Chronic("Heart failure", 0.006, 0.7, 0.90, 0.5, "Furosemide"),
    "I48": Chronic("Atrial fibrillation", 0.012, 0.8, 0.85, 0.2, "Apixaban"),
    "J44": Chronic("Chronic obstructive pulmonary disease", 0.012, 0.4, 0.85, 0.35, "Albuterol"),
    "C34": Chronic("Malignant neoplasm of bronchus and lung", 0.003, 0.5, 0.95, 0.9),
    "D64": Chronic("Other anemias", 0.02, 0.3, 0.60, 0.1),
    "F32": Chronic("Depressive episode", 0.025, -0.1, 0.60, 0.05, "Sertraline"),
    "F03": Chronic("Unspecified dementia", 0.004, 1.2, 0.80, 0.3, "Donepezil"),
    "E03": Chronic("Other hypothyroidism", 0.012, 0.3, 0.75, 0.0, "Levothyroxine"),
    "K21": Chronic("Gastro-esophageal reflux disease", 0.03, 0.1, 0.60, 0.0, "Omeprazole"),
    "G47": Chronic("Sleep disorders", 0.02, 0.0, 0.55),
    "M81": Chronic("Osteoporosis", 0.012, 0.8, 0.55, 0.0, "Alendronate"),
    "N40": Chronic("Benign prostatic hyperplasia", 0.03, 0.9, 0.65, 0.0, "Tamsulosin", sex="M"),
    "N80": Chronic("Endometriosis", 0.01, -0.8, 0.60, sex="F"),
}
PROGRESSION = {
    ("E66", "E11"): 2.5,
    ("E11", "N18"): 3.0,
    ("I10", "N18"): 2.0,
    ("E78", "I25"): 1.8,
    ("E11", "I25"): 2.0,
    ("I25", "I50"): 3.0,
    ("I10", "I50"): 1.5,
    ("I50", "I48"): 1.6,
    ("J44", "C34"): 2.5,
    ("N18", "D64"): 2.2,
}
ACUTE = {
    "J18": Acute("Pneumonia", 0.06, winter=0.8, grave=True),
    "J10": Acute("Influenza", 0.03, winter=0.95),
    "N39": Acute("Urinary tract infection", 0.07),
    "I21": Acute("Acute myocardial infarction", 0.03, grave=True),
    "I63": Acute("Cerebral infarction", 0.025, grave=True),
    "A41": Acute("Sepsis", 0.04, grave=True),
    "N17": Acute("Acute kidney failure", 0.06),
    "J96": Acute("Respiratory failure", 0.04, winter=0.4, grave=True),
    "E87": Acute("Disorders of fluid and electrolytes", 0.09),
    "R07": Acute("Pain in throat and chest", 0.08),
    "R55": Acute("Syncope and collapse", 0.04),
    "K92": Acute("Gastrointestinal hemorrhage", 0.03),
    "K80": Acute("Cholelithiasis", 0.03),
    "S72": Acute("Fracture of femur", 0.02),
    "L03": Acute("Cellulitis", 0.04),
    "K35": Acute("Acute appendicitis", 0.015),
}
LABS = {
    "Creatinine": Lab(50912, "mg/dL", 0.9, 0.15, 0.08, {"N18": 1.2}, ("N18", 0.6, 365)),
    "Glucose": Lab(50931, "mg/dL", 98, 8, 10, {"E11": 50}, ("E11", 25, 365)),
    "% Hemoglobin A1c": Lab(50852, "%", 5.4, 0.2, 0.15, {"E11": 1.8}, ("E11", 0.8, 365)),
    "Hemoglobin": Lab(51222, "g/dL", 13.5, 0.9, 0.5, {"D64": -2.5, "N18": -0.6}),
    "Albumin": Lab(50862, "g/dL", 4.1, 0.25, 0.2, {}, ("death", -1.0, 180)),
    "Lactate": Lab(50813, "mmol/L", 1.5, 0.25, 0.25, {}, ("death", 1.5, 60)),
}
MEASURED, AGAIN = 0.7, 0.5  # a test is done in a stay, and once more on its last day
DECIMALS = 1


def hazard_ratio(cause: str, effect: str) -> float:
    """Return by how much a condition multiplies the hazard that another begins."""
    return PROGRESSION.get((cause, effect), 1.0)


def persistence(code: str) -> float:
    """Return P(code at the next visit | code at this one)."""
    return CHRONIC[code].kept if code in CHRONIC else 0.0


def severity(conditions: Collection[str]) -> float:
    """Return the severity of a visit at which these conditions have begun or are there."""
    weights = sum(CHRONIC[code].weight for code in conditions if code in CHRONIC)
    return weights + ACUTE_WEIGHT * any(ACUTE[code].grave for code in conditions if code in ACUTE)


def gap_law(severity: float) -> tuple[float, float]:
    """Return mean and standard deviation of the logarithm of the operational days to the next admission.

    Gaps that death or the end of follow-up cuts short are not seen.
    """
    return GAP_MEAN - GAP_SLOPE * severity, GAP_SD


def season(day: Floats) -> Floats:
    """Return how frequent admissions are on days since the opening, a first of January; 1 on average."""
    return np.asarray(1 + SEASON * np.cos(2 * np.pi * (day - PEAK) / YEAR))


def operational(day: Floats) -> Floats:
    """Return the operational clock at days since the opening: the integral of ``season``."""
    return np.asarray(day + SEASON * YEAR / (2 * np.pi) * np.sin(2 * np.pi * (day - PEAK) / YEAR))


def calendar(clock: Floats) -> Floats:
    """Return the day since the opening at which the operational clock shows this: the inverse of ``operational``."""
    day = clock.copy()
    for _ in range(30):  # the derivative of the correction is below SEASON, so this converges
        day = clock - (operational(day) - day)
    return day


@dataclass(frozen=True, eq=False)
class Courses:
    """Courses of n patients, V visits in the order of patients and time; days are since the opening.

    Attributes:
        age: [n] years at the first admission.
        female: [n].
        race: [n] places in ``RACES``.
        dead: [n] day of death, NaN of those who outlive the follow-up.
        patient: [V].
        admitted, discharged: [V].
        died: [V] whether the patient died in this stay.
        onset: [n, chronic] day; infinite if it never came.
        coded: [V, chronic + acute], in the order of ``CHRONIC`` and ``ACUTE``.
    """

    age: Integers
    female: Flags
    race: Integers
    dead: Floats
    patient: Integers
    admitted: Floats
    discharged: Floats
    died: Flags
    onset: Floats
    coded: Flags


def simulate_courses(n: int, rng: np.random.Generator) -> Courses:
    """Simulate ``n`` patients, visit number after visit number, all patients at once."""
    age = (25 + 64 * rng.beta(2.5, 1.7, n)).astype(np.int64)
    female = rng.random(n) < FEMALE_SHARE
    race = rng.choice(len(RACES), n, p=list(RACES.values()))
    risk = _Risk.of(age, female)
    admitted = calendar(rng.uniform(operational(np.zeros(1))[0], operational(np.array([FOLLOW_UP * 0.8]))[0], n))
    onset = np.full((n, len(CHRONIC)), np.inf)
    for years in BEFORE:
        start = admitted - YEAR * sum(BEFORE[BEFORE.index(years) :])
        onset = risk.onsets(np.arange(n), onset, start, start + YEAR * years, rng)
    had = np.zeros((n, len(ACUTE)), bool)
    known = np.zeros((n, len(CHRONIC)), bool)
    dead, here, visits = np.full(n, np.nan), np.arange(n), list[tuple[NDArray[np.generic], ...]]()
    for _ in range(MOST_VISITS):
        at = admitted[here]
        begun = onset[here] <= at[:, None]
        chronic = begun & (~known[here] | (rng.random(begun.shape) < _kept()))
        acute = ~had[here] & (rng.random((len(here), len(ACUTE))) < _chances(at))
        known[here] |= begun
        had[here] |= acute
        grave = (acute & np.array([entry.grave for entry in ACUTE.values()])).any(1)
        ill = begun @ np.array([entry.weight for entry in CHRONIC.values()]) + ACUTE_WEIGHT * grave
        leaves = at + np.exp(STAY_MEAN + STAY_SLOPE * ill + STAY_SD * rng.standard_normal(len(here))) + 0.05
        older = DEATH_AGE * (age[here] - 60) / 15
        died = rng.random(len(here)) < expit(DEATH_BASE + DEATH_SEVERITY * ill + older)
        visits.append((here, at, leaves, died, np.concatenate([chronic, acute], axis=1)))
        gap = np.exp(GAP_MEAN - GAP_SLOPE * ill + GAP_SD * rng.standard_normal(len(here)))
        again = calendar(operational(leaves) + gap)
        dies = leaves + rng.exponential(1, len(here)) / (DEATH_RATE * np.exp(DEATH_SEVERITY * ill + older))
        dead[here] = np.where(died, leaves, np.where(dies < np.minimum(again, FOLLOW_UP + YEAR), dies, np.nan))
        onset[here] = risk.onsets(here, onset[here], leaves, again, rng)
        stays = ~died & (again < FOLLOW_UP) & (again < dies)
        admitted[here] = again
        here = here[stays]
        if not len(here):
            break
    patient, came, left, died, coded = (np.concatenate(column) for column in zip(*visits, strict=True))
    order = np.lexsort((came, patient))
    onset[onset > np.where(np.isnan(dead), np.inf, dead)[:, None]] = np.inf
    return Courses(age, female, race, dead, patient[order], came[order], left[order], died[order], onset, coded[order])


@dataclass(frozen=True, eq=False)
class _Risk:
    """Hazards a day [n, chronic] of patients without any condition."""

    base: Floats

    @classmethod
    def of(cls, age: Integers, female: Flags) -> "_Risk":
        x = (age[:, None] - 60) / 15
        entries = list(CHRONIC.values())
        base = np.array([e.rate for e in entries]) / YEAR * np.exp(x * np.array([e.age for e in entries]))
        sexes = np.array([e.sex for e in entries])
        base[female[:, None] & (sexes == "M")] = base[~female[:, None] & (sexes == "F")] = 0
        return cls(base)

    def onsets(self, who: Integers, onset: Floats, start: Floats, end: Floats, rng: np.random.Generator) -> Floats:
        """Return onsets [m, chronic] of patients ``who`` with what begins between ``start`` and ``end``."""
        begun = onset <= start[:, None]
        with np.errstate(divide="ignore"):
            waits = rng.exponential(1, begun.shape) / (self.base[who] * np.exp(begun @ _log_ratios()))
        comes = ~begun & (start[:, None] + waits < end[:, None])
        return np.where(comes, start[:, None] + waits, onset)


def _log_ratios() -> Floats:
    """Return log HR [cause, effect]."""
    names = list(CHRONIC)
    ratios = np.zeros((len(names), len(names)))
    for (cause, effect), ratio in PROGRESSION.items():
        ratios[names.index(cause), names.index(effect)] = np.log(ratio)
    return ratios


def _kept() -> Floats:
    return np.array([entry.kept for entry in CHRONIC.values()])


def _chances(day: Floats) -> Floats:
    """Return the chance [m, acute] of each acute condition at an admission on these days."""
    entries = list(ACUTE.values())
    wave = np.cos(2 * np.pi * (day[:, None] - PEAK) / YEAR)
    chances: Floats = np.array([e.chance for e in entries]) * (1 + np.array([e.winter for e in entries]) * wave)
    return chances


def expected_lab(lab: Lab, begun: Collection[str], days_to_outcome: float = np.inf) -> float:
    """Return the mean of a test in patients with these conditions, so many days before the outcome of its drift."""
    mean = lab.usual + sum(lab.effects.get(code, 0.0) for code in begun)
    if lab.drift is not None and days_to_outcome >= 0:
        mean += lab.drift[1] * max(0.0, 1 - days_to_outcome / lab.drift[2])
    return mean
