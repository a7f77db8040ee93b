"""The order in which a server's parts live."""

import pytest

from flyball.server.components import Component, Components


class Log(list):
    def part(self, name, *, fails=""):
        def step(what):
            async def run():
                self.append(f"{what} {name}")
                if what == fails:
                    raise OSError(name)

            return run

        return Component(start=step("start"), stop=step("stop"))


async def test_parts_stop_in_the_opposite_order():
    log = Log()
    parts = Components([log.part("a"), Component(), log.part("b")])
    await parts.start()
    await parts.stop()
    await parts.stop()
    assert log == ["start a", "start b", "stop b", "stop a"]
    log.clear()
    await parts.start()
    await parts.stop()
    assert log == ["start a", "start b", "stop b", "stop a"]


async def test_a_part_that_does_not_start_is_stopped_with_those_before_it():
    log = Log()
    parts = Components([log.part("a"), log.part("b", fails="start"), log.part("c")])
    with pytest.raises(OSError, match="b"):
        await parts.start()
    await parts.stop()
    assert log == ["start a", "start b", "stop b", "stop a"]


async def test_a_part_that_does_not_stop_keeps_no_other_from_it():
    log = Log()
    parts = Components([log.part("a"), log.part("b", fails="stop")])
    await parts.start()
    with pytest.raises(OSError, match="b"):
        await parts.stop()
    assert log == ["start a", "start b", "stop b", "stop a"]
