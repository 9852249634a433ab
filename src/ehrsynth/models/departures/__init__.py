"""Records as departures from what is usual: their variables in order, and a network that says which comes next."""
