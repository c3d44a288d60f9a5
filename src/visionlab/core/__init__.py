"""Arithmetic without file access: seeding, geometry, boxes, processes."""
