"""freerun."""
