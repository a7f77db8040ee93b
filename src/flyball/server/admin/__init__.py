"""The page for operators: who may see it, what it asks for, and its files."""

from flyball.server.admin.options import AdminOptions
from flyball.server.admin.routes import Admin
from flyball.server.admin.tokens import TOKEN_TTL, AdminTokens

__all__ = ["TOKEN_TTL", "Admin", "AdminOptions", "AdminTokens"]
