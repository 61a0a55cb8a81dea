"""Fits of the engine's assumptions to real data, one module for each part of the economy."""
