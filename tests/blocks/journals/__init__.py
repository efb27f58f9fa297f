"""Journal stores: one contract for every store, crashes, races, and the offline verifier."""
