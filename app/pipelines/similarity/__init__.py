"""The order of work of a similarity job."""
