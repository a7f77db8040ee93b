"""How names are read: which namespace a channel or an RPC method belongs to."""

from __future__ import annotations

__all__ = ["cut_namespace", "listed_users", "split_channel"]


def cut_namespace(name: str, boundary: str) -> tuple[str, str]:
    """The namespace that ``name`` begins with, and what follows the boundary.

    The namespace is empty, and the rest the whole name, where there is no boundary in it; an
    empty ``boundary`` is in no name.
    """
    if not boundary or boundary not in name:
        return "", name
    namespace, _, rest = name.partition(boundary)
    return namespace, rest


def split_channel(channel: str, boundary: str, private_prefix: str) -> tuple[str, str]:
    """The channel's namespace, and the part of the name that its ``channel_regex`` looks at.

    The private prefix is not part of a namespace's name; without a namespace it is looked at.
    """
    public = channel.removeprefix(private_prefix) if private_prefix else channel
    if not boundary or boundary not in public:
        return "", channel
    return cut_namespace(public, boundary)


def listed_users(channel: str, boundary: str, separator: str) -> tuple[str, ...]:
    """The users listed at the end of a channel's name, after the last ``boundary``.

    Anonymous users are never listed. Without a ``separator`` the list is one user.
    """
    if not boundary or boundary not in channel:
        return ()
    listed = channel.rpartition(boundary)[2]
    users = listed.split(separator) if separator else [listed]
    return tuple(user for user in users if user)
