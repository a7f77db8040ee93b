"""What a connection sees of asyncio's transport, in memory."""


class MemoryWire:
    """The wire of one connection."""

    def __init__(self, **info):
        self.written = []
        self.reading = True
        self.closed = False
        self.protocol = None
        self.info = info

    def write(self, data):
        self.written.append(bytes(data))

    @property
    def sent(self):
        return b"".join(self.written)

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def get_write_buffer_size(self):
        return 0

    def get_extra_info(self, name, default=None):
        return self.info.get(name, default)

    def set_protocol(self, protocol):
        self.protocol = protocol

    def can_write_eof(self):
        return True

    def write_eof(self):
        pass

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    abort = close
