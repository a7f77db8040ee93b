"""SockJS 0.3.3: WebSocket, and six ways around networks and browsers that break it.

A client makes up a session id and asks for it under ``/{server}/{session}/{receiver}``. A
receiver is one request over which frames go to the client: a WebSocket, a stream that ends
after some time, or a poll for one frame. What the client says comes by requests of its own.
"""
