"""A library, a client app and a run of the whole service on one machine, to see it work."""
