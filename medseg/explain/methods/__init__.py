"""One file per method, whose function has the file's name.

A method takes a network at rest, an image (B, C, *spatial), a :class:`~medseg.explain.Target` whose
region is settled, and :class:`~medseg.explain.Options`. It returns a map (B, *grid) that spans the
image, as coarse as it likes; a place is the more important for the target the larger its number.
"""
