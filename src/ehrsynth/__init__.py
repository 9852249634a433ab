"""ehrsynth: train, judge, choose and hand over generators of synthetic electronic health records."""

__version__ = "0.1.0"
