-- One partition for each day (UTC), and one for days that have none: whoever writes must not fail
-- because no node was there to make it.
CREATE TABLE IF NOT EXISTS {table}_default PARTITION OF {table} DEFAULT;

-- Makes the partitions of today and of p_ahead days after it, and drops those that are over.
-- None of the locks is waited for for long, because everybody else waits behind them.
CREATE OR REPLACE FUNCTION {p}maintain(
    p_ahead integer, p_keep integer,
    OUT out_made integer, OUT out_dropped integer, OUT out_partitions integer
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    v_today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    v_day date;
    v_part text;
    v_from timestamptz;
    v_to timestamptz;
BEGIN
    out_made := 0;
    out_dropped := 0;
    IF NOT pg_try_advisory_xact_lock(hashtext('{table}'), 1) THEN
        RETURN;  -- another node is at it
    END IF;
    -- First, because it locks the table before its partitions, as everybody else does.
    BEGIN
        FOR v_part IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = '{table}'::regclass AND c.relname ~ '_\d{4}_\d\d_\d\d$'
                AND to_date(right(c.relname, 10), 'YYYY_MM_DD') < v_today - p_keep
            ORDER BY 1
        LOOP
            EXECUTE format('DROP TABLE {schema}.%I', v_part);
            out_dropped := out_dropped + 1;
        END LOOP;
    EXCEPTION WHEN lock_not_available THEN
        out_dropped := 0;  -- the next time; new ones are more urgent
    END;
    FOR v_day IN SELECT v_today + n FROM generate_series(0, GREATEST(p_ahead, 0)) AS n LOOP
        v_part := '{parts}_' || to_char(v_day, 'YYYY_MM_DD');
        CONTINUE WHEN to_regclass('{schema}.' || quote_ident(v_part)) IS NOT NULL;
        v_from := v_day::timestamp AT TIME ZONE 'UTC';
        v_to := (v_day + 1)::timestamp AT TIME ZONE 'UTC';
        -- To attach takes weaker locks than to create in place.
        EXECUTE format('CREATE TABLE {schema}.%I (LIKE {table} INCLUDING DEFAULTS)', v_part);
        LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format(
            'WITH moved AS (DELETE FROM {table}_default WHERE created_at >= %L AND created_at < %L'
            ' RETURNING *) INSERT INTO {schema}.%I SELECT * FROM moved', v_from, v_to, v_part);
        EXECUTE format(
            'ALTER TABLE {table} ATTACH PARTITION {schema}.%I FOR VALUES FROM (%L) TO (%L)',
            v_part, v_from, v_to);
        out_made := out_made + 1;
    END LOOP;
    DELETE FROM {table}_default WHERE created_at < (v_today - p_keep)::timestamp AT TIME ZONE 'UTC';
    SELECT count(*) - 1 INTO out_partitions FROM pg_inherits WHERE inhparent = '{table}'::regclass;
END $$;
REVOKE ALL ON FUNCTION {p}maintain(integer, integer) FROM PUBLIC;
