"""The page of a node among others: charts of all, sign-out everywhere."""

import asyncio
import json

import pytest
from asking import ask

from flyball.core.node import Node
from flyball.core.options import NodeOptions
from flyball.server.admin import Admin, AdminOptions
from flyball.server.admin.routes import AdminSources
from flyball.server.api.http import ApiHandler
from flyball.server.api.service import ApiService
from flyball.server.channels import ChannelRules, ChannelRulesOptions
from flyball.testing.clock import settle

OPTIONS = AdminOptions(password="p", secret="s")


def admin_on(node):
    service = ApiService(node, ChannelRules(ChannelRulesOptions()))
    return Admin(OPTIONS, node, ApiHandler(service), AdminSources())


@pytest.fixture
async def two(clock, bus):
    nodes = [
        Node(NodeOptions(name=name), clock=clock, controller=bus.controller(), clients=False)
        for name in ("b", "a")
    ]
    for node in nodes:
        await node.start()
    for node in nodes:
        await node.tasks.drain()
    admins = [await asyncio.to_thread(admin_on, node) for node in nodes]
    yield list(zip(nodes, admins, strict=True))
    for node in nodes:
        await node.shutdown()


async def answered(admin, method, path, token, body=b""):
    headers = {"authorization": f"token {token}"}
    found = ask(admin.routes(), method, path, headers=headers, body=body)
    return await found if asyncio.isfuture(found) else found


async def test_charts_are_of_all_nodes(two):
    (_, admin), _ = two
    page = json.loads(
        (await answered(admin, "GET", "/admin/stats", admin.guard.tokens.make())).body
    )
    assert [node["name"] for node in page["nodes"]] == ["a", "b"]
    assert page["missing"] == ""


async def test_a_silent_node_is_told_and_nobody_asks_twice(two, bus, clock):
    (node, admin), (other, _) = two
    bus.cut(other.id)
    token = admin.guard.tokens.make()
    waiting = [
        asyncio.ensure_future(answered(admin, "GET", "/admin/stats", token)) for _ in range(3)
    ]
    while not node.metrics.actions["survey"]:
        await asyncio.sleep(0)
    await settle()
    clock.advance(3)
    for answer in waiting:
        page = json.loads((await answer).body)
        assert [each["name"] for each in page["nodes"]] == ["b"]
        assert "0 of 1 nodes answered" in page["missing"]
    assert node.metrics.actions["survey"] == 1


async def test_open_pages_share_surveys_as_time_goes_on(two, clock):
    (node, admin), _ = two
    token = admin.guard.tokens.make()
    for second in (1, 2):
        asked = [answered(admin, "GET", "/admin/stats", token) for _ in range(5)]
        answers = await asyncio.gather(*asked)
        assert len({answer.body for answer in answers}) == 1
        assert node.metrics.actions["survey"] == second
        clock.advance(1)


async def test_nodes_of_another_kind_are_told(two):
    (node, admin), (other, _) = two
    other._surveys.pop("flyball_stats")
    page = json.loads(
        (await answered(admin, "GET", "/admin/stats", admin.guard.tokens.make())).body
    )
    assert page["missing"] == "1 nodes are of another kind"
    assert [each["uid"] for each in page["nodes"]] == [node.id]


async def test_sign_out_ends_the_session_on_all_nodes(two):
    (_, admin), (_, other) = two
    token = admin.guard.tokens.make()
    assert other.guard.tokens.is_valid(token)
    assert (await answered(admin, "POST", "/admin/logout", token)).status == 204
    assert not admin.guard.tokens.is_valid(token)
    assert not other.guard.tokens.is_valid(token)


async def test_sign_out_while_others_are_silent(two, bus, clock):
    (node, admin), (other, _) = two
    bus.cut(other.id)
    token = admin.guard.tokens.make()
    waiting = asyncio.ensure_future(answered(admin, "POST", "/admin/logout", token))
    while not node.metrics.actions["survey"]:
        await asyncio.sleep(0)
    clock.advance(3)
    assert (await waiting).status == 204
    assert not admin.guard.tokens.is_valid(token)


async def test_page_without_tools(two):
    (_, admin), _ = two
    token = admin.guard.tokens.make()
    for path in ("/admin/token", "/admin/check"):
        assert (await answered(admin, "POST", path, token, b"{}")).status == 400
