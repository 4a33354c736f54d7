-- name: usage_verification_list_months @postgres
-- The months, by their first days, of which there may be records or summaries.
SELECT first_day FROM (
    WITH RECURSIVE days (day) AS (
        SELECT min(day) FROM daily_usage_summaries
        UNION ALL
        SELECT (
            SELECT min(s.day) FROM daily_usage_summaries AS s
            WHERE s.day >= (date_trunc('month', d.day::timestamp) + interval '1 month')::date
        ) FROM days AS d WHERE d.day IS NOT NULL
    )
    SELECT date_trunc('month', day::timestamp)::date AS first_day FROM days WHERE day IS NOT NULL
    UNION SELECT make_date(year, month, 1) FROM monthly_usage_summaries
    UNION {usage_recorded_months}
) AS months
ORDER BY first_day;

-- name: usage_verification_list_months @sqlite
-- As above.
SELECT first_day FROM (
    WITH RECURSIVE days (day) AS (
        SELECT min(day) FROM daily_usage_summaries
        UNION ALL
        SELECT (
            SELECT min(s.day) FROM daily_usage_summaries AS s WHERE s.day >= date(d.day, 'start of month', '+1 month')
        ) FROM days AS d WHERE d.day IS NOT NULL
    )
    SELECT date(day, 'start of month') AS first_day FROM days WHERE day IS NOT NULL
    UNION SELECT printf('%04d-%02d-01', year, month) FROM monthly_usage_summaries
    UNION {usage_recorded_months}
)
ORDER BY first_day;

-- name: usage_verification_list_keys
-- The next API keys in the order of their ids that have records or summaries of any time, whether they still exist or not:
-- from key to key through the indexes.
SELECT api_key_id FROM (
    WITH RECURSIVE
    recorded (api_key_id, number) AS (
        SELECT (SELECT u.api_key_id FROM usage_records AS u WHERE u.api_key_id > :after ORDER BY u.api_key_id LIMIT 1), 1
        UNION ALL
        SELECT
            (SELECT u.api_key_id FROM usage_records AS u WHERE u.api_key_id > r.api_key_id ORDER BY u.api_key_id LIMIT 1),
            number + 1
        FROM recorded AS r WHERE r.api_key_id IS NOT NULL AND number < :limit
    ),
    daily (api_key_id, number) AS (
        SELECT
            (SELECT s.api_key_id FROM daily_usage_summaries AS s WHERE s.api_key_id > :after ORDER BY s.api_key_id LIMIT 1), 1
        UNION ALL
        SELECT
            (
                SELECT s.api_key_id FROM daily_usage_summaries AS s
                WHERE s.api_key_id > d.api_key_id ORDER BY s.api_key_id LIMIT 1
            ),
            number + 1
        FROM daily AS d WHERE d.api_key_id IS NOT NULL AND number < :limit
    ),
    monthly (api_key_id, number) AS (
        SELECT
            (
                SELECT s.api_key_id FROM monthly_usage_summaries AS s
                WHERE s.api_key_id > :after ORDER BY s.api_key_id LIMIT 1
            ), 1
        UNION ALL
        SELECT
            (
                SELECT s.api_key_id FROM monthly_usage_summaries AS s
                WHERE s.api_key_id > m.api_key_id ORDER BY s.api_key_id LIMIT 1
            ),
            number + 1
        FROM monthly AS m WHERE m.api_key_id IS NOT NULL AND number < :limit
    )
    SELECT api_key_id FROM recorded
    UNION SELECT api_key_id FROM daily
    UNION SELECT api_key_id FROM monthly
) AS keys
WHERE api_key_id IS NOT NULL
ORDER BY api_key_id LIMIT :limit;

-- name: usage_verification_count_keys
-- How many API keys have monthly summaries: for saying how far it is.
SELECT count(DISTINCT api_key_id) AS total FROM monthly_usage_summaries;

