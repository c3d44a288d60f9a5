"""Arithmetic without files: seeding, geometry, boxes, processes."""
