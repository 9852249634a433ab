"""What people may ask of patients through time: a first diagnosis, a code ever or never, death.

    first.DOMAIN=CODE   CODE is among the codes of the first visit that has any of that domain
    ever.CODE=1         some visit has CODE; 0: none has
    dies=1              a death is known; 0: none is

A column of the patient's row with such a name comes first. No model is given these: patients are drawn until enough
have what is asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from ehrsynth.errors import OptionError
from ehrsynth.visits import UNKNOWN, Visits, VisitSchema

Which = NDArray[np.bool_]  # [n]
FIRST, EVER, DIES = "first.", "ever.", "dies"
FLAGS = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}


@dataclass(frozen=True)
class InTime:
    """What is asked of the visits of each patient.

    Attributes:
        asked: by name, as it was asked.
        met: of each which patients have it.
    """

    asked: Mapping[str, str]
    met: tuple[Callable[[Visits], Which], ...]

    def met_by(self, visits: Visits) -> Which:
        """Return which patients have all that is asked, bool [n]."""
        found = np.ones(len(visits), bool)
        for meets in self.met:
            found &= meets(visits)
        return found

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.asked.items())


def is_in_time(name: str) -> bool:
    """Return whether a condition is one of visits, unless a column has its name."""
    return name == DIES or name.startswith((FIRST, EVER))


def in_time(schema: VisitSchema, asked: Mapping[str, object]) -> InTime:
    """Return what conditions ask of visits.

    Args:
        schema: of the visits.
        asked: by name what is asked, see above.

    Raises:
        OptionError: no such domain or code, or no 0 or 1 where one was expected.
    """
    names = [code.name for code in schema.codes]
    met: list[Callable[[Visits], Which]] = []
    for name, value in asked.items():
        if name.startswith(FIRST):
            domain = name.removeprefix(FIRST)
            if domain not in schema.domains:
                raise OptionError(f"condition.{name}: the visits have codes of {', '.join(schema.domains)}")
            place = _place(f"condition.{name}={value}", str(value), names)
            places = schema.domains[domain]
            if not places.start <= place < places.stop:
                raise OptionError(f"condition.{name}={value}: that is no code of {domain}")
            met.append(_first(places, place))
        elif (flag := FLAGS.get(str(value).lower())) is None:
            raise OptionError(f"condition.{name}={value}: 0 or 1 was expected")
        elif name == DIES:
            met.append(_dies(flag))
        else:
            code = name.removeprefix(EVER)
            met.append(_ever(_place(f"condition.{name}", code, names), flag))
    return InTime({name: str(value) for name, value in asked.items()}, tuple(met))


def _place(option: str, code: str, names: list[str]) -> int:
    if code not in names:
        near = get_close_matches(code, names, n=2)
        like = f"; {' or '.join(near)} is" if near else f", which have {len(names):,} codes"
        raise OptionError(f"{option}: {code} is no code of the visits{like}")
    return names.index(code)


def _first(domain: slice, code: int) -> Callable[[Visits], Which]:
    def met(visits: Visits) -> Which:
        of_domain = (visits.codes >= domain.start) & (visits.codes < domain.stop)
        visit = visits.visit_of_code
        earliest = np.full(len(visits), visits.count)
        np.minimum.at(earliest, visits.patient[visit[of_domain]], visit[of_domain])
        has = visit[visits.codes == code]
        found = np.zeros(len(visits), bool)
        found[visits.patient[has[has == earliest[visits.patient[has]]]]] = True
        return found

    return met


def _ever(code: int, flag: bool) -> Callable[[Visits], Which]:
    def met(visits: Visits) -> Which:
        found = np.full(len(visits), not flag)
        found[visits.patient[visits.visit_of_code[visits.codes == code]]] = flag
        return found

    return met


def _dies(flag: bool) -> Callable[[Visits], Which]:
    return lambda visits: (visits.died != UNKNOWN) == flag
