"""Schemas of the configuration: names and types, no values, no torch."""
