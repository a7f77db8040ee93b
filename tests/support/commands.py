"""Frames of commands, decoded as a session does it, but all at once."""

from flyball.protocol.codec import DecodeError


def decode_frame(codec, frame):
    """The commands of a frame, and what is wrong with the rest of it."""
    commands, position = [], 0
    while position < len(frame) or not commands:
        try:
            command, position = codec.decode_command(frame, position)
        except DecodeError as error:
            return commands, error
        commands.append(command)
    return commands, None
