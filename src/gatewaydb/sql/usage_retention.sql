-- fragment: usage_recorded_months @postgres
SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS first_day
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'usage_records'::regclass AND c.relname ~ '^usage_records_[0-9]+_[0-9]+$'
UNION
SELECT date_trunc('month', request_timestamp AT TIME ZONE 'UTC')::date FROM usage_records_default

-- fragment: usage_recorded_models @sqlite
models (model_id) AS (
    SELECT min(model_id) FROM usage_records
    UNION ALL
    SELECT (SELECT min(u.model_id) FROM usage_records AS u WHERE u.model_id > m.model_id)
    FROM models AS m WHERE m.model_id IS NOT NULL
)

-- fragment: usage_recorded_months @sqlite
SELECT DISTINCT substr(request_timestamp, 1, 7) || '-01' AS first_day
FROM (
    WITH RECURSIVE
    {usage_recorded_models},
    times (model_id, request_timestamp) AS (
        SELECT
            m.model_id, (SELECT min(u.request_timestamp) FROM usage_records AS u WHERE u.model_id IS m.model_id)
        FROM models AS m
        UNION ALL
        SELECT
            t.model_id,
            (
                SELECT min(u.request_timestamp) FROM usage_records AS u
                WHERE u.model_id IS t.model_id
                AND u.request_timestamp >= date(substr(t.request_timestamp, 1, 10), 'start of month', '+1 month')
            )
        FROM times AS t WHERE t.request_timestamp IS NOT NULL
    )
    SELECT request_timestamp FROM times WHERE request_timestamp IS NOT NULL
)

-- name: usage_retention_find [point]
-- Before when records were pruned; no row: they never were.
SELECT pruned_before AS pruned_at FROM usage_retention WHERE id = 1;

-- name: usage_retention_list_months @postgres
-- The months before `end`, by their first days, whose records are in a partition of their own or in the default one, with
-- the requests that their summaries count.
SELECT
    m.first_day,
    (
        SELECT coalesce(sum(s.total_requests), 0)::bigint FROM monthly_usage_summaries AS s
        WHERE s.year = extract(year FROM m.first_day) AND s.month = extract(month FROM m.first_day)
    ) AS requests
FROM ({usage_recorded_months}) AS m
WHERE m.first_day < :last_day
ORDER BY m.first_day;

-- name: usage_retention_list_months @sqlite
-- As above. No index of the records begins with the time: the months of each model are looked up in turn.
SELECT
    m.first_day,
    (
        SELECT coalesce(sum(s.total_requests), 0) FROM monthly_usage_summaries AS s
        WHERE printf('%04d-%02d-01', s.year, s.month) = m.first_day
    ) AS requests
FROM ({usage_recorded_months}) AS m
WHERE m.first_day < :last_day
ORDER BY m.first_day;

-- name: usage_retention_remove_month @postgres
-- From now on no record of the month or of one before it is taken. Its partition is dropped, or detached under the name
-- that is given back.
SELECT usage_records_remove_partition(:month::date, :keep) AS kept;

-- name: usage_retention_remove_month @sqlite
-- As above. SQLite has no partition to drop: `usage_retention_delete_records` comes next.
INSERT INTO usage_retention (id, pruned_before)
VALUES (1, date(:month, 'start of month', '+1 month') || 'T00:00:00.000000+00:00')
ON CONFLICT (id) DO UPDATE SET pruned_before = max(pruned_before, excluded.pruned_before)
RETURNING NULL AS kept;

-- name: usage_retention_list_models @postgres
-- By what `usage_retention_delete_records` goes: PostgreSQL deletes all at once, as few records are in no partition.
SELECT NULL::uuid AS model_id;

-- name: usage_retention_list_models @sqlite
-- As above: the models of all records, and NULL, for an index begins with them and ends with the time.
SELECT model_id FROM (
    WITH RECURSIVE
    {usage_recorded_models}
    SELECT model_id FROM models
)
UNION SELECT NULL;

-- name: usage_retention_delete_records @postgres
-- Deletes up to `limit` records from before `before` that are in no partition of their month.
DELETE FROM usage_records_default
WHERE ctid = ANY(ARRAY(SELECT ctid FROM usage_records_default WHERE request_timestamp < :before LIMIT :limit));

-- name: usage_retention_delete_records @sqlite
-- Deletes up to `limit` records of one model, or of none, from before `before`.
DELETE FROM usage_records
WHERE rowid IN (
    SELECT rowid FROM usage_records WHERE model_id IS :model_id AND request_timestamp < :before LIMIT :limit
);

-- name: usage_retention_checkpoint @postgres
-- After a batch of deletions: PostgreSQL has a process for that.
SELECT 0 AS busy;

-- name: usage_retention_checkpoint @sqlite
-- As above: moves what the batch changed from the WAL into the file, without the file's lock. Else a commit would have to,
-- with the lock, after some batches.
PRAGMA wal_checkpoint(PASSIVE);

-- name: usage_retention_delete_claims @postgres
-- Deletes up to `limit` claims from before `before`.
DELETE FROM usage_claims
WHERE ctid = ANY(ARRAY(SELECT ctid FROM usage_claims WHERE request_timestamp < :before LIMIT :limit));

-- name: usage_retention_delete_claims @sqlite
-- As above: SQLite needs no claims.
SELECT 0 WHERE :before IS NULL AND :limit IS NULL;
