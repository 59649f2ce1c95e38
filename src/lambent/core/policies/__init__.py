"""Ways to foresee when a revision is needed, behind one small interface, so that they can be compared."""