-- name: usage_verification_list_requests @postgres
-- How many requests these keys made in a month, as its summaries say.
SELECT api_key_id, total_requests AS requests FROM monthly_usage_summaries
WHERE api_key_id = ANY(:ids::uuid[]) AND year = :year AND month = :month;

-- name: usage_verification_list_requests @sqlite
-- As above; SQLite has no arrays.
SELECT api_key_id, total_requests AS requests FROM monthly_usage_summaries
WHERE api_key_id IN (SELECT value FROM json_each(:ids)) AND year = :year AND month = :month;

-- fragment: compared_counts
CAST(coalesce(sum(requests) FILTER (WHERE is_stored), 0) AS bigint) AS stored_requests,
CAST(coalesce(sum(requests) FILTER (WHERE NOT is_stored), 0) AS bigint) AS expected_requests,
CAST(coalesce(sum(unpriced) FILTER (WHERE is_stored), 0) AS bigint) AS stored_unpriced,
CAST(coalesce(sum(unpriced) FILTER (WHERE NOT is_stored), 0) AS bigint) AS expected_unpriced,
CAST(coalesce(sum(prompt) FILTER (WHERE is_stored), 0) AS bigint) AS stored_prompt,
CAST(coalesce(sum(prompt) FILTER (WHERE NOT is_stored), 0) AS bigint) AS expected_prompt,
CAST(coalesce(sum(completion) FILTER (WHERE is_stored), 0) AS bigint) AS stored_completion,
CAST(coalesce(sum(completion) FILTER (WHERE NOT is_stored), 0) AS bigint) AS expected_completion,
CAST(coalesce(sum(tokens) FILTER (WHERE is_stored), 0) AS bigint) AS stored_total,
CAST(coalesce(sum(tokens) FILTER (WHERE NOT is_stored), 0) AS bigint) AS expected_total

-- fragment: compared_costs @postgres
coalesce(sum(cost) FILTER (WHERE is_stored), 0) AS stored_cost,
coalesce(sum(cost) FILTER (WHERE NOT is_stored), 0) AS expected_cost,
max(latest) FILTER (WHERE is_stored) AS stored_last_at,
max(latest) FILTER (WHERE NOT is_stored) AS expected_last_at

-- fragment: compared_costs @sqlite
coalesce(sum(micro) FILTER (WHERE is_stored), 0) AS stored_micro,
coalesce(sum(micro) FILTER (WHERE NOT is_stored), 0) AS expected_micro,
coalesce(sum(rest) FILTER (WHERE is_stored), 0) AS stored_rest,
coalesce(sum(rest) FILTER (WHERE NOT is_stored), 0) AS expected_rest,
max(latest) FILTER (WHERE is_stored) AS stored_last_at,
max(latest) FILTER (WHERE NOT is_stored) AS expected_last_at

-- fragment: counts_differ
stored_requests <> expected_requests OR stored_unpriced <> expected_unpriced OR stored_prompt <> expected_prompt
OR stored_completion <> expected_completion OR stored_total <> expected_total

-- name: usage_verification_list_daily @postgres
-- Where the daily summaries of these keys differ from their records, from `first_day` to before `last_day`; one statement,
-- and so one state of the database. A summary's latest request may be one that went to another route of the day meanwhile.
-- Of a month that was pruned nothing differs: its records are gone.
SELECT
    c.day, c.api_key_id, c.route_id, c.status_class, r.model_name, r.endpoint, c.stored_requests, c.expected_requests,
    c.stored_unpriced, c.expected_unpriced, c.stored_prompt, c.expected_prompt, c.stored_completion,
    c.expected_completion, c.stored_total, c.expected_total, c.stored_cached, c.expected_cached,
    c.stored_cost * 1000000 AS stored_micro, c.expected_cost * 1000000 AS expected_micro,
    0 AS stored_rest, 0 AS expected_rest, c.stored_last_at, c.expected_last_at
