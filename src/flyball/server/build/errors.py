"""What is said of options that a part does not take, or whose part is not installed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from flyball.core.errors import ConfigError
from flyball.server.config import Config
from flyball.server.config.problems import ConfigProblems, Problem, problems_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Refusals:
    """What several parts refuse: all of it is told, not the first alone."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def of(self, make: Callable[[], T], instead: Callable[[], T]) -> T:
        """Makes a part; what ``instead`` makes takes its place if that is refused."""
        try:
            return make()
        except ConfigError as error:
            self.problems += problems_in(error)
            return instead()

    def of_config(self, config: Config, make: Callable[[Config], T]) -> T:
        """The same of a part that a configuration decides about; instead of it that of none."""
        return self.of(lambda: make(config), lambda: make(Config()))

    def tell(self) -> None:
        """Raises ConfigProblems if there are any."""
        if self.problems:
            raise ConfigProblems(self.problems)


def missing(what: str, extra: str, error: ImportError) -> ConfigError:
    """Says which extra something needs; ``what`` begins the sentence."""
    return ConfigError(f'{what} needs an extra: pip install "flyball[{extra}]" ({error})')


@contextmanager
def naming(key: str, sign: str = ": ") -> Iterator[None]:
    """Puts ``key`` before errors of a part that knows its options by names of its own.

    Args:
        key: path of the part's section.
        sign: between the two; a dot where errors begin with the name of an option.

    Raises:
        ConfigError: what is done in it raised one, with the key unless it names that already.
    """
    try:
        yield
    except ConfigError as error:
        if isinstance(error, ConfigProblems):
            raise  # told with its keys
        text = str(error)
        raise ConfigError(text if text.startswith(key) else f"{key}{sign}{text}") from None
