"""HTTP 1.1, 2 and 3: connections, heads, bodies, routes and answers. Knows no session."""
