"""Show it: a terminal client of the status endpoint. Knows no runner and no server."""
