-- Messages between nodes, in each shard in the order of their commits.
-- Version 2. Version 1 is what Centrifugo 6.8 makes: it is added to, and nothing is taken away.

CREATE TABLE IF NOT EXISTS {table} (
    id         bigserial,
    shard_id   smallint NOT NULL DEFAULT 0,
    node_id    text NOT NULL DEFAULT '',
    data       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX IF NOT EXISTS {name}_messages_shard_id_idx ON {table} (shard_id, id);

-- Whoever writes into a shard holds its row until the commit: ids become visible in their order.
CREATE TABLE IF NOT EXISTS {p}shard_lock (shard_id smallint PRIMARY KEY);

CREATE OR REPLACE FUNCTION {p}publish(
    p_data bytea, p_node_id text DEFAULT '', p_num_shards integer DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_shard smallint;
    v_id bigint;
BEGIN
    -- Messages of a node follow each other on one connection, others owe them no order.
    v_shard := pg_backend_pid()
        % COALESCE(p_num_shards, (SELECT NULLIF(count(*), 0) FROM {p}shard_lock));
    PERFORM FROM {p}shard_lock WHERE shard_id = v_shard FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'shard % is not in {name}_shard_lock', v_shard
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'num_shards must be what the tables were made for';
    END IF;
    INSERT INTO {table} (shard_id, node_id, data, created_at)
    VALUES (v_shard, p_node_id, p_data, clock_timestamp()) RETURNING id INTO v_id;
    PERFORM pg_notify('{name}_notify', '');
    RETURN v_id;
END $$;
