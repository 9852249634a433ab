"""MEDS datasets: read by ``source``, which asks ``mapping`` what their codes are."""

from ehrsynth.data.sources.meds.source import Meds

__all__ = ["Meds"]
