"""Drugs by name: what they are, without how they are made up."""

import re
from itertools import takewhile

from ehrsynth.data.vocabulary.base import OneByOne

_ASIDE = re.compile(r"\([^)]*\)|\[[^]]*\]|\*[^*]*\*")  # (Dilaudid), [brand], *NF*
_BREAK = re.compile(r"[\s,;]+")
_NUMBER = re.compile(r"[0-9.]+(?:[-/x][0-9.]+)*(?:%|[a-z%/]*)")  # 500, 0.9%, 10mg, 325-10, 1,000 is two
# What a salt or a form adds to a name does not make another drug, unless the name begins with it.
_SALTS = """hydrochloride hcl sodium potassium calcium magnesium chloride sulfate sulphate phosphate acetate tartrate
    bitartrate succinate citrate maleate fumarate mesylate besylate gluconate carbonate bromide hydrobromide nitrate
    dinitrate mononitrate lactate oxalate furoate propionate dipropionate disoproxil medoxomil hyclate monohydrate
    trihydrate"""
_FORMS = """tablet tablets tab tabs capsule capsules cap caps solution soln suspension susp syrup elixir liquid
    injection inj infusion drip bag vial syringe flush premix powder packet cream ointment gel lotion patch spray drops
    inhaler neb nebulizer inhalation suppository enema lozenge oral iv im sc sq po pr sl topical ophthalmic nasal er xr
    sr xl cr la dr ec ir xt desensitization replacement mg mcg g gm ml l units unit meq of in with for"""
_ELEMENTS = "sodium potassium calcium magnesium zinc ferrous ferric iron aluminum lithium"
_ENDS = frozenset(_FORMS.split())
_SALT_ENDS = _ENDS | frozenset(_SALTS.split())
_HEADS = frozenset(_ELEMENTS.split())


class DrugNames(OneByOne):
    """Names of drugs in lower case, without brackets, strengths, forms and salts.

    ``Metoprolol Succinate XL 50mg`` is ``metoprolol``. Salts of an element stay apart: ``potassium chloride`` is not
    ``potassium phosphate``. Classes of drugs need a table, see ``ehrsynth.data.vocabulary.maps.TableMap``.
    """

    name = "drug_names"

    def concept(self, vocabulary: str, code: str) -> str | None:
        """Return the name of a drug, whatever vocabulary it is of."""
        return drug_name(code)


def drug_name(text: str) -> str:
    """Return the drug that a provider's words name; empty if they name none."""
    words = [word for word in _BREAK.split(_ASIDE.sub(" ", text.lower())) if word.strip("-/.&+%")]
    while words and _NUMBER.fullmatch(words[0]):  # 0.9% sodium chloride
        words = words[1:]
    ends = _ENDS if words and words[0] in _HEADS else _SALT_ENDS
    rest = takewhile(lambda word: word not in ends and not _NUMBER.fullmatch(word), words[1:])
    return " ".join([*words[:1], *rest])
