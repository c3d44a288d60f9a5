"""Fusions of several members' detections into one.

Each is called with the detections of members, and for each member of images; boxes of one image and
class are fused. Results depend neither on the order of members nor on the order of equal scores.
"""
