"""Whatever happens to PostgreSQL or a node: nothing is lost in silence, all recovers."""

import asyncio

import pytest
from fault_world import (
    ROUNDS,
    Nodes,
    audited,
    clocks_differ,
    nodes_are_killed,
    postgres_sections,
    progress,
    the_network_breaks,
)
from postgres import DATABASE, PASSWORD, USER, PostgresServer


@pytest.fixture(params=["16", "18"])
def postgres(request):
    server = PostgresServer(request.param)
    yield server
    server.stop()


@pytest.fixture
def nodes(postgres):
    found = Nodes(sections=postgres_sections(postgres.url))
    yield found
    found.stop()


async def test_postgres_is_killed(postgres, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.kill()
            await nodes.all_health(503)
            await asyncio.to_thread(postgres.start)
            await nodes.all_health(200)
            await progress(auditor)


async def test_postgres_stands_still(postgres, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.pause()
            await nodes.all_health(503)
            postgres.resume()
            await nodes.all_health(200)
            await progress(auditor)


async def test_connections_are_ended(postgres, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'flyball%'"
            )
            await progress(auditor)


async def test_the_password_is_another_for_a_while(postgres, nodes):
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.ask(f"ALTER ROLE {USER} PASSWORD 'other'")
            postgres.kill()
            await asyncio.to_thread(postgres.start)
            await nodes.all_health(503)
            postgres.ask(f"ALTER ROLE {USER} PASSWORD '{PASSWORD}'")
            await nodes.all_health(200)
            await progress(auditor)


async def test_tables_are_emptied(postgres, nodes):
    """All offsets begin anew, in another epoch."""
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.ask("TRUNCATE cf_stream, cf_stream_meta RESTART IDENTITY")
            await progress(auditor)


async def test_tables_are_gone_for_a_while(postgres, nodes):
    """They come back as they were: from a backup, or by a rename."""
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.ask("ALTER SCHEMA public RENAME TO away; CREATE SCHEMA public")
            await nodes.all_health(503)
            postgres.ask("DROP SCHEMA public; ALTER SCHEMA away RENAME TO public")
            await nodes.all_health(200)
            await progress(auditor)


async def test_tables_are_of_another_version_for_a_while(postgres, nodes):
    """Nothing is done with them from the next link on."""
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.ask("UPDATE cf_stream_schema_version SET schema_version = 99")
            postgres.kill()
            await asyncio.to_thread(postgres.start)
            await nodes.all_health(503)
            postgres.ask("UPDATE cf_stream_schema_version SET schema_version = 2")
            await nodes.all_health(200)
            await progress(auditor)


# A function may be replaced while others use the table.
DISK = "CREATE OR REPLACE FUNCTION disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$"
FULL = DISK.format("RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';")
ROOM = DISK.format("RETURN NEW;")
WATCHED = "CREATE TRIGGER disk BEFORE INSERT ON cf_stream FOR EACH ROW EXECUTE FUNCTION disk()"


async def test_the_disk_is_full_for_a_while(postgres, nodes):
    """What was there is read on, nothing is written by halves."""
    postgres.ask(f"{ROOM}; {WATCHED}")
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.ask(FULL)
            await nodes.all_health(503)
            postgres.ask(ROOM)
            await progress(auditor)
            await nodes.all_health(200)


async def test_it_is_a_standby_for_a_while(postgres, nodes):
    """One that reads, and does not write."""
    async with audited(nodes) as auditor:
        for _ in range(ROUNDS):
            postgres.ask(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = on")
            postgres.kill()
            await asyncio.to_thread(postgres.start)
            await nodes.all_health(503)
            postgres.ask(
                f"ALTER DATABASE {DATABASE} RESET default_transaction_read_only", "postgres"
            )
            await nodes.all_health(200)
            await progress(auditor)


async def test_a_node_is_killed(nodes):
    await nodes_are_killed(nodes)


async def test_the_network_breaks(postgres):
    def sections(port):
        return postgres_sections(postgres.url.replace(str(postgres.port), str(port)))

    await the_network_breaks(postgres.port, sections)


async def test_clocks_differ(postgres):
    await clocks_differ(postgres_sections(postgres.url), presence=1)