FROM (
    SELECT
        day, api_key_id, route_id, status_class,
        {compared_counts},
        coalesce(sum(cached) FILTER (WHERE is_stored), 0)::bigint AS stored_cached,
        coalesce(sum(cached) FILTER (WHERE NOT is_stored), 0)::bigint AS expected_cached,
        {compared_costs},
        max(max(latest) FILTER (WHERE NOT is_stored)) OVER (PARTITION BY day, api_key_id) AS day_last_at
    FROM (
        SELECT
            TRUE AS is_stored, day, api_key_id, route_id, status_class, total_requests AS requests,
            unpriced_requests AS unpriced, total_prompt_tokens AS prompt, total_completion_tokens AS completion,
            total_tokens AS tokens, total_cached_tokens AS cached, total_cost_usd AS cost, last_request_at AS latest
        FROM daily_usage_summaries
        WHERE api_key_id = ANY(:ids::uuid[]) AND day >= :first_day AND day < :last_day
        UNION ALL
        SELECT
            FALSE, (request_timestamp AT TIME ZONE 'UTC')::date, api_key_id, coalesce(route_id, 0),
            (coalesce(status_code / 100, 0))::smallint, 1, (cost_usd IS NULL)::integer, prompt_tokens,
            completion_tokens, total_tokens, cached_tokens, cost_usd, request_timestamp
        FROM usage_records
        WHERE api_key_id = ANY(:ids::uuid[]) AND request_timestamp >= :start AND request_timestamp < :end
        AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') >= date_trunc('hour', :start::timestamptz AT TIME ZONE 'UTC')
        AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') < date_trunc('hour', :end::timestamptz AT TIME ZONE 'UTC')
    ) AS sides
    WHERE NOT EXISTS (SELECT FROM usage_retention WHERE pruned_before > :start)
    GROUP BY day, api_key_id, route_id, status_class
) AS c
LEFT JOIN usage_routes AS r ON r.id = c.route_id
WHERE {counts_differ} OR stored_cached <> expected_cached OR stored_cost <> expected_cost OR expected_last_at > coalesce(stored_last_at, '-infinity')
OR stored_last_at > day_last_at
LIMIT :limit;

-- name: usage_verification_list_daily @sqlite
-- As above; costs are summed in two whole numbers, which cannot overflow.
SELECT
    c.day, c.api_key_id, c.route_id, c.status_class, r.model_name, r.endpoint, c.stored_requests, c.expected_requests,
    c.stored_unpriced, c.expected_unpriced, c.stored_prompt, c.expected_prompt, c.stored_completion,
    c.expected_completion, c.stored_total, c.expected_total, c.stored_cached, c.expected_cached, c.stored_micro,
    c.expected_micro, c.stored_rest, c.expected_rest, c.stored_last_at, c.expected_last_at
FROM (
    SELECT
        day, api_key_id, route_id, status_class,
        {compared_counts},
        coalesce(sum(cached) FILTER (WHERE is_stored), 0) AS stored_cached,
        coalesce(sum(cached) FILTER (WHERE NOT is_stored), 0) AS expected_cached,
        {compared_costs},
        max(max(latest) FILTER (WHERE NOT is_stored)) OVER (PARTITION BY day, api_key_id) AS day_last_at
    FROM (
        SELECT
            TRUE AS is_stored, day, api_key_id, route_id, status_class, total_requests AS requests,
            unpriced_requests AS unpriced, total_prompt_tokens AS prompt, total_completion_tokens AS completion,
            total_tokens AS tokens, total_cached_tokens AS cached, cost_microusd AS micro, cost_rest_picousd AS rest,
            last_request_at AS latest
        FROM daily_usage_summaries
        WHERE api_key_id IN (SELECT value FROM json_each(:ids)) AND day >= :first_day AND day < :last_day
        UNION ALL
        SELECT
            FALSE, substr(request_timestamp, 1, 10), api_key_id, coalesce(route_id, 0), coalesce(status_code / 100, 0), 1,
            cost_picousd IS NULL, prompt_tokens, completion_tokens, total_tokens, cached_tokens, cost_picousd / 1000000,
            cost_picousd % 1000000, request_timestamp
        FROM usage_records
        WHERE api_key_id IN (SELECT value FROM json_each(:ids))
        AND request_timestamp >= :start AND request_timestamp < :end
    )
    WHERE NOT EXISTS (SELECT 1 FROM usage_retention WHERE pruned_before > :start)
    GROUP BY day, api_key_id, route_id, status_class
) AS c
LEFT JOIN usage_routes AS r ON r.id = c.route_id
WHERE {counts_differ} OR stored_cached <> expected_cached OR (stored_micro - expected_micro) * 1000000 + stored_rest - expected_rest <> 0
OR expected_last_at > coalesce(stored_last_at, '') OR stored_last_at > day_last_at
LIMIT :limit;

