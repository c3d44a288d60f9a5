"""Oriented boxes, a variant of detection: what differs from upright boxes."""
