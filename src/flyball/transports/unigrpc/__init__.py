"""The unidirectional stream over GRPC, on a port of its own."""