-- name: usage_verification_list_monthly @postgres
-- Where the monthly summaries of these keys differ from the sums of their days; one state of the database, as above.
SELECT
    api_key_id, stored_requests, expected_requests, stored_unpriced, expected_unpriced, stored_prompt, expected_prompt,
    stored_completion, expected_completion, stored_total, expected_total,
    stored_cost * 1000000 AS stored_micro, expected_cost * 1000000 AS expected_micro,
    0 AS stored_rest, 0 AS expected_rest, stored_last_at, expected_last_at
FROM (
    SELECT
        api_key_id,
        {compared_counts},
        {compared_costs}
    FROM (
        SELECT
            TRUE AS is_stored, api_key_id, total_requests AS requests, unpriced_requests AS unpriced,
            total_prompt_tokens AS prompt, total_completion_tokens AS completion, total_tokens AS tokens,
            total_cost_usd AS cost, last_request_at AS latest
        FROM monthly_usage_summaries
        WHERE api_key_id = ANY(:ids::uuid[]) AND year = :year AND month = :month
        UNION ALL
        SELECT
            FALSE, api_key_id, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
            total_tokens, total_cost_usd, last_request_at
        FROM daily_usage_summaries
        WHERE api_key_id = ANY(:ids::uuid[]) AND day >= :first_day AND day < :last_day
    ) AS sides
    GROUP BY api_key_id
) AS c
WHERE {counts_differ} OR stored_cost <> expected_cost
OR stored_last_at IS DISTINCT FROM expected_last_at;

-- name: usage_verification_list_monthly @sqlite
-- As above; costs are summed in two whole numbers.
SELECT
    api_key_id, stored_requests, expected_requests, stored_unpriced, expected_unpriced, stored_prompt, expected_prompt,
    stored_completion, expected_completion, stored_total, expected_total, stored_micro, expected_micro, stored_rest,
    expected_rest, stored_last_at, expected_last_at
FROM (
    SELECT
        api_key_id,
        {compared_counts},
        {compared_costs}
    FROM (
        SELECT
            TRUE AS is_stored, api_key_id, total_requests AS requests, unpriced_requests AS unpriced,
            total_prompt_tokens AS prompt, total_completion_tokens AS completion, total_tokens AS tokens,
            cost_microusd AS micro, cost_rest_picousd AS rest, last_request_at AS latest
        FROM monthly_usage_summaries
        WHERE api_key_id IN (SELECT value FROM json_each(:ids)) AND year = :year AND month = :month
        UNION ALL
        SELECT
            FALSE, api_key_id, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
            total_tokens, cost_microusd, cost_rest_picousd, last_request_at
        FROM daily_usage_summaries
        WHERE api_key_id IN (SELECT value FROM json_each(:ids)) AND day >= :first_day AND day < :last_day
    )
    GROUP BY api_key_id
)
WHERE {counts_differ}
OR (stored_micro - expected_micro) * 1000000 + stored_rest - expected_rest <> 0
OR stored_last_at IS NOT expected_last_at;
