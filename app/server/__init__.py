"""What stands between a socket and a view: limits, rate limiting, the request log."""
