"""Backends that decide: what they are asked over HTTP and GRPC, and what their answers mean."""
