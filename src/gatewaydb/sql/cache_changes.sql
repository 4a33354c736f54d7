-- name: cache_change_list @postgres
-- What was committed since the snapshot `seen`, but for the transactions that are known already, and what the next call
-- has to hand in. What was in progress then has an id of its past, and is found by not being visible in it: so no order
-- of commits can hide a change. `history` is another one after a failover or a restore.
SELECT
    s.seen::text AS seen,
    'cache_changes'::regclass::oid::text
    || CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS history,
    clock_timestamp() AS looked_at, c.xid::text AS xid, c.noun, c.keys, c.changed_at
FROM (SELECT pg_current_snapshot() AS seen) AS s
LEFT JOIN cache_changes AS c ON c.xid >= pg_snapshot_xmin(:seen::text::pg_snapshot)
    AND NOT pg_visible_in_snapshot(c.xid, :seen::text::pg_snapshot) AND c.xid::text <> ALL(:known::text[])
LIMIT :limit;

-- name: cache_change_list @sqlite
-- What was committed after the change `seen`, a row for each noun. Ids are in the order of the commits and have no gaps,
-- so that a `first` that does not follow `seen` tells of changes that are no longer here.
SELECT
    c.noun, CASE WHEN count(*) <= :limit THEN json_group_array(c.key) END AS keys, min(c.id) AS first, max(c.id) AS last,
    min(c.changed_at) AS changed_at
FROM cache_changes AS c WHERE c.id > :seen GROUP BY c.noun;
