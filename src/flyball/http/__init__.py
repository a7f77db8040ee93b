"""HTTP 1.1, 2 and 3: connections, heads, bodies, routes and answers. Knows no session.

What is asked and answered:

- :mod:`~flyball.http.messages`: a request's head, an answer, limits;
- :mod:`~flyball.http.routes`: the route table: a new endpoint is a row of it, and then it is there
  over every version of HTTP, counted and refused as all others;
- :mod:`~flyball.http.streams`: answers that do not end; :mod:`~flyball.http.static`: files.

How it comes and goes:

- :mod:`~flyball.http.listener`: a port. Connections begin with :mod:`~flyball.http.http1`
  (:mod:`~flyball.http.head` reads, :mod:`~flyball.http.encoding` writes) and go where their client
  or a request leads: :mod:`~flyball.http.http2`, an upgrade, or an ASGI app of the user's
  (:mod:`~flyball.http.asgi_server`);
- :mod:`~flyball.http.http3`: the UDP port; :mod:`~flyball.http.multiplex`: what requests of HTTP/2
  and 3 have in common;
- :mod:`~flyball.http.asgi_bridge`: the same table through somebody else's ASGI server.
"""
