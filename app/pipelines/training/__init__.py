"""The order of work of a training."""
