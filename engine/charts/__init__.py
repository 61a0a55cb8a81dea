"""Charts: what a run found, drawn with Altair; each answers the question in its title."""
