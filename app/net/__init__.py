"""The network: which addresses may be reached, and HTTP with a deadline."""
