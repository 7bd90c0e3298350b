"""The order of work of a detection job."""
