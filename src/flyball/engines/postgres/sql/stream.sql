-- Streams of channels: publications, joins and leaves, in each shard in the order of their commits.
-- Version 2. Version 1 is what Centrifugo 6.8 makes: it is added to, and nothing is taken away.

CREATE TABLE IF NOT EXISTS {table} (
    id             bigserial,
    channel        text NOT NULL,
    channel_offset bigint NOT NULL,
    epoch          text NOT NULL DEFAULT '',
    kind           smallint NOT NULL DEFAULT 0,
    data           {type},
    tags           jsonb,
    client_id      text,
    user_id        text,
    conn_info      {type},
    chan_info      {type},
    prev_data      {type},
    created_at     timestamptz NOT NULL DEFAULT now(),
    shard_id       smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
ALTER TABLE {table}
    ADD COLUMN IF NOT EXISTS version bigint,
    ADD COLUMN IF NOT EXISTS delta boolean NOT NULL DEFAULT false;
CREATE INDEX IF NOT EXISTS {name}_channel_epoch_offset_idx ON {table} (channel, epoch, channel_offset);
CREATE INDEX IF NOT EXISTS {name}_shard_id_idx ON {table} (shard_id, id);
CREATE INDEX IF NOT EXISTS {name}_created_at_idx ON {table} (created_at);

-- history_from: up to this offset nothing is history any more; history_until: nothing at all is.
CREATE TABLE IF NOT EXISTS {p}meta (
    channel           text PRIMARY KEY,
    top_offset        bigint NOT NULL DEFAULT 0,
    epoch             text NOT NULL DEFAULT '',
    history_ttl       interval NOT NULL DEFAULT interval '1 minute',
    history_size      integer NOT NULL DEFAULT 100,
    top_version       bigint NOT NULL DEFAULT 0,
    top_version_epoch text NOT NULL DEFAULT '',
    expires_at        timestamptz NOT NULL DEFAULT now() + interval '7 days',
    created_at        timestamptz DEFAULT now(),
    updated_at        timestamptz DEFAULT now()
);
ALTER TABLE {p}meta
    ADD COLUMN IF NOT EXISTS history_from bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS history_until timestamptz;
CREATE INDEX IF NOT EXISTS {name}_meta_expires_idx ON {p}meta (expires_at);

CREATE TABLE IF NOT EXISTS {p}idempotency (
    channel         text NOT NULL,
    idempotency_key text NOT NULL,
    result_offset   bigint NOT NULL,
    result_epoch    text NOT NULL,
    result_id       bigint NOT NULL,
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (channel, idempotency_key)
);
CREATE INDEX IF NOT EXISTS {name}_idempotency_expires_idx ON {p}idempotency (expires_at);

-- Whoever writes into a shard holds its row until the commit: ids become visible in their order.
CREATE TABLE IF NOT EXISTS {p}shard_lock (shard_id smallint PRIMARY KEY);

CREATE OR REPLACE FUNCTION {p}lock(p_channel text, p_num_shards integer) RETURNS smallint
LANGUAGE plpgsql AS $$
DECLARE
    v_shard smallint;
BEGIN
    -- A bigint, because the smallest integer has no absolute value.
    v_shard := abs(hashtext(p_channel)::bigint)
        % COALESCE(p_num_shards, (SELECT NULLIF(count(*), 0) FROM {p}shard_lock));
    PERFORM FROM {p}shard_lock WHERE shard_id = v_shard FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'shard % is not in {name}_shard_lock', v_shard
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'num_shards must be what the tables were made for';
    END IF;
    RETURN v_shard;
END $$;

CREATE OR REPLACE FUNCTION {p}meta_end(p_meta_ttl interval, p_now timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_meta_ttl < interval '0' THEN 'infinity'
        WHEN COALESCE(p_meta_ttl, interval '0') = interval '0' THEN p_now + interval '7 days'
        ELSE p_now + p_meta_ttl END
$$;

-- Makes a stream that is not there, or is over: it has an epoch, and nothing in it.
CREATE OR REPLACE FUNCTION {p}open(p_channel text, p_end timestamptz, p_now timestamptz) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO {p}meta AS m (channel, epoch, expires_at, created_at, updated_at, history_until)
    VALUES (p_channel, left(replace(gen_random_uuid()::text, '-', ''), 12), p_end, p_now, p_now, p_now)
    ON CONFLICT (channel) DO UPDATE SET
        top_offset = 0, epoch = EXCLUDED.epoch, top_version = 0, top_version_epoch = '',
        history_from = 0, history_until = p_now, expires_at = p_end,
        created_at = p_now, updated_at = p_now
    WHERE m.expires_at <= p_now
$$;

-- Everything that is written goes through here. What has no history gets offset 0.
CREATE OR REPLACE FUNCTION {p}add(
    p_kind smallint,
    p_channel text,
    p_data {type},
    p_tags jsonb,
    p_history_ttl interval,
    p_history_size integer,
    p_meta_ttl interval,
    p_version bigint,
    p_version_epoch text,
    p_idempotency_key text,
    p_idempotency_ttl interval,
    p_use_delta boolean,
    p_client_id text,
    p_user_id text,
    p_conn_info {type},
    p_chan_info {type},
    p_num_shards integer,
    OUT out_result_id bigint,
    OUT out_channel_offset bigint,
    OUT out_epoch text,
    OUT out_suppressed boolean,
    OUT out_suppress_reason text
) LANGUAGE plpgsql AS $$
DECLARE
    v_shard smallint := {p}lock(p_channel, p_num_shards);
    v_now timestamptz := clock_timestamp();
    v_size integer := p_history_size;
    v_ttl interval := p_history_ttl;
    v_end timestamptz;
    v_prev {type};
BEGIN
    out_channel_offset := 0;
    out_epoch := '';
    out_suppressed := false;
    IF p_idempotency_key <> '' THEN
        SELECT i.result_id, i.result_offset, i.result_epoch, true, 'idempotency'
        INTO out_result_id, out_channel_offset, out_epoch, out_suppressed, out_suppress_reason
        FROM {p}idempotency i
        WHERE i.channel = p_channel AND i.idempotency_key = p_idempotency_key AND i.expires_at > v_now;
        IF FOUND THEN
            RETURN;
        END IF;
        out_channel_offset := 0;
        out_epoch := '';
        out_suppressed := false;
    END IF;
    IF p_kind = 0 AND (v_size IS NULL OR v_ttl IS NULL) THEN
        SELECT COALESCE(v_size, m.history_size), COALESCE(v_ttl, m.history_ttl) INTO v_size, v_ttl
        FROM {p}meta m WHERE m.channel = p_channel AND m.expires_at > v_now;
        v_size := COALESCE(v_size, p_history_size, 100);
        v_ttl := COALESCE(v_ttl, p_history_ttl, interval '1 minute');
    END IF;
    IF p_kind = 0 AND v_size > 0 AND v_ttl > interval '0' THEN
        IF p_use_delta THEN
            SELECT s.data INTO v_prev FROM {p}meta m JOIN {table} s
                ON s.channel = m.channel AND s.epoch = m.epoch AND s.channel_offset = m.top_offset
            WHERE m.channel = p_channel AND m.expires_at > v_now AND m.top_offset > m.history_from
                AND COALESCE(m.history_until, m.updated_at + m.history_ttl) > v_now AND s.kind = 0;
        END IF;
        v_end := GREATEST({p}meta_end(p_meta_ttl, v_now), v_now + v_ttl);
        LOOP
            UPDATE {p}meta AS m SET
                top_offset = m.top_offset + 1,
                history_ttl = v_ttl,
                history_size = v_size,
                history_from = GREATEST(
                    m.top_offset + 1 - v_size,
                    CASE WHEN COALESCE(m.history_until, m.updated_at + m.history_ttl) > v_now
                        THEN m.history_from ELSE m.top_offset END),
                history_until = v_now + v_ttl,
                top_version = CASE WHEN p_version > 0 THEN p_version ELSE m.top_version END,
                top_version_epoch = CASE WHEN p_version > 0 THEN COALESCE(p_version_epoch, '')
                    ELSE m.top_version_epoch END,
                expires_at = v_end,
                updated_at = v_now
            WHERE m.channel = p_channel AND m.expires_at > v_now AND NOT (
                COALESCE(p_version, 0) > 0 AND m.top_version >= p_version
                AND COALESCE(p_version_epoch, '') IN ('', m.top_version_epoch))
            RETURNING m.top_offset, m.epoch INTO out_channel_offset, out_epoch;
            EXIT WHEN FOUND;
            SELECT m.top_offset, m.epoch INTO out_channel_offset, out_epoch
            FROM {p}meta m WHERE m.channel = p_channel AND m.expires_at > v_now;
            IF FOUND THEN
                out_suppressed := true;
                out_suppress_reason := 'version';
                RETURN;
            END IF;
            PERFORM {p}open(p_channel, v_end, v_now);
        END LOOP;
    END IF;
    INSERT INTO {table} (
        channel, channel_offset, epoch, kind, data, tags, client_id, user_id, conn_info, chan_info,
        prev_data, created_at, shard_id, version, delta
    ) VALUES (
        p_channel, out_channel_offset, out_epoch, p_kind, p_data, p_tags, p_client_id, p_user_id,
        p_conn_info, p_chan_info, v_prev, v_now, v_shard, NULLIF(p_version, 0),
        COALESCE(p_use_delta, false)
    ) RETURNING id INTO out_result_id;
    IF p_idempotency_key <> '' THEN
        INSERT INTO {p}idempotency AS i (
            channel, idempotency_key, result_offset, result_epoch, result_id, expires_at
        ) VALUES (
            p_channel, p_idempotency_key, out_channel_offset, out_epoch, out_result_id,
            v_now + COALESCE(p_idempotency_ttl, interval '5 minutes')
        ) ON CONFLICT (channel, idempotency_key) DO UPDATE SET
            result_offset = EXCLUDED.result_offset, result_epoch = EXCLUDED.result_epoch,
            result_id = EXCLUDED.result_id, expires_at = EXCLUDED.expires_at;
    END IF;
    PERFORM pg_notify('{name}_notify', '');
END $$;

-- For applications, in transactions of their own.
CREATE OR REPLACE FUNCTION {p}publish(
    p_channel text,
    p_data {type},
    p_tags jsonb DEFAULT NULL,
    p_history_ttl interval DEFAULT NULL,
    p_history_size integer DEFAULT NULL,
    p_meta_ttl interval DEFAULT NULL,
    p_version bigint DEFAULT NULL,
    p_version_epoch text DEFAULT NULL,
    p_idempotency_key text DEFAULT NULL,
    p_idempotency_ttl interval DEFAULT NULL,
    p_use_delta boolean DEFAULT false,
    p_client_id text DEFAULT NULL,
    p_user_id text DEFAULT NULL,
    p_conn_info {type} DEFAULT NULL,
    p_chan_info {type} DEFAULT NULL,
    p_num_shards integer DEFAULT NULL
) RETURNS TABLE (
    out_result_id bigint,
    out_channel_offset bigint,
    out_epoch text,
    out_suppressed boolean,
    out_suppress_reason text
) LANGUAGE sql AS $$
    SELECT * FROM {p}add(
        0::smallint, p_channel, p_data, p_tags, p_history_ttl, p_history_size, p_meta_ttl, p_version,
        p_version_epoch, p_idempotency_key, p_idempotency_ttl, p_use_delta, p_client_id, p_user_id,
        p_conn_info, p_chan_info, p_num_shards)
$$;

-- The same, but what publishes nothing is an error, which ends the transaction.
CREATE OR REPLACE FUNCTION {p}publish_strict(
    p_channel text,
    p_data {type},
    p_tags jsonb DEFAULT NULL,
    p_history_ttl interval DEFAULT NULL,
    p_history_size integer DEFAULT NULL,
    p_meta_ttl interval DEFAULT NULL,
    p_version bigint DEFAULT NULL,
    p_version_epoch text DEFAULT NULL,
    p_idempotency_key text DEFAULT NULL,
    p_idempotency_ttl interval DEFAULT NULL,
    p_use_delta boolean DEFAULT false,
    p_client_id text DEFAULT NULL,
    p_user_id text DEFAULT NULL,
    p_conn_info {type} DEFAULT NULL,
    p_chan_info {type} DEFAULT NULL,
    p_num_shards integer DEFAULT NULL
) RETURNS TABLE (
    out_result_id bigint,
    out_channel_offset bigint,
    out_epoch text
) LANGUAGE plpgsql AS $$
DECLARE
    v_done record;
BEGIN
    SELECT * INTO v_done FROM {p}add(
        0::smallint, p_channel, p_data, p_tags, p_history_ttl, p_history_size, p_meta_ttl, p_version,
        p_version_epoch, p_idempotency_key, p_idempotency_ttl, p_use_delta, p_client_id, p_user_id,
        p_conn_info, p_chan_info, p_num_shards);
    IF v_done.out_suppressed THEN
        RAISE EXCEPTION 'channel %: nothing was published, because of its %',
            p_channel, v_done.out_suppress_reason;
    END IF;
    RETURN QUERY SELECT v_done.out_result_id, v_done.out_channel_offset, v_done.out_epoch;
END $$;

CREATE OR REPLACE FUNCTION {p}publish_join(
    p_channel text,
    p_client_id text,
    p_user_id text,
    p_conn_info {type} DEFAULT NULL,
    p_chan_info {type} DEFAULT NULL,
    p_num_shards integer DEFAULT NULL
) RETURNS bigint LANGUAGE sql AS $$
    SELECT out_result_id FROM {p}add(
        1::smallint, p_channel, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false,
        p_client_id, p_user_id, p_conn_info, p_chan_info, p_num_shards)
$$;

CREATE OR REPLACE FUNCTION {p}publish_leave(
    p_channel text,
    p_client_id text,
    p_user_id text,
    p_conn_info {type} DEFAULT NULL,
    p_chan_info {type} DEFAULT NULL,
    p_num_shards integer DEFAULT NULL
) RETURNS bigint LANGUAGE sql AS $$
    SELECT out_result_id FROM {p}add(
        2::smallint, p_channel, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false,
        p_client_id, p_user_id, p_conn_info, p_chan_info, p_num_shards)
$$;

-- Offset and epoch live on. Rows of the last minute stay: nodes may not have read them yet.
CREATE OR REPLACE FUNCTION {p}remove_history(p_channel text, p_num_shards integer DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {p}lock(p_channel, p_num_shards);
    UPDATE {p}meta SET history_from = top_offset WHERE channel = p_channel;
    DELETE FROM {table} WHERE channel = p_channel AND kind = 0 AND channel_offset > 0
        AND created_at < clock_timestamp() - interval '1 minute';
END $$;

-- Where the stream is now, for a state that is read in the same transaction.
CREATE OR REPLACE FUNCTION {p}top_position(p_channel text)
RETURNS TABLE (out_top_offset bigint, out_epoch text) LANGUAGE sql STABLE AS $$
    SELECT COALESCE(m.top_offset, 0), COALESCE(m.epoch, '')
    FROM (VALUES (p_channel)) AS asked (channel)
    LEFT JOIN {p}meta m ON m.channel = asked.channel AND m.expires_at > now()
$$;

-- The position, as a row of its own, and publications behind it. A limit below 0 is none.
CREATE OR REPLACE FUNCTION {p}read(
    p_channel text, p_limit integer, p_since bigint, p_reverse boolean, p_meta_ttl interval
) RETURNS TABLE (
    out_offset bigint,
    out_epoch text,
    out_data {type},
    out_tags jsonb,
    out_client_id text,
    out_user_id text,
    out_conn_info {type},
    out_chan_info {type},
    out_version bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_end timestamptz := {p}meta_end(p_meta_ttl, v_now);
    m {p}meta;
BEGIN
    LOOP
        SELECT * INTO m FROM {p}meta t WHERE t.channel = p_channel AND t.expires_at > v_now;
        EXIT WHEN FOUND;
        PERFORM {p}open(p_channel, v_end, v_now);
    END LOOP;
    -- Not with every read: a twentieth of the time may be missing.
    IF m.expires_at < v_end - (v_end - v_now) / 20 THEN
        UPDATE {p}meta t SET expires_at = v_end WHERE t.channel = p_channel AND t.expires_at < v_end;
    END IF;
    out_offset := m.top_offset;
    out_epoch := m.epoch;
    RETURN NEXT;
    IF p_limit = 0 OR COALESCE(m.history_until, m.updated_at + m.history_ttl) <= v_now THEN
        RETURN;
    END IF;
    IF p_reverse THEN
        RETURN QUERY SELECT s.channel_offset, s.epoch, s.data, s.tags, s.client_id, s.user_id,
            s.conn_info, s.chan_info, s.version
        FROM {table} s
        WHERE s.channel = p_channel AND s.epoch = m.epoch AND s.kind = 0
            AND s.channel_offset > m.history_from AND s.channel_offset <= m.top_offset
            AND (p_since IS NULL OR s.channel_offset < p_since)
        ORDER BY s.channel_offset DESC LIMIT NULLIF(GREATEST(p_limit, -1), -1);
    ELSE
        RETURN QUERY SELECT s.channel_offset, s.epoch, s.data, s.tags, s.client_id, s.user_id,
            s.conn_info, s.chan_info, s.version
        FROM {table} s
        WHERE s.channel = p_channel AND s.epoch = m.epoch AND s.kind = 0
            AND s.channel_offset > GREATEST(m.history_from, COALESCE(p_since, 0))
            AND s.channel_offset <= m.top_offset
        ORDER BY s.channel_offset LIMIT NULLIF(GREATEST(p_limit, -1), -1);
    END IF;
END $$;

-- Removes what is over, at most p_limit rows of each kind.
CREATE OR REPLACE FUNCTION {p}clean(
    p_retention interval, p_limit integer,
    OUT out_stream bigint, OUT out_idempotency bigint, OUT out_meta bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM {table} s USING (
        SELECT id, created_at FROM {table} WHERE created_at < clock_timestamp() - p_retention
        LIMIT p_limit
    ) AS old WHERE s.id = old.id AND s.created_at = old.created_at;
    GET DIAGNOSTICS out_stream = ROW_COUNT;
    DELETE FROM {p}idempotency WHERE (channel, idempotency_key) IN (
        SELECT channel, idempotency_key FROM {p}idempotency WHERE expires_at <= clock_timestamp()
        LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS out_idempotency = ROW_COUNT;
    DELETE FROM {p}meta WHERE channel IN (
        SELECT channel FROM {p}meta WHERE expires_at <= clock_timestamp()
        LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS out_meta = ROW_COUNT;
END $$;
REVOKE ALL ON FUNCTION {p}clean(interval, integer) FROM PUBLIC;
