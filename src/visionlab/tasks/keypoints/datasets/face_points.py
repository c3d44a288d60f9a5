"""The usual 68 points of a face: their order, their mirror, their lines.

The scheme is that of C. Sagonas, G. Tzimiropoulos, S. Zafeiriou and M. Pantic, "300 Faces
in-the-Wild Challenge", ICCV Workshops 2013 (iBUG 300-W), counted from 0; left and right are those
of the picture: jaw 0-16 from left to right, brows 17-21 and 22-26, nose bridge 27-30 downwards,
nostrils 31-35, eyes 36-41 and 42-47 clockwise, outer lips 48-59 and inner lips 60-67 clockwise from
the left corner.
"""

from itertools import chain

EYES = (tuple(range(36, 42)), tuple(range(42, 48)))  # the left and the right one

# which point becomes which in a mirror, part by part; the mirror of a mirror is the face again
MIRROR = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)

# what is joined in a drawing; lines around eyes and lips are closed
LINES = (
    tuple(range(17)),
    tuple(range(17, 22)),
    tuple(range(22, 27)),
    tuple(range(27, 31)),
    tuple(range(31, 36)),
    *((*eye, eye[0]) for eye in EYES),
    (*range(48, 60), 48),
    (*range(60, 68), 60),
)

NUM_POINTS = len(set(chain(*LINES)))
