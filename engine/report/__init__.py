"""Report: one HTML file for a run or a comparison, which opens offline and prints."""
