"""No property is about speed, and a machine may be busy: an example may take its time."""

from hypothesis import settings

settings.register_profile("at leisure", deadline=None)
settings.load_profile("at leisure")
