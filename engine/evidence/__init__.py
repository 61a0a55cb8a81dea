"""Evidence: the tables of a report that a run does not store, computed from its scenario and seed."""
