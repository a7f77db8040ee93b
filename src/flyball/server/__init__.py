"""The server: configuration, auth, channel rules, API, metrics, built on the library.

:mod:`~flyball.server.main` is the process, :mod:`~flyball.server.app` what one serves: a list of
:mod:`~flyball.server.components`, among them its :mod:`~flyball.server.ports`, made by
:mod:`~flyball.server.build`, the only place that knows the configuration and the objects.
"""
