-- name: usage_partition_list_missing @postgres
-- The months that lack a partition: of `month` and the `ahead` months after it, and of up to `strays` months whose records
-- lie in the default partition.
SELECT month AS first_day
FROM (
    SELECT (:month::date + make_interval(months => n))::date AS month FROM generate_series(0, :ahead::integer) AS n
    UNION
    (
        SELECT DISTINCT date_trunc('month', request_timestamp AT TIME ZONE 'UTC')::date FROM usage_records_default
        WHERE request_timestamp < (:month::date + make_interval(months => :ahead::integer)) AT TIME ZONE 'UTC'
        LIMIT :strays
    )
) AS months
WHERE to_regclass('usage_records_' || to_char(month, 'YYYY_MM')) IS NULL
ORDER BY month;

-- name: usage_partition_list_missing @sqlite
-- As above: SQLite keeps usage in one table, which lacks no month.
SELECT date(:month) AS first_day WHERE :ahead + :strays IS NULL;

-- name: usage_partition_add @postgres
-- Makes the partition of a month, with what the default partition holds of it; false: it was there.
SELECT usage_records_add_partition(:month::date) AS made;

-- name: usage_partition_add @sqlite
-- As above: nothing to make.
SELECT FALSE AS made WHERE :month IS NULL;

-- name: usage_partition_count_strays @postgres
-- How many records lie in the default partition.
SELECT count(*) AS total FROM usage_records_default;

-- name: usage_partition_count_strays @sqlite
-- As above: none can.
SELECT 0 AS total;
