"""The certificates of the layer over their lives: what there is, what expires, how each is renewed."""
